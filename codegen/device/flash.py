"""Writes a program to a board, by one of the tools that its board.toml names."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codegen.boards import Board
from codegen.device.gdb import GdbServer, parse_address
from codegen.device.uf2 import to_uf2
from codegen.elf import Segment, load_segments
from codegen.errors import ThumbnetError
from codegen.progress import Progress, silent
from codegen.toolchain import run

Command = tuple[str, ...]

_TIMEOUT = 300.0
_ERASED = b"\xff"
_UF2_DRIVE = "INFO_UF2.TXT"
"""A file on every UF2 drive, by which it is told from other folders."""


@dataclass(frozen=True)
class FlashPlan:
    """What will be written, and how.

    Attributes:
        board: The board.
        method: A key of ``METHODS``.
        segments: What goes where.
        image: The file to write.
        commands: What does it, one after another; none if thumbnet does it itself.
        to: Address of a GDB server, or folder of a UF2 drive; None for the other methods.
    """

    board: Board
    method: str
    segments: tuple[Segment, ...]
    image: Path
    commands: tuple[Command, ...]
    to: str | None

    def to_json(self) -> dict[str, Any]:
        """The document of ``flash --json``: addresses, and sizes in bytes."""
        return {
            "board": self.board.name,
            "status": self.board.status,
            "method": self.method,
            "to": self.to,
            "segments": [{"address": s.address, "bytes": len(s.data)} for s in self.segments],
            "bytes": sum(len(s.data) for s in self.segments),
            "commands": [list(command) for command in self.commands],
        }


@dataclass(frozen=True)
class Method:
    """A way to write a program.

    Attributes:
        title: What does it.
        suffix: Of the file that it writes.
        fits: Whether board.toml has what it needs.
        commands: (board, file, segments) -> commands.
        install: How to get the tool.
        trouble: What to look at when the tool fails.
        wants: What --to must name, or None.
        expects: What the last command says when the program is verified; its exit status alone
            does not tell.
        external: It also writes memory outside the chip, if the board has some.
    """

    title: str
    suffix: str
    fits: Callable[[Board], bool]
    commands: Callable[[Board, Path, tuple[Segment, ...]], list[Command]]
    install: str = ""
    trouble: str = ""
    wants: str | None = None
    expects: str = ""
    external: bool = False


def _pyocd(board: Board, image: Path, segments: tuple[Segment, ...]) -> list[Command]:
    target = ("--target", board.flash.pyocd or "")
    first = f"0x{segments[0].address:08X}"
    compare = f'halt; compare {first} "{image}"; reset'
    return [
        ("pyocd", "load", *target, "--base-address", first, "--format", "bin", str(image)),
        ("pyocd", "commander", *target, "--command", compare),
    ]


def _openocd(board: Board, image: Path, segments: tuple[Segment, ...]) -> list[Command]:
    scripts = [word for script in board.flash.openocd for word in ("-f", script)]
    return [("openocd", *scripts, "-c", f"program {{{image}}} verify reset exit")]


def _st_flash(board: Board, image: Path, segments: tuple[Segment, ...]) -> list[Command]:
    return [("st-flash", "--reset", "write", str(image), f"0x{segments[0].address:08X}")]


def _picotool(board: Board, image: Path, segments: tuple[Segment, ...]) -> list[Command]:
    return [("picotool", "load", "--verify", "--execute", str(image))]


def _none(board: Board, image: Path, segments: tuple[Segment, ...]) -> list[Command]:
    return []


def _has_uf2(board: Board) -> bool:
    return board.flash.uf2_family is not None


METHODS: Mapping[str, Method] = {
    "pyocd": Method(
        "pyOCD",
        ".bin",
        lambda board: board.flash.pyocd is not None,
        _pyocd,
        "install it with: pip install pyocd",
        "is the probe plugged in (pyocd list), and is the chip known (pyocd pack install CHIP)?",
        expects=" bytes match",
    ),
    "openocd": Method(
        "OpenOCD",
        ".elf",
        lambda board: len(board.flash.openocd) > 0,
        _openocd,
        "install it with: sudo apt-get install openocd",
        "is the probe plugged in, and may you use it (udev rules)?",
        external=True,
    ),
    "st-flash": Method(
        "st-flash",
        ".bin",
        lambda board: board.flash.st_link,
        _st_flash,
        "install it with: sudo apt-get install stlink-tools",
        "is the ST-LINK plugged in (st-info --probe)?",
    ),
    "picotool": Method(
        "picotool",
        ".uf2",
        _has_uf2,
        _picotool,
        "install it from github.com/raspberrypi/picotool",
        "is the board plugged in with its BOOTSEL button held?",
    ),
    "uf2": Method("copy to the UF2 drive", ".uf2", _has_uf2, _none, wants="the drive's folder"),
    "gdb": Method(
        "GDB server", ".elf", lambda board: True, _none, wants="HOST:PORT", external=True
    ),
}
"""By name; the first that fits a board is its default."""


def plan_flash(
    board: Board, elf: Path, method: str | None = None, to: str | None = None
) -> FlashPlan:
    """Prepares to write a program: nothing is written to the board yet.

    Args:
        board: The board.
        elf: The program. The file to write is made beside it.
        method: A key of ``METHODS``; None for the board's first.
        to: What the method wants: address of a GDB server, folder of a UF2 drive.

    Raises:
        ThumbnetError: There is no such method, it does not fit the board, or ``to`` is missing.
    """
    segments = load_segments(elf)
    outside = any(_external(board, segment) for segment in segments)
    fitting = [
        name
        for name, known in METHODS.items()
        if known.fits(board) and (known.external or not outside)
    ]
    name = method or fitting[0]
    if name not in fitting:
        why = ", with weights in memory outside the chip," if outside else ""
        raise ThumbnetError(
            f"{board.title}{why} cannot be written by {name!r}; its methods are "
            f"{', '.join(fitting)}"
        )
    wants = METHODS[name].wants
    if wants and to is None:
        raise ThumbnetError(f"--method {name} needs --to: {wants}")
    if not wants and to is not None:
        raise ThumbnetError(f"--method {name} takes no --to")
    image = _image(board, elf, segments, METHODS[name].suffix)
    commands = METHODS[name].commands(board, image, segments)
    return FlashPlan(board, name, segments, image, tuple(commands), to)


def _external(board: Board, segment: Segment) -> bool:
    return any(r.kind == "external" and r.holds(segment.address) for r in board.regions)


def _image(board: Board, elf: Path, segments: tuple[Segment, ...], suffix: str) -> Path:
    image = elf.with_suffix(suffix)
    if suffix == ".bin":
        image.write_bytes(_flat(segments))
    elif suffix == ".uf2":
        image.write_bytes(to_uf2(segments, board.flash.uf2_family or 0))
    return image


def _flat(segments: tuple[Segment, ...]) -> bytes:
    """All segments as they lie in memory, with erased flash between them."""
    data = b""
    for segment in segments:
        data += _ERASED * (segment.address - segments[0].address - len(data)) + segment.data
    return data


def write_flash(plan: FlashPlan, progress: Progress = silent) -> None:
    """Writes and verifies, and starts the program.

    Raises:
        ThumbnetError: The tool is missing or fails, or what is read back differs.
    """
    method = METHODS[plan.method]
    for command in plan.commands:
        if shutil.which(command[0]) is None:
            raise ThumbnetError(f"the program {command[0]} was not found; {method.install}")
    for index, command in enumerate(plan.commands):
        progress(f"{method.title} is writing", index, len(plan.commands))
        try:
            text = run(command, _TIMEOUT).text
        except ThumbnetError as error:
            raise ThumbnetError(f"{error}\n{method.trouble}") from error
        if index + 1 == len(plan.commands) and method.expects not in text:
            raise ThumbnetError(f"{method.title} finds that it was not written right:\n{text}")
    if plan.method == "uf2":
        _copy(plan.image, Path(plan.to or ""))
    elif plan.method == "gdb":
        _load(plan, progress)


def _copy(image: Path, drive: Path) -> None:
    if not (drive / _UF2_DRIVE).is_file():
        raise ThumbnetError(
            f"{drive} is no UF2 drive (it has no {_UF2_DRIVE}); plug the board in with its "
            "BOOTSEL button held, and name the folder that appears"
        )
    try:
        shutil.copyfile(image, drive / image.name)
    except OSError as error:
        raise ThumbnetError(f"{drive}: {error.strerror}; is the board still there?") from error


def _load(plan: FlashPlan, progress: Progress) -> None:
    host, port = parse_address(plan.to or "")
    total = 2 * sum(len(segment.data) for segment in plan.segments)
    with GdbServer(host, port) as server:
        server.load(plan.segments, lambda done: progress("writing and reading back", done, total))
        server.run(plan.board.region("flash").origin)
