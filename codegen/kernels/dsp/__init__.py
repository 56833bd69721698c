"""The dsp family: Cortex-M4, M7 and M33, whose SMLAD multiplies two pairs of int16 a cycle.

Every convolution is a gather into the buffer of pairs and a matrix product over it, row by row.
What is gathered: the outputs of a depthwise layer, the pixels of a row, or the windows of any
other kernel. Depthwise layers read planar rows, which only a product writes; everything else is
NHWC, so that the portable kernels compute whatever this family does not.
"""

from __future__ import annotations

from dataclasses import replace

from codegen.ir import Graph, Node, Pads, QParams
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
from codegen.kernels.dsp import depthwise, gather, product
from codegen.kernels.layout import Planar, pairs_bytes
from codegen.ops import Conv, Depthwise


class _Product(Kernel):
    """A gather, then the matrix product of ``conv``."""

    family = "dsp"
    gathers = True

    def _gaps(self, planar: Planar | None, rows: RowPlan, zero: int) -> tuple[KernelCall, ...]:
        """The call that fills the padding between the planes of a new row of the output."""
        if planar is None or not (planar.pads.left or planar.pads.right):
            return ()
        parameters: Parameters = {
            "channels": planar.shape[2],
            "width": planar.shape[1] // 4 * 4,
            "plane": planar.plane,
            "lead": planar.lead,
            "slots": rows.slots_out or planar.shape[0],
            "zero": zero,
        }
        label = f"{planar.shape[2]}x{planar.plane}"
        return (KernelCall(parameters, (), False, "gaps", label, operands=(OUTPUT_ROW, ROW)),)

    def _order(self, graph: Graph, node: Node) -> tuple[int, ...]:
        """What the gather writes for a pixel: see ``product.calls``."""
        raise NotImplementedError

    def variants(self, graph: Graph, node: Node) -> tuple[Variant, ...]:
        conv = self.layers(graph, node)[-1]
        assert isinstance(conv, Conv)
        height, width, _ = graph.tensors[conv.output].shape
        return product.variants(conv, len(self._order(graph, node)) // 2, width, height)

    def scratch_bytes(self, graph: Graph, node: Node, ring: bool) -> int:
        return self._pairs_bytes(graph, node)

    def _pairs_bytes(self, graph: Graph, node: Node) -> int:
        width = graph.tensors[node.output].shape[1]
        return pairs_bytes(width, len(self._order(graph, node)))

    def _product(
        self, graph: Graph, conv: Conv, order: tuple[int, ...], stored: int, rows: RowPlan
    ) -> tuple[KernelCall, ...]:
        """Gaps and product of a row; ``stored`` is added to int8 values in the pairs."""
        out = graph.tensors[conv.output]
        x, y = _q(graph, conv.inputs[0]).zero_point, _q(graph, conv.output).zero_point
        return (
            *self._gaps(rows.planar_out, rows, y + 128),
            *product.calls(graph, conv, order, x + stored, out.shape[1], rows),
        )


def _q(graph: Graph, tensor: str) -> QParams:
    q = graph.tensors[tensor].q
    assert q is not None
    return q


def _natural_order(inputs: int) -> tuple[int, ...]:
    return (*range(inputs), -1) if inputs % 2 else tuple(range(inputs))


class Convolution(_Product):
    """Any kernel, stride and padding, 1x1 and fully connected: the windows of a row are gathered."""

    name = "im2col"
    op = Conv.op

    def refuses(self, graph: Graph, node: Node) -> str | None:
        assert isinstance(node, Conv)
        return product.refuses(graph, node)

    def _order(self, graph: Graph, node: Node) -> tuple[int, ...]:
        assert isinstance(node, Conv)
        return gather.gather_order(node.kernel, graph.shapes(node)[0][2])

    def calls(self, graph: Graph, node: Node, rows: RowPlan) -> tuple[KernelCall, ...]:
        assert isinstance(node, Conv)
        (shape,) = graph.shapes(node)
        parameters = gather.im2col_parameters(
            shape,
            graph.tensors[node.output].shape,
            node.kernel,
            node.stride,
            node.pads,
            _q(graph, node.inputs[0]).zero_point,
            rows.slots_in[0],
        )
        size = "x".join(map(str, node.kernel))
        windows = KernelCall(
            parameters,
            template="im2col",
            label=f"{size}s{node.stride[1]}_{shape[1]}x{shape[2]}",
            operands=(INPUTS, SCRATCH, ROW),
        )
        return (windows, *self._product(graph, node, self._order(graph, node), 0, rows))


class DepthwiseProduct(_Product):
    """A depthwise layer and the pointwise one behind it: the tensor between is never stored."""

    name = "depthwise"
    op = Depthwise.op

    def layers(self, graph: Graph, node: Node) -> tuple[Node, ...]:
        return (node, *graph.consumers(node.output))

    def refuses(self, graph: Graph, node: Node) -> str | None:
        assert isinstance(node, Depthwise)
        before, after = graph.producer(node.inputs[0]), graph.consumers(node.output)
        if node.output == graph.output or len(after) != 1:
            return "its output is not read by exactly one layer"
        if not isinstance(after[0], Conv) or not after[0].pointwise:
            return "no pointwise layer follows"
        if reason := product.refuses(graph, after[0]):
            return f"the pointwise layer behind it: {reason}"
        if not isinstance(before, Conv) or product.refuses(graph, before):
            return "its input is not made by a matrix product"
        if len(graph.consumers(node.inputs[0])) != 1:
            return "its input is read by other layers"
        return depthwise.refuses(node, _q(graph, node.inputs[0]).zero_point)

    def planar_input(self, graph: Graph, node: Node) -> Planar:
        assert isinstance(node, Depthwise)
        pads = node.pads
        if _q(graph, node.inputs[0]).zero_point == -128:
            pads = Pads(pads.top, 0, pads.bottom, 0)  # zeros are left out, not read
        return Planar(graph.shapes(node)[0], pads)

    def _order(self, graph: Graph, node: Node) -> tuple[int, ...]:
        return _natural_order(graph.tensors[node.output].shape[2])

    def scratch_bytes(self, graph: Graph, node: Node, ring: bool) -> int:
        # Behind the pairs a row of padding, where the input has no slot for one.
        assert isinstance(node, Depthwise)
        padded = not ring and node.pads.top + node.pads.bottom > 0
        padding = self.planar_input(graph, node).row_bytes if padded else 0
        return self._pairs_bytes(graph, node) + padding

    def calls(self, graph: Graph, node: Node, rows: RowPlan) -> tuple[KernelCall, ...]:
        assert isinstance(node, Depthwise)
        conv = graph.consumers(node.output)[0]
        assert isinstance(conv, Conv)
        rest = self._product(graph, conv, self._order(graph, node), 128, rows)
        return (
            self._depthwise(graph, node, rows.slots_in[0]),
            *(replace(call, layer=1) for call in rest),
        )

    def _depthwise(self, graph: Graph, node: Depthwise, slots_in: int) -> KernelCall:
        planar, q = self.planar_input(graph, node), _q(graph, node.inputs[0])
        _, out_width, channels = graph.tensors[node.output].shape
        function = depthwise.depthwise_function(node, planar, q, out_width)
        constants = depthwise.packed_constants(function.window, node, q.zero_point)
        size = "x".join(map(str, node.kernel))
        return KernelCall(
            {
                "function": function,
                "kernel_height": node.kernel[0],
                "stride_y": node.stride[0],
                "pad_top": node.pads.top,
                "pads": int(node.pads.top > 0 or node.pads.bottom > 0),
                "pairs_bytes": self._pairs_bytes(graph, node),
                "in_height": planar.shape[0],
                "row_bytes": planar.row_bytes,
                "lead": planar.lead,
                "slots_in": slots_in,
                "zero": q.zero_point + 128,
            },
            (CArray("constants", constants),),
            template="depthwise_row",
            label=f"{size}s{node.stride[1]}_{planar.shape[1]}x{channels}",
            operands=(INPUTS, SCRATCH, ROW),
            assembly=True,
        )


KERNELS: tuple[Kernel, ...] = (DepthwiseProduct(), Convolution())
