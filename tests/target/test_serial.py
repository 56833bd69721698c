"""The serial firmware over the serial ports of emulated boards, as pseudo-terminals."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from codegen.boards import CORES, list_boards, load_board
from codegen.build import build_target
from codegen.device import client
from codegen.device.client import Device, Request
from codegen.device.emulated import emulated
from codegen.device.frames import Decoder, Frame
from codegen.device.port import Line, SerialPort
from codegen.elf import elf_sizes
from codegen.errors import ThumbnetError
from codegen.qemu import describe_fault
from tests.target.test_firmware import INPUTS, TINY, WANTED, needs_qemu

EMULATED = [name for name in list_boards() if load_board(name).qemu_machine]


def build(name: str, folder: Path, *defines: str, check: bool = True) -> Path:
    board = load_board(name)
    core = CORES[board.core]
    return build_target(
        TINY, "tiny", board, core, folder, check, program="serial", werror=True, defines=defines
    )


@contextmanager
def port_of(name: str, elf: Path) -> Iterator[SerialPort]:
    with emulated(load_board(name), elf) as path, SerialPort(path) as port:
        yield port


class NoisyLine:
    """Damages bytes, in both directions."""

    def __init__(self, line: Line, share: float) -> None:
        self._line, self._share = line, share
        self._rng = np.random.default_rng(4)
        self.damaged = 0

    def read(self, timeout: float) -> bytes:
        return self._damage(self._line.read(timeout))

    def write(self, data: bytes) -> None:
        self._line.write(self._damage(data))

    def _damage(self, data: bytes) -> bytes:
        values = np.frombuffer(data, np.uint8).copy()
        chosen = self._rng.random(values.size) < self._share
        flips = self._rng.integers(1, 256, values.size, dtype=np.uint8)
        self.damaged += int(chosen.sum())
        return np.where(chosen, values ^ flips, values).astype(np.uint8).tobytes()


@needs_qemu
@pytest.mark.parametrize("name", EMULATED)
def test_outputs_and_layers_on_every_board(name: str, tmp_path: Path) -> None:
    with port_of(name, build(name, tmp_path)) as port:
        device = Device(port)
        runs = [device.run(image) for image in INPUTS]
    assert (device.hello.name, device.hello.row_bytes, device.hello.arena) == ("tiny", 5, 64)
    assert device.hello.clock_hz == load_board(name).systick_hz
    for image, wanted, run in zip(INPUTS, WANTED, runs, strict=True):
        assert np.array_equal(run.output, wanted)
        assert run.layer_crcs == (zlib.crc32(image.tobytes()), zlib.crc32(wanted.tobytes()))
        assert run.cycles > 0
        assert 0 < run.stack < device.hello.stack


@needs_qemu
def test_a_line_that_damages_bytes_only_costs_time(tmp_path: Path) -> None:
    with port_of("mps2_an386", build("mps2_an386", tmp_path)) as port:
        line = NoisyLine(port, 0.01)
        device = Device(line)
        for trip in range(20):
            image = INPUTS[trip % 3]
            run = device.run(image)
            assert np.array_equal(run.output, WANTED[trip % 3])
            assert run.layer_crcs is not None and run.layer_crcs[0] == zlib.crc32(image.tobytes())
    assert line.damaged > 0
    assert device.resent > 0


@needs_qemu
def test_garbage_and_half_frames_are_survived(tmp_path: Path) -> None:
    with port_of("mps2_an386", build("mps2_an386", tmp_path)) as port:
        device = Device(port)
        for garbage in (b"\x00" * 1000, b"TN" * 300, Frame(1, 3, bytes(200)).encode()[:50]):
            port.write(garbage)
            assert np.array_equal(device.run(INPUTS[0]).output, WANTED[0])


@needs_qemu
def test_a_request_that_comes_twice_is_done_once(tmp_path: Path) -> None:
    with port_of("mps2_an386", build("mps2_an386", tmp_path)) as port:
        device = Device(port)
        row = Frame(2, Request.ROW, b"\0\0\0\0" + INPUTS[0].tobytes())
        requests = [Frame(1, Request.BEGIN), row, row, Frame(3, Request.FINISH)]
        for request in requests:
            port.write(request.encode())
            decoder, replies = Decoder(), []
            while not replies:
                replies = list(decoder.feed(port.read(10.0)))
            assert (replies[0].sequence, replies[0].code) == (request.sequence, request.code | 0x80)
        assert device.hello.rows == 1


@needs_qemu
def test_rows_out_of_order_are_refused(tmp_path: Path) -> None:
    with port_of("mps2_an386", build("mps2_an386", tmp_path)) as port:
        device = Device(port)
        with pytest.raises(ThumbnetError, match="these are not the next bytes of the image"):
            device._request(Request.ROW, b"\0\0\0\0" + INPUTS[0].tobytes())
        device._request(Request.BEGIN)
        with pytest.raises(ThumbnetError, match="the image is not complete"):
            device._request(Request.FINISH)
        with pytest.raises(ThumbnetError, match="input has 5 bytes; the image has 3"):
            device.run(INPUTS[0][:3])


@needs_qemu
def test_a_fault_is_told_with_its_place(tmp_path: Path) -> None:
    elf = build("netduinoplus2", tmp_path, "TINY_UNDEFINED")
    with port_of("netduinoplus2", elf) as port:
        device = Device(port, explain_fault=lambda text: describe_fault(text, elf))
        with pytest.raises(ThumbnetError, match=r"UsageFault.*tiny_finish.*undefined instruction"):
            device.run(INPUTS[0])


@needs_qemu
def test_the_firmware_is_small(tmp_path: Path) -> None:
    """Production build with a model of 15 weights: below 8 KB of flash and 2 KB of RAM."""
    elf = build("mps2_an386", tmp_path, check=False)
    sizes = elf_sizes(elf)
    with port_of("mps2_an386", elf) as port:
        run = Device(port).run(INPUTS[0])
    assert run.layer_crcs is None
    assert sizes.flash < 8 * 1024
    assert sizes.data + sizes.bss + sizes.arena + run.stack < 2 * 1024


def test_a_silent_line_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_HELLO_PATIENCE", 0.1)
    monkeypatch.setattr(client, "_FIRST_WAIT", 0.2)
    master, slave = os.openpty()
    try:
        with (
            SerialPort(os.ttyname(slave)) as port,
            pytest.raises(ThumbnetError, match="does not answer; is the firmware `serial` on it"),
        ):
            Device(port)
    finally:
        os.close(master)
        os.close(slave)


def test_ports_that_cannot_be_opened_are_told(tmp_path: Path) -> None:
    with pytest.raises(ThumbnetError, match=r"No such file.*is the board plugged in\?"):
        SerialPort(str(tmp_path / "ttyACM0"))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ThumbnetError, match="is no serial port"):
        SerialPort(str(tmp_path / "file"))
    master, slave = os.openpty()
    try:
        name = os.ttyname(slave)
        with pytest.raises(ThumbnetError, match="no speed of 12345 baud"):
            SerialPort(name, 12345)
        with SerialPort(name), pytest.raises(ThumbnetError, match="close the other program"):
            SerialPort(name)
    finally:
        os.close(master)
        os.close(slave)


def test_a_port_that_goes_away_is_told() -> None:
    master, slave = os.openpty()
    name = os.ttyname(slave)
    os.close(slave)
    with SerialPort(name) as port:
        os.close(master)
        with pytest.raises(ThumbnetError, match="was closed at its other end"):
            port.read(1.0)
