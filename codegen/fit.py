"""Does it fit? Answered before anything is built, with the layers that decide it."""

from __future__ import annotations

from collections.abc import Mapping

from codegen.boards import Board
from codegen.emit import ConstantBytes
from codegen.errors import ThumbnetError
from codegen.linker import ANYWHERE, Layout, Need, plan_layout
from codegen.plan import Plan

CODE_ESTIMATE = 8 * 1024
"""Bytes of code of the runner and startup; and of each kernel function:"""
FUNCTION_ESTIMATE = 512
VARIABLES_ESTIMATE = 512


def check_fit(
    plan: Plan,
    constants: ConstantBytes,
    board: Board,
    required: bool,
    place: Mapping[str, str] = ANYWHERE,
) -> Layout | None:
    """Where weights and arena go on ``board``.

    Args:
        plan: The plan.
        constants: Bytes of its constants.
        board: The board.
        required: Whether not fitting is an error.
        place: Regions chosen by hand, as in ``plan_layout``.

    Returns:
        The layout, or None if it does not fit and need not.

    Raises:
        ThumbnetError: It must fit and does not: by how much, and which layers make the peak.
    """
    graph = plan.graph
    forms = {(step.stage.kernel, node.op) for step in plan.steps for node in step.stage.nodes}
    need = Need(
        code=constants.tables + CODE_ESTIMATE + FUNCTION_ESTIMATE * len(forms),
        weights=constants.arrays,
        variables=graph.output_tensor.size + graph.input_tensor.row_size + VARIABLES_ESTIMATE,
        arena=plan.arena_bytes,
    )
    try:
        return plan_layout(board, need, place=place)
    except ThumbnetError as error:
        if not required:
            return None
        raise ThumbnetError(f"{error}. {_peak(plan)}") from None


def _peak(plan: Plan) -> str:
    """The layers that make the peak, and those with the most weights."""
    by_ram = sorted(plan.steps, key=plan.live_bytes, reverse=True)[:3]
    layers = ", ".join(f"{step.stage.name!r} ({plan.live_bytes(step):,})" for step in by_ram)
    return (
        f"The layers that need most RAM (bytes): {layers}. A smaller resolution lessens RAM, "
        "a smaller width both RAM and flash."
    )
