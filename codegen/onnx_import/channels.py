"""Operators over the channels of a pixel."""

from __future__ import annotations

import numpy as np

from codegen.onnx_import.builder import Builder
from codegen.onnx_import.node import OnnxNode
from codegen.onnx_import.view import View
from codegen.ops import Concat, Conv, Lrn


def concat(builder: Builder, node: OnnxNode) -> None:
    """Concat of activations along the channels."""
    views = [builder.view(node, index) for index in range(len(node.inputs))]
    first, rank = views[0], len(views[0].dims)
    axis = node.integer("axis", rank)
    if not -rank <= axis < rank:
        raise node.error(f"has axis {axis}, which {rank} dimensions do not have")
    axis %= rank
    for name, view in zip(node.inputs, views, strict=True):
        if len(view.dims) != rank or _others(view, axis) != _others(first, axis):
            raise node.error(
                f"joins {node.inputs[0]!r} {first.described} of shape {list(first.onnx_shape)} and "
                f"{name!r} {view.described} of shape {list(view.onnx_shape)}, which do not fit"
            )
        if view.dims[axis] != ("C" if view.shape[2] > 1 else ""):
            raise node.error(
                f"joins dimension {axis} of {name!r} = {view.described}; only channels can be "
                "joined"
            )
    if len(views) == 1:
        builder.set_view(node, first)
        return
    made = Concat(node.name, tuple(view.tensor for view in views), node.outputs[0])
    dims = [*first.dims]
    dims[axis] = "C"
    builder.emit(node, made, dims)


def gather(builder: Builder, node: OnnxNode) -> None:
    """Gather of constant channels: a pointwise convolution with a one for each that is taken."""
    view = builder.view(node)
    rank, indices = len(view.dims), builder.constant(node, 1, "indices")
    axis = node.integer("axis", 0)
    if not -rank <= axis < rank:
        raise node.error(f"has axis {axis}, which {rank} dimensions do not have")
    axis %= rank
    channels = view.shape[2]
    if view.dims[axis] != "C":
        raise node.error(
            f"takes parts of dimension {axis} of {node.inputs[0]!r} = {view.described}; only "
            "channels can be taken"
        )
    if indices.dtype.kind not in "iu" or indices.ndim > 1 or not indices.size:
        raise node.error("needs one whole number, or a list of them, as its indices")
    if indices.min() < -channels or indices.max() >= channels:
        raise node.error(f"takes channels {indices.tolist()} of {channels}")
    weight = np.eye(channels, dtype=np.float32)[indices.reshape(-1)]
    made = Conv(
        node.name,
        (view.tensor,),
        node.outputs[0],
        np.ascontiguousarray(weight[:, None, None]),
        np.zeros(len(weight), np.float32),
    )
    taken = ["C"] if indices.ndim else []
    builder.emit(node, made, [*view.dims[:axis], *taken, *view.dims[axis + 1 :]])


def lrn(builder: Builder, node: OnnxNode) -> None:
    """LRN."""
    view = builder.map_view(node)
    size = node.integer("size", 0)
    alpha, beta = node.number("alpha", 1e-4), node.number("beta", 0.75)
    bias = node.number("bias", 1.0)
    if size < 1:
        raise node.error(f"has size {size}; at least one channel must be summed up")
    if not (bias > 0 and alpha >= 0 and np.isfinite([alpha, beta, bias]).all()):
        raise node.error(
            f"has alpha {alpha:g}, beta {beta:g} and bias {bias:g}, which may divide by 0"
        )
    made = Lrn(node.name, (view.tensor,), node.outputs[0], size, alpha, beta, bias)
    builder.emit(node, made, "NCHW")


def _others(view: View, axis: int) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Dimensions and sizes of a view, but for ``axis``."""
    rest = [i for i in range(len(view.dims)) if i != axis]
    return tuple(view.images[i] for i in rest), tuple(view.onnx_shape[i] for i in rest)
