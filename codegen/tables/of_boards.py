"""What is said of boards, of writing to them, and of exports."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from codegen.boards import Board
from codegen.tables.cells import Document, number, table


def exported(report: Document) -> Iterable[RenderableType]:
    """The files of a library."""
    rows = [(file,) for file in report["files"]]
    yield table("", (f"files for {report['as']}",), rows, left=(0,))
    flash, arena = (number(n) for n in (report["flash"]["total"], report["ram"]["arena"]))
    yield Text(f"{flash} bytes of flash, {arena} bytes of arena, written to {report['out']}")


def flashing(report: Document) -> Iterable[RenderableType]:
    """What will be written, and by which commands."""
    rows = [(f"0x{part['address']:08X}", number(part["bytes"])) for part in report["segments"]]
    yield Text(f"{report['board']} ({report['status']}), by {report['method']}")
    yield table("", ("address", "bytes"), rows, left=(0,))
    for command in report["commands"]:
        yield Text(shlex.join(command))
    if report["to"]:
        yield Text(f"to {report['to']}")


def flashed(report: Document) -> Iterable[RenderableType]:
    """One line."""
    yield Text(f"{number(report['bytes'])} bytes written and verified; the program runs")


def boards_json(found: Sequence[Board]) -> dict[str, Any]:
    """The document of `thumbnet boards`: sizes in bytes, clock in Hz."""
    return {
        "boards": [
            {
                "name": board.name,
                "title": board.title,
                "core": board.core,
                "clock_hz": board.clock_hz,
                "flash": board.region("flash").length,
                "ram": board.region("ram").length,
                "status": board.status,
            }
            for board in found
        ]
    }


def boards(report: Document) -> Iterable[RenderableType]:
    """One row a board."""
    rows = [
        (
            board["name"],
            board["title"],
            board["core"],
            f"{board['clock_hz'] / 1e6:g}",
            number(board["flash"] // 1024),
            number(board["ram"] // 1024),
            board["status"],
        )
        for board in report["boards"]
    ]
    names = ("board", "", "core", "MHz", "flash KB", "RAM KB", "status")
    yield table("", names, rows, left=(0, 1, 2, 6))
