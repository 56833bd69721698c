"""Rows in order, and rings that are just large enough: what the plan proves of itself."""

from __future__ import annotations

from collections import Counter

import pytest
from random_graphs import random_quantized
from tiny_graphs import TINY

from codegen.errors import ThumbnetError
from codegen.ir import Graph
from codegen.kernels import FAMILIES, stages
from codegen.plan import OBJECTIVES, make_plan
from codegen.plan.rows import Network, Stream, check_rows, make_network, row_window

GRAPHS: dict[str, Graph] = {name: make() for name, make in TINY.items()}
GRAPHS |= {f"random {seed}": random_quantized(seed)[1] for seed in range(12)}


def slots_of(network: Network, stream: Stream) -> dict[str, int]:
    return {name: stream.slots.get(name, s.rows) for name, s in network.storage.items()}


@pytest.fixture(params=FAMILIES)
def kernels(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("name", GRAPHS)
def test_every_row_is_made_once_and_after_what_it_needs(name: str, kernels: str) -> None:
    network = make_network(GRAPHS[name], stages(kernels, GRAPHS[name]))
    made: Counter[tuple[int, int]] = Counter()
    rows = dict.fromkeys(network.storage, 0)
    for part in Stream(network, 0).runs:
        rows[network.input] += 1
        for index, row in part:
            stage = network.stages[index]
            window = row_window(stage.nodes[0])
            for tensor in stage.inputs:
                needed = window.needs(row, network.storage[tensor].rows)
                assert rows[tensor] >= needed.stop
            rows[stage.output] += 1
            made[index, row] += 1
    wanted = {
        (index, row)
        for index, stage in enumerate(network.stages)
        for row in range(network.storage[stage.output].rows)
    }
    assert made == dict.fromkeys(wanted, 1)


@pytest.mark.parametrize("name", GRAPHS)
def test_a_ring_with_a_slot_less_is_found(name: str, kernels: str) -> None:
    network = make_network(GRAPHS[name], stages(kernels, GRAPHS[name]))
    stream = Stream(network, 0)
    slots = slots_of(network, stream)
    every = range(len(network.stages))
    check_rows(network, every, stream.runs, slots, image=True)
    for tensor in slots:
        if slots[tensor] > 1 and tensor != network.output:
            smaller = slots | {tensor: slots[tensor] - 1}
            with pytest.raises(ThumbnetError, match=r"row -?\d+ of .* is not there"):
                check_rows(network, every, stream.runs, smaller, image=True)


def test_a_row_out_of_order_and_one_left_out_are_found() -> None:
    network = make_network(GRAPHS["v1"], stages("portable", GRAPHS["v1"]))
    stream = Stream(network, 0)
    slots, every = slots_of(network, stream), range(len(network.stages))
    *parts, last = stream.runs
    with pytest.raises(ThumbnetError, match="is not finished"):
        check_rows(network, every, (*parts, last[:-1]), slots, image=True)
    swapped = (*parts, (*last[:-2], last[-1], last[-2]))
    with pytest.raises(ThumbnetError, match=r"out of order|is not there"):
        check_rows(network, every, swapped, slots, image=True)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_plan_keeps_every_row_inside_its_arena(objective: str, kernels: str) -> None:
    for graph in GRAPHS.values():
        plan = make_plan(graph, "cortex-m4", objective, kernels=kernels)
        for buffer in (*plan.buffers.values(), *plan.scratch.values()):
            assert buffer.offset >= 0
            assert buffer.offset + buffer.size <= plan.arena_bytes
