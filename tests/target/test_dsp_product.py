"""The matrix product at the bound that its forms are proved for."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
from helpers import Batch, has

from codegen.boards import load_board, load_core
from codegen.build import build_host, build_target
from codegen.ir import Graph, Int8Array, Preprocess, QParams, Requant, Tensor, validate
from codegen.kernels.dsp import product
from codegen.ops import Conv
from codegen.plan import make_plan
from codegen.qemu import run_host, run_qemu

LIMIT = 1 << 23
TIMEOUT = 120.0
SHAPE = (2, 6, 256)
SIGNS = ((1,) * 8, (-1,) * 8, (1, -1) * 4, (1, 1, -1, -1) * 2, (-1, 1, 1, -1) * 2)
"""Of the sums of the eight channels when the image is at its extreme."""


def graph_at(worst: int, signs: tuple[int, ...], requant: Requant) -> Graph:
    """Weights of +-127, and a bias with which the largest sum is ``worst``."""
    sign = np.array(signs)
    weight = (127 * sign).astype(np.int8).reshape(8, 1, 1, 1) * np.ones((1, 1, 1, 256), np.int8)
    # zero point -128: a sum of 256 inputs is 0 to 255 * 127 * 256, up or down
    bias = (sign * (worst - 255 * 127 * 256)).astype(np.int32)
    conv = Conv("conv", ("in",), "out", weight, bias, requant=requant)
    q = QParams(0.02, -128)
    tensors = {
        "in": Tensor("in", SHAPE, q),
        "out": Tensor("out", conv.infer(SHAPE), QParams(0.1, requant.zero_point)),
    }
    pre = Preprocess((0.0,) * 256, (1.0,) * 256)
    return validate(Graph("bound", tensors, (conv,), "in", "out", pre), "test")


def requants() -> list[Requant]:
    """Multipliers that keep the sums' differences, other zero points, narrow clips, a shift."""
    factor = np.array([0xFFFF, 0x8001, 0xABCD, 1, 0x7FFF, 0x4000, 0xFFFE, 3], np.int32)
    return [
        Requant(factor, 0, -128),
        Requant(factor, 0, 3, -100, 90),
        Requant(factor << 3, 1, 127),
    ]


def extreme() -> Int8Array:
    """int8 [N, H, W, C]: lowest, highest, alternating, random."""
    low, high = np.full(SHAPE, -128, np.int8), np.full(SHAPE, 127, np.int8)
    alternating = np.where(np.indices(SHAPE).sum(axis=0) % 2, low, high)
    random = np.random.default_rng(0).integers(-128, 128, SHAPE).astype(np.int8)
    return np.stack([low, high, alternating, random])


GRAPHS = [
    graph_at((LIMIT >> requant.shift) - 1, signs, requant)
    for signs, requant in zip(SIGNS, cycle(requants()), strict=False)
]


@has("arm-none-eabi-gcc")
@has("qemu-system-arm")
@pytest.mark.parametrize("core_name", ["cortex-m4", "cortex-m7"])
@pytest.mark.parametrize("budget", [None, 0], ids=["weight chain", "packed"])
def test_sums_at_their_bound(budget: int | None, core_name: str, tmp_path: Path) -> None:
    batch = Batch(GRAPHS, [extreme()] * len(GRAPHS))
    plans = [make_plan(graph, core_name, flash_budget=budget) for graph in batch.graphs]
    forms = {step.stage.variant.name for plan in plans for step in plan.steps if step.stage.variant}
    assert forms == {(product.CHAIN if budget is None else product.PACKED).name}
    sources = batch.write(tmp_path / "c", plans=plans)
    host = build_host(sources, batch.NAME, tmp_path / "host", check=True, sanitize=True)
    batch.check(run_host(host, batch.inputs, tmp_path / "h", TIMEOUT), tmp_path / "ht")
    core = load_core(core_name)
    board = load_board(core.qemu_board)
    target = build_target(sources, batch.NAME, board, core, tmp_path / "arm", check=True)
    result = run_qemu(target, board, batch.inputs, tmp_path / "q", TIMEOUT)
    batch.check(result, tmp_path / "qt")


@pytest.mark.parametrize("signs", SIGNS)
def test_one_more_is_refused_and_the_plan_says_why(signs: tuple[int, ...]) -> None:
    requant = Requant(np.full(8, 0xFFFF, np.int32), 0, 0)
    (step,) = make_plan(graph_at(LIMIT, signs, requant), "cortex-m4").steps
    assert step.stage.kernel.family == "portable"
    assert any("a sum may reach 8,388,608" in reason for reason in step.stage.refused)
