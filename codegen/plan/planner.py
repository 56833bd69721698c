"""Graph and core -> plan: what is streamed, which kernels, where everything lives."""

from __future__ import annotations

from collections.abc import Sequence

from codegen.errors import ThumbnetError
from codegen.ir import Graph
from codegen.kernels import DUAL_ISSUE_CORES, FAMILIES, Stage, family_of, stages
from codegen.kernels.base import DISJOINT, UNROLL
from codegen.plan.arena import Life, align, place
from codegen.plan.model import Buffer, Plan, Segment, Step
from codegen.plan.rows import Network, check_rows, make_network
from codegen.plan.segments import OBJECTIVES, Segments

STATE = ""
"""Name of the buffer that holds how far the stream has come."""
STATE_BYTES = 8
_WORTH_SPLITTING = {"balanced": 1.25, "ram": 1.0}
"""Layers that could be fused are computed apart if that lowers the peak by this factor."""
SCRATCH = "/scratch"
"""First part of the names of the memory that kernels use while they make a row."""


def make_plan(
    graph: Graph,
    core: str,
    objective: str = "balanced",
    flash_budget: int | None = None,
    kernels: str | None = None,
    unroll: int = UNROLL,
) -> Plan:
    """Chooses what is streamed, a kernel for every layer and a place for every tensor.

    Args:
        graph: An int8 graph.
        core: Name of the core, for its kernel family.
        objective: One of ``OBJECTIVES``.
        flash_budget: Bytes of constants and code that the kernels should not exceed.
        kernels: Name of a kernel family; None for the core's own.
        unroll: Steps that the body of an inner loop has at most.

    Raises:
        ThumbnetError: A layer that no kernel computes, or an unknown objective.
    """
    if objective not in OBJECTIVES:
        raise ThumbnetError(f"Unknown objective {objective!r}; there are {', '.join(OBJECTIVES)}.")
    family = kernels or family_of(core)
    if family not in FAMILIES:
        raise ThumbnetError(f"Unknown kernels {family!r}; there are {', '.join(FAMILIES)}.")
    segments = _segments_of(graph, family, objective, flash_budget)
    network = segments.network
    ends = segments.partition(objective)
    phase_of = [next(p for p, end in enumerate(ends) if index < end) for index in range(ends[-1])]
    steps = tuple(Step(index, stage, phase_of[index]) for index, stage in enumerate(network.stages))
    lives, slots = _lives(network, steps, ends, segments)
    offsets, arena_bytes, bound = _place_with_rings(lives)
    buffers, scratch = {}, {}
    for life in lives:
        offset, kept = offsets[life.name], slots.get(life.name)
        if kept is None:
            buffer = Buffer(life.name, offset, life.size, 1, 1, life.first, life.last)
            if life.name == STATE:
                buffers[STATE] = buffer
            else:
                scratch[life.first] = buffer
            continue
        storage = network.storage[life.name]
        buffers[life.name] = Buffer(
            life.name, offset, storage.row_bytes, storage.rows, kept, life.first, life.last
        )
    return Plan(
        graph, family, unroll, core in DUAL_ISSUE_CORES, network, steps,
        _segments(network, ends, segments, slots), buffers, scratch, arena_bytes, bound,
    )  # fmt: skip


def _segments_of(graph: Graph, family: str, objective: str, flash_budget: int | None) -> Segments:
    """The stages of the graph, fused or, where that lowers the peak, apart."""

    def segments(apart: frozenset[int]) -> Segments:
        return Segments(graph, make_network(graph, stages(family, graph, flash_budget, apart)))

    apart: frozenset[int] = frozenset()
    best = segments(apart)
    while objective in _WORTH_SPLITTING:
        peak, busiest = best.least_peak
        tried = [
            apart | {stage.layers.start}
            for stage in best.network.stages[busiest.start : busiest.stop]
            if _smaller_inside(graph, stage)
        ]
        found = [(segments(layers), layers) for layers in tried]
        lower = min(found, key=lambda made: made[0].least_peak[0], default=(best, apart))
        if lower[0].least_peak[0] * _WORTH_SPLITTING[objective] >= peak:
            break
        best, apart = lower
    return best


def _smaller_inside(graph: Graph, stage: Stage) -> bool:
    """True if a tensor between the stage's layers is smaller than the one that it makes."""
    made = [graph.tensors[node.output].size for node in stage.nodes]
    return min(made) < made[-1]


def _segments(
    network: Network, ends: Sequence[int], segments: Segments, slots: dict[str, int]
) -> tuple[Segment, ...]:
    """The segments with their rows in order, each replayed to prove it."""
    made = []
    for number, (start, end) in enumerate(zip((0, *ends[:-1]), ends, strict=True)):
        streamed = number == 0 or end - start > 1
        runs = segments.stream(start).until(end) if streamed else ()
        if streamed:
            parts = network.stages[start:end]
            read = {name for stage in parts for name in (*stage.inputs, stage.output)}
            read |= {network.input} if number == 0 else set()
            kept = {n: slots.get(n, network.storage[n].rows) for n in read}
            check_rows(network, range(start, end), runs, kept, number == 0)
        made.append(Segment(start, end, runs))
    return tuple(made)


def _lives(
    network: Network, steps: Sequence[Step], ends: Sequence[int], segments: Segments
) -> tuple[list[Life], dict[str, int]]:
    """What is to be placed, in phases that are segments, and the rows kept of each tensor."""
    phase_of = {step.stage.output: step.phase for step in steps} | {network.input: 0}
    last = {name: step.phase for step in steps for name in step.stage.inputs}
    lives = [Life(STATE, STATE_BYTES, 0, len(ends), {})]
    slots = {}
    for name in (network.input, *(step.stage.output for step in steps)):
        storage = network.storage[name]
        first = phase_of[name]
        start, end = (0, *ends)[first], ends[first]
        slots[name] = segments.slots(first, start, end, name)
        if name == network.output:
            continue
        ring = last[name] == first
        below = {} if ring or first == 0 else _distances(network, segments, (start, end), name)
        lives.append(Life(name, slots[name] * storage.row_bytes, first, last[name], below))
    for phase, (start, end) in enumerate(zip((0, *ends[:-1]), ends, strict=True)):
        if size := segments.scratch(phase, start, end):
            lives.append(Life(f"{SCRATCH} {phase}", size, phase, phase, {}))
    return lives, slots


def _distances(
    network: Network, segments: Segments, ends: tuple[int, int], output: str
) -> dict[str, int]:
    """Safe distances to the tensors from before a segment that it reads."""
    parts = network.stages[slice(*ends)]
    sources = {name for stage in parts for name in stage.inputs} - {s.output for s in parts}
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
