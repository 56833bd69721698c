"""Graph and core -> plan."""

from __future__ import annotations

from codegen.ir import Graph
from codegen.kernels import choose, family_of
from codegen.kernels.base import DISJOINT
from codegen.plan.arena import Life, place
from codegen.plan.model import Buffer, Plan, Step

ROW_COUNTER = ""
"""Name of the buffer that counts the rows pushed so far; it dies before the first step."""
ROW_COUNTER_BYTES = 4


def make_plan(graph: Graph, core: str) -> Plan:
    """Chooses a kernel for every layer and a place in the arena for every tensor.

    Args:
        graph: An int8 graph.
        core: Name of the core, for its kernel family.

    Raises:
        ThumbnetError: A layer that no kernel computes.
    """
    family = family_of(core)
    steps = []
    for index, node in enumerate(graph.nodes):
        kernel, refused = choose(family, graph, node)
        steps.append(Step(index, node, kernel, refused))
    lives = _lives(graph, steps)
    offsets, arena_bytes, bound = place(lives)
    buffers = {
        life.name: Buffer(life.name, offsets[life.name], life.size, life.first, life.last)
        for life in lives
    }
    return Plan(graph, family, tuple(steps), buffers, arena_bytes, bound)


def _lives(graph: Graph, steps: list[Step]) -> list[Life]:
    last = {name: step.index for step in steps for name in step.node.inputs}
    size = {name: tensor.size for name, tensor in graph.tensors.items()}
    lives = [
        Life(ROW_COUNTER, ROW_COUNTER_BYTES, -1, -1, {}),
        Life(graph.input, size[graph.input], -1, last[graph.input], {}),
    ]
    for step in steps:
        name = step.node.output
        if name == graph.output:
            continue
        distances = {}
        for which, source in enumerate(step.node.inputs):
            distance = step.kernel.safe_distance(graph, step.node, which)
            if distance < DISJOINT:
                distances[source] = distance
        lives.append(Life(name, size[name], step.index, last[name], distances))
    return lives
