"""Planar rows: which tensors have them, how they are laid out, and the padding between planes."""

from __future__ import annotations

from codegen.ir import Graph, Pads
from codegen.kernels.base import OUTPUT_ROW, ROW, KernelCall, Parameters, RowPlan
from codegen.kernels.dsp import depthwise, product
from codegen.kernels.layout import Planar
from codegen.ops import Conv, Depthwise, Lookup


def refuses(graph: Graph, node: Depthwise) -> str | None:
    """Why a depthwise layer cannot read planar rows, or None if it can.

    Only a matrix product makes such rows; a table between the two keeps them.
    """
    source = node.inputs[0]
    before = graph.producer(source)
    if isinstance(before, Lookup) and len(graph.consumers(source)) == 1:
        source = before.inputs[0]
        before = graph.producer(source)
    if not isinstance(before, Conv) or product.refuses(graph, before):
        return "its input is not made by a matrix product"
    if len(graph.consumers(source)) != 1:
        return "its input is read by other layers"
    return depthwise.refuses(node, graph.q(node.inputs[0]).zero_point)


def layout(graph: Graph, node: Depthwise) -> Planar:
    """The rows that a depthwise layer reads."""
    (shape,), q, pads = graph.shapes(node), graph.q(node.inputs[0]), node.pads
    if depthwise.skips_padding(node, q, shape[1], graph.tensors[node.output].shape[1]):
        pads = Pads(pads.top, 0, pads.bottom, 0)
    return Planar(shape, pads)


def gaps(rows: RowPlan, zero_point: int, height: int = 1) -> tuple[KernelCall, ...]:
    """The call that fills the padding between the planes of new rows of the output.

    Args:
        rows: How rows are kept.
        zero_point: Of the output.
        height: Rows that are made together.
    """
    planar = rows.planar_out
    if planar is None or not (planar.pads.left or planar.pads.right):
        return ()
    parameters: Parameters = {
        "channels": planar.shape[2],
        "width": planar.shape[1] // 4 * 4,
        "plane": planar.plane,
        "lead": planar.lead,
        "slots": rows.slots_out or planar.shape[0],
        "rows": height,
        "row_bytes": planar.row_bytes,
        "zero": zero_point + 128,
    }
    label = f"{planar.shape[2]}x{planar.plane}"
    return (KernelCall(parameters, (), False, "gaps", label, operands=(OUTPUT_ROW, ROW)),)
