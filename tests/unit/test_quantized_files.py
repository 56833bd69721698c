"""Quantized ONNX files, taken as they are: each layer is at most one step from onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_models import MODELS, Net
from onnxruntime.quantization import QuantFormat, QuantType
from quantized_models import (
    Reference,
    Scheme,
    compare_layers,
    int8_graph,
    quantize_with_onnxruntime,
)

from codegen import flow, simulate
from codegen.errors import ThumbnetError
from codegen.images import load_images
from codegen.ir import Graph, Preprocess
from codegen.onnx_import import ImportedModel, import_onnx
from codegen.onnx_runtime import FloatModel
from codegen.ops import AvgPool, Conv, Depthwise, Softmax
from codegen.output import read_output
from codegen.quant.channels import drop_channels
from codegen.verify import verify_model

ASYMMETRIC = (("WeightSymmetric", False),)
SYMMETRIC = (("ActivationSymmetric", True),)
SCHEMES = (
    Scheme(),
    Scheme(per_channel=True),
    Scheme(weights=QuantType.QUInt8),
    Scheme(weights=QuantType.QUInt8, per_channel=True),
    Scheme(activations=QuantType.QInt8),
    Scheme(activations=QuantType.QInt8, per_channel=True, options=SYMMETRIC),
    Scheme(activations=QuantType.QInt8, options=ASYMMETRIC),
    Scheme(QuantFormat.QOperator),
    Scheme(QuantFormat.QOperator, per_channel=True),
    Scheme(QuantFormat.QOperator, weights=QuantType.QUInt8),
    Scheme(QuantFormat.QOperator, activations=QuantType.QInt8, options=ASYMMETRIC),
)


def small(net: Net) -> str:
    """Every operator that files of MobileNets have."""
    y = net.op("Relu", net.conv("x", 3, 8, strides=[2, 2], pads=[0, 0, 1, 1]))
    y = net.op("Clip", net.conv(y, 8, 8, group=8, pads=[1] * 4), np.float32(0), np.float32(6))
    a = net.conv(y, 8, 8, 1)
    b = net.conv(net.op("Relu", net.conv(a, 8, 8, pads=[1] * 4)), 8, 8, 1)
    y = net.op("Add", a, b)
    y = net.op("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2])
    y = net.op("Pad", y, np.array([0, 0, 0, 0, 0, 0, 1, 1]))
    y = net.op("Relu", net.conv(y, 8, 12, strides=[2, 2]))
    y = net.op("AveragePool", y, kernel_shape=[2, 2])
    y = net.op("Flatten", net.op("GlobalAveragePool", y))
    weight = net.normal(5, 12)
    y = net.op("Gemm", y, weight, net.normal(5), transB=1)
    return net.op("Softmax", y)


def dense(net: Net) -> str:
    """Dense layers as tf2onnx writes them, on a map in NHWC."""
    y = net.op("Relu", net.conv(net.op("Transpose", "x", perm=[0, 3, 1, 2]), 3, 6))
    y = net.op("Reshape", net.op("Transpose", y, perm=[0, 2, 3, 1]), np.array([1, -1]))
    size = 6 * 10 * 10
    y = net.op("Add", net.op("MatMul", y, net.normal(size, 7) / 20), net.normal(7))
    return net.op("MatMul", net.op("Relu", y), net.normal(7, 4))


NETS: dict[str, tuple[Callable[[Net], str], tuple[int, ...]]] = {
    "small": (small, (1, 3, 16, 16)),
    "dense": (dense, (1, 12, 12, 3)),
}


def largest_difference(imported: ImportedModel, graph: Graph, images: Any) -> int:
    """Of a layer, over onnxruntime's integer kernels and the file to the letter."""
    worst = 0
    for fused in (False, True):
        layers = compare_layers(Reference(imported, graph, fused=fused), images)
        assert layers
        worst = max(worst, *(layer.largest for layer in layers))
    return worst


