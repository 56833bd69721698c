"""torchvision's networks as both exporters of PyTorch write them: the same bytes everywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import Batch, has
from relatives import int8_network, integers, outputs

from codegen.boards import load_board, load_core
from codegen.build import build_host, build_target
from codegen.ir import Graph
from codegen.qemu import run_host, run_qemu

FILES = sorted((Path(__file__).parents[1] / "data" / "torch_zoo").glob("*.onnx"))
EXPORTERS = ("torchscript", "dynamo")
TIMEOUT = 300.0


def test_both_exporters_of_every_network_are_there() -> None:
    names = {path.stem.rsplit("_", 1)[0] for path in FILES}
    assert len(names) == 6
    assert {path.stem for path in FILES} == {f"{n}_{e}" for n in names for e in EXPORTERS}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_near_the_float_network(path: Path) -> None:
    want, got = outputs(*int8_network(path))
    spread = np.ptp(want)
    assert np.ptp(want, axis=0).max() > 0.05 * spread  # not the same answer to every picture
    assert np.abs(got - want).max() < 0.1 * spread


@pytest.fixture(scope="module", params=EXPORTERS)
def graphs(request: pytest.FixtureRequest) -> list[Graph]:
    return [int8_network(path)[1] for path in FILES if path.stem.endswith(request.param)]


def test_host(graphs: list[Graph], tmp_path: Path) -> None:
    batch = Batch(graphs, [integers(graph, 2) for graph in graphs])
    sources = batch.write(tmp_path / "c")
    program = build_host(sources, batch.NAME, tmp_path / "b", True, sanitize=True, werror=True)
    batch.check(run_host(program, batch.inputs, tmp_path / "run", TIMEOUT), tmp_path / "traces")


@pytest.mark.qemu
@has("arm-none-eabi-gcc")
@has("qemu-system-arm")
def test_cortex_m4(graphs: list[Graph], tmp_path: Path) -> None:
    core = load_core("cortex-m4")
    board = load_board(core.qemu_board)
    batch = Batch(graphs, [integers(graph, 2) for graph in graphs])
    sources = batch.write(tmp_path / "c", core.name)
    elf = build_target(sources, batch.NAME, board, core, tmp_path / "b", True, werror=True)
    batch.check(run_qemu(elf, board, batch.inputs, tmp_path / "run", TIMEOUT), tmp_path / "traces")
