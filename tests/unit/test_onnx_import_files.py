"""Whole files: published models, what exporters write, and other precisions and containers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx_models import EXPORTED, MODELS, Net, assert_close, assert_like_onnxruntime, pictures

from codegen.ir import Preprocess
from codegen.onnx_import import import_onnx
from codegen.onnx_runtime import FloatModel
from codegen.simulate_float import run_float

PUBLISHED = {
    "mobilenet_v1_0.25_224_imagenet_nchw_op18": ("NCHW", 30),
    "mobilenet_v1_0.25_224_imagenet_nhwc_op13": ("NHWC", 30),
    "mobilenet_v1_0.5_160_imagenet_deq_nchw_op18": ("NCHW", 30),
    "mobilenet_v1_0.5_160_imagenet_deq_nhwc_op13": ("NHWC", 30),
    "mobilenet_v1_1.0_224_imagenet_deq_nchw_op13": ("NCHW", 30),
    "mobilenet_v2_1.0_224_imagenet_deq_nchw_op17": ("NCHW", 65),
    "mobilenet_v2_pruned_128_person_nchw_op15": ("NCHW", 65),
    "vww_96_float_from_tflite_nhwc_op13": ("NHWC", 30),
    "vww_96_float_nchw_op13": ("NCHW", 30),
    "vww_96_float_nchw_op17": ("NCHW", 30),
    "vww_96_float_nhwc_op13": ("NHWC", 30),
    "vww_96_float_nhwc_op18": ("NHWC", 30),
    "vww_96_float_unfused_bn_nhwc_op13": ("NHWC", 30),
}
"""Layout of the input, and nodes after simplification."""


@pytest.mark.models
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_model(name: str) -> None:
    path = MODELS / f"{name}.onnx"
    if not path.exists():
        pytest.skip(f"{path} is missing (THUMBNET_SHARED names the folder above models)")
    layout, nodes = PUBLISHED[name]
    imported, simple = assert_like_onnxruntime(path, count=1)
    assert imported.input_layout == layout
    assert len(simple.nodes) == nodes
    assert imported.batch == (None if "person" in name or "tflite" in name else 1)


@pytest.mark.parametrize("path", sorted(EXPORTED.glob("*.onnx")), ids=lambda path: path.stem)
def test_exported_model(path: Path) -> None:
    imported, simple = assert_like_onnxruntime(path, count=3)
    assert imported.input_layout == ("NCHW" if "torch" in path.name else imported.input_layout)
    # Only scalings of the input stay: before a padded convolution they cannot be folded.
    extra = [node for node in simple.nodes if node.op == "depthwise" and node.kernel == (1, 1)]
    assert all(node.inputs == (simple.input,) for node in extra)
    assert not any(node.op == "pad" for node in simple.nodes)


def test_exporters_are_all_there() -> None:
    assert len(list(EXPORTED.glob("*.onnx"))) == 18


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_other_precisions_become_float32(tmp_path: Path, kind: int) -> None:
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    net = Net(opset=17)
    y = net.op("Relu", net.conv("x", 3, 4, pads=[1, 1, 1, 1]))
    y = net.op("Cast", net.op("Mul", y, net.op("Constant", value=_tensor(2, dtype))), to=kind)
    net.op("Flatten", net.op("GlobalAveragePool", y))
    model = net.model()
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor).astype(dtype)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = kind
    path = tmp_path / "net.onnx"
    onnx.save(model, path)
    imported = import_onnx(path)
    assert imported.notes == (f"{dtype} values of the model were converted to float32",)
    images = pictures(imported.graph, 2)
    values = run_float(imported.graph, images)[imported.graph.output]
    assert_close(values, FloatModel(imported).run(images), "output")
    assert all(
        array.dtype != np.float16 for node in imported.graph.nodes for _, array in node.arrays()
    )


def _tensor(value: float, dtype: np.dtype) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(value, dtype))


def test_float32_models_have_no_notes() -> None:
    assert import_onnx(EXPORTED / "torch_v1_op9.onnx").notes == ()


def test_external_data(tmp_path: Path) -> None:
    net = Net()
    net.op("Relu", net.conv("x", 3, 4))
    path = tmp_path / "net.onnx"
    onnx.save(net.model(), path, save_as_external_data=True, location="net.bin", size_threshold=0)
    imported = import_onnx(path)
    images = pictures(imported.graph, 1)
    values = run_float(imported.graph, images)[imported.graph.output]
    assert_close(values, FloatModel(imported).run(images), "output")


def test_local_functions_are_inlined(tmp_path: Path) -> None:
    """As some versions of the PyTorch exporter leave them."""
    net = Net(opset=17)
    net.domains["pkg.torch"] = 1
    body = [
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("AveragePool", ["b"], ["c"], kernel_shape=[2, 2]),
    ]
    net.functions.append(
        helper.make_function(
            "pkg.torch", "Block", ["a"], ["c"], body, [helper.make_opsetid("", 17)]
        )
    )
    net.op("Block", net.op("Block", "x", domain="pkg.torch"), domain="pkg.torch")
    imported, _ = assert_like_onnxruntime(net.save(tmp_path))
    assert [node.op for node in imported.graph.nodes] == ["clip", "avgpool"] * 2


def test_initializers_listed_as_inputs(tmp_path: Path) -> None:
    """As files of IR version 3 have to."""
    net = Net(opset=8)
    net.conv("x", 3, 4)
    for tensor in net.initializers:
        net.inputs.append(
            helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, tensor.dims)
        )
    assert_like_onnxruntime(net.save(tmp_path))


def test_metadata(tmp_path: Path) -> None:
    net = Net()
    net.conv("x", 3, 2)
    declared = {"mean": [1, 2, 3.5], "std": 4, "channels": "BGR", "resize": "crop"}
    net.metadata = {
        "thumbnet.preprocess": json.dumps(declared),
        "thumbnet.classes": '["kitten", "püppy"]',
    }
    imported = import_onnx(net.save(tmp_path))
    want = Preprocess((1.0, 2.0, 3.5), (4.0, 4.0, 4.0), "BGR", "crop")
    assert imported.preprocess == want == imported.graph.preprocess
    assert imported.classes == ("kitten", "püppy") == imported.graph.classes


def test_no_metadata() -> None:
    imported = import_onnx(EXPORTED / "torch_v1_op9.onnx")
    assert imported.preprocess is None and imported.classes == ()
    assert imported.graph.preprocess == Preprocess()


class RandomNet:
    """Grows a random network of supported operators."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.size = (draw(st.integers(5, 11)), draw(st.integers(5, 11)))
        self.channels = draw(st.sampled_from([1, 2, 3, 5]))
        self.nhwc = draw(st.booleans())
        last = (*self.size, self.channels) if self.nhwc else (self.channels, *self.size)
        opset = draw(st.sampled_from([9, 11, 13, 17, 20]))
        self.net = Net((draw(st.sampled_from([1, "N"])), *last), opset, draw(st.integers(0, 99)))
        self.y = self.net.op("Transpose", "x", perm=[0, 3, 1, 2]) if self.nhwc else "x"

    def grow(self) -> None:
        steps = [self.conv, self.depthwise, self.normalize, self.relu, self.residual]
        if min(self.size) >= 4:
            steps += [self.pool, self.pad]
        self.draw(st.sampled_from(steps))()

    def window(self, kernel: int) -> dict[str, list[int]]:
        stride = [self.draw(st.integers(1, 2)), self.draw(st.integers(1, 2))]
        pads = [self.draw(st.integers(0, kernel - 1)) for _ in range(4)]
        self.size = tuple(  # type: ignore[assignment]
            (self.size[i] + pads[i] + pads[i + 2] - kernel) // stride[i] + 1 for i in range(2)
        )
        return {"strides": stride, "pads": pads}

    def conv(self) -> None:
        kernel, outputs = (
            self.draw(st.integers(1, min(3, *self.size))),
            self.draw(st.integers(1, 6)),
        )
        self.y = self.net.conv(self.y, self.channels, outputs, kernel, **self.window(kernel))
        self.channels = outputs

    def depthwise(self) -> None:
        kernel = self.draw(st.integers(1, min(3, *self.size)))
        self.y = self.net.conv(
            self.y, self.channels, self.channels, kernel, group=self.channels, **self.window(kernel)
        )

    def normalize(self) -> None:
        n = self.channels
        values = [self.net.normal(n), self.net.normal(n), self.net.normal(n), self.net.positive(n)]
        self.y = self.net.op("BatchNormalization", self.y, *values)

    def relu(self) -> None:
        self.y = self.net.op("Relu", self.y)

    def residual(self) -> None:
        branch = self.net.conv(self.y, self.channels, self.channels, 1)
        self.y = self.net.op("Add", self.draw(st.sampled_from([self.y, branch])), branch)

    def pool(self) -> None:
        name = self.draw(st.sampled_from(["MaxPool", "AveragePool"]))
        kernel = self.draw(st.integers(2, 3))
        extra = {"count_include_pad": self.draw(st.integers(0, 1))} if name[0] == "A" else {}
        shape = [kernel, kernel]
        window = self.window(kernel)
        self.y = self.net.op(name, self.y, kernel_shape=shape, **window, **extra)

    def pad(self) -> None:
        amounts = [self.draw(st.integers(0, 2)) for _ in range(4)]
        pads = [0, 0, *amounts[:2], 0, 0, *amounts[2:]]
        value = self.draw(st.sampled_from([0.0, 0.0, 0.5]))
        self.size = (self.size[0] + amounts[0] + amounts[2], self.size[1] + amounts[1] + amounts[3])
        if self.net.opset < 11:
            self.y = self.net.op("Pad", self.y, pads=pads, value=value)
        else:
            self.y = self.net.op("Pad", self.y, np.array(pads), np.float32(value))

    def head(self) -> None:
        inputs = self.channels * self.size[0] * self.size[1]
        if self.draw(st.booleans()):
            self.y, inputs = self.net.op("GlobalAveragePool", self.y), self.channels
        elif self.draw(st.booleans()):
            self.y = self.net.op("Transpose", self.y, perm=[0, 2, 3, 1])
        self.y = self.net.op("Flatten", self.y)
        self.y = self.net.op(
            "Gemm", self.y, self.net.normal(inputs, 4) / inputs, self.net.normal(4)
        )
        self.net.op("Softmax", self.y, axis=1)


@st.composite
def random_nets(draw: st.DrawFn) -> Net:
    grown = RandomNet(draw)
    grown.conv()
    for _ in range(draw(st.integers(0, 7))):
        grown.grow()
    if draw(st.booleans()):
        grown.head()
    return grown.net


@given(net=random_nets())
@settings(max_examples=120, deadline=None)
def test_random_networks(tmp_path_factory: pytest.TempPathFactory, net: Net) -> None:
    assert_like_onnxruntime(net.save(tmp_path_factory.mktemp("net")))
