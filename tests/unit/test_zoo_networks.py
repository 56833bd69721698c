"""The networks of the zoo: their counts, their weights, their ONNX, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from codegen.errors import ThumbnetError
from codegen.zoo.make import ZooOptions, make_model, save_network
from codegen.zoo.network import Conv, Network
from codegen.zoo.registry import ARCHITECTURES, build_network
from codegen.zoo.weights import folded, random_weights


def _outputs(path: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    """All values of an ONNX file for pictures [N, 3, R, R]."""
    model = onnx.load(path)
    for node in model.graph.node[:-1]:
        model.graph.output.append(onnx.ValueInfoProto(name=node.output[0]))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, {"input": images}), strict=True))


@pytest.fixture(scope="module")
def photographs() -> np.ndarray:
    """float32 [4, 3, 64, 64], not those that the weights were made with."""
    from codegen.images import load_images, to_float
    from codegen.ir import Preprocess
    from codegen.zoo.defaults import default_calibration

    loaded = load_images(default_calibration(), (64, 64, 3), Preprocess(), 7)
    return to_float(loaded.pixels[1:5], Preprocess()).transpose(0, 3, 1, 2)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("alpha", [0.25, 1.0])
def test_every_layer_carries_a_signal(
    name: str, alpha: float, tmp_path: Path, photographs: np.ndarray
) -> None:
    if name == "vgg16" and alpha == 1:
        pytest.skip("half a gigabyte of weights; alpha 0.25 has the same depth")
    network = build_network(name, alpha, 64, 10)
    path = tmp_path / "net.onnx"
    save_network(network, random_weights(network), path)
    onnx.checker.check_model(str(path), full_check=True)
    for value, array in _outputs(path, photographs).items():
        assert np.isfinite(array).all(), value
        if value != "output":
            assert 0.02 < array.std() < 200, f"{value}: {array.std()}"
            channels = array.reshape(*array.shape[:2], -1)
            dead = (channels == channels[:1, :, :1]).all(axis=(0, 2)).mean()
            # Few pictures reach every channel of a vector; a map's channels live nearly all.
            assert dead < (0.2 if array.ndim == 4 and array.shape[2] > 2 else 0.7), value


def test_weights_repeat_with_the_seed_and_differ_without(tmp_path: Path) -> None:
    options = [
        ZooOptions("mobilenet_v2", tmp_path / f"{i}.onnx", 0.35, 64, 10, seed=seed)
        for i, seed in enumerate((3, 3, 4))
    ]
    for each in options:
        make_model(each)
    first, again, other = (each.out.read_bytes() for each in options)
    assert first == again
    assert first != other


def test_kernels_of_groups_are_read_by_their_group_only(tmp_path: Path) -> None:
    network = build_network("alexnet", 0.25, 64, 10)
    weights = random_weights(network)
    layer = next(x for x in network.layers if isinstance(x, Conv) and x.groups == 2)
    kernel, _ = folded(layer, weights)
    assert kernel.shape[2] * 2 == layer.source
    save_network(network, weights, tmp_path / "net.onnx")
    groups = {
        node.name: next(a.i for a in node.attribute if a.name == "group")
        for node in onnx.load(tmp_path / "net.onnx").graph.node
        if node.op_type == "Conv"
    }
    assert [name for name, group in groups.items() if group == 2] == ["conv2", "conv4", "conv5"]


@pytest.mark.parametrize(
    ("name", "macs", "parameters"),
    [  # what their papers and Keras applications say, in millions
        ("mobilenet_v1", 569, 4.2),
        ("mobilenet_v2", 300, 3.4),
        ("mobilenet_v3_large", 219, 5.4),
        ("mobilenet_v3_small", 56, 2.5),
        ("mobilenet_v3_large_minimalistic", 209, 3.9),
    ],
)
def test_mobilenets_have_the_published_size(name: str, macs: float, parameters: float) -> None:
    network = build_network(name)
    assert network.macs / 1e6 == pytest.approx(macs, rel=0.015)
    assert network.parameters / 1e6 == pytest.approx(parameters, rel=0.03)


def _layers(network: Network) -> list[str]:
    return [f"{type(layer).__name__} {layer.name} {layer.shape}" for layer in network.layers]


def test_width_scales_channels_and_resolution_scales_maps() -> None:
    half = build_network("mobilenet_v1", 0.5, 160)
    assert half.shape("conv_pw_13") == (5, 5, 512)
    assert build_network("vgg16", 0.25, 64).shape("pool5") == (2, 2, 128)
    same = [_layers(build_network(name, 0.5, 96)) for name in ("mobilenet_v1", "MobileNet-v1")]
    assert same[0] == same[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "mobilnet_v1"}, "mobilnet_v1: did you mean mobilenet_v1"),
        ({"name": "resnet50"}, "unknown network resnet50"),
        ({"alpha": 0}, "alpha must be above 0 and at most 2, not 0"),
        ({"alpha": 2.5}, "alpha must be above 0 and at most 2, not 2.5"),
        ({"alpha": float("nan")}, "alpha"),
        ({"alpha": 0.01}, "alpha"),
        ({"resolution": 16}, "at least 32 pixels, not 16"),
        ({"resolution": 100}, "multiple of 32, not 100; near are 96 and 128"),
        ({"name": "alexnet", "resolution": 32}, "at least 64 pixels"),
        ({"classes": 1}, "classes must be at least 2"),
    ],
)
def test_what_cannot_be_built_is_refused_in_words(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(ThumbnetError) as caught:
        build_network(**{"name": "mobilenet_v1", **arguments})  # type: ignore[arg-type]
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("alpha", [0.04, 0.25, 0.35, 2.0])
def test_any_width_at_any_resolution_is_built_or_refused(name: str, alpha: float) -> None:
    for resolution in (32, 64, 96, 224):
        try:
            network = build_network(name, alpha, resolution, 2)
        except ThumbnetError as error:
            assert "larger" in str(error) or "at least" in str(error)
        else:
            assert min(min(layer.shape) for layer in network.layers) > 0
            assert network.macs > 0
