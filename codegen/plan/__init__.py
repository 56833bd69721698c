"""Planning: which kernel computes each layer, and where each tensor lives."""

from codegen.plan.model import Buffer, Plan, Step
from codegen.plan.planner import ROW_COUNTER, make_plan

__all__ = ["ROW_COUNTER", "Buffer", "Plan", "Step", "make_plan"]
