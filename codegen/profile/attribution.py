"""Which layer each call of a kernel belongs to: the plan says in which order rows are made."""

from __future__ import annotations

from collections.abc import Iterator

from codegen.cmodel import CModel
from codegen.plan import Plan
from codegen.profile.counter import KernelCalls
from codegen.profile.program import Program


def kernel_calls(plan: Plan, model: CModel, program: Program) -> KernelCalls:
    """The kernel calls of one inference, in order.

    Args:
        plan: The plan.
        model: The C model made of it.
        program: The linked program. The compiler may have cloned kernels (NAME.constprop.0) or
            merged equal ones; the order of their calls is the same.
    """
    names = {function.name for function in model.functions}
    kernels = [f for f in program.functions if f.name.partition(".")[0] in names]
    return KernelCalls(tuple(kernels), tuple(_layers(plan, model)))


def _layers(plan: Plan, model: CModel) -> Iterator[int]:
    """The layer of each call: the streamed ones row by row, in the order of the plan's runs."""
    streamed = {stage.index: [call.layer for call in stage.calls] for stage in model.streamed}
    image, *later = plan.segments
    for part in image.runs:
        for step, _ in part:
            yield from streamed[step]
    for segment, stretch in zip(later, model.stretches, strict=True):
        if stretch.stage is None:
            for part in segment.runs:
                for step, _ in part:
                    yield from streamed[step]
        else:
            times = 1 if stretch.stage.at_once else stretch.stage.rows
            yield from [call.layer for call in stretch.stage.calls] * times
