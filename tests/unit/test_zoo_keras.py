"""The zoo in Keras: the same function through both exporters, weights of files, training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from codegen.errors import ThumbnetError
from codegen.ir import FloatArray
from codegen.zoo.make import ZooOptions, make_model, save_network
from codegen.zoo.registry import ARCHITECTURES, build_network
from codegen.zoo.weights import random_weights

pytest.importorskip("tensorflow", reason="extra 'train' is not installed")
pytest.importorskip("tf_keras", reason="extra 'train' is not installed")
pytest.importorskip("tf2onnx", reason="extra 'train' is not installed")

from codegen.zoo import train
from codegen.zoo.keras_model import keras_model
from codegen.zoo.keras_weights import read_keras_weights


def _run(path: Path, images: FloatArray) -> FloatArray:
    session = onnxruntime.InferenceSession(str(path))
    return np.asarray(session.run(None, {session.get_inputs()[0].name: images})[0])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_both_exporters_give_the_same_function(name: str, tmp_path: Path) -> None:
    network = build_network(name, 0.25, 64, 10)
    weights = random_weights(network)
    for exporter in ("direct", "keras"):
        save_network(network, weights, tmp_path / f"{exporter}.onnx", exporter)
    images = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)
    direct = _run(tmp_path / "direct.onnx", images.transpose(0, 3, 1, 2))
    keras = _run(tmp_path / "keras.onnx", images)
    np.testing.assert_allclose(keras, direct, atol=1e-4)


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v3_small", "squeezenet_1_0"])
@pytest.mark.parametrize("file", ["net.h5", "net.weights.h5", "whole.h5"])
def test_weights_of_every_layout_are_read(name: str, file: str, tmp_path: Path) -> None:
    network = build_network(name, 0.25, 64, 10)
    weights = random_weights(network, 5)
    model = keras_model(network, weights)
    path = tmp_path / file
    model.save(path) if file == "whole.h5" else model.save_weights(path)
    found = read_keras_weights(path, network)
    assert found.keys() == weights.keys()
    for layer, arrays in weights.items():
        for ours, theirs in zip(arrays, found[layer], strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_a_1x1_convolution_is_as_good_as_a_dense_layer(tmp_path: Path) -> None:
    """Keras applications classify MobileNetV1 by a convolution and name its layers otherwise."""
    import tf_keras as keras

    model = keras.applications.MobileNet((64, 64, 3), alpha=0.25, weights=None, classes=10)
    model.save_weights(tmp_path / "theirs.h5")
    options = ZooOptions("mobilenet_v1", tmp_path / "ours.onnx", 0.25, 64, 10)
    make_model(ZooOptions(**{**vars(options), "weights": tmp_path / "theirs.h5"}))
    images = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)
    ours = _run(options.out, images.transpose(0, 3, 1, 2))
    # Theirs pads a stride of 2 as "same" does for even sizes, so both are one function.
    np.testing.assert_allclose(ours, model.predict(images, verbose=0), atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"alpha": 0.5}, "another alpha"),
        ({"classes": 11}, "'logits'"),
        ({"name": "mobilenet_v2"}, "the file of another network"),
    ],
)
def test_weights_of_another_network_are_refused(
    arguments: dict[str, object], words: str, tmp_path: Path
) -> None:
    keras_model(build_network("mobilenet_v1", 0.25, 64, 10)).save_weights(tmp_path / "net.h5")
    asked = {"name": "mobilenet_v1", "alpha": 0.25, "classes": 10, **arguments}
    out = tmp_path / "out.onnx"
    with pytest.raises(ThumbnetError, match=words):
        make_model(
            ZooOptions(out=out, resolution=64, weights=tmp_path / "net.h5", **asked)  # type: ignore[arg-type]
        )
    assert not out.exists()


def test_a_file_that_holds_no_weights_is_refused(tmp_path: Path) -> None:
    network = build_network("mobilenet_v1", 0.25, 64, 10)
    with pytest.raises(ThumbnetError, match="does not exist"):
        read_keras_weights(tmp_path / "none.h5", network)
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(ThumbnetError, match="no file of Keras weights"):
        read_keras_weights(tmp_path / "text.h5", network)


def _photographs(folder: Path) -> Path:
    """Three classes that a small network can tell apart: columns, rows, a square."""
    random = np.random.default_rng(0)
    for name in ("columns", "rows", "square"):
        (folder / name).mkdir(parents=True)
        for index in range(60):
            pixels = random.integers(0, 80, (40, 40, 3)).astype(np.uint8)
            place = {"columns": np.s_[:, ::4], "rows": np.s_[::4], "square": np.s_[10:30, 10:30]}
            pixels[place[name]] += 120
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
    return folder


@pytest.mark.slow
def test_training_learns_stops_early_and_goes_on_from_its_weights(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = _photographs(tmp_path / "photographs")
    saved, out = tmp_path / "net.weights.h5", tmp_path / "net.onnx"
    words = ["--data", str(data), "--resolution", "32", "--batch", "32", "-o", str(out)]
    assert train.main([*words, "--epochs", "40", "--save-weights", str(saved)]) == 0
    text = capfd.readouterr().err
    assert "stopped" in text
    assert "epoch 40/40" not in text
    classes = {entry.key: entry.value for entry in onnx.load(out).metadata_props}
    assert json.loads(classes["thumbnet.classes"]) == ["columns", "rows", "square"]
    pictures = train.load_pictures(data, 32, 0.1, 1).held_out
    guesses = _run(out, pictures.images.astype(np.float32) / 127.5 - 1).argmax(axis=1)
    assert (guesses == pictures.labels).mean() > 0.8

    tuned = tmp_path / "tuned.onnx"
    again = [*words[:-1], str(tuned), "--epochs", "1", "--weights", str(saved)]
    assert train.main(again) == 0
    guesses = _run(tuned, pictures.images.astype(np.float32) / 127.5 - 1).argmax(axis=1)
    assert (guesses == pictures.labels).mean() > 0.8


def test_fine_tuning_for_other_classes_makes_the_classifier_anew(tmp_path: Path) -> None:
    keras_model(build_network("mobilenet_v1", 0.25, 32, 10)).save_weights(tmp_path / "net.h5")
    network = build_network("mobilenet_v1", 0.25, 32, 3)
    found = read_keras_weights(tmp_path / "net.h5", network, new_classes=True)
    assert "logits" not in found
    assert "conv_pw_13" in found


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "nowhere"], "nowhere"),
        (["--data", "{flat}"], "has no labels"),
        (["--data", "{flat}", "--held-out", "1"], "--held-out must be between 0 and 1"),
        (["--data", "{flat}", "--epochs", "0"], "--epochs must be at least 1"),
        (["--data", "{flat}", "--alpha", "0"], "alpha must be above 0"),
        (["--data", "{flat}", "--network", "mobilnet_v2"], "did you mean mobilenet_v2"),
    ],
)
def test_training_refuses_in_words(
    words: list[str], message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    Image.new("RGB", (40, 40)).save(flat / "one.png")
    out = tmp_path / "net.onnx"
    assert train.main([*(word.format(flat=flat) for word in words), "-o", str(out)]) == 1
    assert message in capfd.readouterr().err
    assert not out.exists()
