"""Frames of the serial protocol: the desktop's side of firmware/serial/frame.h."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

VERSION = 1
REPLY = 0x80
PAYLOAD = 256
"""Bytes of a payload at most."""

_MAGIC = b"TN"
_HEADER = struct.Struct("<BBBH")
_CRC = struct.Struct("<I")
_LEAST = len(_MAGIC) + _HEADER.size + _CRC.size
_KEPT_NOISE = 1000


@dataclass(frozen=True)
class Frame:
    """A request or a reply."""

    sequence: int
    code: int
    payload: bytes = b""
    version: int = VERSION

    def encode(self) -> bytes:
        """The bytes on the line."""
        head = _HEADER.pack(self.version, self.sequence, self.code, len(self.payload))
        return _MAGIC + head + self.payload + _CRC.pack(zlib.crc32(head + self.payload))


class Decoder:
    """Finds frames among bytes.

    Attributes:
        noise: The last bytes that belong to no frame.
        damaged: Number of frames that were whole, with a wrong CRC.
    """

    def __init__(self) -> None:
        self._data = b""
        self.noise = b""
        self.damaged = 0

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Takes bytes from the line and gives the frames that are whole and right."""
        self._data += data
        while frame := self._next():
            yield frame

    def silence(self) -> None:
        """Drops what is not whole, since nothing follows."""
        self._skip(len(self._data))

    def _next(self) -> Frame | None:
        while True:
            start = self._data.find(_MAGIC)
            if start < 0:
                self._skip(len(self._data) - self._data.endswith(_MAGIC[:1]))
                return None
            self._skip(start)
            if len(self._data) < _LEAST:
                return None
            version, sequence, code, length = _HEADER.unpack_from(self._data, len(_MAGIC))
            end = _LEAST + length
            if length <= PAYLOAD and len(self._data) < end:
                return None
            body = self._data[len(_MAGIC) : end - _CRC.size]
            crc = self._data[end - _CRC.size : end]
            if length <= PAYLOAD and crc == _CRC.pack(zlib.crc32(body)):
                self._data = self._data[end:]
                return Frame(sequence, code, body[_HEADER.size :], version)
            self.damaged += length <= PAYLOAD
            self._skip(1)

    def _skip(self, count: int) -> None:
        self.noise = (self.noise + self._data[:count])[-_KEPT_NOISE:]
        self._data = self._data[count:]