def needs_nine_bits(path: Path) -> bool:
    """True if a weight of the file is more than 127 steps: versions of the quantizer differ."""
    constants = {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    largest = 0
    for name, weight in constants.items():
        if weight.dtype in (np.uint8, np.int8) and weight.ndim > 1:
            zero = constants[name.removesuffix("_quantized") + "_zero_point"].astype(np.int64)
            axis = 0 if len(weight) == zero.size else 1
            shape = [zero.size if i == axis else 1 for i in range(weight.ndim)]
            largest = max(largest, int(np.abs(weight - zero.reshape(shape)).max()))
    return largest > 127


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
@pytest.mark.parametrize("kind", NETS)
def test_onnxruntime_s_quantizer(kind: str, scheme: Scheme, tmp_path: Path) -> None:
    make, shape = NETS[kind]
    net = Net(shape, opset=17)
    path = net.save(tmp_path, make(net))
    images = net.random.uniform(-1, 1, (8, *shape[1:])).astype(np.float32)
    quantized = quantize_with_onnxruntime(path, scheme, tmp_path, images)
    imported, graph = int8_graph(quantized)
    assert largest_difference(imported, graph, images) <= 1
    # Weights of which a zero point asks nine bits are kept, too.
    kinds = {n.weight.dtype for n in graph.nodes if isinstance(n, Conv | Depthwise)}
    assert (np.dtype(np.int16) in kinds) == needs_nine_bits(quantized)
    # What is dropped because it is constant does not change a byte here either.
    x = np.random.default_rng(0).integers(-128, 128, (4, *graph.input_tensor.shape))
    x = x.astype(np.int8)
    assert np.array_equal(simulate.run(graph, x), simulate.run(drop_channels(graph).graph, x))


PUBLISHED = ("vww_96_float_nhwc_op13", "mobilenet_v2_pruned_128_person_nchw_op15")


@pytest.mark.models
@pytest.mark.slow
@pytest.mark.skipif(not MODELS.is_dir(), reason=f"{MODELS} is not there")
@pytest.mark.parametrize(
    "scheme", [SCHEMES[i] for i in (1, 2, 6, 7, 10)], ids=lambda scheme: scheme.name
)
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models_quantized(name: str, scheme: Scheme, tmp_path: Path) -> None:
    source = MODELS / f"{name}.onnx"
    original = import_onnx(source)
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (4, *original.graph.input_tensor.shape)).astype(np.float32)
    images = np.concatenate([original.input_view.from_nhwc(image[None]) for image in images])
    imported, graph = int8_graph(quantize_with_onnxruntime(source, scheme, tmp_path, images))
    assert largest_difference(imported, graph, images[:2]) <= 1


UINT8 = MODELS / "mobilenet_v1_0.5_160_imagenet_uint8_qdq_nhwc_op13.onnx"
PICTURES = MODELS.parent / "images" / "imagenet-sample-256.zip"


@pytest.mark.models
@pytest.mark.skipif(not UINT8.exists(), reason=f"{UINT8} is not there")
class TestPublishedUint8:
    def test_each_layer_and_top1(self) -> None:
        if not PICTURES.exists():
            pytest.skip(f"{PICTURES} is not there")
        imported, graph = int8_graph(UINT8)
        crop = Preprocess(resize="crop")
        pixels = load_images(PICTURES, graph.input_tensor.shape, crop, 60).pixels
        assert largest_difference(imported, graph, pixels[:4]) <= 1
        reference = Reference(imported, graph, fused=True)
        reference.names = {graph.output: reference.names[graph.output]}
        want = reference.trace(pixels)[graph.output].reshape(len(pixels), -1)
        found = simulate.run(graph, (pixels.astype(np.int16) - 128).astype(np.int8))
        found = found.reshape(want.shape)
        assert (found.argmax(axis=1) == want.argmax(axis=1)).mean() >= 0.995

    @pytest.mark.qemu
    @pytest.mark.slow
    def test_compiles_and_verifies(self, tmp_path: Path) -> None:
        out = tmp_path / "out"
        report = flow.compile_model(flow.CompileOptions(out=out, model=UINT8))
        assert any("bytes of pixels as they are" in text for text in report.warnings)
        assert verify_model(out, ("host", "qemu"), random=2).equal


# What stands around the layers.


def quantized(net: Net, x: str, scale: float, zero: Any) -> str:
    """``x`` between QuantizeLinear and DequantizeLinear."""
    y = net.op("QuantizeLinear", x, np.float32(scale), zero)
    return net.op("DequantizeLinear", y, np.float32(scale), zero)


def weight(net: Net, *shape: int, kind: type = np.int8) -> str:
    values = net.random.integers(-127, 128, shape).astype(kind)
    return net.op("DequantizeLinear", values, np.float32(0.01), kind(0))


