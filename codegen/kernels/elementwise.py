"""Portable kernels of the operators that work value by value, or on the channels of a pixel."""

from __future__ import annotations

import numpy as np

from codegen.ir import Graph, Node, Requant
from codegen.kernels.base import Kernel, KernelCall, Parameters, RowPlan, raster_distance
from codegen.kernels.portable import Portable, epilogue, q_of
from codegen.ops import Concat


def _multiplied(requant: Requant) -> Parameters:
    """An epilogue with its one multiplier."""
    return {**epilogue(requant), "multiplier": int(requant.multiplier[0])}


def _pixel_distance(graph: Graph, node: Node, which: int) -> int:
    """Safe distance where all that a pixel reads is read before the next pixel is written."""
    height, width, channels = graph.tensors[node.inputs[which]].shape
    first = np.arange(height * width, dtype=np.int64) * channels
    return raster_distance(first, graph.tensors[node.output].shape[2])


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
                "slots": slots,
                "channels": graph.tensors[name].shape[2],
                "zero": q_of(graph, name).zero_point,
                "requant": _multiplied(requant) if requant else None,
            }
            for name, slots, requant in zip(node.inputs, rows.slots_in, node.requants, strict=True)
        ]
        parameters: Parameters = {
            "slots_out": rows.slots_out,
            "pixels": pixels,
            "channels": channels,
            "parts": parts,
        }
        return KernelCall(parameters, at_once=rows.whole)


KERNELS: tuple[Kernel, ...] = (ConcatKernel(),)
