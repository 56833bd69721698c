"""Builds a program for a board from an output folder, and prepares to write it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from codegen.boards import load_board
from codegen.build import build_target
from codegen.device.flash import FlashPlan, plan_flash
from codegen.output import Output, read_output
from codegen.targets import board_and_core, placement, sources_for


def build_firmware(
    output: Output, place: str, program: str, work: Path, check: bool, defines: tuple[str, ...] = ()
) -> Path:
    """Builds a program for a board or core.

    Args:
        output: The model.
        place: Name of a board or core.
        program: A key of ``PROGRAMS``.
        work: Folder for the build; is made.
        check: The checking build, which also tells the CRC-32 of every layer.
        defines: More macros, as NAME=VALUE.

    Returns:
        Path of the ELF file.
    """
    board, core = board_and_core(output, place)
    work.mkdir(parents=True, exist_ok=True)
    sources = sources_for(output, core, work)
    return build_target(
        sources, output.name, board, core, work, check,
        program=program, place=placement(output, board), defines=defines,
    )  # fmt: skip


@contextmanager
def planned_flash(
    out: Path,
    board: str,
    program: str,
    method: str | None,
    to: str | None,
    check: bool,
    defines: tuple[str, ...],
) -> Iterator[FlashPlan]:
    """Builds a program for a board and plans to write it; the built files end with the block.

    Args:
        out: Folder made by ``compile``.
        board: Name of the board.
        program: A key of ``PROGRAMS``.
        method: As in ``plan_flash``.
        to: As in ``plan_flash``.
        check: As in ``build_firmware``.
        defines: As in ``build_firmware``.

    Raises:
        ThumbnetError: The folder, the board or the method does not do, or the model does not fit.
    """
    output = read_output(out)
    target = load_board(board)
    with tempfile.TemporaryDirectory(prefix="thumbnet-") as work:
        elf = build_firmware(output, board, program, Path(work), check, defines)
        yield plan_flash(target, elf, method, to)
