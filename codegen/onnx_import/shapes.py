"""Operators that move or rename dimensions, and padding."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from codegen.ir import Pads
from codegen.onnx_import.builder import Builder
from codegen.onnx_import.node import OnnxNode
from codegen.onnx_import.view import View
from codegen.ops import Pad


def _regroup(builder: Builder, node: OnnxNode, target: tuple[int, ...]) -> None:
    view = builder.view(node)
    try:
        builder.set_view(node, view.regrouped(target))
    except ValueError:
        raise node.error(
            f"reshapes {node.inputs[0]!r} = {view.described} of shape {list(view.onnx_shape)} to "
            f"{list(target)}; only merging dimensions, or undoing it, is supported"
        ) from None


def identity(builder: Builder, node: OnnxNode) -> None:
    """Identity and Dropout at inference."""
    builder.set_view(node, builder.view(node))


def dropout(builder: Builder, node: OnnxNode) -> None:
    """Dropout, which does nothing at inference."""
    if node.given(2) and builder.constant(node, 2, "training_mode").any():
        raise node.error("is in training mode; export the model in evaluation mode")
    identity(builder, node)


def cast(builder: Builder, node: OnnxNode) -> None:
    """Cast from float to float."""
    if not node.casts_to_float():
        raise node.error("casts an activation to a type that is not float, which is not supported")
    identity(builder, node)


def cast_like(builder: Builder, node: OnnxNode) -> None:
    """CastLike: every activation is float32, so a constant becomes that and the rest stays."""
    if node.inputs[0] in builder.constants:
        builder.constants[node.outputs[0]] = builder.constants[node.inputs[0]].astype(np.float32)
        return
    like = builder.constants.get(node.inputs[1])
    if like is not None and like.dtype != np.float32:
        raise node.error("casts an activation to a type that is not float, which is not supported")
    identity(builder, node)


def transpose(builder: Builder, node: OnnxNode) -> None:
    """Transpose."""
    view = builder.view(node)
    order = node.integers("perm", tuple(reversed(range(len(view.dims)))))
    try:
        builder.set_view(node, view.permuted(order))
    except ValueError as error:
        raise node.malformed(error) from None


def flatten(builder: Builder, node: OnnxNode) -> None:
    """Flatten to two dimensions at ``axis``."""
    shape = builder.view(node).onnx_shape
    axis = node.integer("axis", 1)
    if not -len(shape) <= axis <= len(shape):
        raise node.error(f"has axis {axis}, which {len(shape)} dimensions do not have")
    axis = axis + len(shape) if axis < 0 else axis
    _regroup(builder, node, (prod(shape[:axis]), prod(shape[axis:])))


def reshape(builder: Builder, node: OnnxNode) -> None:
    """Reshape, with 0 (the size of the input) and -1 (what is left)."""
    shape = builder.view(node).onnx_shape
    wanted = list(builder.whole_numbers(node, 1, "shape"))
    if not node.integer("allowzero", 0):
        if any(size == 0 and i >= len(shape) for i, size in enumerate(wanted)):
            raise node.error(f"has the shape {wanted} for an input of {len(shape)} dimensions")
        wanted = [shape[i] if size == 0 else size for i, size in enumerate(wanted)]
    if wanted.count(-1) > 1:
        raise node.error(f"has the shape {wanted}, which leaves two sizes open")
    if -1 in wanted:
        known = prod(size for size in wanted if size != -1)
        wanted[wanted.index(-1)] = prod(shape) // known if known else 0
    _regroup(builder, node, tuple(wanted))


def squeeze(builder: Builder, node: OnnxNode) -> None:
    """Squeeze, of given dimensions or of all that have size 1."""
    view = builder.view(node)
    axes = builder.axes(node, len(view.dims), input_index=1)
    if axes is None:
        # A symbolic batch is no dimension of size 1, for it may be larger.
        batch = "N" if not builder.fixed_batch else ""
        axes = tuple(
            i
            for i, (dim, size) in enumerate(zip(view.dims, view.onnx_shape, strict=True))
            if size == 1 and not (batch and dim == batch)
        )
    if any(view.onnx_shape[axis] != 1 for axis in axes):
        raise node.error(
            f"removes dimensions {list(axes)} of shape {list(view.onnx_shape)}, not all of size 1"
        )
    kept = tuple(dim for i, dim in enumerate(view.dims) if i not in axes)
    builder.set_view(node, replace(view, dims=kept))


def unsqueeze(builder: Builder, node: OnnxNode) -> None:
    """Unsqueeze: dimensions of size 1 inserted at the given places of the result."""
    view = builder.view(node)
    count = len(node.integers("axes", ()))
    if node.given(1):
        count = len(builder.whole_numbers(node, 1, "axes"))
    axes = builder.axes(node, len(view.dims) + count, input_index=1)
    if axes is None:
        raise node.error("lacks its axes")
    old = iter(view.dims)
    dims = tuple("" if i in axes else next(old) for i in range(len(view.dims) + count))
    builder.set_view(node, replace(view, dims=dims))


def shape(builder: Builder, node: OnnxNode) -> None:
    """Shape of an activation: a constant, for one image."""
    sizes = np.array(builder.view(node).onnx_shape, np.int64)
    end = node.integer("end", len(sizes))
    builder.constants[node.outputs[0]] = sizes[node.integer("start", 0) : end]


def pad(builder: Builder, node: OnnxNode) -> None:
    """Pad of rows and columns with a constant; attributes before opset 11, inputs since."""
    view = builder.view(node)
    rank = len(view.dims)
    given = node.integers("pads", ())
    if node.given(1):
        given = builder.whole_numbers(node, 1, "pads")
    axes = tuple(range(rank))
    if node.given(3):
        axes = builder.axes(node, rank, input_index=3) or ()
    if len(given) != 2 * len(axes):
        raise node.error(f"has {len(given)} pads for {len(axes)} dimensions")
    begin = dict(zip(axes, given[: len(axes)], strict=True))
    end = dict(zip(axes, given[len(axes) :], strict=True))
    if not any(given):
        builder.set_view(node, view)
        return
    mode = node.text("mode", "constant")
    if mode != "constant":
        raise node.error(f"pads in mode {mode!r}; only 'constant' is supported")
    if min(given) < 0:
        raise node.error(f"has negative pads {list(given)}, which cut the map; not supported")
    layout = _layout(node, view)
    amounts = {name: (begin.get(i, 0), end.get(i, 0)) for i, name in enumerate(layout)}
    if any(amounts["N"]) or any(amounts["C"]):
        raise node.error("pads the batch or the channels; only rows and columns can be padded")
    pads = Pads(amounts["H"][0], amounts["W"][0], amounts["H"][1], amounts["W"][1])
    made = Pad(node.name, (view.tensor,), node.outputs[0], pads, _fill(builder, node))
    builder.emit(node, made, layout)


def _layout(node: OnnxNode, view: View) -> str:
    for layout in ("NCHW", "NHWC"):
        if len(view.dims) == 4 and view.has_layout(layout):
            return layout
    raise node.error(f"pads {node.inputs[0]!r} = {view.described}; only maps can be padded")


def _fill(builder: Builder, node: OnnxNode) -> float:
    values = np.array(node.number("value", 0.0))
    if node.given(2):
        values = builder.numbers(node, 2, "fill value")
    if values.size != 1 or not np.isfinite(values).all():
        raise node.error("needs one finite number to fill with")
    value, name = float(values.reshape(-1)[0]), node.inputs[0]
    if name in builder.integers:
        q = builder.tensors[builder.views[name].tensor].q
        if q is None:
            raise node.error(f"pads the integers {name!r} before their scale is known")
        return q.scale * (value - builder.integers[name] - q.zero_point)
    return value
