"""Writing programs to boards: commands, UF2 files, and a GDB server for real."""

from __future__ import annotations

import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import has

from codegen.boards import CORES, Board, list_boards, load_board
from codegen.build import build_target
from codegen.device import flash
from codegen.device.client import Device
from codegen.device.emulated import emulated
from codegen.device.flash import METHODS, plan_flash, write_flash
from codegen.device.gdb import GdbServer, parse_address
from codegen.device.port import SerialPort
from codegen.device.uf2 import from_uf2, to_uf2
from codegen.elf import Segment, load_segments
from codegen.errors import ThumbnetError
from tests.target.test_firmware import INPUTS, TINY, WANTED, needs_qemu

pytestmark = has("arm-none-eabi-gcc")
FAMILY = 0xE48BFF56


def build(name: str, folder: Path) -> tuple[Board, Path]:
    board = load_board(name)
    core = CORES[board.core]
    return board, build_target(TINY, "tiny", board, core, folder, True, program="serial")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int) -> None:
    """QEMU names its pseudo-terminal before it listens."""
    end = time.monotonic() + 30.0
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < end
        time.sleep(0.1)


@needs_qemu
@pytest.mark.parametrize("name", ["mps2_an386", "mps2_an505", "netduinoplus2", "microbit"])
def test_a_program_is_loaded_by_gdb_and_runs(name: str, tmp_path: Path) -> None:
    board, elf = build(name, tmp_path)
    port = free_port()
    server = ("-S", "-gdb", f"tcp:127.0.0.1:{port}")
    with emulated(board, None, server) as path, SerialPort(path) as serial:
        wait_for(port)
        write_flash(plan_flash(board, elf, "gdb", f"127.0.0.1:{port}"))
        device = Device(serial)
        for image, wanted in zip(INPUTS, WANTED, strict=True):
            assert np.array_equal(device.run(image).output, wanted)


@needs_qemu
def test_a_program_for_another_board_is_not_taken_for_written(tmp_path: Path) -> None:
    _, elf = build("netduinoplus2", tmp_path)  # its flash is where an MPS2 has nothing
    board = load_board("mps2_an386")
    port = free_port()
    with emulated(board, None, ("-S", "-gdb", f"tcp:127.0.0.1:{port}")):
        wait_for(port)
        with pytest.raises(ThumbnetError, match=r"0x08000000.*is this the board"):
            write_flash(plan_flash(board, elf, "gdb", f"127.0.0.1:{port}"))


def test_a_missing_gdb_server_is_told() -> None:
    with pytest.raises(ThumbnetError, match=r"no GDB server at localhost:\d+.*start one"):
        GdbServer("localhost", free_port())


@pytest.mark.parametrize("place", ["", "localhost", "localhost:", "localhost:0", "localhost:99999"])
def test_a_wrong_address_is_told(place: str) -> None:
    with pytest.raises(ThumbnetError, match="is no address"):
        parse_address(place)


def test_an_address_may_leave_the_host_out() -> None:
    assert parse_address(":3333") == ("localhost", 3333)
    assert parse_address("10.0.0.2:50000") == ("10.0.0.2", 50000)


def test_the_commands_of_each_method(tmp_path: Path) -> None:
    board, elf = build("nucleo_l4r5zi", tmp_path)
    image = str(elf.with_suffix(".bin"))
    target = ("--target", "stm32l4r5zitx")
    assert plan_flash(board, elf).commands == (
        ("pyocd", "load", *target, "--base-address", "0x08000000", "--format", "bin", image),
        ("pyocd", "commander", *target, "--command", f'halt; compare 0x08000000 "{image}"; reset'),
    )
    scripts = ("-f", "interface/stlink.cfg", "-f", "target/stm32l4x.cfg")
    assert plan_flash(board, elf, "openocd").commands == (
        ("openocd", *scripts, "-c", f"program {{{elf}}} verify reset exit"),
    )
    assert plan_flash(board, elf, "st-flash").commands == (
        ("st-flash", "--reset", "write", image, "0x08000000"),
    )
    pico, elf = build("rp2040_pico", tmp_path / "pico")
    assert plan_flash(pico, elf, "picotool").commands == (
        ("picotool", "load", "--verify", "--execute", str(elf.with_suffix(".uf2"))),
    )


def test_the_binary_file_is_what_lies_in_flash(tmp_path: Path) -> None:
    board, elf = build("nucleo_l4r5zi", tmp_path)
    plan = plan_flash(board, elf, "st-flash")
    data = plan.image.read_bytes()
    for segment in load_segments(elf):
        start = segment.address - board.region("flash").origin
        assert data[start : start + len(segment.data)] == segment.data
    assert len(data) == start + len(segment.data)


