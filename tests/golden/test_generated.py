"""What is generated from three tiny networks, to the letter."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import has
from tiny_graphs import TINY

from codegen.boards import load_board, load_core
from codegen.emit import constant_bytes, write_firmware, write_model
from codegen.fit import check_fit
from codegen.make_cmodel import c_identifier
from codegen.plan import make_plan
from codegen.resources import resource

SHARED = ("thumbnet_arith.h", "thumbnet_check.h", "thumbnet_dsp.h")
"""Equal for all networks."""


def generate(name: str, folder: Path) -> dict[str, str]:
    """Texts of all generated files by path."""
    folder.mkdir(parents=True)
    board, core = load_board("mps2_an386"), load_core("cortex-m4")
    plan = make_plan(TINY[name](), core.name)
    constants = constant_bytes(write_model(plan, name, folder))
    layout = check_fit(plan, constants, board, required=True)
    assert layout
    write_firmware(folder, name, board, core, layout)
    paths = [*folder.glob("*.*"), folder / "Makefile", folder / "firmware" / "linker.ld"]
    return {str(path.relative_to(folder)): path.read_text(encoding="ascii") for path in paths}


@pytest.mark.parametrize("name", TINY)
def test_generated_files(name: str, tmp_path: Path, golden: Callable[[str, str], None]) -> None:
    for file, text in sorted(generate(name, tmp_path / "out").items()):
        golden(f"{'shared' if file in SHARED else name}/{file.replace('/', '_')}", text)


@pytest.mark.parametrize("name", TINY)
def test_the_same_bytes_twice_and_no_trace_of_when_or_where(name: str, tmp_path: Path) -> None:
    first = generate(name, tmp_path / "a")
    assert first == generate(name, tmp_path / "b")
    for text in first.values():
        assert str(tmp_path) not in text
        assert not re.search(r"\b20\d\d-\d\d-\d\d\b|\d\d:\d\d:\d\d", text)


def test_no_model_takes_the_name_of_a_file_it_is_built_with() -> None:
    files = {path.stem for path in resource("firmware").rglob("*.[ch]")}
    for stem in files | {"stdint", *(file.removesuffix(".h") for file in SHARED)}:
        assert c_identifier(stem) == f"net_{stem}"
    assert c_identifier("MobileNet v2 (0.35)") == "mobilenet_v2_0_35"
    assert c_identifier("96x96") == "net_96x96"


@has("gcc")
def test_two_models_link_into_one_program(tmp_path: Path) -> None:
    """No symbol clashes, and names from ONNX files do no harm in comments."""
    for name in ("v1", "v2"):
        generate(name, tmp_path / name)
    main = tmp_path / "main.c"
    main.write_text(
        '#include "v1.h"\n#include "v2.h"\n'
        "static int32_t arena[(V1_ARENA_BYTES + V2_ARENA_BYTES) / 4];\n"
        "static int8_t in[V1_INPUT_BYTES + V2_INPUT_BYTES];\n"
        "static int8_t out[V1_OUTPUT_BYTES + V2_OUTPUT_BYTES];\n"
        "int main(void) { v1_run(arena, in, out); v2_run(arena, in, out); return 0; }\n"
    )
    sources = [str(p) for name in ("v1", "v2") for p in (tmp_path / name).glob("*.c")]
    flags = ["-std=c99", "-trigraphs", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror"]
    command = ["gcc", *flags, f"-I{tmp_path}/v1", f"-I{tmp_path}/v2", str(main), *sources]
    subprocess.run([*command, "-o", str(tmp_path / "both")], check=True)
    subprocess.run([str(tmp_path / "both")], check=True)
