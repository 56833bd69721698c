"""The portable family: C99 for every core and the host, on int8 tensors in NHWC order.

Weights of convolutions are stored four output channels together, ``[O / 4][...][4]``, the last
group filled up with zeros, so that one pass over the inputs serves four accumulators. They are
bytes unless the layer has one that needs more bits; then all of the layer's are halfwords.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.ir import Graph, Node, Requant, Shape
from codegen.kernels.base import (
    CArray,
    Kernel,
    KernelCall,
    Parameters,
    RowPlan,
    Tiles,
    raster_distance,
    window_first_read,
)
from codegen.ops import Add, AvgPool, Conv, Convolution, Depthwise, MaxPool, Pad, Softmax

CHANNEL_TILE = 4
PIXEL_TILE = 2


def shapes_of(graph: Graph, node: Node) -> tuple[Shape, Shape]:
    """Shapes of the first input and of the output."""
    return graph.tensors[node.inputs[0]].shape, graph.tensors[node.output].shape


def epilogue(requant: Requant) -> Parameters:
    """What the requantization of a layer needs besides its multipliers."""
    return {
        "shift": requant.shift,
        "output_zero": requant.zero_point,
        "lo": requant.lo,
        "hi": requant.hi,
    }


def sizes(shape: Shape, out: Shape, rows: RowPlan) -> Parameters:
    """For kernels that walk over rows and columns."""
    return {
        "slots_in": rows.slots_in[0],
        "slots_out": rows.slots_out,
        "in_height": shape[0],
        "in_width": shape[1],
        "in_channels": shape[2],
        "out_height": out[0],
        "out_width": out[1],
        "out_channels": out[2],
    }


def row_bytes(rows: RowPlan, row_in: int, row_out: int) -> Parameters:
    """For kernels that see a row as a stretch of bytes; all rows are one stretch if whole."""
    return {
        "slots_in": rows.slots_in[0],
        "slots_out": rows.slots_out,
        "row_in": row_in,
        "row_out": row_out,
    }


def window(node: Convolution | AvgPool | MaxPool) -> Parameters:
    """Kernel, stride and padding."""
    return {
        "kernel_height": node.kernel[0],
        "kernel_width": node.kernel[1],
        "stride_y": node.stride[0],
        "stride_x": node.stride[1],
        "pad_top": node.pads.top,
        "pad_left": node.pads.left,
    }


def weight_type(weight: NDArray[Any]) -> str:
    """C type of a layer's weights."""
    return "int8_t" if weight.dtype == np.int8 else "int16_t"


