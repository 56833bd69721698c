"""Random graphs: the C of a desktop computes the simulator's bytes, in every layer."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import Batch, has
from random_graphs import extreme_images, random_quantized, ranges_on

from codegen.build import build_host
from codegen.errors import ThumbnetError
from codegen.ir import Graph, Node, Preprocess, Tensor
from codegen.kernels import FAMILIES
from codegen.ops import AvgPool, Conv, Depthwise, Lookup
from codegen.plan import Plan, make_plan
from codegen.qemu import run_host
from codegen.quant.quantize import quantize

CHUNK = 10
TIMEOUT = 120.0


def chunk_of(number: int) -> Batch:
    graphs = [random_quantized(seed)[1] for seed in range(number * CHUNK, (number + 1) * CHUNK)]
    images = [extreme_images(graph, seed) for seed, graph in enumerate(graphs)]
    return Batch(graphs, images)


def run(batch: Batch, folder: Path, **options: object) -> int:
    sources = batch.write(folder / "c")
    program = build_host(sources, batch.NAME, folder / "b", werror=True, **options)
    return batch.check(run_host(program, batch.inputs, folder / "run", TIMEOUT), folder / "traces")


@pytest.mark.parametrize("number", range(20))
def test_every_layer_is_the_simulator_s(number: int, tmp_path: Path) -> None:
    assert run(chunk_of(number), tmp_path, check=True) > 10_000


VARIANTS: dict[str, dict[str, Any]] = {
    "ram": {"objective": "ram"},
    "cycles": {"objective": "cycles"},
    "whole": {"objective": "whole"},
    "packed": {"flash_budget": 0},
    "packed, whole": {"flash_budget": 0, "objective": "whole"},
    "portable": {"kernels": "portable"},
    "portable, whole": {"kernels": "portable", "objective": "whole"},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_of_the_plan(variant: str, tmp_path: Path) -> None:
    """More rows streamed, or none, and each kernel form: the same bytes."""
    batch = chunk_of(4)
    plans = [make_plan(graph, "cortex-m4", **VARIANTS[variant]) for graph in batch.graphs]
    batch.write(tmp_path / "c", plans=plans)
    program = build_host(tmp_path / "c", batch.NAME, tmp_path / "b", True, sanitize=True)
    batch.check(run_host(program, batch.inputs, tmp_path / "run", TIMEOUT), tmp_path / "traces")


def readers_of_planes(plan: Plan) -> list[Node]:
    storage = plan.network.storage
    stages = [step.stage for step in plan.steps]
    return [stage.nodes[0] for stage in stages if storage[stage.inputs[0]].planar]


def test_the_graphs_meet_every_kernel_of_the_family() -> None:
    graphs = [graph for number in range(20) for graph in chunk_of(number).graphs]
    for budget in (None, 0):
        plans = [make_plan(graph, "cortex-m4", flash_budget=budget) for graph in graphs]
        met = Counter(step.stage.kernel for plan in plans for step in plan.steps)
        assert all(met[kernel] >= 15 for kernel in FAMILIES["dsp"])
        planar = Counter(type(reader) for plan in plans for reader in readers_of_planes(plan))
        assert min(planar[Lookup], planar[Depthwise]) >= 10


NASTY = (
    "a */ b",
    "/* a",
    "a\\",
    "a??/",
    "a???/b",
    "line\nline",
    "\u4e2d\u6587 caf\u00e9",
    '"quoted" \x00\x07',
    "%s%n #define x",
    "*\\\n/",
    "*\\",
    "{{ m.name }} {% raw %}",
)


def test_names_that_would_break_c(tmp_path: Path) -> None:
    """Names of nodes, graphs and classes get into comments, made harmless."""
    graphs = []
    for index, name in enumerate(NASTY):
        graph = random_quantized(index)[1]
        nodes = tuple(replace(node, name=f"{name}{i}") for i, node in enumerate(graph.nodes))
        graphs.append(replace(graph, nodes=nodes, name=name, classes=(name, f"x{name}", "")))
    images = [np.zeros((1, *graph.input_tensor.shape), np.int8) for graph in graphs]
    batch = Batch(graphs, images)
    run(batch, tmp_path, check=True)
    for path in (tmp_path / "c").glob("net*"):
        text = path.read_bytes()
        assert all(byte == 10 or 32 <= byte < 127 for byte in text), path
        assert b"??/" not in text


@pytest.mark.parametrize("optimize", ["-O0", "-O3"])
def test_production_build(optimize: str, tmp_path: Path) -> None:
    run(chunk_of(20), tmp_path, check=False, optimize=optimize)


@pytest.mark.parametrize("number", range(3))
def test_under_sanitizers(number: int, tmp_path: Path) -> None:
    run(chunk_of(number), tmp_path, check=True, sanitize=True, optimize="-O1")


@has("clang")
@pytest.mark.parametrize("number", range(2))
def test_clang(number: int, tmp_path: Path) -> None:
    run(chunk_of(number), tmp_path, check=True, cc="clang")


def test_portable_multiplication(tmp_path: Path) -> None:
    """The form for cores without a long multiplication, on all graphs with a shift or not."""
    run(chunk_of(3), tmp_path, check=True, defines=["THUMBNET_MUL32"], sanitize=True)


def single(node: Conv | Depthwise | AvgPool, shape: tuple[int, int, int]) -> Graph:
    """A network of one layer whose input has values from 0 to 255: zero point -128."""
    tensors = {"in": Tensor("in", shape), "out": Tensor("out", node.infer(shape))}
    pre = Preprocess((0.0,) * shape[2], (1.0,) * shape[2])
    graph = Graph("single", tensors, (node,), "in", "out", pre)
    images = np.stack([np.zeros(shape), np.full(shape, 255.0)]).astype(np.float32)
    return quantize(graph, ranges_on(graph, images))


def at_the_bound() -> list[Graph]:
    """Sums that come as near to the largest that is allowed as they can."""
    zero = np.zeros(2, np.float32)
    signs = np.array([[1.0], [-1.0]], np.float32)
    # 256 * 127 * 66,052 is the last multiple below 2**31.
    wide = np.repeat(signs, 66_052, axis=1).reshape(2, 1, 1, -1)
    # float32 sums of the simulator: 256 * 127 * 516 is below 2**24.
    deep = np.repeat(signs.T, 12 * 43, axis=0).reshape(12, 43, 2, 1)
    return [
        single(Conv("dense", ("in",), "out", wide, zero), (1, 1, 66_052)),
        single(Depthwise("deep", ("in",), "out", deep, zero), (12, 43, 2)),
        single(AvgPool("pool", ("in",), "out", (255, 257)), (255, 257, 1)),
    ]


@pytest.mark.parametrize("optimize", ["-O0", "-O2"])
def test_at_the_proved_bound(optimize: str, tmp_path: Path) -> None:
    graphs = at_the_bound()
    batch = Batch(graphs, [extreme_images(graph, 0) for graph in graphs])
    run(batch, tmp_path, check=True, sanitize=optimize == "-O0", optimize=optimize)


def test_beyond_the_bound_is_refused() -> None:
    zero = np.zeros(1, np.float32)
    with pytest.raises(ThumbnetError, match=r"'dense' \(conv\).*overflow 32 bits"):
        node = Conv("dense", ("in",), "out", np.ones((1, 1, 1, 66_053), np.float32), zero)
        single(node, (1, 1, 66_053))
    with pytest.raises(ThumbnetError, match=r"'deep' \(depthwise\).*12x44 kernel"):
        node = Depthwise("deep", ("in",), "out", np.ones((12, 44, 1, 1), np.float32), zero)
        single(node, (12, 44, 1))
    with pytest.raises(ThumbnetError, match=r"'pool' \(avgpool\).*65,536 elements"):
        single(AvgPool("pool", ("in",), "out", (256, 256)), (256, 256, 1))


def test_a_wrong_byte_is_found(tmp_path: Path) -> None:
    """The comparison itself can fail: one bias is one too large."""
    batch = chunk_of(0)
    folder = batch.write(tmp_path / "c")
    source = folder / "net1_weights.c"
    text = source.read_text(encoding="ascii")
    array = r"(net1_0_(bias|table)\[.*\n *-?\d+)"
    changed, times = re.subn(array, r"\1 + 100000000", text, count=1)
    assert times == 1
    source.write_text(changed, encoding="ascii")
    program = build_host(folder, batch.NAME, tmp_path / "b", check=True)
    result = run_host(program, batch.inputs, tmp_path / "run", TIMEOUT)
    with pytest.raises(AssertionError, match=r"net1: layer 0 .*expected"):
        batch.check(result, tmp_path / "traces")
