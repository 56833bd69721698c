"""Builds a program for a board from an output folder."""

from __future__ import annotations

from pathlib import Path

from codegen.build import build_target
from codegen.output import Output
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