def pack_channels(weight: NDArray[Any]) -> NDArray[Any]:
    """[O, n] -> [ceil(O / 4), n, 4]."""
    outputs, n = weight.shape
    groups = -(-outputs // CHANNEL_TILE)
    padded = np.zeros((groups * CHANNEL_TILE, n), weight.dtype)
    padded[:outputs] = weight
    return np.ascontiguousarray(padded.reshape(groups, CHANNEL_TILE, n).transpose(0, 2, 1))


def channel_tiles(outputs: int) -> Tiles:
    """Output channels in tiles of four, then the rest at once: (first, end, channels a tile)."""
    return _tiles(outputs, CHANNEL_TILE, outputs % CHANNEL_TILE)


def _tiles(total: int, step: int, rest: int) -> Tiles:
    whole = total - total % step
    tiles = ((0, whole, step), (whole, total, rest))
    return tuple(tile for tile in tiles if tile[0] < tile[1])


def tables(bias: NDArray[Any], requant: Requant) -> tuple[CArray, CArray]:
    """Bias and multiplier of each output channel."""
    return CArray("bias", bias.astype(np.int32)), CArray("multiplier", requant.multiplier)


class Portable(Kernel):
    """A kernel that is one call, for a row or for all."""

    family = "portable"

    def calls(self, graph: Graph, node: Node, rows: RowPlan) -> tuple[KernelCall, ...]:
        return (self._call(graph, node, rows),)

    def _call(self, graph: Graph, node: Node, rows: RowPlan) -> KernelCall:
        raise NotImplementedError

    def _window_distance(self, graph: Graph, node: Any) -> int:
        shape, out = shapes_of(graph, node)
        first = window_first_read(shape, out, node.stride, node.pads.top, node.pads.left)
        return raster_distance(first, out[2])


class Pointwise(Portable):
    """1x1, stride 1: 2 pixels x 4 channels a tile; fully connected layers too."""

    name = "pointwise"
    op = Conv.op

    def refuses(self, graph: Graph, node: Node) -> str | None:
        assert isinstance(node, Conv)
        whole_map = node.kernel == graph.shapes(node)[0][:2] and not node.pads.any
        return None if node.pointwise or whole_map else "not 1x1 and not the whole map"

    def _pixels(self, graph: Graph, node: Node) -> tuple[int, int, int]:
        """Pixels, inputs and outputs a pixel; the whole map is one long pixel."""
        shape, out = shapes_of(graph, node)
        pixels = out[0] * out[1]
        return pixels, shape[0] * shape[1] * shape[2] // pixels, out[2]

    def safe_distance(self, graph: Graph, node: Node, which: int) -> int:
        pixels, inputs, outputs = self._pixels(graph, node)
        first = np.arange(pixels, dtype=np.int64) * inputs
        return raster_distance(first, outputs, PIXEL_TILE)

    def _call(self, graph: Graph, node: Node, rows: RowPlan) -> KernelCall:
        assert isinstance(node, Conv) and node.requant is not None
        pixels, inputs, outputs = self._pixels(graph, node)
        if not rows.whole:
            pixels = graph.tensors[node.output].shape[1]
        weight = node.weight.reshape(outputs, inputs)
        zero = graph.q(node.inputs[0]).zero_point
        folded = node.bias - zero * weight.sum(axis=1, dtype=np.int64)
        parameters = {
            **row_bytes(rows, pixels * inputs, pixels * outputs),
            "pixels": pixels,
            "inputs": inputs,
            "outputs": outputs,
            "pixel_tiles": _tiles(pixels, PIXEL_TILE, pixels % PIXEL_TILE),
            "channel_tiles": channel_tiles(outputs),
            "weight_type": weight_type(weight),
            **epilogue(node.requant),
        }
        return KernelCall(
            parameters,
            (CArray("weight", pack_channels(weight)), *tables(folded, node.requant)),
            at_once=rows.whole,
        )


class DirectConv(Portable):
    """Any kernel, stride and padding: 1 pixel x 4 channels a tile."""

    name = "conv"
    op = Conv.op

    def safe_distance(self, graph: Graph, node: Node, which: int) -> int:
        return self._window_distance(graph, node)

    def _call(self, graph: Graph, node: Node, rows: RowPlan) -> KernelCall:
        assert isinstance(node, Conv) and node.requant is not None
        weight = node.weight.reshape(len(node.weight), -1)
        parameters = {
            **sizes(*shapes_of(graph, node), rows),
            **window(node),
            "channel_tiles": channel_tiles(len(node.weight)),
            "weight_type": weight_type(weight),
            "input_zero": graph.q(node.inputs[0]).zero_point,
            **epilogue(node.requant),
        }
        arrays = (CArray("weight", pack_channels(weight)), *tables(node.bias, node.requant))
        return KernelCall(parameters, arrays)


class DepthwiseConv(Portable):
    """Any kernel, stride, padding and multiplier; taps unrolled where the window is inside."""

    name = "depthwise"
    op = Depthwise.op

    def safe_distance(self, graph: Graph, node: Node, which: int) -> int:
        return self._window_distance(graph, node)

    def _call(self, graph: Graph, node: Node, rows: RowPlan) -> KernelCall:
        assert isinstance(node, Depthwise) and node.requant is not None
        shape, out = shapes_of(graph, node)
        parameters = {
            **sizes(shape, out, rows),
            **window(node),
            "multiplier": node.multiplier,
            "weight_type": weight_type(node.weight),
            "has_inside": int(node.kernel[0] <= shape[0] and node.kernel[1] <= shape[1]),
            "input_zero": graph.q(node.inputs[0]).zero_point,
            **epilogue(node.requant),
        }
        weight = node.weight.reshape(-1, out[2])
        return KernelCall(parameters, (CArray("weight", weight), *tables(node.bias, node.requant)))


class AddKernel(Portable):
    """Element by element."""

    name = "add"
    op = Add.op

    def safe_distance(self, graph: Graph, node: Node, which: int) -> int:
        return 0

    def _call(self, graph: Graph, node: Node, rows: RowPlan) -> KernelCall:
        assert isinstance(node, Add) and node.requant is not None
        r = node.requant
        height, width, channels = graph.tensors[node.output].shape
        elements = width * channels * (height if rows.whole else 1)
        return KernelCall(
            {
                "slots_a": rows.slots_in[0],
                "slots_b": rows.slots_in[1],
                "slots_out": rows.slots_out,
                "elements": elements,
                "a_zero": graph.q(node.inputs[0]).zero_point,
                "b_zero": graph.q(node.inputs[1]).zero_point,
                "ka": r.ka,
                "kb": r.kb,
                "shift": r.shift,
                "output_zero": r.zero_point,
                "lo": r.lo,
                "hi": r.hi,
            },
            at_once=rows.whole,
        )


class AvgPoolKernel(Portable):
    """Any window; one multiplier for each number of elements that a window can hold."""

    name = "avgpool"
    op = AvgPool.op

    def safe_distance(self, graph: Graph, node: Node, which: int) -> int:
        return self._window_distance(graph, node)

    def _call(self, graph: Graph, node: Node, rows: RowPlan) -> KernelCall:
        assert isinstance(node, AvgPool) and node.requant is not None
        shape, out = shapes_of(graph, node)
        by_count = np.zeros(node.kernel[0] * node.kernel[1] + 1, np.int32)
        by_count[list(node.counts(shape))] = node.requant.multiplier
        parameters = {
            **sizes(shape, out, rows),
            **window(node),
            "counted": node.counted_size(shape) if node.count_pads else None,
            "input_zero": graph.q(node.inputs[0]).zero_point,
            "multiplier": int(node.requant.multiplier[0]) if len(node.counts(shape)) == 1 else 0,
            **epilogue(node.requant),
        }
        if parameters["multiplier"]:
            return KernelCall(parameters)
        return KernelCall(parameters, (CArray("multiplier", by_count),))


class MaxPoolKernel(Portable):
    """Any window; positions outside the image do not take part."""

    name = "maxpool"
    op = MaxPool.op

    def safe_distance(self, graph: Graph, node: Node, which: int) -> int:
        return self._window_distance(graph, node)

    def _call(self, graph: Graph, node: Node, rows: RowPlan) -> KernelCall:
        assert isinstance(node, MaxPool)
        return KernelCall({**sizes(*shapes_of(graph, node), rows), **window(node)})


class PadKernel(Portable):
    """Copies rows into a larger tensor."""

    name = "pad"
    op = Pad.op

    def _call(self, graph: Graph, node: Node, rows: RowPlan) -> KernelCall:
        assert isinstance(node, Pad)
        return KernelCall(
            {
                **sizes(*shapes_of(graph, node), rows),
                "pad_top": node.pads.top,
                "pad_left": node.pads.left,
                "fill": node.fill(graph.q(node.inputs[0])),
            }
        )


class SoftmaxKernel(Portable):
    """Three passes over the channels of a pixel: maximum, sum, quotients."""

    name = "softmax"
    op = Softmax.op

    def safe_distance(self, graph: Graph, node: Node, which: int) -> int:
        return 0

    def _call(self, graph: Graph, node: Node, rows: RowPlan) -> KernelCall:
        assert isinstance(node, Softmax) and node.table is not None
        height, width, channels = graph.tensors[node.output].shape
        pixels = width * (height if rows.whole else 1)
        parameters = {
            **row_bytes(rows, pixels * channels, pixels * channels),
            "pixels": pixels,
            "channels": channels,
            "steps": node.steps,
            "output_zero": node.zero_point,
        }
        return KernelCall(parameters, (CArray("table", node.table),), at_once=rows.whole)


KERNELS: tuple[Kernel, ...] = (
    Pointwise(),
    DirectConv(),
    DepthwiseConv(),
    AddKernel(),
    AvgPoolKernel(),
    MaxPoolKernel(),
    PadKernel(),
    SoftmaxKernel(),
)
