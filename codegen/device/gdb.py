"""Loads a program through a GDB server: QEMU's, or another that writes memory as asked.

Protocol: "GDB Remote Serial Protocol", Debugging with GDB, appendix E.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Callable, Sequence
from types import TracebackType

from codegen.elf import Segment
from codegen.errors import ThumbnetError

_TIMEOUT = 20.0
_HEADER_BYTES = 64
"""What a packet has beside the hex digits of the data, at most."""
_DEFAULT_PACKET = 1024
_SP, _PC, _XPSR = 13, 15, 25
"""Numbers of registers; a server may know the last only after it was asked for their names."""
_XPSR_THUMB = 1 << 24


def parse_address(place: str) -> tuple[str, int]:
    """Host and port of HOST:PORT or :PORT.

    Raises:
        ThumbnetError: It is neither.
    """
    host, _, port = place.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise ThumbnetError(f"{place!r} is no address; write for example localhost:3333")
    return host or "localhost", int(port)


class GdbServer:
    """A connection to a GDB server, with the processor halted."""

    def __init__(self, host: str, port: int) -> None:
        """Connects.

        Raises:
            ThumbnetError: Nothing listens there, or it does not answer as a GDB server.
        """
        self._where = f"{host}:{port}"
        try:
            self._socket = socket.create_connection((host, port), _TIMEOUT)
        except OSError as error:
            raise ThumbnetError(
                f"no GDB server at {self._where} ({error.strerror or error}); start one, for "
                "example qemu-system-arm ... -S -gdb tcp::3333"
            ) from error
        self._data = b""
        features = self._ask("qSupported:hwbreak+")
        size = re.search(r"PacketSize=([0-9a-fA-F]+)", features)
        packet = int(size[1], 16) if size else _DEFAULT_PACKET
        self._chunk = max(16, (packet - _HEADER_BYTES) // 2)
        if "qXfer:features:read+" in features:
            # QEMU lets registers be written only by those who have asked for their names.
            self._ask(f"qXfer:features:read:target.xml:0,{packet - _HEADER_BYTES:x}")
        self._has_flash = "qXfer:memory-map:read+" in features
        self._ask("?")

    def __enter__(self) -> GdbServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def load(self, segments: Sequence[Segment], progress: Callable[[int], None]) -> None:
        """Writes a program and reads it back.

        Args:
            segments: What goes where.
            progress: Told the bytes written and compared so far.

        Raises:
            ThumbnetError: The server programs flash by itself, refuses, or reads something else
                back.
        """
        if self._has_flash:
            raise ThumbnetError(
                f"{self._where} belongs to a debug probe, which writes flash only by itself; "
                "use --method pyocd or openocd"
            )
        done = 0
        for part in self._chunks(segments):
            self._expect_ok(
                f"M{part.address:x},{len(part.data):x}:{part.data.hex()}",
                f"write at 0x{part.address:08X}",
            )
            progress(done := done + len(part.data))
        for part in self._chunks(segments):
            if self.read(part.address, len(part.data)) != part.data:
                raise ThumbnetError(
                    f"{self._where}: what was written at 0x{part.address:08X} is not what is read "
                    "back; is this the board that the program is for?"
                )
            progress(done := done + len(part.data))

    def read(self, address: int, size: int) -> bytes:
        """Bytes of memory.

        Raises:
            ThumbnetError: There is no memory there.
        """
        answer = self._ask(f"m{address:x},{size:x}")
        if len(answer) != 2 * size:
            raise ThumbnetError(f"{self._where}: 0x{address:08X} cannot be read ({answer})")
        return bytes.fromhex(answer)

    def run(self, vectors: int) -> None:
        """Starts the program as a reset does, and leaves it running.

        Args:
            vectors: Address of the vector table: stack pointer and entry.
        """
        stack, entry = struct.unpack("<II", self.read(vectors, 8))
        for register, value in ((_SP, stack), (_PC, entry & ~1), (_XPSR, _XPSR_THUMB)):
            self._expect_ok(f"P{register:x}={struct.pack('<I', value).hex()}", "start the program")
        self._expect_ok("D", "start the program")

    def _chunks(self, segments: Sequence[Segment]) -> list[Segment]:
        return [
            Segment(segment.address + start, segment.data[start : start + self._chunk])
            for segment in segments
            for start in range(0, len(segment.data), self._chunk)
        ]

    def _expect_ok(self, command: str, what: str) -> None:
        answer = self._ask(command)
        if answer != "OK":
            raise ThumbnetError(
                f"{self._where} refuses to {what} ({answer or 'no answer'}); "
                "is this the board that the program is for?"
            )

    def _ask(self, command: str) -> str:
        """Sends a packet and gives the answer's."""
        text = command.encode("ascii")
        packet = b"$" + text + f"#{sum(text) & 0xFF:02x}".encode()
        try:
            self._socket.sendall(packet)
            while True:
                answer = self._next_packet()
                if answer is not None:
                    return answer
                self._socket.sendall(packet)  # it did not arrive as it was sent
        except OSError as error:
            raise ThumbnetError(
                f"{self._where} does not answer as a GDB server ({error.strerror or error})"
            ) from error

    def _next_packet(self) -> str | None:
        """The next packet, acknowledged; None if the other side asks for a repetition."""
        while True:
            found = re.search(rb"\$([^#]*)#([0-9a-fA-F]{2})|-", self._data)
            if not found:
                data = self._socket.recv(65536)
                if not data:
                    raise ThumbnetError(f"{self._where} has closed the connection")
                self._data += data
                continue
            self._data = self._data[found.end() :]
            if found[0] == b"-":
                return None
            if sum(found[1]) & 0xFF == int(found[2], 16):
                self._socket.sendall(b"+")
                return found[1].decode("ascii", "replace")
            self._socket.sendall(b"-")
