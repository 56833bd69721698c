"""The default model, its calibration pictures, and the Keras builders."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from PIL import Image

from codegen import zoo

ROOT = Path(__file__).resolve().parents[2]
DEFAULT = Path(zoo.__file__).parent / "default"
MODEL = DEFAULT / "mobilenet_v1_025_64_cifar10.onnx"
SHARED = Path(os.environ.get("THUMBNET_SHARED", ROOT.parent / "shared"))
TEST_PICTURES = SHARED / "images" / "cifar10-test-jpeg.npz"


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(MODEL), providers=["CPUExecutionProvider"])


def _top1(session: Any, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Class numbers of pictures uint8 [N, 64, 64, 3]."""
    inputs = images.astype(np.float32) / np.float32(127.5) - np.float32(1)
    (probabilities,) = session.run(None, {session.get_inputs()[0].name: inputs})
    classes: npt.NDArray[np.int64] = np.asarray(probabilities).argmax(axis=1)
    return classes


def test_default_model_has_one_picture_in_and_ten_probabilities_out(session: Any) -> None:
    (given,), (answer,) = session.get_inputs(), session.get_outputs()
    assert given.shape[1:] == [64, 64, 3]
    assert answer.shape[1:] == [10]
    picture = np.zeros((2, 64, 64, 3), np.float32)
    (probabilities,) = session.run(None, {given.name: picture})
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_default_model_names_its_preprocessing_and_its_classes() -> None:
    metadata = {entry.key: entry.value for entry in onnx.load(MODEL).metadata_props}
    assert json.loads(metadata["thumbnet.preprocess"]) == {
        "mean": [127.5, 127.5, 127.5],
        "std": [127.5, 127.5, 127.5],
        "channels": "RGB",
        "resize": "stretch",
    }
    classes = json.loads(metadata["thumbnet.classes"])
    assert len(classes) == 10
    assert classes[0] == "airplane"
    assert classes[9] == "truck"


def test_default_model_is_small_and_has_no_batch_normalization_left() -> None:
    assert MODEL.stat().st_size < 2_000_000
    operators = {node.op_type for node in onnx.load(MODEL).graph.node}
    assert "BatchNormalization" not in operators
    assert {"Conv", "Clip", "Softmax"} <= operators


@pytest.mark.skipif(
    not TEST_PICTURES.exists(),
    reason="needs the CIFAR-10 test pictures, which may not be published (THUMBNET_SHARED)",
)
def test_default_model_recognises_pictures_enlarged_by_pillow(session: Any) -> None:
    with np.load(TEST_PICTURES) as arrays:
        jpeg, offsets, labels = arrays["jpeg"], arrays["offsets"], arrays["labels"][:500]
    images = np.empty((len(labels), 64, 64, 3), np.uint8)
    for i in range(len(labels)):
        file = io.BytesIO(jpeg[offsets[i] : offsets[i + 1]].tobytes())
        picture = Image.open(file).convert("RGB")
        images[i] = np.asarray(picture.resize((64, 64), Image.Resampling.BILINEAR))
    assert (_top1(session, images) == labels).mean() >= 0.76


def test_calibration_pictures_are_small_and_each_has_a_licence() -> None:
    path = DEFAULT / "calibration.npz"
    assert path.stat().st_size < 1_200_000
    with np.load(path) as arrays:
        images, source, licences = arrays["images"], arrays["source"], arrays["licences"]
    assert images.dtype == np.uint8
    assert images.shape == (len(images), 64, 64, 3)
    assert len(images) >= 64
    assert source.shape == (len(images),)
    assert set(source.tolist()) == set(range(len(licences)))
    assert all("CC0" in text or "public domain" in text for text in licences.tolist())


def test_calibration_pictures_can_be_made_again() -> None:
    pytest.importorskip("skimage", reason="scikit-image is not installed")
    from codegen.zoo import make_calibration

    with np.load(DEFAULT / "calibration.npz") as arrays:
        images = arrays["images"]
    photographs = make_calibration.load_photographs()
    again = make_calibration.cut_pictures(photographs, len(images), make_calibration.SIDE, seed=1)
    # Another Pillow may round a resized value the other way.
    assert np.abs(again.astype(int) - images).max() <= 2


@pytest.mark.parametrize(
    ("builder", "alpha", "parameters"),
    [
        ("mobilenet_v1", 1.0, 4_253_864),
        ("mobilenet_v1", 0.25, 475_544),
        ("mobilenet_v2", 1.0, 3_538_984),
        ("mobilenet_v2", 0.35, 1_691_208),
    ],
)
def test_builders_have_as_many_parameters_as_keras_applications(
    builder: str, alpha: float, parameters: int
) -> None:
    pytest.importorskip("tensorflow", reason="extra 'train' is not installed")
    pytest.importorskip("tf_keras", reason="extra 'train' is not installed")
    from codegen.zoo.keras_model import keras_model
    from codegen.zoo.registry import build_network

    model = keras_model(build_network(builder, alpha, 224, 1000))
    assert model.count_params() == parameters


def test_random_crops_and_squares_repeat_with_the_seed() -> None:
    from codegen.zoo import training

    images = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), np.uint8)
    data = training.Dataset(images, np.arange(40, dtype=np.int32))
    recipe = training.Recipe(batch=16, seed=3)
    first = list(training.augmented_batches(data, recipe, epoch=5))
    second = list(training.augmented_batches(data, recipe, epoch=5))
    assert [len(labels) for _, labels in first] == [16, 16]
    for (a, labels), (b, again) in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(labels, again)
    other = next(training.augmented_batches(data, recipe, epoch=6))
    assert not np.array_equal(first[0][1], other[1])


def test_learning_rate_warms_up_and_ends_at_zero() -> None:
    from codegen.zoo import training

    recipe = training.Recipe(epochs=20, warmup_epochs=2, rate=0.2)
    assert recipe.rate_at(0) < 0.01
    assert recipe.rate_at(2) == pytest.approx(0.2)
    assert recipe.rate_at(20) == pytest.approx(0)
