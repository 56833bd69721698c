"""Graph and core -> plan: what is streamed, which kernels, where everything lives."""

from __future__ import annotations

from collections.abc import Sequence

from codegen.errors import ThumbnetError
from codegen.ir import Graph
from codegen.kernels import choose, family_of
from codegen.kernels.base import DISJOINT
from codegen.plan.arena import Life, align, place
from codegen.plan.model import Buffer, Plan, Segment, Step
from codegen.plan.rows import check_rows
from codegen.plan.segments import OBJECTIVES, Segments

STATE = ""
"""Name of the buffer that holds how far the stream has come."""
STATE_BYTES = 8


def make_plan(graph: Graph, core: str, objective: str = "balanced") -> Plan:
    """Chooses what is streamed, a kernel for every layer and a place for every tensor.

    Args:
        graph: An int8 graph.
        core: Name of the core, for its kernel family.
        objective: One of ``OBJECTIVES``.

    Raises:
        ThumbnetError: A layer that no kernel computes, or an unknown objective.
    """
    if objective not in OBJECTIVES:
        raise ThumbnetError(f"Unknown objective {objective!r}; there are {', '.join(OBJECTIVES)}.")
    family = family_of(core)
    chosen = [choose(family, graph, node) for node in graph.nodes]

    def safe_distance(index: int, which: int) -> int:
        return chosen[index][0].safe_distance(graph, graph.nodes[index], which)

    segments = Segments(graph, safe_distance)
    ends = segments.partition(objective)
    phase_of = [next(p for p, end in enumerate(ends) if index < end) for index in range(ends[-1])]
    steps = tuple(
        Step(index, graph.nodes[index], kernel, refused, phase_of[index])
        for index, (kernel, refused) in enumerate(chosen)
    )
    lives, rows = _lives(graph, steps, ends, segments)
    offsets, arena_bytes, bound = _place_with_rings(lives)
    buffers = {STATE: Buffer(STATE, offsets[STATE], STATE_BYTES, 1, 1, 0, len(ends))}
    for life in lives:
        if life.name != STATE:
            count, width, channels = graph.tensors[life.name].shape
            buffers[life.name] = Buffer(
                life.name, offsets[life.name], width * channels, count, rows[life.name],
                life.first, life.last,
            )  # fmt: skip
    return Plan(
        graph, family, steps, _segments(graph, ends, segments, rows), buffers, arena_bytes, bound
    )


def _segments(
    graph: Graph, ends: Sequence[int], segments: Segments, rows: dict[str, int]
) -> tuple[Segment, ...]:
    """The segments with their rows in order, each replayed to prove it."""
    made = []
    for number, (start, end) in enumerate(zip((0, *ends[:-1]), ends, strict=True)):
        streamed = number == 0 or end - start > 1
        runs = segments.stream(start).until(end) if streamed else ()
        if streamed:
            nodes = graph.nodes[start:end]
            read = {name for node in nodes for name in (*node.inputs, node.output)}
            slots = {n: rows.get(n, graph.tensors[n].shape[0]) for n in (*read, graph.input)}
            check_rows(graph, nodes, runs, slots, number == 0)
        made.append(Segment(start, end, runs))
    return tuple(made)


def _lives(
    graph: Graph, steps: Sequence[Step], ends: Sequence[int], segments: Segments
) -> tuple[list[Life], dict[str, int]]:
    """What is to be placed, in phases that are segments, and the rows kept of each tensor."""
    phase_of = {step.node.output: step.phase for step in steps} | {graph.input: 0}
    last = {name: step.phase for step in steps for name in step.node.inputs}
    lives = [Life(STATE, STATE_BYTES, 0, len(ends), {})]
    rows = {}
    for name in (graph.input, *(step.node.output for step in steps)):
        count, width, channels = graph.tensors[name].shape
        first = phase_of[name]
        start, end = (0, *ends)[first], ends[first]
        ring = last.get(name) == first and (first == 0 or end - start > 1)
        rows[name] = segments.stream(start).slots[name] if ring else count
        if name == graph.output:
            continue
        below = {} if ring or first == 0 else _distances(graph, segments, (start, end), name)
        lives.append(Life(name, rows[name] * width * channels, first, last[name], below))
    return lives, rows


def _distances(
    graph: Graph, segments: Segments, ends: tuple[int, int], output: str
) -> dict[str, int]:
    """Safe distances to the tensors from before a segment that it reads."""
    nodes = graph.nodes[slice(*ends)]
    sources = {name for node in nodes for name in node.inputs} - {node.output for node in nodes}
    distances = {name: segments.distance(*ends, output, name) for name in sorted(sources)}
    return {name: distance for name, distance in distances.items() if distance < DISJOINT}


def _place_with_rings(lives: Sequence[Life]) -> tuple[dict[str, int], int, int]:
    """As ``place``; the rings of a segment are laid out as one block."""
    blocks: dict[int, dict[str, int]] = {}
    sizes: dict[int, int] = {}
    others = []
    for life in lives:
        if life.first == life.last and not life.below:
            sizes.setdefault(life.first, 0)
            blocks.setdefault(life.first, {})[life.name] = sizes[life.first]
            sizes[life.first] = align(sizes[life.first] + life.size)
        else:
            others.append(life)
    rings = [Life(f"/rings {phase}", size, phase, phase, {}) for phase, size in sizes.items()]
    offsets, arena_bytes, bound = place([*rings, *others])
    for phase, inside in blocks.items():
        start = offsets.pop(f"/rings {phase}")
        offsets |= {name: start + at for name, at in inside.items()}
    return offsets, arena_bytes, bound
