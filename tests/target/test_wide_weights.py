"""Weights of more than eight bits, as the zero points of weights in quantized files ask for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import Batch, has
from random_graphs import extreme_images, random_quantized
from wide_graphs import widened

from codegen.boards import load_board, load_core
from codegen.build import build_host, build_target
from codegen.ir import Graph, Preprocess, QParams, Requant, Tensor, validate
from codegen.ops import Conv, Depthwise
from codegen.plan import make_plan
from codegen.qemu import run_host, run_qemu

TIMEOUT = 300.0


def pointwise(pixels: int, inputs: int, outputs: int, wide: int) -> Graph:
    """A pointwise layer of which ``wide`` inputs have weights of nine bits."""
    rng = np.random.default_rng(wide)
    weight = rng.integers(-127, 128, (outputs, inputs)).astype(np.int16)
    for index in rng.choice(inputs, wide, replace=False):
        weight[rng.integers(outputs), index] = rng.choice([-255, -128, 128, 200, 255])
    weight[0, 0] = 255  # the pair that opens the sums is read again, too
    conv = Conv(
        "conv",
        ("in",),
        "out",
        weight.reshape(outputs, 1, 1, inputs),
        rng.integers(-9999, 9999, outputs).astype(np.int32),
        requant=Requant(rng.integers(1 << 19, 1 << 20, outputs).astype(np.int32), 0, 5),
    )
    shape = (3, pixels, inputs)
    tensors = {
        "in": Tensor("in", shape, QParams(0.02, -100)),
        "out": Tensor("out", conv.infer(shape), QParams(0.1, 5)),
    }
    pre = Preprocess((0.0,) * inputs, (1.0,) * inputs)
    return validate(Graph("wide", tensors, (conv,), "in", "out", pre), "test", integer=True)


POINTWISE = [
    pointwise(*sizes)
    for sizes in ((8, 6, 5, 2), (7, 40, 8, 12), (4, 24, 16, 11), (1, 300, 30, 13), (5, 100, 9, 3))
]
RANDOM = [widened(random_quantized(seed)[1], seed) for seed in range(30)]


def of(graphs: list[Graph], budget: int | None = None) -> Batch:
    return Batch(graphs, [extreme_images(graph, seed) for seed, graph in enumerate(graphs)])


def test_the_graphs_have_wide_weights_of_every_kind() -> None:
    wide = [n for g in RANDOM for n in g.nodes if isinstance(n, Conv | Depthwise)]
    wide = [n for n in wide if n.weight.dtype == np.int16]
    assert sum(isinstance(n, Depthwise) for n in wide) >= 10
    assert sum(isinstance(n, Conv) and n.pointwise for n in wide) >= 10
    assert sum(isinstance(n, Conv) and not n.pointwise for n in wide) >= 10


def test_the_product_takes_few_of_them() -> None:
    for graph in POINTWISE:
        (step,) = make_plan(graph, "cortex-m4").steps
        assert step.stage.kernel.family == "dsp"
    many = pointwise(4, 64, 8, 60)
    (step,) = make_plan(many, "cortex-m4").steps
    assert step.stage.kernel.family == "portable"
    assert any("many weights of more than 8 bits" in reason for reason in step.stage.refused)


@pytest.mark.parametrize("budget", [None, 0], ids=["weight chain", "packed"])
@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m0plus"])
def test_on_the_host(core: str, budget: int | None, tmp_path: Path) -> None:
    batch = of([*POINTWISE, *RANDOM])
    plans = [make_plan(graph, core, flash_budget=budget) for graph in batch.graphs]
    sources = batch.write(tmp_path / "c", plans=plans)
    program = build_host(sources, batch.NAME, tmp_path / "b", check=True, sanitize=True)
    batch.check(run_host(program, batch.inputs, tmp_path / "run", TIMEOUT), tmp_path / "traces")


@pytest.mark.qemu
@has("arm-none-eabi-gcc")
@has("qemu-system-arm")
@pytest.mark.parametrize("budget", [None, 0], ids=["weight chain", "packed"])
@pytest.mark.parametrize("core_name", ["cortex-m4", "cortex-m0plus", "cortex-m33"])
def test_on_cores(core_name: str, budget: int | None, tmp_path: Path) -> None:
    core = load_core(core_name)
    for number, graphs in enumerate((POINTWISE, RANDOM[:15], RANDOM[15:30])):
        folder, batch = tmp_path / str(number), of(list(graphs))
        plans = [make_plan(graph, core_name, flash_budget=budget) for graph in graphs]
        sources = batch.write(folder / "c", plans=plans)
        board = load_board(core.qemu_board)
        elf = build_target(sources, batch.NAME, board, core, folder / "b", check=True)
        result = run_qemu(elf, board, batch.inputs, folder / "run", TIMEOUT)
        batch.check(result, folder / "traces")


def test_narrow_weights_in_halfwords_are_the_same(tmp_path: Path) -> None:
    """Halfwords for weights that would do with bytes change nothing but the size."""
    graph = random_quantized(3)[1]
    nodes = tuple(
        replace(n, weight=n.weight.astype(np.int16)) if isinstance(n, Conv | Depthwise) else n
        for n in graph.nodes
    )
    batch = of([replace(graph, nodes=nodes)])
    sources = batch.write(tmp_path / "c", "cortex-m3")
    program = build_host(sources, batch.NAME, tmp_path / "b", check=True)
    batch.check(run_host(program, batch.inputs, tmp_path / "run", TIMEOUT), tmp_path / "traces")
