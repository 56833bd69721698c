"""Rows in order, and rings that are just large enough: what the plan proves of itself."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from random_graphs import random_quantized, ranges_on
from tiny_graphs import TINY

from codegen.emit import constant_bytes
from codegen.errors import ThumbnetError
from codegen.ir import NO_BOUNDS, Bounds, Graph, Node, Pads, Preprocess, Tensor, validate
from codegen.kernels import FAMILIES, stages
from codegen.make_cmodel import make_cmodel
from codegen.ops import Add, Conv, Depthwise
from codegen.plan import OBJECTIVES, make_plan
from codegen.plan.rows import Network, Stream, check_rows, make_network, row_window
from codegen.plan.segments import Segments
from codegen.quant.quantize import quantize

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
            for which, tensor in enumerate(stage.inputs):
                window = row_window(stage.nodes[0], which)
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


def test_the_scratch_memory_holds_what_every_stage_needs(kernels: str) -> None:
    for graph in (*GRAPHS.values(), read_again_later()):
        for objective in OBJECTIVES:
            plan = make_plan(graph, "cortex-m4", objective, kernels=kernels)
            for step in plan.steps:
                stage = step.stage
                ring = not plan.buffers[stage.inputs[0]].whole
                whole = not plan.streamed(step)
                needed = stage.kernel.scratch_bytes(graph, stage.nodes[0], ring, whole)
                assert needed == 0 or needed <= plan.scratch[step.phase].size


def test_a_tensor_that_is_read_behind_its_segment_is_no_ring() -> None:
    """Its reader may have less scratch memory only where its input really is a ring."""
    graph = read_again_later()
    network = make_network(graph, stages("dsp", graph))
    segments, count = Segments(graph, network), len(network.stages)
    met = 0
    for start, end in itertools.combinations(range(count + 1), 2):
        for stage in network.stages[start:end]:
            source = stage.inputs[0]
            if any(source in later.inputs for later in network.stages[end:]):
                met += 1
                rows = network.storage[source].rows
                assert segments.slots(1, start, end, source) == rows
                needed = stage.kernel.scratch_bytes(graph, stage.nodes[0], False, False)
                if end - start > 1:
                    assert segments.scratch(1, start, end) >= needed
    assert met > 10


def read_again_later() -> Graph:
    """Two inverted residual blocks of rows long enough to be gathered in pieces."""
    rng = np.random.default_rng(0)
    shape, wide = (16, 64, 24), 72
    tensors, nodes = {"in": Tensor("in", shape)}, []

    def add(node: Node) -> str:
        nodes.append(node)
        out = node.infer(*(tensors[name].shape for name in node.inputs))
        tensors[node.output] = Tensor(node.output, out)
        return node.output

    def pointwise(x: str, y: str, outputs: int, bounds: Bounds = NO_BOUNDS) -> str:
        weight = rng.normal(0, 0.1, (outputs, 1, 1, tensors[x].shape[2])).astype(np.float32)
        return add(Conv(y, (x,), y, weight, np.zeros(outputs, np.float32), bounds=bounds))

    x = pointwise("in", "first", shape[2])
    for i in range(2):
        y = pointwise(x, f"wide{i}", wide, Bounds(0.0, 6.0))
        weight = rng.normal(0, 0.3, (3, 3, wide, 1)).astype(np.float32)
        bias, pads = np.zeros(wide, np.float32), Pads(1, 1, 1, 1)
        y = add(Depthwise(f"dw{i}", (y,), f"dw{i}", weight, bias, pads=pads))
        y = pointwise(y, f"narrow{i}", shape[2])
        x = add(Add(f"sum{i}", (x, y), f"sum{i}"))
    pre = Preprocess((0.0,) * shape[2], (1.0,) * shape[2])
    graph = validate(Graph("again", tensors, tuple(nodes), "in", x, pre), "test")
    images = rng.normal(0, 1, (2, *shape)).astype(np.float32)
    return quantize(graph, ranges_on(graph, images))


def test_a_flash_budget_is_kept_by_the_stages_that_lose_least() -> None:
    graph = read_again_later()

    def planned(budget: int | None) -> tuple[int, int, int]:
        """Estimated flash and cycles of the products, and the constants as they are."""
        plan = make_plan(graph, "cortex-m4", flash_budget=budget)
        found = [step.stage for step in plan.steps]
        constants = constant_bytes(make_cmodel(plan, "net"))
        cycles = sum(stage.variant.cycles for stage in found if stage.variant)
        return sum(s.flash_bytes for s in found), cycles, constants.weights + constants.tables

    most, fewest_cycles, _ = planned(None)
    least, most_cycles, _ = planned(0)
    assert least < most
    for budget in range(least, most, (most - least) // 7):
        flash, cycles, constants = planned(budget)
        assert constants < flash <= budget
        assert fewest_cycles < cycles <= most_cycles
