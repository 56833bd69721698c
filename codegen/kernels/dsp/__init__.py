"""The dsp family: Cortex-M4, M7 and M33, whose SMLAD multiplies two pairs of int16 a cycle.

Every convolution is a gather into the buffer of pairs and a matrix product over it, row by row.
What is gathered: the outputs of a depthwise layer, the pixels of a row, or the windows of any
other kernel. Depthwise layers read planar rows, which only a product writes; everything else is
NHWC, so that the portable kernels compute whatever this family does not.
"""

from __future__ import annotations

from dataclasses import replace

from codegen.ir import Graph, Node, Shape
from codegen.kernels.base import (
    INPUTS,
    OUTPUT_ROW,
    ROW,
    SCRATCH,
    CArray,
    Kernel,
    KernelCall,
    Parameters,
    RowPlan,
    Variant,
)
from codegen.kernels.dsp import depthwise, gather, planes, product
from codegen.kernels.dsp.lookup import LookupWords
from codegen.kernels.layout import Planar, half_of, pairs_bytes
from codegen.ops import Conv, Depthwise

_PIECE_BYTES = 2048
_PIECE_PIXELS = 16
"""Rows of windows that need more pairs than this are cut, but not into shorter pieces than that."""
_GATHER_CODE = 400
"""Bytes of code of a gather, an estimate."""
_SMALL = 3
"""Widest map whose rows may be gathered together."""


class _Gather(Kernel):
    """Fills the buffer of pairs for a row of the output."""

    family = "dsp"
    gathers = True

    def _order(self, graph: Graph, node: Node) -> tuple[int, ...]:
        """What is written for a pixel: see ``product.calls``."""
        raise NotImplementedError

    def _rows_at_once(self, graph: Graph, node: Node, whole: bool) -> int:
        """Rows that are gathered together."""
        return 1

    def _pairs_bytes(self, graph: Graph, node: Node, whole: bool) -> int:
        pixels = graph.tensors[node.output].shape[1] * self._rows_at_once(graph, node, whole)
        return pairs_bytes(pixels, len(self._order(graph, node)))


class _Product(_Gather):
    """The matrix product of ``conv`` behind it."""

    def variants(self, graph: Graph, node: Node) -> tuple[Variant, ...]:
        conv = self.layers(graph, node)[-1]
        assert isinstance(conv, Conv)
        height, width, _ = graph.tensors[conv.output].shape
        return product.variants(conv, self._order(graph, node), width, height)

    def _rows_at_once(self, graph: Graph, node: Node, whole: bool) -> int:
        """All those of a small map of odd width.

        A pair of pixels at the end of a row would else be half empty.
        """
        height, width, _ = graph.tensors[node.output].shape
        small = width % 2 == 1 and width <= _SMALL and height * width <= _SMALL**2
        return height if whole and small else 1

    def _product(
        self,
        graph: Graph,
        conv: Conv,
        order: tuple[int, ...],
        stored: int,
        rows: RowPlan,
        part: tuple[int, int] = (0, 1),
    ) -> tuple[KernelCall, ...]:
        """Gaps and product of a row, or the product of one part of several.

        Args:
            graph: The graph.
            conv: The layer.
            order: What was gathered for a pixel.
            stored: What is added to int8 values in the pairs.
            rows: How rows are kept.
            part: Which part of the row, and of how many.
        """
        height = self._rows_at_once(graph, conv, rows.whole)
        width = graph.tensors[conv.output].shape[1] // part[1]
        x, y = graph.q(conv.inputs[0]).zero_point, graph.q(conv.output).zero_point
        return (
            *(() if part[0] else planes.gaps(rows, y, height)),
            *product.calls(graph, conv, order, x + stored, (height, width), rows, part[0] * width),
        )


def _label(node: Conv | Depthwise, shape: Shape) -> str:
    """The part of a function's name that tells the window and a row of the input."""
    kernel = "x".join(map(str, node.kernel))
    return f"{kernel}s{node.stride[1]}_{shape[1]}x{shape[2]}"


