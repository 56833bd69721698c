"""Whole networks of other families: close to the float network, and the same bytes everywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import Batch, has
from onnx_models import Net
from relatives import RELATIVES, SIZE, int8_network, integers, outputs

from codegen import simulate
from codegen.boards import load_board, load_core
from codegen.build import build_host, build_target
from codegen.ir import Graph
from codegen.plan import OBJECTIVES, make_plan
from codegen.qemu import run_host, run_qemu

TIMEOUT = 300.0


def compiled(name: str, folder: Path) -> tuple[Graph, Graph]:
    """The float graph of a network and its int8 graph without what carries nothing."""
    size = SIZE.get(name, 32)
    net = Net((1, 3, size, size), opset=17, seed=len(name))
    RELATIVES[name](net)
    return int8_network(net.save(folder))


@pytest.mark.parametrize("name", RELATIVES)
def test_near_the_float_network(name: str, tmp_path: Path) -> None:
    want, got = outputs(*compiled(name, tmp_path))
    assert np.abs(got - want).max() < 0.06
    assert np.ptp(want, axis=0).max() > 0.01  # not the same answer to every picture


def test_hard_swish_in_pieces_gives_the_same_bytes(tmp_path: Path) -> None:
    graphs = [compiled(f"mobilenet_v3_{source}", tmp_path)[1] for source in ("torch", "keras")]
    in_one, in_pieces = ([node.op for node in graph.nodes] for graph in graphs)
    assert in_one == in_pieces
    first, second = (simulate.run(graph, integers(graph, 4)) for graph in graphs)
    assert np.array_equal(first, second)


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> list[Graph]:
    return [compiled(name, tmp_path_factory.mktemp(name))[1] for name in RELATIVES]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_host(objective: str, graphs: list[Graph], tmp_path: Path) -> None:
    batch = Batch(graphs, [integers(graph, 2) for graph in graphs])
    plans = [make_plan(graph, "cortex-m4", objective) for graph in graphs]
    sources = batch.write(tmp_path / "c", plans=plans)
    program = build_host(sources, batch.NAME, tmp_path / "b", True, sanitize=True, werror=True)
    batch.check(run_host(program, batch.inputs, tmp_path / "run", TIMEOUT), tmp_path / "traces")


@pytest.mark.qemu
@has("arm-none-eabi-gcc")
@has("qemu-system-arm")
@pytest.mark.parametrize("name", ["cortex-m4", "cortex-m3", "cortex-m0plus"])
def test_core(name: str, graphs: list[Graph], tmp_path: Path) -> None:
    core = load_core(name)
    board = load_board(core.qemu_board)
    batch = Batch(graphs, [integers(graph, 2) for graph in graphs])
    sources = batch.write(tmp_path / "c", core.name)
    elf = build_target(sources, batch.NAME, board, core, tmp_path / "b", True, werror=True)
    batch.check(run_qemu(elf, board, batch.inputs, tmp_path / "run", TIMEOUT), tmp_path / "traces")
