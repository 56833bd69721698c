"""Cores and boards as data: what a compiler, a linker script and QEMU need to know of them."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from codegen.errors import ThumbnetError
from codegen.resources import resource

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")
D = TypeVar("D")

DEFAULT_CORE = "cortex-m4"
RegionKind = Literal["flash", "ram", "external", "boot2"]
_KINDS = ("flash", "ram", "external", "boot2")
UART_DRIVERS = ("cmsdk", "nrf", "pl011", "stm32", "stm32_isr", "stm32_lpuart")
_TEXTS = ("semihosting", "uart")


@dataclass(frozen=True)
class Core:
    """A processor core.

    Attributes:
        name: As in `-mcpu`, for example `cortex-m4`.
        gcc_flags: What selects the core, beside `-mthumb`.
        has_fpu: The build uses floating-point registers.
        has_dsp: SMLAD and the other DSP instructions exist.
        has_mve: The M-profile vector extension exists.
        qemu_board: The board whose emulation runs code of this core.
    """

    name: str
    gcc_flags: tuple[str, ...]
    has_fpu: bool
    has_dsp: bool
    has_mve: bool
    qemu_board: str


@dataclass(frozen=True)
class Timing:
    """What an access to a memory costs.

    Attributes:
        wait_states: Cycles of the core that the read of a line takes longer than one.
        line_bytes: Bytes that one read gives, a power of two.
        prefetch: The next line is read ahead while instructions of this one execute.
        cached: A cache of such lines lies before it.
    """

    wait_states: int = 0
    line_bytes: int = 4
    prefetch: bool = False
    cached: bool = False

    @property
    def words_a_wait(self) -> int:
        """Words that are read in order for one wait."""
        return self.line_bytes // 4 if self.cached else 1


@dataclass(frozen=True)
class Region:
    """A memory: name, first address, length in bytes, what it is for, and what an access costs.

    `flash` holds code, `ram` holds stacks and variables, `external` holds what is too large for
    the first flash (weights) or the first RAM (the arena), `boot2` what RP2040 runs first.
    """

    name: str
    origin: int
    length: int
    kind: RegionKind
    timing: Timing = Timing()

    def holds(self, address: int) -> bool:
        """True if an address lies in it."""
        return 0 <= address - self.origin < self.length


@dataclass(frozen=True)
class Serial:
    """A board's serial port.

    Attributes:
        driver: The file firmware/drivers/uart_DRIVER.c.
        base: Address of the peripheral.
        clock_hz: Clock of the peripheral in Hz, as board.c sets it up.
        baud: Bits a second.
    """

    driver: str
    base: int
    clock_hz: int
    baud: int


@dataclass(frozen=True)
class Flash:
    """How programs get onto a board.

    Attributes:
        pyocd: Name of the target in pyOCD, or None.
        openocd: Scripts of OpenOCD; none if it does not know the board.
        st_link: It has an ST-LINK, for st-flash.
        uf2_family: Number of the family in UF2 files, or None.
    """

    pyocd: str | None = None
    openocd: tuple[str, ...] = ()
    st_link: bool = False
    uf2_family: int | None = None


@dataclass(frozen=True)
class Board:
    """A board, as its board.toml says.

    Attributes:
        name: The name of its folder.
        title: What a person calls it.
        core: The name of its core, a key of `CORES`.
        clock_hz: Clock of the core in Hz, at full speed.
        status: `emulated` or `untested on hardware`.
        regions: The memory map, code and variables first.
        stack_bytes: Default size of the process stack.
        main_stack_bytes: Size of the stack of the fault handlers.
        serial: Its serial port, or None.
        flash: How programs get onto it.
        qemu_machine: Value of QEMU's `-M`, or None when QEMU has no such machine.
        text: Where its text goes: `semihosting`, or `uart` (QEMU's first serial port).
        systick_hz: Clock of SysTick in QEMU, in Hz.
        icount_shift: An emulated instruction takes 2**icount_shift ns when counting.
        folder: Where board.toml is.
    """

    name: str
    title: str
    core: str
    clock_hz: int
    status: str
    regions: tuple[Region, ...]
    stack_bytes: int
    main_stack_bytes: int
    serial: Serial | None
    flash: Flash
    qemu_machine: str | None
    text: str
    systick_hz: int
    icount_shift: int
    folder: Path

    def region(self, kind: RegionKind) -> Region:
        """The first region of a kind (every board has `flash` and `ram`)."""
        return next(r for r in self.regions if r.kind == kind)

    @property
    def flash_bytes(self) -> int:
        """Bytes for code and constants, in all memories that hold them."""
        return sum(r.length for r in self.regions if r.kind in ("flash", "external"))


_M4_FPU = ("-mfpu=fpv4-sp-d16", "-mfloat-abi=hard")
_V5_FPU = ("-mfpu=fpv5-sp-d16", "-mfloat-abi=hard")
_SOFT = ("-mfloat-abi=soft",)


def _core(
    name: str,
    float_flags: tuple[str, ...],
    qemu_board: str,
    *,
    dsp: bool = False,
    mve: bool = False,
) -> Core:
    has_fpu = "-mfloat-abi=hard" in float_flags
    return Core(name, (f"-mcpu={name}", *float_flags), has_fpu, dsp, mve, qemu_board)


CORES: Mapping[str, Core] = {
    core.name: core
    for core in (
        _core("cortex-m0", _SOFT, "microbit"),
        # QEMU has no M0+ machine; its code is a subset of an M3's.
        _core("cortex-m0plus", _SOFT, "mps2_an385"),
        _core("cortex-m3", _SOFT, "mps2_an385"),
        _core("cortex-m4", _M4_FPU, "mps2_an386", dsp=True),
        _core("cortex-m7", _V5_FPU, "mps2_an500", dsp=True),
        _core("cortex-m33", _V5_FPU, "mps2_an505", dsp=True),
        _core("cortex-m55", ("-mfloat-abi=hard",), "mps3_an547", dsp=True, mve=True),
    )
}


def load_core(name: str) -> Core:
    """The core of that name.

    Raises:
        ThumbnetError: There is none.
    """
    if name not in CORES:
        raise ThumbnetError(_unknown("core", name, CORES))
    return CORES[name]


def list_boards() -> list[str]:
    """Names of all boards, sorted."""
    return sorted(path.parent.name for path in resource("firmware", "boards").glob("*/board.toml"))


def load_board(name: str) -> Board:
    """Reads firmware/boards/NAME/board.toml.

    Raises:
        ThumbnetError: There is no such board, or its file is wrong.
    """
    names = list_boards()
    if name not in names:
        raise ThumbnetError(_unknown("board", name, names))
    return read_board(resource("firmware", "boards", name))


def read_board(folder: Path) -> Board:
    """Reads a board from its folder, whose name becomes the board's.

    Raises:
        ThumbnetError: board.toml is no TOML, lacks a key, has one too many or a wrong value.
    """
    path = folder / "board.toml"
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ThumbnetError(f"{path}: no valid TOML: {error}") from error
    return _board(_Table(path, data), folder)


def _board(table: _Table, folder: Path) -> Board:
    qemu = table.take_table("qemu")
    core = table.take_str("core")
    if core not in CORES:
        raise ThumbnetError(f"{table.where}: {_unknown('core', core, CORES)}")
    clock_hz = table.take_int("clock_hz")
    board = Board(
        name=folder.name,
        title=table.take_str("title"),
        core=core,
        clock_hz=clock_hz,
        status=table.take_str("status", ("emulated", "untested on hardware")),
        regions=tuple(_region(entry) for entry in table.take_tables("regions")),
        stack_bytes=table.take_int("stack_bytes"),
        main_stack_bytes=table.take_int("main_stack_bytes"),
        serial=_serial(table.take_table("serial")),
        flash=_flash(table.take_table("flash")),
        qemu_machine=qemu.take_str("machine") if qemu else None,
        text=qemu.take_str("text", _TEXTS) if qemu else "semihosting",
        systick_hz=qemu.take_int("systick_hz") if qemu else clock_hz,
        icount_shift=qemu.take_int("icount_shift") if qemu else 0,
        folder=folder,
    )
    for part in (table, qemu):
        if part:
            part.finish()
    for kind in ("flash", "ram"):
        if not any(region.kind == kind for region in board.regions):
            raise ThumbnetError(f'{table.where}: needs a region of kind = "{kind}"')
    return board


def _serial(table: _Table | None) -> Serial | None:
    if table is None:
        return None
    serial = Serial(
        driver=table.take_str("driver", UART_DRIVERS),
        base=table.take_int("base"),
        clock_hz=table.take_int("clock_hz"),
        baud=table.take_int("baud"),
    )
    table.finish()
    return serial


def _flash(table: _Table | None) -> Flash:
    if table is None:
        return Flash()
    flash = Flash(
        pyocd=table.optional("pyocd", table.take_str, None),
        openocd=tuple(table.optional("openocd", table.take_str, "").split()),
        st_link=table.optional("st_link", table.take_bool, False),
        uf2_family=table.optional("uf2_family", table.take_int, None),
    )
    table.finish()
    return flash


def _region(table: _Table) -> Region:
    region = Region(
        name=table.take_str("name"),
        origin=table.take_int("origin", minimum=0),
        length=table.take_int("length"),
        kind=cast(RegionKind, table.take_str("kind", _KINDS)),
        timing=_timing(table.take_table("timing")),
    )
    table.finish()
    return region


def _timing(table: _Table | None) -> Timing:
    if table is None:
        return Timing()
    timing = Timing(
        wait_states=table.take_int("wait_states", minimum=0),
        line_bytes=table.optional("line_bytes", table.take_int, 4),
        prefetch=table.optional("prefetch", table.take_bool, False),
        cached=table.optional("cached", table.take_bool, False),
    )
    if timing.line_bytes % 4 or timing.line_bytes & (timing.line_bytes - 1):
        raise ThumbnetError(
            f"{table.where}: line_bytes is {timing.line_bytes}, it must be a power of two >= 4"
        )
    table.finish()
    return timing


class _Table:
    """A TOML table whose keys are taken one by one, so that none is missing and none left."""

    def __init__(self, where: Path, data: dict[str, Any]) -> None:
        self.where = where
        self._data = dict(data)

    def _take(self, key: str) -> object:
        if key not in self._data:
            raise ThumbnetError(f"{self.where}: the key {key} is missing")
        value: object = self._data.pop(key)
        return value

    def optional(self, key: str, take: Callable[[str], T], default: D) -> T | D:
        """What ``take`` gives for a key; ``default`` where it is left out."""
        return take(key) if key in self._data else default

    def take_bool(self, key: str) -> bool:
        value = self._take(key)
        if not isinstance(value, bool):
            raise ThumbnetError(f"{self.where}: {key} is {value!r}, it must be true or false")
        return value

    def take_str(self, key: str, allowed: tuple[str, ...] = ()) -> str:
        value = self._take(key)
        if not isinstance(value, str) or (allowed and value not in allowed):
            wanted = " or ".join(f'"{word}"' for word in allowed) or "a text"
            raise ThumbnetError(f"{self.where}: {key} is {value!r}, it must be {wanted}")
        return value

    def take_int(self, key: str, minimum: int = 1) -> int:
        value = self._take(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
            raise ThumbnetError(
                f"{self.where}: {key} is {value!r}, it must be a whole number >= {minimum}"
            )
        return value

    def take_table(self, key: str) -> _Table | None:
        value = self._data.pop(key, None)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise ThumbnetError(f"{self.where}: {key} must be a table")
        return _Table(self.where, value)

    def take_tables(self, key: str) -> list[_Table]:
        value = self._take(key)
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            raise ThumbnetError(f"{self.where}: {key} must be a list of tables ([[{key}]])")
        return [_Table(self.where, entry) for entry in value]

    def finish(self) -> None:
        if self._data:
            raise ThumbnetError(f"{self.where}: unknown key {min(self._data)}")


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f"did you mean {nearest[0]}? " if nearest else ""
    return f"unknown {what} {name}: {hint}thumbnet knows {', '.join(names)}"
