"""What a network will take, before there are pictures to calibrate it with.

Plan and constants follow from shapes and from where weights are zero, not from ranges of
activations. So the float graph is quantized with ranges that are made up and planned as
``compile`` would; channels that ``compile`` finds constant are still in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from codegen.emit import ConstantBytes, constant_bytes
from codegen.ir import Graph, Node
from codegen.make_cmodel import make_cmodel
from codegen.plan import Plan, make_plan
from codegen.quant.quantize import quantize


def made_up_int8(graph: Graph) -> Graph:
    """An int8 graph with the layers and shapes of a simplified float graph, to be planned only."""
    nodes = tuple(_without_bias(node) for node in graph.nodes)
    ranges = dict.fromkeys(graph.tensors, (-1.0, 1.0))
    return quantize(replace(graph, nodes=nodes), ranges)


def _without_bias(node: Node) -> Node:
    """A bias may be out of proportion to ranges that are made up; the plan does not read it."""
    cleared: dict[str, Any] = {
        field: np.zeros_like(array) for field, array in node.arrays() if field == "bias"
    }
    return replace(node, **cleared)


def planned(graph: Graph, core: str, flash_budget: int | None = None) -> tuple[Plan, ConstantBytes]:
    """The plan of a float graph for a core and the bytes of its constants.

    Args:
        graph: A simplified float graph.
        core: Name of the core.
        flash_budget: As in ``make_plan``.

    Raises:
        ThumbnetError: A layer cannot be computed in int8.
    """
    plan = make_plan(made_up_int8(graph), core, flash_budget=flash_budget)
    return plan, constant_bytes(make_cmodel(plan, "model"))


def estimated_sizes(graph: Graph, core: str) -> Mapping[str, Any]:
    """``flash`` and ``ram`` of a float graph as ``compile`` reports them, without code and stack.

    Raises:
        ThumbnetError: As ``planned``.
    """
    plan, constants = planned(graph, core)
    static = graph.output_tensor.size
    return {
        "core": core,
        "flash": {
            "weights": constants.weights,
            "code": None,
            "tables": constants.tables,
            "total": constants.weights + constants.tables,
        },
        "ram": {
            "arena": plan.arena_bytes,
            "stack": None,
            "static": static,
            "total": plan.arena_bytes + static,
        },
    }
