"""Random graphs: the code of every core computes the simulator's bytes, in every layer."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import Batch, has
from random_graphs import extreme_images, random_quantized

from codegen.boards import CORES, load_board, load_core
from codegen.build import build_target
from codegen.ir import Graph
from codegen.qemu import run_qemu

CHUNK = 10
TIMEOUT = 300.0

pytestmark = [pytest.mark.qemu, has("arm-none-eabi-gcc"), has("qemu-system-arm")]


def run(graphs: list[Graph], core_name: str, folder: Path, check: bool = True) -> int:
    core = load_core(core_name)
    board = load_board(core.qemu_board)
    batch = Batch(graphs, [extreme_images(graph, seed) for seed, graph in enumerate(graphs)])
    sources = batch.write(folder / "c", core.name)
    elf = build_target(sources, batch.NAME, board, core, folder / "b", check, werror=True)
    result = run_qemu(elf, board, batch.inputs, folder / "run", TIMEOUT)
    return batch.check(result, folder / "traces")


def chunk_of(number: int) -> list[Graph]:
    return [random_quantized(seed)[1] for seed in range(number * CHUNK, (number + 1) * CHUNK)]


@pytest.mark.parametrize("number", range(20))
def test_every_layer_on_the_m4(number: int, tmp_path: Path) -> None:
    assert run(chunk_of(number), "cortex-m4", tmp_path) > 10_000


@pytest.mark.parametrize("number", range(4))
def test_every_layer_on_the_m7(number: int, tmp_path: Path) -> None:
    """Its loads and products take turns."""
    assert run(chunk_of(number), "cortex-m7", tmp_path) > 10_000


@pytest.mark.parametrize("core", sorted(CORES.keys() - {"cortex-m0"}))
def test_every_core(core: str, tmp_path: Path) -> None:
    assert run(chunk_of(20), core, tmp_path) > 10_000


@pytest.mark.parametrize("core", sorted(CORES.keys() - {"cortex-m0"}))
def test_production_build(core: str, tmp_path: Path) -> None:
    run(chunk_of(21), core, tmp_path, check=False)


@pytest.mark.parametrize("check", [True, False])
def test_microbit(check: bool, tmp_path: Path) -> None:
    """The one core whose emulated board has little RAM gets the small ones of fifty graphs."""
    graphs = [random_quantized(seed)[1] for seed in range(220, 270)]
    sizes = [sum(tensor.size for tensor in graph.tensors.values()) for graph in graphs]
    small = [graph for graph, size in zip(graphs, sizes, strict=True) if size < 1000]
    assert len(small) >= CHUNK
    run(small[:CHUNK], "cortex-m0", tmp_path, check)
