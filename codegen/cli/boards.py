"""Commands that take a compiled network to a board or into another build."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from codegen.cli.app import Json, Out, app
from codegen.cli.choices import LibraryKind, Program
from codegen.console import ProgressBar, guarded


@app.command(epilog="Example: thumbnet flash build/demo --board nucleo_l4r5zi --dry-run")
@guarded
def flash(
    out: Out,
    board: Annotated[str, typer.Option(help="Board to write; see `thumbnet boards`.")],
    program: Annotated[
        Program,
        typer.Option(help="serial answers `verify` and `run`; mlperf the runner of MLPerf Tiny."),
    ] = Program.serial,
    method: Annotated[
        str | None,
        typer.Option(help="pyocd, openocd, st-flash, picotool, uf2 or gdb; the board's usual one."),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(help="gdb: HOST:PORT of the server; uf2: folder of the drive."),
    ] = None,
    production: Annotated[
        bool, typer.Option("--production", help="Without the CRCs of the layers.")
    ] = False,
    mlperf_model: Annotated[
        str, typer.Option(help="mlperf: benchmark that the model is for.")
    ] = "vww01",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be done.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before writing.")] = False,
    as_json: Json = False,
) -> None:
    """Build a program around the model, write it to a board and verify it."""
    from codegen import tables
    from codegen.device.firmware import planned_flash
    from codegen.device.flash import write_flash

    check = program is Program.serial and not production
    defines = (f"THUMBNET_MLPERF_MODEL={mlperf_model}",) if program is Program.mlperf else ()
    with planned_flash(out, board, program.value, method, to, check, defines) as plan:
        tables.show({**plan.to_json(), "written": False}, tables.flashing, as_json and dry_run)
        if dry_run:
            return
        if not yes and not as_json:
            typer.confirm("Write this?", abort=True)
        with ProgressBar() as progress:
            write_flash(plan, progress)
    tables.show({**plan.to_json(), "written": True}, tables.flashed, as_json)


@app.command(epilog="Example: thumbnet export build/demo --as cmake -o build/demo_cmake")
@guarded
def export(
    source: Out,
    kind: Annotated[LibraryKind, typer.Option("--as", help="Build system that takes the library.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to make.", metavar="FOLDER")],
    version: Annotated[
        str, typer.Option("--version", help="Version of the library: MAJOR.MINOR.PATCH.")
    ] = "1.0.0",
    force: Annotated[
        bool, typer.Option("--force", help="Replace FOLDER if it is an export.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a library for CMake, Arduino, PlatformIO or Zephyr of an output folder."""
    from codegen import exports, tables

    report = exports.export_model(source, kind.value, out, version, force)
    tables.show(report.to_json(), tables.exported, as_json)


@app.command(epilog="Example: thumbnet boards")
@guarded
def boards(as_json: Json = False) -> None:
    """List the boards that thumbnet knows."""
    from codegen import tables
    from codegen.boards import list_boards, load_board

    found = [load_board(name) for name in list_boards()]
    tables.show(tables.boards_json(found), tables.boards, as_json)
