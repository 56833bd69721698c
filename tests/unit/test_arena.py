"""Offsets in the arena, and the distances at which a layer may overwrite its own input."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import SHARED_MODELS, Batch, has
from hypothesis import given, settings
from hypothesis import strategies as st
from random_graphs import GraphMaker, extreme_images, ranges_on

from codegen.build import build_host
from codegen.ir import Graph, Node, Pads, Preprocess, Shape, Tensor, validate
from codegen.kernels import FAMILIES, choose, stages
from codegen.kernels.base import DISJOINT
from codegen.onnx_import import import_onnx
from codegen.ops import AvgPool, Conv, Depthwise, MaxPool
from codegen.passes import simplify
from codegen.plan import Plan, make_plan
from codegen.plan.arena import ALIGNMENT, Life, lower_bound, place
from codegen.plan.rows import make_network
from codegen.plan.segments import Segments
from codegen.qemu import run_host
from codegen.quant.quantize import quantize


@st.composite
def networks(draw: st.DrawFn, tensors: int, largest: int) -> list[Life]:
    """Lives as a network makes them: each step writes one tensor and reads up to two."""
    count = draw(st.integers(1, tensors))
    sizes = [draw(st.integers(1, largest)) for _ in range(count)]
    inputs: list[set[int]] = [set()]
    for step in range(1, count):
        older = draw(st.integers(0, step - 1))
        inputs.append({step - 1, older} if draw(st.booleans()) else {older})
    last = [max((s for s in range(count) if t in inputs[s]), default=t) for t in range(count)]
    lives = []
    for step in range(count):
        below = {
            f"t{source}": draw(st.integers(0, sizes[source] + 4))
            for source in sorted(inputs[step])
            if draw(st.booleans())
        }
        lives.append(Life(f"t{step}", sizes[step], step, last[step], below))
    return lives


def aligned(value: int) -> int:
    return -(-value // ALIGNMENT) * ALIGNMENT


def may_lie(a: Life, at: int, b: Life, bt: int) -> bool:
    """Whether two tensors may have these offsets: the rule, byte ranges and distances."""
    if a.first > b.last or b.first > a.last:
        return True
    if at + a.size <= bt or bt + b.size <= at:
        return True
    for source, x, output, y in ((a, at, b, bt), (b, bt, a, at)):
        if source.name in output.below and source.last == output.first:
            return y + output.below[source.name] <= x
    return False


def extent(lives: list[Life], offsets: dict[str, int]) -> int:
    return max(offsets[life.name] + life.size for life in lives)


def optimum(lives: list[Life]) -> int:
    """The smallest arena, by trying every offset of every tensor."""
    best = [sum(aligned(life.size) for life in lives)]

    def descend(index: int, offsets: list[int]) -> None:
        if index == len(lives):
            best[0] = min(
                best[0], max(o + life.size for o, life in zip(offsets, lives, strict=True))
            )
            return
        life = lives[index]
        for offset in range(0, best[0] - life.size + 1, ALIGNMENT):
            if offset + life.size > best[0]:
                return
            others = zip(lives[:index], offsets, strict=True)
            if all(may_lie(other, o, life, offset) for other, o in others):
                descend(index + 1, [*offsets, offset])

    descend(0, [])
    return best[0]


@settings(max_examples=25, deadline=None)
@given(networks(9, 300))
def test_no_two_living_tensors_collide(lives: list[Life]) -> None:
    offsets, size, bound = place(lives)
    assert offsets.keys() == {life.name for life in lives}
    assert all(offset >= 0 and offset % ALIGNMENT == 0 for offset in offsets.values())
    assert size == extent(lives, offsets)
    for a, b in itertools.combinations(lives, 2):
        assert may_lie(a, offsets[a.name], b, offsets[b.name]), (a, b, offsets)
    assert size >= bound >= max(life.size for life in lives)


@settings(max_examples=60, deadline=None)
@given(networks(5, 20))
def test_small_networks_are_optimal(lives: list[Life]) -> None:
    best = optimum(lives)
    _, size, bound = place(lives)
    assert size == best
    assert lower_bound(lives) == bound <= best


def test_a_chain_that_slides_down() -> None:
    """Each tensor starts a little below the one before it; two buffers in turn need far more."""
    lives = [Life("t0", 1000, 0, 1, {})]
    lives += [Life(f"t{i}", 1000, i, i + 1, {f"t{i - 1}": 40}) for i in range(1, 15)]
    assert place(lives)[1] == 1000 + 14 * 40


def test_branches_that_all_live_until_they_are_joined() -> None:
    """Many tensors at once: the bound is still exact, and found without trying every order."""
    count = 12
    source = Life("x", 40, 0, count, {})
    branches = [Life(f"b{i}", 8 + 4 * i, i, count, {}) for i in range(1, count)]
    joined = Life("y", sum(branch.size for branch in branches), count, count + 1, {})
    lives = [source, *branches, joined]
    _, size, bound = place(lives)
    assert size == bound == 40 + 2 * joined.size


def test_in_place() -> None:
    lives = [Life("x", 100, 0, 1, {}), Life("y", 100, 1, 2, {"x": 0})]
    assert place(lives)[1:] == (100, 100)


def test_distance_is_kept_and_used() -> None:
    lives = [Life("x", 100, 0, 1, {}), Life("y", 100, 1, 2, {"x": 13})]
    offsets, size, bound = place(lives)
    assert (size, bound) == (116, 116)
    assert offsets["x"] - offsets["y"] == 16


def test_an_input_that_lives_on_is_not_overwritten() -> None:
    lives = [
        Life("x", 100, 0, 2, {}),
        Life("y", 100, 1, 2, {"x": 0}),
        Life("z", 100, 2, 3, {"x": 0, "y": 0}),
    ]
    offsets, size, _ = place(lives)
    assert size == 200
    assert {offsets["x"], offsets["y"]} == {0, 100}


def test_same_lives_same_offsets() -> None:
    rng = np.random.default_rng(0)
    lives = [Life(f"t{i}", int(rng.integers(1, 99)), i, i + 3, {}) for i in range(20)]
    assert place(lives) == place(lives)


@pytest.mark.models
@pytest.mark.skipif(not SHARED_MODELS.is_dir(), reason=f"{SHARED_MODELS} is not there")
@pytest.mark.parametrize("path", sorted(SHARED_MODELS.glob("*.onnx")), ids=lambda path: path.stem)
def test_published_models_are_near_the_bound(path: Path) -> None:
    graph = simplify(import_onnx(path).graph)
    for objective in ("balanced", "whole"):
        plan = make_plan(graph, "cortex-m3", objective)
        assert plan.lower_bound <= plan.arena_bytes <= 1.02 * plan.lower_bound


# The safe distances of the kernels: the generated C runs with a layer's output as many bytes below
# its input as the planner may put it, and must compute what the simulator computes.


def between(node: Node, shape: Shape) -> Graph:
    """An int8 network of three layers: a 1x1 depthwise one, ``node`` from t0 to t1, another one."""
    shapes = (shape,) * len(node.inputs)
    out = node.infer(*shapes)
    layer = replace(node, inputs=("t0",) * len(node.inputs), output="t1")
    nodes = (unchanged("in", "t0", shape), layer, unchanged("t1", "y", out))
    shapes = (shape, shape, out, out)
    names = ("in", "t0", "t1", "y")
    tensors = {n: Tensor(n, s) for n, s in zip(names, shapes, strict=True)}
    pre = Preprocess((0.0,) * shape[2], (1.0,) * shape[2])
    graph = validate(Graph("between", tensors, nodes, "in", "y", pre), "test")
    images = np.random.default_rng(0).normal(0, 1, (4, *shape)).astype(np.float32)
    return quantize(graph, ranges_on(graph, images))


def unchanged(x: str, y: str, shape: Shape) -> Depthwise:
    ones, zeros = np.ones((1, 1, shape[2], 1), np.float32), np.zeros(shape[2], np.float32)
    return Depthwise(f"{x} to {y}", (x,), y, ones, zeros)


def distance(graph: Graph, kernels: str) -> int:
    network = make_network(graph, stages(kernels, graph))
    return Segments(graph, network).distance(1, 2, "t1", "t0")


def overlapping_plan(graph: Graph, below: int, kernels: str) -> Plan:
    """Whole layers, with t1 ``below`` bytes below t0 and everything else out of the way."""
    plan = make_plan(graph, "cortex-m4", "whole", kernels=kernels)
    t0, t1 = plan.buffers["t0"], plan.buffers["t1"]
    assert t0.whole
    assert t1.whole
    others = (*plan.buffers.values(), *plan.scratch.values())
    base = aligned(max(b.offset + b.size for b in others))
    moved = {"t0": replace(t0, offset=base + below), "t1": replace(t1, offset=base)}
    end = max(b.offset + b.size for b in moved.values())
    return replace(plan, buffers={**plan.buffers, **moved}, arena_bytes=aligned(end))


def random_layers(seed: int, count: int) -> list[Graph]:
    """Networks around a random layer whose output may overlap its input."""
    kinds: list[Callable[[GraphMaker], Callable[[str], str]]] = [
        lambda maker: maker.conv,
        lambda maker: maker.pointwise,
        lambda maker: maker.depthwise,
        lambda maker: maker.depthwise_5x5,
        lambda maker: maker.pool,
        lambda maker: maker.add,
        lambda maker: maker.softmax,
        lambda maker: maker.concat,
        lambda maker: maker.lookup,
        lambda maker: maker.prelu,
        lambda maker: maker.lrn,
        lambda maker: maker.grouped,
        lambda maker: maker.mul,
    ]
    graphs: list[Graph] = []
    for number in itertools.count(seed):
        maker = GraphMaker(number)
        maker._grow("in", kinds[number % len(kinds)](maker))
        graph = between(maker.nodes[0], maker.tensors["in"].shape)
        if distance(graph, "portable") < DISJOINT:
            graphs.append(graph)
        if len(graphs) == count:
            break
    return graphs


def run_overlapped(graphs: list[Graph], below: list[int], folder: Path, kernels: str) -> list[int]:
    """Indices of the graphs whose output is not the simulator's."""
    batch = Batch(graphs, [extreme_images(graph, seed) for seed, graph in enumerate(graphs)])
    plans = [overlapping_plan(graph, b, kernels) for graph, b in zip(graphs, below, strict=True)]
    sources = batch.write(folder / "c", plans=plans)
    program = build_host(sources, batch.NAME, folder / "b", check=False, optimize="-O1")
    output = run_host(program, batch.inputs, folder / "run", 60.0).output
    found, start = [], 0
    for index, graph in enumerate(graphs):
        want = batch.expected[index][graph.output]
        size = graph.output_tensor.size
        if not np.array_equal(output[:, start : start + size], want.reshape(len(want), -1)):
            found.append(index)
        start += size
    return found


