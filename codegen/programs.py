"""The programs that may be built around a model, and the model-free C files of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from codegen.boards import Board, Serial
from codegen.errors import ThumbnetError
from codegen.resources import resource

_STARTUP = ("startup", "faults", "semihosting", "mem")
FOLDERS = ("startup", "drivers", "runner", "serial", "mlperf")
"""Below firmware/: where headers are."""


@dataclass(frozen=True)
class Program:
    """A program.

    Attributes:
        title: What it does.
        sources: Its files below firmware/, without suffix, beside those of startup and board.
        defines: Macros for all its files, the model's too.
        serial: It speaks over the serial port, and only there.
    """

    title: str
    sources: tuple[str, ...]
    defines: tuple[str, ...] = ()
    serial: bool = False


PROGRAMS: Mapping[str, Program] = {
    "runner": Program(
        "runs a file of images in an emulator or under a debugger",
        ("runner/runner", "runner/port_semihosting", "runner/count", "startup/stack"),
    ),
    "serial": Program(
        "answers thumbnet over the serial port",
        ("serial/serial", "serial/frame", "serial/clock", "startup/stack"),
        ("THUMBNET_TIMED", "THUMBNET_STANDALONE"),
        serial=True,
    ),
    "mlperf": Program(
        "answers the runner of MLPerf Tiny over the serial port",
        ("mlperf/monitor", "serial/clock"),
        ("THUMBNET_STANDALONE",),
        serial=True,
    ),
}
"""By name, the usual one first."""


def firmware_sources(board: Board, program: str, firmware: Path | None = None) -> list[Path]:
    """The model-free files of a program for a board, in ``firmware`` or in thumbnet's own.

    Raises:
        ThumbnetError: The program needs a serial port and the board has none.
    """
    firmware = firmware or resource("firmware")
    chosen = PROGRAMS[program]
    names = [f"startup/{name}" for name in _STARTUP]
    if chosen.serial or board.text == "uart":
        names += ["startup/text_uart", f"drivers/uart_{serial_port(board).driver}"]
    else:
        names.append("startup/text_semihosting")
    own = board.folder / "board.c"
    board_c = own if own.exists() else firmware / "startup" / "board_plain.c"
    more = sorted(board.folder.glob("*.S"))
    return [board_c, *more, *(firmware / f"{name}.c" for name in (*names, *chosen.sources))]


def serial_port(board: Board) -> Serial:
    """The board's serial port.

    Raises:
        ThumbnetError: thumbnet knows of none.
    """
    if board.serial is None:
        raise ThumbnetError(f"{board.title}: its board.toml names no serial port")
    return board.serial


def board_defines(board: Board) -> list[str]:
    """Macros, as NAME=VALUE, that tell the model-free C about the board."""
    defines = [f"THUMBNET_SYSTICK_HZ={board.systick_hz}u"]
    if board.serial:
        defines += [
            f"THUMBNET_UART_BASE=0x{board.serial.base:08X}u",
            f"THUMBNET_UART_HZ={board.serial.clock_hz}u",
            f"THUMBNET_UART_BAUD={board.serial.baud}u",
        ]
    return defines