class Convolution(_Product):
    """Any kernel, stride and padding: the windows of a row are gathered."""

    name = "im2col"
    op = Conv.op

    def refuses(self, graph: Graph, node: Node) -> str | None:
        assert isinstance(node, Conv)
        return product.refuses(graph, node)

    def _rows_at_once(self, graph: Graph, node: Node, whole: bool) -> int:
        assert isinstance(node, Conv)
        return super()._rows_at_once(graph, node, whole) if node.pointwise else 1

    def _order(self, graph: Graph, node: Node) -> tuple[int, ...]:
        assert isinstance(node, Conv)
        return gather.gather_order(node.kernel, graph.shapes(node)[0][2])

    def _pieces(self, graph: Graph, node: Node) -> int:
        """Parts of a row that are gathered one after the other, so that few pairs are kept."""
        width = graph.tensors[node.output].shape[1]
        pieces = 1
        while (
            pairs_bytes(width // pieces, len(self._order(graph, node))) > _PIECE_BYTES
            and width % (8 * pieces) == 0
            and width // (2 * pieces) >= _PIECE_PIXELS
        ):
            pieces *= 2
        return pieces

    def flash_bytes(self, graph: Graph, node: Node) -> int:
        return _GATHER_CODE

    def scratch_bytes(self, graph: Graph, node: Node, ring: bool, whole: bool) -> int:
        # Where the output may overlap the input, all of a row is gathered before any is written.
        pieces = self._pieces(graph, node) if ring else 1
        return self._pairs_bytes(graph, node, whole) // pieces

    def calls(self, graph: Graph, node: Node, rows: RowPlan) -> tuple[KernelCall, ...]:
        assert isinstance(node, Conv)
        (shape,) = graph.shapes(node)
        out = graph.tensors[node.output].shape
        height = self._rows_at_once(graph, node, rows.whole)
        if height > 1:
            shape, out = (1, height * shape[1], shape[2]), (1, height * out[1], out[2])
        pieces = self._pieces(graph, node) if rows.slots_in[0] else 1
        width = out[1] // pieces
        order, q = self._order(graph, node), graph.q(node.inputs[0])
        made: list[KernelCall] = []
        for piece in range(pieces):
            first = piece * width
            left = node.pads.left - first * node.stride[1]
            parameters = gather.im2col_parameters(
                shape,
                (out[0], width, out[2]),
                node.kernel,
                node.stride,
                replace(node.pads, left=left),
                q.zero_point,
                rows.slots_in[0],
            )
            windows = KernelCall(
                parameters,
                template="im2col",
                label=_label(node, shape),
                operands=(INPUTS, SCRATCH, ROW),
                at_once=height > 1,
            )
            part = (piece, pieces)
            made += (windows, *self._product(graph, node, order, 0, rows, part))
        return tuple(made)


class _PlanarDepthwise(_Gather):
    """What both depthwise forms have in common: rows of planes are gathered."""

    op = Depthwise.op

    def _order(self, graph: Graph, node: Node) -> tuple[int, ...]:
        channels = graph.tensors[node.output].shape[2]
        return (*range(channels), *[gather.FILLER] * (channels % 2))

    def planar_input(self, graph: Graph, node: Node) -> Planar:
        assert isinstance(node, Depthwise)
        return planes.layout(graph, node)

    def flash_bytes(self, graph: Graph, node: Node) -> int:
        assert isinstance(node, Depthwise)
        return depthwise.constant_bytes(node) + depthwise.CODE_BYTES

    def scratch_bytes(self, graph: Graph, node: Node, ring: bool, whole: bool) -> int:
        # Behind the pairs a row of padding, where the input has no slot for one.
        assert isinstance(node, Depthwise)
        padded = not ring and node.pads.top + node.pads.bottom > 0
        padding = self.planar_input(graph, node).row_bytes if padded else 0
        return self._pairs_bytes(graph, node, whole) + padding

    def _depthwise(self, graph: Graph, node: Depthwise, rows: RowPlan) -> KernelCall:
        planar, q = self.planar_input(graph, node), graph.q(node.inputs[0])
        _, width, channels = graph.tensors[node.output].shape
        at_once = self._rows_at_once(graph, node, rows.whole)
        functions = tuple(
            depthwise.depthwise_function(node, planar, q, width, odd)
            for odd in (False, True)[: min(at_once, 2)]
        )
        constants = depthwise.packed_constants(functions[0].window, node, q.zero_point)
        return KernelCall(
            {
                "functions": functions,
                "rows": at_once,
                "out_width": width,
                "half": half_of(channels),
                "kernel_height": node.kernel[0],
                "stride_y": node.stride[0],
                "pad_top": node.pads.top,
                "pads": int(node.pads.top > 0 or node.pads.bottom > 0),
                "pairs_bytes": self._pairs_bytes(graph, node, rows.whole),
                "in_height": planar.shape[0],
                "row_bytes": planar.row_bytes,
                "lead": planar.lead,
                "slots_in": rows.slots_in[0],
                "zero": q.zero_point + 128,
            },
            (CArray("constants", constants),),
            at_once=at_once > 1,
            template="depthwise_row",
            label=_label(node, planar.shape),
            operands=(INPUTS, SCRATCH, ROW),
            assembly=True,
        )


class DepthwiseProduct(_Product, _PlanarDepthwise):
    """A depthwise layer and the pointwise one behind it: the tensor between is never stored."""

    name = "depthwise"
    fuses = True

    def layers(self, graph: Graph, node: Node) -> tuple[Node, ...]:
        return (node, *graph.consumers(node.output))

    def refuses(self, graph: Graph, node: Node) -> str | None:
        assert isinstance(node, Depthwise)
        after = graph.consumers(node.output)
        if node.output == graph.output or len(after) != 1:
            return "its output is not read by exactly one layer"
        if not isinstance(after[0], Conv) or not after[0].pointwise:
            return "no pointwise layer follows"
        if reason := product.refuses(graph, after[0]):
            return f"the pointwise layer behind it: {reason}"
        return planes.refuses(graph, node)

    def calls(self, graph: Graph, node: Node, rows: RowPlan) -> tuple[KernelCall, ...]:
        assert isinstance(node, Depthwise)
        conv = graph.consumers(node.output)[0]
        assert isinstance(conv, Conv)
        rest = self._product(graph, conv, self._order(graph, node), 128, rows)
        return (
            self._depthwise(graph, node, rows),
            *(replace(call, layer=1) for call in rest),
        )


class DepthwiseAlone(_PlanarDepthwise):
    """A depthwise layer whose output is stored: it is small, or no pointwise layer follows."""

    name = "depthwise_alone"

    def refuses(self, graph: Graph, node: Node) -> str | None:
        assert isinstance(node, Depthwise)
        return planes.refuses(graph, node)

    def calls(self, graph: Graph, node: Node, rows: RowPlan) -> tuple[KernelCall, ...]:
        assert isinstance(node, Depthwise)
        _, width, channels = graph.tensors[node.output].shape
        parameters: Parameters = {
            "pixels": width,
            "channels": channels,
            "half": half_of(channels),
        }
        unpack = KernelCall(
            parameters,
            template="unpack",
            label=f"{width}x{channels}",
            operands=(SCRATCH, OUTPUT_ROW),
        )
        return self._depthwise(graph, node, rows), unpack


KERNELS: tuple[Kernel, ...] = (
    DepthwiseProduct(),
    DepthwiseAlone(),
    Convolution(),
    LookupWords(),
)
