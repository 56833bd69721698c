"""MobileNets with random weights, as ONNX: for cost only shapes matter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from codegen.zoo.mobilenet import V1_BLOCKS, V2_STAGES

CLASSES = 1000

_OPSET = 17
_IR_VERSION = 10
_STEM = 32
_V2_LAST = 1280


class Builder:
    """An ONNX graph, NCHW, that grows layer by layer; numbers come from a seed."""

    def __init__(self, resolution: int) -> None:
        self.random = np.random.default_rng(0)
        self.resolution = resolution
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self.value = "image"
        self.channels = 3

    def conv(self, filters: int, kernel: int = 1, stride: int = 1, *, relu: bool = True) -> None:
        """A convolution with padding "same" as Keras has it, and ReLU6."""
        self._conv(filters, kernel, stride, 1, relu)

    def depthwise(self, stride: int) -> None:
        """A 3x3 depthwise convolution and ReLU6."""
        self._conv(self.channels, 3, stride, self.channels, True)

    def add(self, other: str) -> None:
        """The sum with a value of the same shape."""
        self._node("Add", [self.value, other])

    def head(self) -> None:
        """Global average, classifier, softmax."""
        self._node("GlobalAveragePool", [self.value])
        self._node("Flatten", [self.value])
        weight = self._constant((CLASSES, self.channels), self.channels**-0.5)
        bias = self._constant((CLASSES,), 0.1)
        self._node("Gemm", [self.value, weight, bias], transB=1)
        self._node("Softmax", [self.value], axis=1)

    def model(self) -> ModelProto:
        """The ONNX model."""
        shape = [1, 3, self.resolution, self.resolution]
        graph = helper.make_graph(
            self.nodes,
            "mobilenet",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(self.value, TensorProto.FLOAT, [1, CLASSES])],
            self.initializers,
        )
        opset = helper.make_opsetid("", _OPSET)
        return helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSION)

    def _conv(self, filters: int, kernel: int, stride: int, group: int, relu: bool) -> None:
        taps = self.channels // group * kernel * kernel
        shape = (filters, self.channels // group, kernel, kernel)
        weight = self._constant(shape, (2 / taps) ** 0.5)
        bias = self._constant((filters,), 0.1)
        around = kernel - stride  # a map of even size: stride 2 pads below and on the right only
        first, last = around // 2, around - around // 2
        self._node(
            "Conv",
            [self.value, weight, bias],
            strides=[stride, stride],
            pads=[first, first, last, last],
            group=group,
        )
        self.channels = filters
        if relu:
            low, high = (self._number(value) for value in (0, 6))
            self._node("Clip", [self.value, low, high])

    def _node(self, op_type: str, inputs: list[str], **attributes: Any) -> None:
        name = f"{op_type.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [name], name=name, **attributes))
        self.value = name

    def _constant(self, shape: tuple[int, ...], deviation: float) -> str:
        values = self.random.normal(0, deviation, shape).astype(np.float32)
        name = f"constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(values, name))
        return name

    def _number(self, value: float) -> str:
        name = f"constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.array(value, np.float32), name))
        return name


def mobilenet_v1(alpha: float, resolution: int) -> ModelProto:
    """MobileNetV1 (Howard et al. 2017, table 1)."""
    net = Builder(resolution)
    net.conv(int(_STEM * alpha), 3, 2)
    for filters, stride in V1_BLOCKS:
        net.depthwise(stride)
        net.conv(int(filters * alpha))
    net.head()
    return net.model()


def mobilenet_v2(alpha: float, resolution: int) -> ModelProto:
    """MobileNetV2 (Sandler et al. 2018, table 2); its channels are multiples of 8."""
    net = Builder(resolution)
    net.conv(_by_eight(_STEM * alpha), 3, 2)
    for stage in V2_STAGES:
        for repeat in range(stage.repeats):
            source, channels = net.value, net.channels
            stride = stage.stride if repeat == 0 else 1
            if stage.expansion != 1:
                net.conv(channels * stage.expansion)
            net.depthwise(stride)
            net.conv(_by_eight(stage.filters * alpha), relu=False)
            if stride == 1 and channels == net.channels:
                net.add(source)
    net.conv(_by_eight(_V2_LAST * max(alpha, 1.0)))
    net.head()
    return net.model()


def _by_eight(filters: float) -> int:
    rounded = max(8, int(filters + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * filters else rounded + 8


def save(net: str, alpha: float, resolution: int, folder: Path) -> Path:
    """Writes ``v1`` or ``v2`` to a file."""
    build = {"v1": mobilenet_v1, "v2": mobilenet_v2}[net]
    path = folder / "net.onnx"
    path.write_bytes(build(alpha, resolution).SerializeToString())
    return path
