"""Pooling over windows, over whole maps, and means written as reductions."""

from __future__ import annotations

from codegen.ir import Pads, Shape
from codegen.onnx_import.builder import Builder
from codegen.onnx_import.node import OnnxNode
from codegen.onnx_import.view import View
from codegen.onnx_import.window import pads_of, pair, refuse_dilation
from codegen.ops import AvgPool, MaxPool
from codegen.ops.window import Size


def average_pool(builder: Builder, node: OnnxNode) -> None:
    """AveragePool, padding counted or not."""
    view = builder.map_view(node)
    kernel, stride, pads = _window(node, view.shape)
    beyond = _beyond(node, view.shape, kernel, stride, pads)
    count_pads = bool(node.integer("count_include_pad", 0))
    made = AvgPool(
        node.name,
        (view.tensor,),
        node.outputs[0],
        kernel,
        stride,
        pads + Pads(0, 0, *beyond),
        count_pads,
        beyond if count_pads else (0, 0),
    )
    builder.emit(node, made, "NCHW")


def max_pool(builder: Builder, node: OnnxNode) -> None:
    """MaxPool; padding never wins. ``storage_order`` concerns only the unsupported indices."""
    view = builder.map_view(node)
    kernel, stride, pads = _window(node, view.shape)
    pads += Pads(0, 0, *_beyond(node, view.shape, kernel, stride, pads))
    made = MaxPool(node.name, (view.tensor,), node.outputs[0], kernel, stride, pads)
    builder.emit(node, made, "NCHW")


def _window(node: OnnxNode, shape: Shape) -> tuple[Size, Size, Pads]:
    """Kernel, stride and pads of a pool.

    Raises:
        ThumbnetError: The window is dilated or can lie wholly in the padding.
    """
    kernel = pair(node, node.integers("kernel_shape", ()), "kernel_shape")
    stride = pair(node, node.integers("strides", (1, 1)), "strides")
    refuse_dilation(node, kernel)
    pads = pads_of(node, shape, kernel, stride)
    if max(pads.top, pads.bottom) >= kernel[0] or max(pads.left, pads.right) >= kernel[1]:
        raise node.error(f"has pads as large as its kernel {list(kernel)}, which is not supported")
    return kernel, stride, pads


def _beyond(node: OnnxNode, shape: Shape, kernel: Size, stride: Size, pads: Pads) -> Size:
    """Rows and columns by which the last windows reach beyond the padding in ceil mode.

    A window that would begin behind the image is left out, as ONNX and PyTorch have it.
    """
    if not node.integer("ceil_mode", 0) or node.text("auto_pad", "NOTSET") not in ("NOTSET", ""):
        return 0, 0

    def along(size: int, k: int, s: int, before: int, after: int) -> int:
        rest = (before + size + after - k) % s
        start = before + size + after - k - rest + s
        return s - rest if rest and start < before + size else 0

    return (
        along(shape[0], kernel[0], stride[0], pads.top, pads.bottom),
        along(shape[1], kernel[1], stride[1], pads.left, pads.right),
    )


def global_average_pool(builder: Builder, node: OnnxNode) -> None:
    """GlobalAveragePool."""
    view = builder.map_view(node)
    _whole(builder, node, AvgPool, view, (view.shape[0], view.shape[1]), tuple("NCHW"))


def global_max_pool(builder: Builder, node: OnnxNode) -> None:
    """GlobalMaxPool."""
    view = builder.map_view(node)
    _whole(builder, node, MaxPool, view, (view.shape[0], view.shape[1]), tuple("NCHW"))


def reduce_mean(builder: Builder, node: OnnxNode) -> None:
    """ReduceMean over rows, columns or both: an average over the whole map."""
    _whole(builder, node, AvgPool, *_reduction(builder, node))


def reduce_max(builder: Builder, node: OnnxNode) -> None:
    """ReduceMax over rows, columns or both."""
    _whole(builder, node, MaxPool, *_reduction(builder, node))


def _whole(
    builder: Builder,
    node: OnnxNode,
    pool: type[AvgPool] | type[MaxPool],
    view: View,
    kernel: Size,
    dims: tuple[str, ...],
) -> None:
    """A pool over a window that reaches across the map; over one pixel it does nothing."""
    if kernel == (1, 1):
        builder.set_view(node, View.of(view.tensor, view.shape, dims))
    else:
        builder.emit(node, pool(node.name, (view.tensor,), node.outputs[0], kernel), dims)


def _reduction(builder: Builder, node: OnnxNode) -> tuple[View, Size, tuple[str, ...]]:
    """The input of a reduction, the window that it reduces, and the dimensions it leaves.

    Raises:
        ThumbnetError: It reduces anything but rows and columns.
    """
    view = builder.view(node)
    axes = builder.axes(node, len(view.dims), input_index=1)
    if not axes:
        raise node.error("reduces over all dimensions; only the mean over H and W is supported")
    reduced = "".join(view.dims[axis] for axis in axes)
    if "N" in reduced or "C" in reduced:
        raise node.error(
            f"reduces over dimensions {list(axes)} of {node.inputs[0]!r} = {view.described}; only "
            "rows (H) and columns (W) can be reduced"
        )
    kept = tuple(
        "" if axis in axes else dim
        for axis, dim in enumerate(view.dims)
        if axis not in axes or node.integer("keepdims", 1)
    )
    kernel = (view.shape[0] if "H" in reduced else 1, view.shape[1] if "W" in reduced else 1)
    return view, kernel, kept
