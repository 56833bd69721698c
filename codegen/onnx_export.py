"""An int8 graph as a QDQ ONNX file: to look at, and to run in onnxruntime.

Every tensor is followed by QuantizeLinear and DequantizeLinear. Weights are stored as they are,
with one scale an output channel: the one that gives, with the scales of input and output, exactly
the multiplier that the layer has. So the file says all that is computed, and importing it gives a
graph that computes the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from codegen import __version__
from codegen.errors import ThumbnetError
from codegen.ir import INT8_MAX, INT8_MIN, Graph, Node, Pads, QParams, Requant
from codegen.onnx_import.metadata import CHANNELS, CLASSES_KEY, PREPROCESS_KEY
from codegen.ops import Add, AvgPool, Conv, Depthwise, MaxPool, Pad, Softmax
from codegen.ops.add import AddRequant

OPSET = 21
"""The first whose DequantizeLinear takes int16, which weights of nine bits need."""
_IR_VERSION = 10

_NOTHING = 2.0**-40
"""Scale of a channel whose multiplier is 0: any below 2**-33."""


def write_qdq(graph: Graph, path: Path) -> None:
    """Writes an int8 graph as an ONNX file; the same graph gives the same bytes.

    Args:
        graph: The graph.
        path: The file. Its model takes float32 [N, C, H, W], preprocessed, and gives float32:
            [N, C] of a vector, else [N, C, H, W].
    """
    path.write_bytes(qdq_model(graph).SerializeToString(deterministic=True))


def qdq_model(graph: Graph) -> ModelProto:
    """The ONNX model of an int8 graph.

    Raises:
        ThumbnetError: A layer has no form in ONNX's quantized operators.
    """
    maker = _Maker(graph)
    source = maker.real(graph.input)
    maker.quantize(graph.input)
    for node in graph.nodes:
        if node.op not in _RULES:
            raise ThumbnetError(
                f"Layer {node.name!r} ({node.op}) cannot be written as QDQ; leave --emit-qdq out."
            )
        _RULES[node.op](maker, node)
        maker.quantize(node.output)
    output = f"{graph.output}/output"
    height, width, channels = graph.output_tensor.shape
    vector = (height, width) == (1, 1)
    maker.op("Flatten" if vector else "Identity", [maker.dequantized(graph.output)], output)
    shape = ("N", channels) if vector else ("N", channels, height, width)
    rows, columns, inputs = graph.input_tensor.shape
    taken, given = _value(source, ("N", inputs, rows, columns)), _value(output, shape)
    made = helper.make_graph(maker.nodes, graph.name, [taken], [given], maker.constants)
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(made, opset_imports=opsets, ir_version=_IR_VERSION)
    model.producer_name, model.producer_version = "thumbnet", __version__
    properties = {}
    if CHANNELS[graph.preprocess.channels] == inputs:
        properties[PREPROCESS_KEY] = json.dumps(asdict(graph.preprocess))
    if graph.classes:
        properties[CLASSES_KEY] = json.dumps(graph.classes)
    helper.set_model_props(model, properties)
    return model


def _value(name: str, shape: Sequence[str | int]) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


class _Maker:
    """The nodes and constants of the ONNX graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def real(self, tensor: str) -> str:
        """Name of a tensor's real values before they are rounded."""
        return tensor

    def dequantized(self, tensor: str) -> str:
        """Name of its values after that."""
        return f"{tensor}/dequantized"

    def constant(self, name: str, values: Any) -> str:
        """Adds an initializer."""
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def op(self, op_type: str, inputs: list[str], output: str, name: str = "", **more: Any) -> str:
        """Adds a node; gives its output."""
        made = helper.make_node(op_type, inputs, [output], name or f"{output}/{op_type}", **more)
        self.nodes.append(made)
        return output

    def quantize(self, tensor: str) -> None:
        """Rounds a tensor's real values."""
        q = self.graph.q(tensor)
        scale = self.constant(f"{tensor}/scale", np.float32(q.scale))
        zero = self.constant(f"{tensor}/zero_point", np.int8(q.zero_point))
        rounded = self.op("QuantizeLinear", [self.real(tensor), scale, zero], f"{tensor}/quantized")
        self.op("DequantizeLinear", [rounded, scale, zero], self.dequantized(tensor))

    def weight(self, name: str, values: NDArray[Any], scale: NDArray[np.float32]) -> str:
        """Adds a constant of integers, one scale a channel of its first dimension."""
        integers = self.constant(f"{name}/quantized", values)
        scales = self.constant(f"{name}/scale", scale)
        return self.op("DequantizeLinear", [integers, scales], name, axis=0)

    def computed(
        self, node: Node, op_type: str, inputs: list[str], r: Requant | AddRequant, **more: Any
    ) -> None:
        """Adds an operator with the clip of its epilogue."""
        ends = [r.lo if r.lo > INT8_MIN else None, r.hi if r.hi < INT8_MAX else None]
        output = self.real(node.output)
        if ends == [None, None]:
            self.op(op_type, inputs, output, node.name, **more)
            return
        q = self.graph.q(node.output)
        bounds = [
            ""
            if end is None
            else self.constant(f"{output}/{name}", np.float32(q.scale * (end - q.zero_point)))
            for name, end in zip(("lo", "hi"), ends, strict=True)
        ]
        unbounded = self.op(op_type, inputs, f"{output}/unbounded", node.name, **more)
        self.op("Clip", [unbounded, *bounds], output)


