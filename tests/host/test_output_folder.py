"""An output folder is built and used without thumbnet."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import has
from tiny_graphs import TINY

from codegen import cmodel, simulate
from codegen.boards import CORES, load_board, load_core
from codegen.elf import elf_sizes
from codegen.emit import constant_bytes, write_firmware, write_model
from codegen.fit import check_fit
from codegen.ir import Bounds, Graph
from codegen.make_cmodel import make_cmodel
from codegen.plan import make_plan
from codegen.preprocess import PRESETS, to_int8
from codegen.qemu import run_qemu
from codegen.quant.calibrate import input_range
from codegen.quant.scales import activation_qparams

BOARD = "mps2_an386"
WARNINGS = ["-std=c99", "-O1", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror"]


def images_for(graph: Graph, count: int = 3) -> np.ndarray:
    shape = (count, *graph.input_tensor.shape)
    return np.random.default_rng(1).integers(-128, 128, shape).astype(np.int8)


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the V1-like network, moved away from where it was made.

    With the parameter ``binary`` its weights are taken for long ones.
    """
    if getattr(request, "param", "text") == "binary":
        monkeypatch.setattr(cmodel, "TEXT_LIMIT", 100)
    made = tmp_path / "made"
    made.mkdir()
    board, core = load_board(BOARD), load_core("cortex-m4")
    plan = make_plan(TINY["v1"](), core.name)
    constants = constant_bytes(write_model(plan, "v1", made))
    layout = check_fit(plan, constants, board, required=True)
    assert layout
    write_firmware(made, "v1", board, core, layout)
    return Path(shutil.move(made, tmp_path / "moved elsewhere"))