def typed(net: Net, kind: int, output: bool = False) -> None:
    """Makes the input, or the output, of another type."""
    if output:
        last = net.nodes[-1].output[0]
        net.outputs = [helper.make_tensor_value_info(last, kind, None)]
    else:
        shape = [d.dim_value for d in net.inputs[0].type.tensor_type.shape.dim]
        net.inputs = [helper.make_tensor_value_info("x", kind, shape)]


def images_for(net: Net, dtype: Any = np.float32) -> Any:
    shape = [d.dim_value for d in net.inputs[0].type.tensor_type.shape.dim][1:]
    if dtype == np.float32:
        return net.random.uniform(-2, 2, (4, *shape)).astype(np.float32)
    return net.random.integers(0, 128, (4, *shape)).astype(dtype)


@pytest.mark.parametrize(("kind", "dtype"), [(TensorProto.UINT8, np.uint8), (3, np.int8)])
def test_integers_in_and_out(kind: int, dtype: Any, tmp_path: Path) -> None:
    """A file from pixels to integers: mapped to int8 exactly, and the preprocessing is raw."""
    net = Net()
    typed(net, kind)
    zero = dtype(100 if dtype == np.uint8 else -28)
    x = net.op("DequantizeLinear", "x", np.float32(0.05), zero)
    y = net.op("QuantizeLinear", net.op("Conv", x, weight(net, 4, 3, 3, 3)), np.float32(0.2), zero)
    typed(net, kind, output=True)
    path = net.save(tmp_path, y)
    imported, graph = int8_graph(path)
    assert graph.input_tensor.q == graph.output_tensor.q or graph.output_tensor.q
    assert graph.input_tensor.q is not None and graph.input_tensor.q.zero_point == -28
    assert largest_difference(imported, graph, images_for(net, dtype)) <= 1
    # Through the preprocessing, the reference sees the very bytes that the network sees.
    out = tmp_path / "out"
    report = flow.compile_model(flow.CompileOptions(out=out, model=path, build=False))
    compiled = read_output(out).graph
    assert len([text for text in report.warnings if "bytes of pixels" in text]) == 1
    pixels = net.random.integers(0, 256, (3, 8, 8, 3)).astype(np.uint8)
    from codegen.preprocess import to_float, to_int8

    q = compiled.input_tensor.q
    assert q is not None
    integers = to_int8(pixels, compiled.preprocess, q)
    assert np.array_equal(integers.astype(int), pixels.astype(int) - 128)
    real = FloatModel(imported).run(to_float(pixels, compiled.preprocess))
    out_q = compiled.output_tensor.q
    assert out_q is not None
    steps = real / out_q.scale + out_q.zero_point - simulate.run(compiled, integers)
    assert np.abs(steps).max() < 1.01


def test_relu_between_scales(tmp_path: Path) -> None:
    """A clip between other scales is a layer; between equal ones it is part of the one before."""
    for scale, layers in ((0.07, 1), (0.2, 2)):
        net = Net()
        x = quantized(net, "x", 0.03, np.uint8(120))
        y = quantized(net, net.op("Conv", x, weight(net, 4, 3, 3, 3)), 0.07, np.uint8(60))
        y = quantized(net, net.op("Relu", y), scale, np.uint8(60 if layers == 1 else 0))
        imported, graph = int8_graph(net.save(tmp_path, y))
        assert len(graph.nodes) == layers
        assert largest_difference(imported, graph, images_for(net)) <= 1


def test_rescaled(tmp_path: Path) -> None:
    """Another scale behind a MaxPool, and at the end: a layer each that rescales."""
    net = Net()
    x = quantized(net, "x", 0.03, np.uint8(120))
    y = net.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    y = quantized(net, y, 0.02, np.uint8(100))
    y = quantized(net, y, 0.05, np.uint8(128))
    imported, graph = int8_graph(net.save(tmp_path, y))
    assert [node.op for node in graph.nodes] == ["maxpool", "avgpool", "avgpool"]
    assert all(isinstance(n, AvgPool) and n.kernel == (1, 1) for n in graph.nodes[1:])
    assert largest_difference(imported, graph, images_for(net)) <= 1


