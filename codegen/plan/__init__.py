"""Planning: what is streamed, which kernel computes each layer, and where each row lives."""

from codegen.plan.model import Buffer, Plan, Segment, Step
from codegen.plan.planner import STATE, make_plan
from codegen.plan.report import stage_document
from codegen.plan.segments import OBJECTIVES

__all__ = [
    "OBJECTIVES",
    "STATE",
    "Buffer",
    "Plan",
    "Segment",
    "Step",
    "make_plan",
    "stage_document",
]
