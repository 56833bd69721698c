"""Batch normalization, arithmetic with constants, residual additions, clips and Softmax."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.ir import Bounds, Normal
from codegen.onnx_import.activations import product
from codegen.onnx_import.builder import Builder, as_float32
from codegen.onnx_import.node import OnnxNode
from codegen.onnx_import.view import View
from codegen.ops import Activation, Add, Affine, Clip, PRelu, Softmax

Vector = np.ndarray[tuple[int], np.dtype[np.float64]]

FLOAT32_MAX = float(np.finfo(np.float32).max)


def batch_normalization(builder: Builder, node: OnnxNode) -> None:
    """BatchNormalization at inference."""
    view = builder.view(node)
    if node.integer("training_mode", 0) or not node.integer("is_test", 1):
        raise node.error("is in training mode; export the model in evaluation mode")
    channels = view.shape[2]
    if len(view.dims) < 2 or view.images[1] != ("C" if channels > 1 else ""):
        raise node.error(
            f"normalizes dimension 1 of {node.inputs[0]!r} = {view.described}, "
            "which is not the channels"
        )
    if not node.integer("spatial", 1) and view.shape[:2] != (1, 1):
        raise node.error("has spatial = 0 (statistics a pixel), which is not supported")
    names = ("scale", "bias", "mean", "variance")
    values = [builder.numbers(node, i + 1, name).reshape(-1) for i, name in enumerate(names)]
    if any(len(value) != channels for value in values):
        raise node.error(f"has parameters of other lengths than the {channels} channels")
    gamma, beta, mean, variance = values
    with np.errstate(all="ignore"):
        scale = gamma / np.sqrt(variance + node.number("epsilon", 1e-5))
        shift = beta - mean * scale
    _affine(builder, node, view, scale, shift, Normal(beta, np.abs(gamma)))


def _affine(
    builder: Builder,
    node: OnnxNode,
    view: View,
    scale: NDArray[np.float64],
    shift: NDArray[np.float64],
    statistics: Normal | None = None,
) -> None:
    if not (np.isfinite(scale).all() and np.isfinite(shift).all()):
        raise node.error(
            "scales by values that are NaN or infinite (a negative variance, or a division by 0?)"
        )
    made = Affine(
        node.name, (view.tensor,), node.outputs[0], _vector(scale), _vector(shift), statistics
    )
    builder.emit(node, made, view.dims)


def _vector(values: NDArray[np.float64]) -> Vector:
    return np.array(values, np.float64).reshape(values.size)


def _operands(builder: Builder, node: OnnxNode) -> tuple[View, NDArray[np.float64], bool]:
    """The activation, the constant a channel [C], and whether the constant is on the left.

    Raises:
        ThumbnetError: Both are activations, or the constant varies over the map.
    """
    if len(node.inputs) != 2:
        raise node.error("needs two inputs")
    left = node.inputs[0] in builder.constants
    view = builder.view(node, int(left))
    name = node.inputs[int(not left)]
    if name in builder.views:
        raise node.error(
            f"combines two activations, {node.inputs[0]!r} and {node.inputs[1]!r}; of two "
            "activations only the sum and the product are supported"
        )
    values = builder.numbers(node, int(not left), "constant")
    try:
        spread = np.broadcast_to(values, view.onnx_shape)
    except ValueError:
        raise node.error(
            f"has the constant {name!r} of shape {list(values.shape)}, which does not fit the "
            f"shape {list(view.onnx_shape)} of {node.inputs[int(left)]!r}"
        ) from None
    aligned = (1,) * (len(view.dims) - values.ndim) + values.shape
    varying = {dim for dim, size in zip(view.images, aligned, strict=True) if size > 1}
    if varying <= {"C"}:
        return view, np.broadcast_to(values.reshape(-1), view.shape[2:]), left
    # It is as large as the map or a part of it, but may hold the same numbers everywhere.
    pixels = view.to_nhwc(spread)[0].reshape(-1, view.shape[2])
    if (pixels != pixels[0]).any():
        raise node.error(
            f"has the constant {name!r} of shape {list(values.shape)}, which varies over the map; "
            "only one value, or one a channel, is supported"
        )
    return view, pixels[0], left


def add(builder: Builder, node: OnnxNode) -> None:
    """Add: a bias, or the sum of two activations of one shape."""
    if len(node.inputs) == 2 and all(name in builder.views for name in node.inputs):
        _residual(builder, node)
        return
    view, values, _ = _operands(builder, node)
    _affine(builder, node, view, np.ones_like(values), values)


def _residual(builder: Builder, node: OnnxNode) -> None:
    a, b = builder.view(node, 0), builder.view(node, 1)
    if (a.shape, a.images) != (b.shape, b.images):
        raise node.error(
            f"adds {node.inputs[0]!r} {a.described} of shape {list(a.onnx_shape)} and "
            f"{node.inputs[1]!r} {b.described} of shape {list(b.onnx_shape)}; only activations of "
            "one shape and layout can be added"
        )
    builder.emit(node, Add(node.name, (a.tensor, b.tensor), node.outputs[0]), a.dims)


def multiply(builder: Builder, node: OnnxNode) -> None:
    """Mul by a constant, or of two activations."""
    if len(node.inputs) == 2 and all(name in builder.views for name in node.inputs):
        product(builder, node)
        return
    view, values, _ = _operands(builder, node)
    _affine(builder, node, view, values, np.zeros_like(values))


def subtract(builder: Builder, node: OnnxNode) -> None:
    """Sub of a constant, or from one."""
    view, values, left = _operands(builder, node)
    sign = -1.0 if left else 1.0
    _affine(builder, node, view, np.full_like(values, sign), -sign * values)


def divide(builder: Builder, node: OnnxNode) -> None:
    """Div by a constant."""
    view, values, left = _operands(builder, node)
    if left:
        raise node.error(f"divides the constant {node.inputs[0]!r} by an activation")
    with np.errstate(all="ignore"):
        _affine(builder, node, view, 1.0 / values, np.zeros_like(values))


def prelu(builder: Builder, node: OnnxNode) -> None:
    """PRelu with one slope, or one a channel."""
    view, slope, left = _operands(builder, node)
    if left:
        raise node.error(f"takes its slope from {node.inputs[1]!r}, which is no constant")
    source, output = (view.tensor,), node.outputs[0]
    if np.ptp(slope) == 0:
        one = Activation(node.name, source, output, "leakyrelu", float(slope[0]))
        builder.emit(node, one, view.dims)
    else:
        made = PRelu(node.name, source, output, as_float32(node, slope, "slope"))
        builder.emit(node, made, view.dims)


def relu(builder: Builder, node: OnnxNode) -> None:
    """Relu."""
    _clip(builder, node, builder.view(node), Bounds(lo=0.0))


def clip(builder: Builder, node: OnnxNode) -> None:
    """Clip, its bounds attributes (opset 6) or inputs (opset 11)."""
    lo, hi = node.number("min", -np.inf), node.number("max", np.inf)
    if node.given(1):
        lo = _bound(node, builder.constant(node, 1, "lower bound"))
    if node.given(2):
        hi = _bound(node, builder.constant(node, 2, "upper bound"))
    _clip(builder, node, builder.view(node), Bounds(lo, hi))


def minimum(builder: Builder, node: OnnxNode) -> None:
    """Min with a constant: an upper bound."""
    _clip(builder, node, *_one_sided(builder, node, lower=False))


def maximum(builder: Builder, node: OnnxNode) -> None:
    """Max with a constant: a lower bound."""
    _clip(builder, node, *_one_sided(builder, node, lower=True))


def _one_sided(builder: Builder, node: OnnxNode, *, lower: bool) -> tuple[View, Bounds]:
    view, values, _ = _operands(builder, node)
    if (values != values[0]).any():
        raise node.error("has a bound of several values; only one is supported")
    bound = float(values[0])
    return view, Bounds(lo=bound) if lower else Bounds(hi=bound)


def _bound(node: OnnxNode, values: NDArray[Any]) -> float:
    if values.size != 1 or values.dtype.kind not in "fiu":
        raise node.error("has a bound of several values; only one is supported")
    return float(values.reshape(-1)[0])


def _clip(builder: Builder, node: OnnxNode, view: View, bounds: Bounds) -> None:
    if np.isnan([bounds.lo, bounds.hi]).any() or bounds.lo == np.inf or bounds.hi == -np.inf:
        raise node.error(f"has the bounds {bounds.lo} and {bounds.hi}, which leave nothing")
    # Exporters write "no bound" as the largest float32.
    lo = -np.inf if bounds.lo <= -FLOAT32_MAX else bounds.lo
    hi = np.inf if bounds.hi >= FLOAT32_MAX else bounds.hi
    made = Clip(node.name, (view.tensor,), node.outputs[0], Bounds(lo, hi))
    builder.emit(node, made, view.dims)


def softmax(builder: Builder, node: OnnxNode) -> None:
    """Softmax over the channels; before opset 13 over all dimensions from ``axis`` on."""
    view = builder.view(node)
    rank = len(view.dims)
    coerced = builder.opset < 13
    axis = node.integer("axis", 1 if coerced else -1)
    if not -rank <= axis < rank:
        raise node.error(f"has axis {axis}, which {rank} dimensions do not have")
    axis %= rank
    summed = "".join(view.dims[axis:] if coerced else view.dims[axis : axis + 1])
    if summed != ("C" if view.shape[2] > 1 else ""):
        raise node.error(
            f"normalizes over dimension {axis} of {node.inputs[0]!r} = {view.described}; only a "
            "Softmax over the channels is supported"
        )
    builder.emit(node, Softmax(node.name, (view.tensor,), node.outputs[0]), view.dims)
