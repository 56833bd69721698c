"""QuantizeLinear and DequantizeLinear: what a quantized file says about scales.

An activation between the two is the tensor it was before, whose quantization is now known; the
float operators around them are imported as in a float file. uint8 becomes int8: both the values and
the zero point less 128. Constants are dequantized here and keep the scale of each value, so that
quantization finds the file's own integers again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.ir import QParams
from codegen.onnx_import.builder import Builder
from codegen.onnx_import.node import OnnxNode
from codegen.onnx_import.view import View
from codegen.ops import AvgPool, MaxPool, Pad

OFFSETS = {np.dtype(np.int8): 0, np.dtype(np.uint8): 128}
"""Types of activations, and what is subtracted of their values to make them int8."""

_CONSTANTS = tuple(np.dtype(kind) for kind in (np.int8, np.uint8, np.int16, np.uint16, np.int32))
"""Types of constants that are dequantized."""


def quantize_linear(builder: Builder, node: OnnxNode) -> None:
    """QuantizeLinear of an activation, or of a constant."""
    if node.inputs[0] in builder.constants:
        _quantize_constant(builder, node)
        return
    view, (q, offset) = builder.view(node), _qparams(builder, node)
    _give(builder, node, view, q)
    builder.integers[node.outputs[0]] = offset


def dequantize_linear(builder: Builder, node: OnnxNode) -> None:
    """DequantizeLinear of an activation, or of a constant."""
    if node.inputs[0] in builder.constants:
        _dequantize_constant(builder, node)
        return
    view, (q, offset) = builder.view(node), _qparams(builder, node)
    name = node.inputs[0]
    if builder.integers.get(name) != offset:
        raise node.error(
            f"has a zero point of another type than its input {name!r}; export the model again"
        )
    known = builder.tensors[view.tensor].q
    if known is None:
        _give(builder, node, view, q)
    elif known != q:
        raise node.error(
            f"reads {name!r} with scale {q.scale:g} and zero point {q.zero_point + offset}, but it "
            f"was written with {known.scale:g} and {known.zero_point + offset}; quantize the "
            "model again"
        )
    else:
        builder.set_view(node, view)


def _give(builder: Builder, node: OnnxNode, view: View, q: QParams) -> None:
    """Makes ``q`` the quantization of what ``view`` shows.

    MaxPool and Pad move values, so that what they read has it too. Where a tensor has another one
    already, its values are rescaled: an average over one pixel does that.
    """
    moved = [view.tensor]
    makers = {made.output: made for made in builder.nodes}
    while isinstance(made := makers.get(moved[-1]), MaxPool | Pad):
        moved.append(made.inputs[0])
    known = builder.tensors[moved[-1]].q
    for name in moved:
        builder.tensors[name] = replace(builder.tensors[name], q=known or q)
    if known in (None, q):
        builder.set_view(node, view)
        return
    made = AvgPool(node.name, (view.tensor,), node.outputs[0], (1, 1))
    builder.emit(node, made, view.dims)
    builder.tensors[made.output] = replace(builder.tensors[made.output], q=q)


def _qparams(builder: Builder, node: OnnxNode) -> tuple[QParams, int]:
    """Quantization of an activation in int8, and what was subtracted of its values.

    Raises:
        ThumbnetError: It is of a type other than int8 and uint8, or one a channel.
    """
    scale = _scale(builder, node)
    zero = _zero_point(builder, node)
    if zero.dtype not in OFFSETS:
        raise node.error(
            f"has a zero point of type {zero.dtype}; activations of int8 and uint8 are supported. "
            "Quantize the model to 8 bits"
        )
    if scale.size != 1 or zero.size != 1:
        raise node.error(
            f"has {max(scale.size, zero.size)} scales for an activation; one a tensor is "
            "supported. Quantize activations per tensor"
        )
    offset = OFFSETS[zero.dtype]
    return QParams(float(scale.reshape(-1)[0]), int(zero.reshape(-1)[0]) - offset), offset


def _scale(builder: Builder, node: OnnxNode) -> NDArray[np.float64]:
    scale = builder.numbers(node, 1, "scale")
    if scale.size == 0 or scale.min() <= 0:
        raise node.error(
            f"has a scale in {node.inputs[1]!r} that is not positive; quantize the model again"
        )
    return scale


def _zero_point(builder: Builder, node: OnnxNode) -> NDArray[Any]:
    if node.given(2):
        return builder.constant(node, 2, "zero point")
    if node.op_type == "QuantizeLinear" and node.integer("output_dtype", 2) == 3:
        return np.zeros((), np.int8)
    name = node.inputs[0]
    if name in builder.constants:
        return np.zeros((), builder.constants[name].dtype)
    return np.zeros((), np.int8 if builder.integers.get(name) == 0 else np.uint8)


def _spread(
    builder: Builder, node: OnnxNode, shape: tuple[int, ...]
) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Scale and zero point of every value of a constant of ``shape``.

    Raises:
        ThumbnetError: They are one a block, or do not fit the shape.
    """
    scale, zero = _scale(builder, node), _zero_point(builder, node)
    if node.integer("block_size", 0):
        raise node.error("has one scale a block; one a tensor or a channel is supported")
    axis = node.integer("axis", 1)
    along = [1] * len(shape)
    if scale.size > 1:
        along[axis] = -1
    try:
        return (
            np.broadcast_to(scale.reshape(along), shape),
            np.broadcast_to(zero.reshape(along if zero.size > 1 else [1] * len(shape)), shape),
        )
    except (ValueError, IndexError):
        raise node.error(
            f"has {scale.size} scales along axis {axis} for {node.inputs[0]!r} of shape "
            f"{list(shape)}"
        ) from None


def _quantize_constant(builder: Builder, node: OnnxNode) -> None:
    values = builder.numbers(node, 0, "constant").astype(np.float32)
    scale, zero = _spread(builder, node, values.shape)
    if zero.dtype not in _CONSTANTS:
        raise node.error(f"makes a constant of type {zero.dtype}, which is not supported")
    ends = np.iinfo(zero.dtype)
    steps = np.rint(values / scale.astype(np.float32)).astype(np.float64) + zero
    builder.constants[node.outputs[0]] = np.clip(steps, ends.min, ends.max).astype(zero.dtype)


def _dequantize_constant(builder: Builder, node: OnnxNode) -> None:
    integers = builder.constants[node.inputs[0]]
    if integers.dtype not in _CONSTANTS:
        raise node.error(
            f"has the constant {node.inputs[0]!r} of type {integers.dtype}; integers of 8, 16 and "
            "32 bits are supported"
        )
    scale, zero = _spread(builder, node, integers.shape)
    builder.constants[node.outputs[0]] = scale * (integers.astype(np.int64) - zero)
    builder.steps[node.outputs[0]] = scale
