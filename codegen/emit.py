"""Writes the generated C of a plan, and what it needs to be built without thumbnet."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from codegen.boards import Board, Core
from codegen.camera import Camera, camera_model
from codegen.cmodel import TABLES, WEIGHTS, CModel
from codegen.elf import WeightArray
from codegen.linker import Layout, linker_script
from codegen.make_cmodel import make_cmodel
from codegen.plan import Plan
from codegen.programs import PROGRAMS, board_defines, firmware_sources
from codegen.render import render_model, render_template
from codegen.resources import resource


@dataclass(frozen=True)
class ConstantBytes:
    """Bytes of constants: weights, by array, and the tables (biases, multipliers, look-ups)."""

    arrays: tuple[WeightArray, ...]
    tables: int

    @property
    def weights(self) -> int:
        """Bytes of all weights."""
        return sum(array.bytes for array in self.arrays)


def constant_bytes(model: CModel) -> ConstantBytes:
    """Sizes of the constant arrays as they will lie in flash."""
    arrays = model.all_arrays
    weights = (WeightArray(a.name, a.bytes, a.reads) for a in arrays if a.kind == WEIGHTS)
    return ConstantBytes(tuple(weights), sum(a.bytes for a in arrays if a.kind == TABLES))


def write_model(plan: Plan, name: str, folder: Path, camera: Camera | None = None) -> CModel:
    """Writes the C files of ``plan`` into ``folder`` and gives their model.

    With a camera there are NAME_camera.h and NAME_camera.c besides.
    """
    model, graph, resizer = make_cmodel(plan, name), plan.graph, None
    if camera:
        resizer = camera_model(camera, graph.input_tensor.shape, graph.preprocess)
    for file, text in render_model(model, resizer).items():
        (folder / file).write_text(text, encoding="ascii", newline="\n")
    if model.binary:
        with (folder / f"{name}_weights.bin").open("wb") as binary:
            for array, offset in model.binary:
                binary.write(bytes(offset - binary.tell()))
                binary.write(array.values.astype(array.values.dtype.newbyteorder("<")).tobytes())
    return model


def write_firmware(folder: Path, name: str, board: Board, core: Core, layout: Layout) -> None:
    """Adds startup code, runner, linker script and Makefile, so that ``make`` suffices."""
    firmware = folder / "firmware"
    firmware.mkdir()
    programs = [name for name in PROGRAMS if board.serial or not PROGRAMS[name].serial]
    sources = {name: firmware_sources(board, name) for name in programs}
    own = {source for files in sources.values() for source in files}
    headers = [path for source in own for path in source.parent.glob("*.h")]
    runner_host = resource("firmware", "runner", "port_host.c")
    for source in sorted({*own, *headers, runner_host}):
        shutil.copyfile(source, firmware / source.name)
    script = linker_script(board, layout)
    (firmware / "linker.ld").write_text(script, encoding="ascii", newline="\n")
    makefile = render_template(
        "Makefile.jinja",
        name=name,
        board=board,
        core=core,
        board_defines=[f"-D{macro}" for macro in board_defines(board)],
        programs=[
            {
                "name": name,
                "title": PROGRAMS[name].title,
                "sources": [source.name for source in sources[name]],
                "defines": [f"-D{macro}" for macro in PROGRAMS[name].defines],
            }
            for name in programs
        ],
        program_names="|".join(programs),
        program_titles="; ".join(PROGRAMS[name].title for name in programs),
        default_program=programs[0],
        objects=[path.stem for kind in ("*.c", "*.S") for path in sorted(folder.glob(kind))],
    )
    (folder / "Makefile").write_text(makefile, encoding="ascii", newline="\n")
