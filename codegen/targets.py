"""What a target of the command line stands for: a board, a core, and the C files for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from codegen.boards import Board, Core, list_boards, load_board, load_core
from codegen.emit import write_model
from codegen.output import Output


def board_and_core(output: Output, place: str) -> tuple[Board, Core]:
    """The board and core that PLACE of ``qemu:PLACE`` means for an output folder.

    Args:
        output: The folder.
        place: Name of a board or core.

    Raises:
        ThumbnetError: There is no such board or core.
    """
    if place in list_boards():
        board = load_board(place)
        # A board may run the code of a smaller core: keep the one the folder is for.
        own = output.report.get("board") == place
        return board, load_core(output.core if own else board.core)
    core = load_core(place)
    return load_board(core.qemu_board), core


def emulated_place(output: Output) -> str:
    """Where an output folder is emulated: on its board if QEMU has it, else on its core's."""
    board = output.report.get("board")
    return str(board) if board and load_board(board).qemu_machine else output.core


def placement(output: Output, board: Board) -> Mapping[str, str]:
    """Regions that were chosen by hand for the board that an output folder is for."""
    place: dict[str, str] = output.report.get("place", {})
    return place if output.report.get("board") == board.name else {}


def sources_for(output: Output, core: Core, work: Path) -> Path:
    """Folder of the C files for a core: the output folder, or one made below ``work``."""
    if core.name == output.core:
        return output.folder
    sources = work / "sources"  # other cores may have other kernels
    if not sources.exists():
        sources.mkdir()
        write_model(output.plan(core.name), output.name, sources)
    return sources
