"""UF2 files: firmware that is copied onto a board as onto a USB stick.

Format: github.com/microsoft/uf2, "File format".
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from codegen.elf import Segment
from codegen.errors import ThumbnetError

BLOCK = 512
PAYLOAD = 256
"""Bytes of a block that are written: a page of the flash."""

_HEADER = struct.Struct("<8I")
_MAGIC = (0x0A324655, 0x9E5D5157)
_END = struct.Struct("<I")
_MAGIC_END = 0x0AB16F30
_FAMILY_PRESENT = 0x2000


def to_uf2(segments: Sequence[Segment], family: int) -> bytes:
    """A UF2 file.

    Args:
        segments: What lies where.
        family: Number of the chip family, 0xE48BFF56 for RP2040.

    Returns:
        Blocks of 512 bytes in order of their addresses, each with one page of 256 bytes; what a
        page has beyond the segments is zero.
    """
    pages = _pages(segments)
    return b"".join(
        _HEADER.pack(*_MAGIC, _FAMILY_PRESENT, address, PAYLOAD, number, len(pages), family)
        + bytes(page).ljust(BLOCK - _HEADER.size - _END.size, b"\0")
        + _END.pack(_MAGIC_END)
        for number, (address, page) in enumerate(sorted(pages.items()))
    )


def _pages(segments: Sequence[Segment]) -> dict[int, bytearray]:
    pages: dict[int, bytearray] = {}
    for segment in segments:
        for offset in range(len(segment.data)):
            address = segment.address + offset
            page = pages.setdefault(address - address % PAYLOAD, bytearray(PAYLOAD))
            page[address % PAYLOAD] = segment.data[offset]
    return pages


def from_uf2(data: bytes, family: int) -> dict[int, bytes]:
    """The pages in a UF2 file by address, as a boot loader would take them.

    Raises:
        ThumbnetError: A block is damaged, missing, or for another family.
    """
    pages: dict[int, bytes] = {}
    count = len(data) // BLOCK
    for number in range(count):
        block = data[number * BLOCK : (number + 1) * BLOCK]
        first, second, flags, address, size, index, total, found = _HEADER.unpack_from(block)
        (end,) = _END.unpack_from(block, BLOCK - _END.size)
        intact = (first, second, end) == (*_MAGIC, _MAGIC_END) and size <= PAYLOAD
        if not intact or (index, total) != (number, count) or len(data) % BLOCK:
            raise ThumbnetError(f"block {number} of the UF2 file is damaged")
        if not flags & _FAMILY_PRESENT or found != family:
            raise ThumbnetError(f"the UF2 file is for family {found:08x}, not {family:08x}")
        pages[address] = block[_HEADER.size : _HEADER.size + size]
    return pages
