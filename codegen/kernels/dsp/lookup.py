"""Tables of functions: four values a word, on NHWC rows or, before a depthwise layer, on planes."""

from __future__ import annotations

import numpy as np

from codegen.ir import Graph, Node
from codegen.kernels.base import DISJOINT, CArray, Kernel, KernelCall, Parameters, RowPlan
from codegen.kernels.dsp import planes
from codegen.kernels.layout import Planar, position
from codegen.ops import Depthwise, Lookup


class LookupWords(Kernel):
    """A table entry a value: about four cycles, against nine byte by byte."""

    family = "dsp"
    name = "lookup"
    op = Lookup.op

    def planar_input(self, graph: Graph, node: Node) -> Planar | None:
        """Planes without padding, where the output is read as planes."""
        readers = graph.consumers(node.output)
        if len(readers) != 1 or not isinstance(readers[0], Depthwise):
            return None
        if planes.refuses(graph, readers[0]):
            return None
        return Planar(graph.shapes(node)[0])

    def safe_distance(self, graph: Graph, node: Node, which: int) -> int:
        return DISJOINT if self.planar_input(graph, node) else 0

    def calls(self, graph: Graph, node: Node, rows: RowPlan) -> tuple[KernelCall, ...]:
        assert isinstance(node, Lookup) and node.table is not None
        height, width, channels = graph.tensors[node.output].shape
        at_once = rows.whole and rows.planar_out is None
        values = width * channels * (height if at_once else 1)
        parameters: Parameters = {
            "slots_in": rows.slots_in[0],
            "slots_out": rows.slots_out,
            "row_in": values,
            "row_out": values,
            "planes": 1,
            "words": values // 4,
            "last": tuple(range(values // 4 * 4, values)),
            "lead": 0,
        }
        # The bytes of NHWC rows are q, those of planes q + 128.
        table = np.roll(node.table, 128)
        label = str(values)
        if planar := rows.planar_out:
            source = Planar(planar.shape)
            parameters |= {
                "row_in": source.row_bytes,
                "row_out": planar.row_bytes,
                "planes": channels,
                "words": width // 4,
                "last": tuple(position(pixel) for pixel in range(width // 4 * 4, width)),
                "lead": planar.lead,
                "plane_in": source.plane,
                "plane_out": planar.plane,
            }
            table = (node.table.astype(np.int16) + 128).astype(np.uint8).view(np.int8)
            label = f"{channels}x{width}_planes"
        looked_up = KernelCall(parameters, (CArray("table", table),), at_once, label=label)
        return (*planes.gaps(rows, graph.q(node.output).zero_point), looked_up)