def make(folder: Path, *words: str) -> None:
    environment = {"PATH": os.environ["PATH"]}
    done = subprocess.run(
        ["make", *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in done.stderr


weights = pytest.mark.parametrize("folder", ["text", "binary"], indirect=True)


@weights
@has("make")
@has("gcc")
def test_make_builds_a_library_and_a_runner(folder: Path, request: pytest.FixtureRequest) -> None:
    is_binary = "binary" in request.node.name
    assert (folder / "v1_weights.bin").exists() == is_binary
    assert ("WEIGHTS(0" in (folder / "v1_weights.c").read_text()) != is_binary
    make(folder)
    assert (folder / "build" / "host" / "libv1.a").exists()
    graph = TINY["v1"]()
    images = images_for(graph)
    (folder / "input.bin").write_bytes(images.tobytes())
    for words in (("runner",), ("runner", "CHECK=1")):
        make(folder, *words)
        host = "host-check" if "CHECK=1" in words else "host"
        program = folder / "build" / host / "v1"
        subprocess.run([str(program)], cwd=folder, check=True, timeout=30)
        output = np.fromfile(folder / "output.bin", np.int8)
        assert np.array_equal(output, simulate.run(graph, images).reshape(-1))
        assert (folder / "trace.bin").exists() == ("CHECK=1" in words)


@weights
@pytest.mark.qemu
@has("make")
@has("arm-none-eabi-gcc")
@has("qemu-system-arm")
def test_make_firmware_runs_on_the_board(folder: Path, tmp_path: Path) -> None:
    make(folder, "library", "firmware")
    assert (folder / "build" / "arm-runner" / "libv1.a").exists()
    graph = TINY["v1"]()
    images = images_for(graph)
    elf = folder / "build" / "arm-runner" / "v1.elf"
    flat = images.reshape(len(images), -1)
    result = run_qemu(elf, load_board(BOARD), flat, tmp_path / "run", 60.0)
    assert np.array_equal(result.output.reshape(-1), simulate.run(graph, images).reshape(-1))


@weights
@has("make")
@has("arm-none-eabi-gcc")
def test_constants_take_what_is_said_before_they_are_compiled(folder: Path, tmp_path: Path) -> None:
    make(folder, "library")
    objects = [*(folder / "build" / "arm-runner").rglob("*.o")]
    constants = [elf_sizes(path) for path in objects if re.search("_(weights|binary)$", path.stem)]
    said = constant_bytes(make_cmodel(make_plan(TINY["v1"](), "cortex-m4"), "v1"))
    assert (said.weights, said.tables) == (
        sum(sizes.weights for sizes in constants),
        sum(sizes.rodata for sizes in constants),
    )


@has("arm-none-eabi-gcc")
@has("arm-none-eabi-nm")
@pytest.mark.parametrize("core", sorted(CORES))
def test_the_model_needs_no_library(core: str, folder: Path, tmp_path: Path) -> None:
    """Undefined symbols are its own constants and, where there is no divider, the compiler's."""
    flags = [*load_core(core).gcc_flags, "-mthumb", "-O3", "-std=c99", f"-I{folder}"]
    target = tmp_path / "v1.o"
    compile_ = ["arm-none-eabi-gcc", *flags, "-c", str(folder / "v1.c"), "-o", str(target)]
    subprocess.run(compile_, check=True)
    names = subprocess.run(
        ["arm-none-eabi-nm", "--undefined-only", str(target)], capture_output=True, text=True
    ).stdout.split()[1::2]
    foreign = {name for name in names if not name.startswith("v1_")}
    # For ARMv6-M gcc also clears words of the stack by memset, which firmware/ has.
    divide = {"__aeabi_uidiv", "__aeabi_uidivmod", "__aeabi_idiv", "__aeabi_idivmod"}
    assert foreign <= {*divide, "memset"}
    assert not foreign or core in ("cortex-m0", "cortex-m0plus")


@has("g++")
def test_the_header_is_usable_from_cpp(folder: Path) -> None:
    command = ["g++", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-x", "c++", "v1.h"]
    subprocess.run(command, cwd=folder, check=True)


_GUARDED = """
#include <stdio.h>
#include <string.h>
#include "v1.h"
static struct {{ uint8_t before[64]; int32_t arena[V1_ARENA_BYTES / 4]; uint8_t between[64];
    int8_t output[V1_OUTPUT_BYTES]; uint8_t after[64]; }} m;
static int8_t image[V1_INPUT_BYTES];
int main(void)
{{
    memset(&m, {fill}, sizeof m);
    if (fread(image, 1, sizeof image, stdin) != sizeof image) {{ return 1; }}
    {body}
    fwrite(m.output, 1, sizeof m.output, stdout);
    for (int i = 0; i < 64; ++i) {{
        if (m.before[i] != {fill} || m.between[i] != {fill} || m.after[i] != {fill}) {{ return 2; }}
    }}
    return 0;
}}
"""
_BODIES = {
    "run": "v1_run(m.arena, image, m.output);",
    "pieces": "v1_begin(m.arena); v1_push_rows(m.arena, image, 3);"
    " v1_push_rows(m.arena, image + 3 * V1_INPUT_ROW_BYTES, 1);"
    " v1_push_rows(m.arena, image + 4 * V1_INPUT_ROW_BYTES, 0);"
    " v1_push_rows(m.arena, image + 4 * V1_INPUT_ROW_BYTES, 4); v1_finish(m.arena, m.output);",
    "too many": "v1_begin(m.arena); v1_push_rows(m.arena, image, 99);"
    " v1_finish(m.arena, m.output);",
    "twice": "v1_run(m.arena, image, m.output); v1_run(m.arena, image, m.output);",
}


@has("gcc")
@pytest.mark.parametrize("fill", [0, 0x5A, 0xFF])
@pytest.mark.parametrize("how", _BODIES)
def test_every_way_to_give_an_image_and_nothing_around_is_touched(
    how: str, fill: int, folder: Path
) -> None:
    (folder / "main.c").write_text(_GUARDED.format(fill=fill, body=_BODIES[how]))
    command = ["gcc", *WARNINGS, "main.c", "v1.c", "v1_weights.c", "-o", "main"]
    subprocess.run(command, cwd=folder, check=True)
    graph = TINY["v1"]()
    image = images_for(graph, 1)
    done = subprocess.run([str(folder / "main")], input=image.tobytes(), capture_output=True)
    assert done.returncode == 0
    assert done.stdout == simulate.run(graph, image).tobytes()


_PIXELS = """
#include <stdio.h>
#include "net.h"
static uint8_t pixels[768];
static int8_t values[768];
int main(void)
{
    if (fread(pixels, 1, 768, stdin) != 768) { return 1; }
    net_from_pixels(pixels, values, 256);
    fwrite(values, 1, 768, stdout);
    net_from_pixels(pixels, (int8_t *)pixels, 256);
    fwrite(pixels, 1, 768, stdout);
    return 0;
}
"""


@has("gcc")
@pytest.mark.parametrize("preset", ["unit", "signed", "torch"])
def test_pixels_become_the_simulator_s_input(preset: str, tmp_path: Path) -> None:
    graph, preprocess = TINY["v1"](), PRESETS[preset]
    q = activation_qparams(input_range(preprocess), Bounds(), "in")
    tensors = {**graph.tensors, "in": replace(graph.tensors["in"], q=q)}
    graph = replace(graph, tensors=tensors, preprocess=preprocess)
    write_model(make_plan(graph, "cortex-m4"), "net", tmp_path)
    (tmp_path / "main.c").write_text(_PIXELS)
    command = ["gcc", *WARNINGS, "main.c", "net.c", "net_weights.c", "-o", "main"]
    subprocess.run(command, cwd=tmp_path, check=True)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3)).astype(np.uint8)
    done = subprocess.run(
        [str(tmp_path / "main")], input=pixels.tobytes(), capture_output=True, check=True
    )
    wanted = to_int8(pixels, preprocess, q).tobytes()
    assert done.stdout == wanted + wanted
