"""Weights in several memories: the program runs from all of them, and computes the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from codegen import simulate
from codegen.boards import Board, load_board, load_core
from codegen.build import build_target
from codegen.elf import elf_sizes, weight_arrays
from codegen.flow import CompileOptions, compile_model
from codegen.ir import Int8Array
from codegen.output import Output, read_output
from codegen.profile import profile_model
from codegen.profile.program import read_program
from codegen.qemu import run_qemu
from tests.target.test_firmware import needs_qemu

BOARD = load_board("mps2_an386")
CORE = load_core("cortex-m4")
TIMEOUT = 120.0


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Output:
    """The default model, for a board whose RAM takes a copy of all weights."""
    out = tmp_path_factory.mktemp("memories") / "out"
    compile_model(CompileOptions(out, board=BOARD.name, place={"hot": "RAM"}, limit=10))
    return read_output(out)


def images(output: Output) -> Int8Array:
    shape = (2, *output.graph.input_tensor.shape)
    return np.random.default_rng(1).integers(-128, 128, shape).astype(np.int8)


def assert_same(output: Output, elf: Path, board: Board, folder: Path) -> None:
    x = images(output)
    found = run_qemu(elf, board, x.reshape(len(x), -1), folder, TIMEOUT).output
    assert np.array_equal(
        found.reshape(len(x), -1), simulate.run(output.graph, x).reshape(len(x), -1)
    )


def addresses(elf: Path) -> dict[str, int]:
    """Where each array of weights lies."""
    arrays = {array.name for array in weight_arrays(elf.parent.glob("*.o"))}
    return {name: at for name, at in read_program(elf).symbols.items() if name in arrays}


@needs_qemu
def test_weights_are_copied_into_ram(output: Output, tmp_path: Path) -> None:
    place = {"hot": "RAM"}
    elf = build_target(
        output.folder, output.name, BOARD, CORE, tmp_path / "build", True, place=place
    )
    ram = BOARD.region("ram")
    assert all(0 <= at - ram.origin < ram.length for at in addresses(elf).values())
    assert_same(output, elf, BOARD, tmp_path / "run")
    sizes = elf_sizes(elf)
    assert sizes.hot > 0 and sizes.weights == 0
    assert sizes.ram > sizes.hot and sizes.flash > sizes.hot


@needs_qemu
def test_the_makefile_of_the_folder_copies_them_too(output: Output) -> None:
    script = (output.folder / "firmware" / "linker.ld").read_text()
    assert "} > RAM AT > FLASH" in script
    assert ".hot_weights" in script


@needs_qemu
def test_weights_of_two_flashes(output: Output, tmp_path: Path) -> None:
    whole = build_target(output.folder, output.name, BOARD, CORE, tmp_path / "whole", False)
    sizes = elf_sizes(whole)
    inside = replace(BOARD.region("flash"), length=sizes.flash - sizes.weights // 2)
    others = [region for region in BOARD.regions if region.kind != "flash"]
    board = replace(BOARD, regions=(inside, *others))
    elf = build_target(output.folder, output.name, board, CORE, tmp_path / "build", False)
    where = addresses(elf)
    reads = {a.name: a.reads for a in weight_arrays((tmp_path / "build").glob("*.o"))}
    near = {name for name, at in where.items() if at < inside.length}
    far = set(where) - near
    external = next(region for region in others if region.kind == "external")
    assert near and far and all(where[name] >= external.origin for name in far)
    # The smallest of the others may fill what the large ones leave; the most read are all inside.
    assert max(reads, key=lambda name: reads[name]) in near
    assert np.mean([reads[name] for name in near]) > np.mean([reads[name] for name in far])
    assert_same(output, elf, board, tmp_path / "run")


def test_profile_uses_the_wait_states_of_the_board(tmp_path: Path) -> None:
    cycles = {}
    for name, place in (("flash", {}), ("tcm", {"hot": "DTCM", "arena": "SRAM"})):
        options = CompileOptions(
            tmp_path / name, board="stm32f746g_disco", place=place, limit=10, build=False
        )
        compile_model(options)
        report = profile_model(tmp_path / name)
        assert report.memories[0].name == "FLASH" and not report.validated
        cycles[name] = report.cycles
    assert cycles["flash"] is not None and cycles["tcm"] is not None
    assert cycles["tcm"] < cycles["flash"]