def _window(node: Conv | Depthwise | AvgPool | MaxPool) -> dict[str, Any]:
    return {"kernel_shape": node.kernel, "strides": node.stride, "pads": _pads(node.pads)}


def _pads(pads: Pads) -> list[int]:
    return [pads.top, pads.left, pads.bottom, pads.right]


def _weight_scale(requant: Requant, q_in: QParams, q_out: QParams) -> NDArray[np.float32]:
    """For each output channel the scale whose multiplier is the layer's.

    The nearest float32 to it may be one beside that which a file gave.
    """
    wanted, unit = requant.multiplier, 2.0 ** (requant.shift - 32)
    effective = np.where(wanted > 0, wanted * unit, _NOTHING)
    nearest = (effective * q_out.scale / q_in.scale).astype(np.float32)
    scale = nearest.copy()
    for toward in (-np.inf, np.inf):
        other = np.nextafter(nearest, np.float32(toward))
        wrong = np.rint(q_in.scale * scale.astype(np.float64) / q_out.scale / unit) != wanted
        scale = np.where(wrong, other, scale)
    return np.asarray(scale, np.float32)


def _convolution(maker: _Maker, node: Conv | Depthwise) -> None:
    assert node.requant is not None
    if isinstance(node, Conv):
        weight, group = node.weight.transpose(0, 3, 1, 2), 1
    else:
        weight = node.weight.transpose(2, 3, 0, 1)
        group, weight = len(weight), weight.reshape(-1, 1, *node.kernel)
    scale = _weight_scale(node.requant, maker.graph.q(node.inputs[0]), maker.graph.q(node.output))
    bias_scale = scale * np.float32(maker.graph.q(node.inputs[0]).scale)
    inputs = [
        maker.dequantized(node.inputs[0]),
        maker.weight(f"{node.output}/weight", np.ascontiguousarray(weight), scale),
        maker.weight(f"{node.output}/bias", node.bias, bias_scale),
    ]
    maker.computed(node, "Conv", inputs, node.requant, group=group, **_window(node))


def _add(maker: _Maker, node: Add) -> None:
    assert node.requant is not None
    maker.computed(node, "Add", [maker.dequantized(x) for x in node.inputs], node.requant)


def _avgpool(maker: _Maker, node: AvgPool) -> None:
    assert node.requant is not None
    inputs, counts = [maker.dequantized(node.inputs[0])], int(node.count_pads)
    maker.computed(
        node, "AveragePool", inputs, node.requant, count_include_pad=counts, **_window(node)
    )


def _maxpool(maker: _Maker, node: MaxPool) -> None:
    inputs, output = [maker.dequantized(node.inputs[0])], maker.real(node.output)
    maker.op("MaxPool", inputs, output, node.name, **_window(node))


def _pad(maker: _Maker, node: Pad) -> None:
    q, output = maker.graph.q(node.inputs[0]), maker.real(node.output)
    pads = node.pads
    amounts = [0, 0, pads.top, pads.left, 0, 0, pads.bottom, pads.right]
    inputs = [
        maker.dequantized(node.inputs[0]),
        maker.constant(f"{output}/pads", np.array(amounts, np.int64)),
        maker.constant(f"{output}/fill", np.float32(q.scale * (node.fill(q) - q.zero_point))),
    ]
    maker.op("Pad", inputs, output, node.name)


def _softmax(maker: _Maker, node: Softmax) -> None:
    inputs, output = [maker.dequantized(node.inputs[0])], maker.real(node.output)
    maker.op("Softmax", inputs, output, node.name, axis=1)


_RULES: Mapping[str, Callable[[_Maker, Any], None]] = {
    Conv.op: _convolution,
    Depthwise.op: _convolution,
    Add.op: _add,
    AvgPool.op: _avgpool,
    MaxPool.op: _maxpool,
    Pad.op: _pad,
    Softmax.op: _softmax,
}