@pytest.mark.parametrize("name", list_boards())
def test_every_board_has_a_way_and_says_which(name: str, tmp_path: Path) -> None:
    board, elf = build(name, tmp_path)
    with pytest.raises(ThumbnetError, match=r"cannot be written by 'magic'; its methods are .*gdb"):
        plan_flash(board, elf, "magic")
    with pytest.raises(ThumbnetError, match="--method gdb needs --to: HOST:PORT"):
        plan_flash(board, elf, "gdb")
    if board.status != "emulated":
        assert plan_flash(board, elf).method == "pyocd"
        with pytest.raises(ThumbnetError, match="takes no --to"):
            plan_flash(board, elf, "pyocd", "somewhere")


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """A function (name, shell script) that makes a program, the only one on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def make(name: str, script: str) -> None:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    return make


@pytest.mark.parametrize("method", ["pyocd", "openocd", "st-flash"])
def test_a_missing_tool_and_a_missing_probe_are_told(
    method: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    board, elf = build("nucleo_f446re", tmp_path / "build")
    plan = plan_flash(board, elf, method)
    tool: Callable[[str, str], None] = request.getfixturevalue("tool")
    with pytest.raises(ThumbnetError, match=f"the program {method} was not found; install it with"):
        write_flash(plan)
    tool(method, "echo No probe here; exit 1")
    with pytest.raises(ThumbnetError, match=r"(?s)No probe here.*plugged in"):
        write_flash(plan)


def test_what_the_tool_does_not_verify_is_no_success(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    board, elf = build("nucleo_f446re", tmp_path / "build")
    plan = plan_flash(board, elf)
    tool: Callable[[str, str], None] = request.getfixturevalue("tool")
    tool("pyocd", "echo Mismatched byte at 0x08000004")
    with pytest.raises(ThumbnetError, match=r"(?s)not written right.*Mismatched byte"):
        write_flash(plan)
    tool("pyocd", "echo All 4096 bytes match.")
    write_flash(plan)


def test_a_uf2_file_holds_the_program(tmp_path: Path) -> None:
    _, elf = build("rp2040_pico", tmp_path)
    segments = load_segments(elf)
    data = to_uf2(segments, FAMILY)
    assert len(data) % 512 == 0
    pages = from_uf2(data, FAMILY)
    assert min(pages) == 0x10000000
    assert len(pages[0x10000000]) == 256, "boot2 and its CRC are one page"
    memory = {address + n: byte for address, page in pages.items() for n, byte in enumerate(page)}
    for segment in segments:
        assert bytes(memory[segment.address + n] for n in range(len(segment.data))) == segment.data


def test_the_first_uf2_block_byte_by_byte() -> None:
    """Against the table "File format" of the specification."""
    block = to_uf2([Segment(0x10000000, b"\x01\x02"), Segment(0x10000200, b"\x03")], FAMILY)
    assert len(block) == 1024
    assert block[:4] == b"UF2\n"
    words = ("57515d9e", "00200000", "00000010", "00010000", "00000000", "02000000", "56ff8be4")
    assert block[4:32].hex() == "".join(words)
    assert block[32:36] == b"\x01\x02\0\0"
    assert block[508:512].hex() == "306fb10a"
    assert block[512 + 12 : 512 + 16].hex() == "00020010"


@pytest.mark.parametrize("position", [0, 5, 20, 24, 28, 511])
def test_a_damaged_uf2_file_is_refused(position: int) -> None:
    data = bytearray(to_uf2([Segment(0x10000000, bytes(600))], FAMILY))
    data[position] ^= 1
    with pytest.raises(ThumbnetError, match="UF2 file is"):
        from_uf2(bytes(data), FAMILY)


def test_a_uf2_file_is_copied_to_a_drive_and_to_nothing_else(tmp_path: Path) -> None:
    board, elf = build("rp2040_pico", tmp_path / "build")
    drive = tmp_path / "RPI-RP2"
    drive.mkdir()
    plan = plan_flash(board, elf, "uf2", str(drive))
    with pytest.raises(ThumbnetError, match=r"is no UF2 drive.*BOOTSEL"):
        write_flash(plan)
    assert list(drive.iterdir()) == []
    (drive / "INFO_UF2.TXT").write_text("UF2 Bootloader v3.0\n")
    write_flash(plan)
    assert from_uf2((drive / "tiny.uf2").read_bytes(), FAMILY)


def test_every_method_says_how_to_get_its_tool() -> None:
    for method in METHODS.values():
        assert method.wants or (method.install and method.trouble)
    assert flash.METHODS is METHODS