def test_moved_as_integers(tmp_path: Path) -> None:
    """QOperator files move integers: the fill of a Pad is one of them."""
    net = Net()
    y = net.op("QuantizeLinear", "x", np.float32(0.03), np.uint8(120))
    y = net.op("Pad", y, np.array([0, 0, 1, 1, 0, 0, 2, 0]), np.uint8(130))
    y = net.op("Transpose", net.op("Transpose", y, perm=[0, 2, 3, 1]), perm=[0, 3, 1, 2])
    y = net.op("MaxPool", y, kernel_shape=[3, 3])
    y = net.op("DequantizeLinear", y, np.float32(0.03), np.uint8(120))
    y = quantized(net, net.op("Conv", y, weight(net, 4, 3, 3, 3)), 0.2, np.uint8(128))
    imported, graph = int8_graph(net.save(tmp_path, y))
    assert largest_difference(imported, graph, images_for(net)) == 0


def test_scales_of_softmax(tmp_path: Path) -> None:
    """Whatever the quantizer chose: 1/256, 1/255, or what it saw; zero points anywhere."""
    for scale, zero in ((1 / 256, 0), (1 / 255, 0), (1 / 300, 0), (1 / 200, 40)):
        net = Net()
        x = quantized(net, "x", 0.03, np.uint8(120))
        y = quantized(net, net.op("GlobalAveragePool", x), 0.02, np.uint8(128))
        y = net.op("Softmax", y, axis=1)
        y = quantized(net, y, scale, np.uint8(zero))
        imported, graph = int8_graph(net.save(tmp_path, y))
        softmax = graph.nodes[-1]
        assert isinstance(softmax, Softmax) and softmax.zero_point == zero - 128
        assert largest_difference(imported, graph, images_for(net)) <= 1


def test_large_biases_keep_their_integers(tmp_path: Path) -> None:
    """More bits than float32 has; and a channel whose bias is at the end of int32."""
    net = Net()
    bias = np.array([2**30 - 1, -(2**29) - 7, 12345, -(2**31)], np.int32)
    scales = np.array([1e-9, 2e-9, 0.01, 1e-10], np.float32)
    integers = net.random.integers(-127, 128, (4, 3, 3, 3)).astype(np.int8)
    x = quantized(net, "x", 0.03, np.uint8(120))
    w = net.op("DequantizeLinear", integers, scales, np.zeros(4, np.int8), axis=0)
    b = net.op("DequantizeLinear", bias, scales * np.float32(0.03), axis=0)
    y = quantized(net, net.op("Conv", x, w, b), 0.05, np.uint8(128))
    imported, graph = int8_graph(net.save(tmp_path, y))
    conv = graph.nodes[0]
    assert isinstance(conv, Conv)
    assert conv.bias[:3].tolist() == bias[:3].tolist()
    assert np.array_equal(conv.weight[:3], integers[:3].transpose(0, 2, 3, 1))
    assert largest_difference(imported, graph, images_for(net)) <= 1


def test_quantized_in_part(tmp_path: Path) -> None:
    """Tensors without a scale are named; calibration finds theirs and leaves the others alone."""
    net = Net()
    x = quantized(net, "x", 0.03, np.uint8(120))
    y = net.op("Relu", net.op("Conv", x, weight(net, 4, 3, 3, 3)))
    y = quantized(net, net.conv(y, 4, 5), 0.05, np.uint8(100))
    path = net.save(tmp_path, y)
    options = flow.CompileOptions(out=tmp_path / "out", model=path, build=False)
    with pytest.raises(ThumbnetError, match=r"1 of its tensors .* 'relu_4', of layer 'n3'"):
        flow.compile_model(options)
    pictures = tmp_path / "pictures.npz"
    np.savez(pictures, images=net.random.integers(0, 256, (8, 8, 8, 3)).astype(np.uint8))
    calibrated = flow.CompileOptions(
        out=tmp_path / "out", model=path, build=False, calibrate=pictures
    )
    flow.compile_model(calibrated)
    q = read_output(tmp_path / "out").graph.output_tensor.q
    assert q is not None and (q.scale, q.zero_point) == (np.float32(0.05), -28)


def test_calibration_images_are_not_needed(tmp_path: Path) -> None:
    net = Net()
    x = quantized(net, "x", 0.03, np.uint8(120))
    path = net.save(tmp_path, quantized(net, net.op("Relu", x), 0.02, np.uint8(0)))
    pictures = tmp_path / "no_such_folder"
    report = flow.compile_model(
        flow.CompileOptions(out=tmp_path / "out", model=path, build=False, calibrate=pictures)
    )
    assert any("its scales are kept" in text for text in report.warnings)
