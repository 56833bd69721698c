"""Each board's program, looked at where it lies in memory: vector table, boot2."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from helpers import has

from codegen.boards import CORES, list_boards, load_board
from codegen.build import build_target
from tests.target.test_firmware import TINY

pytestmark = has("arm-none-eabi-gcc")
ENTRIES = 16


def build(name: str, folder: Path) -> Path:
    board = load_board(name)
    core = CORES[board.core]
    return build_target(TINY, "tiny", board, core, folder, False, program="serial", werror=True)


def section(elf: Path, name: str) -> tuple[int, bytes]:
    """Address and bytes."""
    with elf.open("rb") as file:
        found = ELFFile(file).get_section_by_name(name)
        return found["sh_addr"], found.data()


def symbols(elf: Path) -> dict[int, str]:
    with elf.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        names = [(s["st_value"], s.name) for s in table.iter_symbols()]
    wanted = ("reset_handler", "fault_handler", "systick_handler", "ld_main_stack_end")
    return {value: name for value, name in names if name in wanted}


@pytest.mark.parametrize("name", list_boards())
def test_vector_table(name: str, tmp_path: Path, golden: Callable[[str, str], None]) -> None:
    elf = build(name, tmp_path)
    address, data = section(elf, ".vectors")
    known = symbols(elf)
    entries = struct.unpack(f"<{ENTRIES}I", data)
    lines = [f"0x{address + 4 * n:08X} {n:2} {known[value]}" for n, value in enumerate(entries)]
    golden(f"vectors/{name}.txt", "\n".join(lines) + "\n")
    ram = load_board(name).region("ram")
    assert ram.origin < entries[0] <= ram.origin + ram.length
    assert entries[0] % 8 == 0
    flash = load_board(name).region("flash")
    for entry in entries[1:]:
        assert entry & 1, "a handler must be entered in Thumb state"
        assert flash.origin < entry < flash.origin + flash.length


def crc_of_boot2(data: bytes) -> int:
    """RP2040 data sheet 2.8.1.3.1: polynomial 04C11DB7h, from FFFFFFFFh, nothing reflected."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1) ^ (0x04C11DB7 if crc & 0x80000000 else 0)
            crc &= 0xFFFFFFFF
    return crc


def test_the_crc_itself() -> None:
    assert crc_of_boot2(b"123456789") == 0x0376E6E7  # "CRC-32/MPEG-2" of the CRC catalogue


def test_rp2040_boot2(tmp_path: Path) -> None:
    address, data = section(build("rp2040_pico", tmp_path), ".boot2")
    assert (address, len(data)) == (0x10000000, 256)
    (crc,) = struct.unpack("<I", data[252:])
    want = crc_of_boot2(data[:252])
    assert crc == want, f"the last line of boot2.S must say .word 0x{want:08X}"