@has("gcc")
@pytest.mark.parametrize("kernels", FAMILIES)
@pytest.mark.parametrize("seed", [0, 1000])
def test_kernels_work_at_their_safe_distance(seed: int, kernels: str, tmp_path: Path) -> None:
    graphs = random_layers(seed, 42)
    extra = np.random.default_rng(seed).integers(0, 30, len(graphs))
    extra[::2] = 0
    below = [
        aligned(max(distance(graph, kernels), 0)) + ALIGNMENT * int(more)
        for graph, more in zip(graphs, extra, strict=True)
    ]
    assert run_overlapped(graphs, below, tmp_path, kernels) == []


def test_the_random_layers_meet_every_kernel() -> None:
    met = {choose("portable", g, g.nodes[1])[0].name for g in random_layers(0, 42)}
    never = {"pad"}  # its output never overlaps
    assert met == {kernel.name for kernel in FAMILIES["portable"]} - never


@has("gcc")
@pytest.mark.parametrize("kernels", FAMILIES)
def test_half_the_safe_distance_is_too_little(kernels: str, tmp_path: Path) -> None:
    """The comparison would find a distance that is too small, for every kernel that has one."""
    rng = np.random.default_rng(5)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(0, 1, shape).astype(np.float32)

    same = Pads(1, 1, 1, 1)
    graphs = [
        between(Conv("c", ("x",), "y", normal(8, 1, 1, 4), normal(8)), (6, 6, 4)),
        between(Conv("c", ("x",), "y", normal(8, 3, 3, 4), normal(8), pads=same), (6, 6, 4)),
        between(Depthwise("d", ("x",), "y", normal(3, 3, 4, 1), normal(4), pads=same), (6, 6, 4)),
        between(Depthwise("d", ("x",), "y", normal(3, 3, 4, 2), normal(8)), (7, 7, 4)),
        between(AvgPool("p", ("x",), "y", (3, 3), (1, 1), same), (6, 6, 4)),
        between(MaxPool("p", ("x",), "y", (3, 3), (1, 1), same), (6, 6, 4)),
    ]
    half = [aligned(distance(graph, kernels) // 2) for graph in graphs]
    assert run_overlapped(graphs, half, tmp_path, kernels) == list(range(len(graphs)))
