"""Two models in one program share an arena: examples/two_models."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile
from helpers import has

from codegen import simulate
from codegen.boards import CORES, load_board
from codegen.build import build_host, build_target
from codegen.emit import write_model
from codegen.ir import Graph, Int8Array
from codegen.plan import Plan, make_plan
from codegen.qemu import RunResult, run_host, run_qemu
from tests.target.test_firmware import needs_qemu
from tests.tiny_graphs import TINY

EXAMPLE = Path(__file__).parents[2] / "examples" / "two_models"
BOARD = "mps2_an386"
MODEL = """\
#include "two_models.h"

#define MODEL_NAME "two_models"
#define MODEL_ARENA_BYTES 4
#define MODEL_INPUT_BYTES (FIRST_INPUT_BYTES + SECOND_INPUT_BYTES)
#define MODEL_INPUT_ROWS 1
#define MODEL_ROW_BYTES MODEL_INPUT_BYTES
#define MODEL_OUTPUT_BYTES (FIRST_OUTPUT_BYTES + SECOND_OUTPUT_BYTES)

static const int8_t *inputs;

static inline void model_begin(void *arena) { (void)arena; }
static inline void model_push_row(void *arena, const int8_t *row) { (void)arena; inputs = row; }
static inline void model_finish(void *arena, int8_t *output)
{
    (void)arena;
    two_models_run(inputs, output, inputs + FIRST_INPUT_BYTES, output + FIRST_OUTPUT_BYTES);
}
"""


@pytest.fixture
def graphs() -> tuple[Graph, Graph]:
    return TINY["v1"](), TINY["v2"]()


def write(graphs: tuple[Graph, Graph], core: str, folder: Path) -> list[Plan]:
    """Both models and the example as one model of the runner."""
    folder.mkdir()
    plans = [make_plan(graph, core) for graph in graphs]
    for plan, name in zip(plans, ("first", "second"), strict=True):
        write_model(plan, name, folder)
    for path in EXAMPLE.glob("*.[ch]"):
        shutil.copy(path, folder)
    (folder / "thumbnet_model.h").write_text(MODEL, encoding="ascii")
    return plans


def random_inputs(graphs: tuple[Graph, Graph]) -> list[Int8Array]:
    rng = np.random.default_rng(8)
    shapes = [(5, *graph.input_tensor.shape) for graph in graphs]
    return [rng.integers(-128, 128, shape).astype(np.int8) for shape in shapes]


def joined(arrays: list[Int8Array]) -> Int8Array:
    return np.concatenate([array.reshape(len(array), -1) for array in arrays], axis=1)


def assert_right(result: RunResult, graphs: tuple[Graph, Graph], inputs: list[Int8Array]) -> None:
    wanted = [
        simulate.trace(graph, images)[graph.output]
        for graph, images in zip(graphs, inputs, strict=True)
    ]
    assert np.array_equal(result.output, joined(wanted))


@has("gcc")
def test_on_the_desk(graphs: tuple[Graph, Graph], tmp_path: Path) -> None:
    write(graphs, "cortex-m4", tmp_path / "c")
    inputs = random_inputs(graphs)
    program = build_host(
        tmp_path / "c", "two", tmp_path / "build", False, sanitize=True, werror=True
    )
    assert_right(run_host(program, joined(inputs), tmp_path / "run", 60.0), graphs, inputs)


@needs_qemu
def test_on_an_emulated_board_in_the_memory_of_the_larger(
    graphs: tuple[Graph, Graph], tmp_path: Path
) -> None:
    board = load_board(BOARD)
    plans = write(graphs, board.core, tmp_path / "c")
    elf = build_target(
        tmp_path / "c", "two", board, CORES[board.core], tmp_path / "build", False, werror=True
    )
    inputs = random_inputs(graphs)
    assert_right(run_qemu(elf, board, joined(inputs), tmp_path / "run", 60.0), graphs, inputs)
    with elf.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        sizes = [symbol["st_size"] for symbol in table.iter_symbols() if symbol.name == "arena"]
    larger = max(-(-plan.arena_bytes // 4) * 4 for plan in plans)
    assert larger in sizes
    assert max(sizes) == larger
