"""Portable kernels of the operators that work value by value, or on the channels of a pixel."""

from __future__ import annotations

import numpy as np

from codegen.ir import Graph, Node, Requant
from codegen.kernels.base import (
    DISJOINT,
    CArray,
    Kernel,
    KernelCall,
    Parameters,
    RowPlan,
    raster_distance,
)
from codegen.kernels.portable import Portable, epilogue, row_bytes
from codegen.ops import Concat, Lookup, Lrn, Mul, PRelu


def _multiplied(requant: Requant) -> Parameters:
    """An epilogue with its one multiplier."""
    return {**epilogue(requant), "multiplier": int(requant.multiplier[0])}


def _pixel_distance(graph: Graph, node: Node, which: int) -> int:
    """Safe distance where all that a pixel reads is read before the next pixel is written."""
    height, width, channels = graph.tensors[node.inputs[which]].shape
    first = np.arange(height * width, dtype=np.int64) * channels
    return raster_distance(first, graph.tensors[node.output].shape[2])


def _by_pixel(graph: Graph, node: Node, rows: RowPlan) -> Parameters:
    """For kernels with one input of the output's shape that see the channels of each pixel."""
    height, width, channels = graph.tensors[node.output].shape
    pixels = width * (height if rows.whole else 1)
    return {
        **row_bytes(rows, pixels * channels, pixels * channels),
        "pixels": pixels,
        "channels": channels,
        "input_zero": graph.q(node.inputs[0]).zero_point,
    }


class ConcatKernel(Portable):
    """Copies the channels of one input after the other; requantizes those of another scale."""

    name = "concat"
    op = Concat.op

    def safe_distance(self, graph: Graph, node: Node, which: int) -> int:
        return _pixel_distance(graph, node, which)

    def _call(self, graph: Graph, node: Node, rows: RowPlan) -> KernelCall:
        assert isinstance(node, Concat)
        height, width, channels = graph.tensors[node.output].shape
        pixels = width * (height if rows.whole else 1)
        parts = [
            {
                "x": f"x{index}",
                "value": f"(x{index}[c] - ({graph.q(name).zero_point}))",
                "slots": slots,
                "channels": graph.tensors[name].shape[2],
                "requant": _multiplied(requant) if requant else None,
            }
            for index, (name, slots, requant) in enumerate(
                zip(node.inputs, rows.slots_in, node.requants, strict=True)
            )
        ]
        parameters: Parameters = {
            "slots_out": rows.slots_out,
            "pixels": pixels,
            "channels": channels,
            "channels_of_parts": " + ".join(str(part["channels"]) for part in parts),
            "parts": parts,
        }
        return KernelCall(parameters, at_once=rows.whole)


class LookupKernel(Portable):
    """A table entry a value."""

    name = "lookup"
    op = Lookup.op

    def safe_distance(self, graph: Graph, node: Node, which: int) -> int:
        return 0

    def _call(self, graph: Graph, node: Node, rows: RowPlan) -> KernelCall:
        assert isinstance(node, Lookup) and node.table is not None
        height, width, channels = graph.tensors[node.output].shape
        elements = width * channels * (height if rows.whole else 1)
        parameters = {**row_bytes(rows, elements, elements), "elements": elements}
        return KernelCall(parameters, (CArray("table", node.table),), at_once=rows.whole)


class MulKernel(Portable):
    """Value by value, or all pixels with the same factors."""

    name = "mul"
    op = Mul.op

    def safe_distance(self, graph: Graph, node: Node, which: int) -> int:
        assert isinstance(node, Mul)
        return DISJOINT if node.by_channel and which == 1 else 0

    def _call(self, graph: Graph, node: Node, rows: RowPlan) -> KernelCall:
        assert isinstance(node, Mul) and node.requant is not None
        height, width, channels = graph.tensors[node.output].shape
        pixels = width * (height if rows.whole else 1)
        a, b = (graph.q(name).zero_point for name in node.inputs)
        parameters = {
            "slots_a": rows.slots_in[0],
            "slots_b": rows.slots_in[1],
            "slots_out": rows.slots_out,
            "pixels": pixels if node.by_channel else 1,
            "channels": channels if node.by_channel else pixels * channels,
            "row_values": pixels * channels,
            "by_channel": node.by_channel,
            "a_zero": a,
            "b_zero": b,
            **_multiplied(node.requant),
        }
        return KernelCall(parameters, at_once=rows.whole)


class PReluKernel(Portable):
    """Value by value, with one of two multipliers."""

    name = "prelu"
    op = PRelu.op

    def safe_distance(self, graph: Graph, node: Node, which: int) -> int:
        return 0

    def _call(self, graph: Graph, node: Node, rows: RowPlan) -> KernelCall:
        assert isinstance(node, PRelu) and node.requant is not None
        parameters = {**_by_pixel(graph, node, rows), **_multiplied(node.requant)}
        constants = (CArray("multiplier", node.slope),)
        return KernelCall(parameters, constants, at_once=rows.whole)


class LrnKernel(Portable):
    """A sum of squares that slides over the channels of a pixel."""

    name = "lrn"
    op = Lrn.op

    def safe_distance(self, graph: Graph, node: Node, which: int) -> int:
        return _pixel_distance(graph, node, which)

    def _call(self, graph: Graph, node: Node, rows: RowPlan) -> KernelCall:
        assert isinstance(node, Lrn) and node.requant is not None
        parameters = {
            **_by_pixel(graph, node, rows),
            "before": node.before,
            "behind": node.behind,
            "ahead": min(node.behind, graph.tensors[node.output].shape[2]),
            "table_shift": node.shift,
            **epilogue(node.requant),
        }
        constants = (CArray("table", node.requant.multiplier),)
        return KernelCall(parameters, constants, at_once=rows.whole)


KERNELS: tuple[Kernel, ...] = (
    ConcatKernel(),
    LookupKernel(),
    MulKernel(),
    PReluKernel(),
    LrnKernel(),
)
