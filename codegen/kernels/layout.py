"""How the dsp family keeps activations: planar rows of bytes, and pairs for the matrix product.

**Planar rows** lie between a matrix product and the depthwise layer that reads it, or the table of
a function between them. A row is one
plane for each channel; a plane holds the row's pixels as bytes ``u = q + 128``, four to a word in
the order 0, 2, 1, 3, so that UXTB16 gives two neighbours and UXTB16 with ROR #8 the next two.
The bytes between two planes are padding for both: right of the one, left of the other. They hold
the zero point. Rows of padding above and below are made when they are needed: in a slot of the
ring, or in the scratch memory if all rows of the tensor are kept.

**Pairs** (the buffer X) are what a matrix product reads: one word holds two inputs of a pixel, as
int16, those of the channels ``k`` and ``k + K / 2``; two pixels lie side by side.
"""

from __future__ import annotations

from dataclasses import dataclass

from codegen.ir import Pads, Shape

_ORDER = (0, 2, 1, 3)


@dataclass(frozen=True)
class Planar:
    """Planar rows of a tensor.

    Attributes:
        shape: ``(height, width, channels)``.
        pads: What the depthwise layer that reads them adds around.
    """

    shape: Shape
    pads: Pads = Pads()

    @property
    def lead(self) -> int:
        """Bytes before the first plane of a row."""
        return _words(self.pads.left)

    @property
    def plane(self) -> int:
        """Bytes from one plane to the next."""
        return _words(self.shape[1] + max(self.pads.left, self.pads.right))

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return self.lead + self.shape[2] * self.plane


def position(pixel: int) -> int:
    """Byte of a pixel in its plane; pixels left of the image are negative."""
    return pixel // 4 * 4 + _ORDER[pixel % 4]


def half_of(channels: int) -> int:
    """Channels in the lower halfwords of pairs; those of the upper ones may be one fewer."""
    return -(-channels // 2)


def pair_halfword(pixel: int, channel: int, channels: int) -> int:
    """Index in the buffer of pairs, as int16, of a channel of a pixel."""
    half = half_of(channels)
    return ((pixel // 2 * half + channel % half) * 2 + pixel % 2) * 2 + channel // half


def pairs_bytes(pixels: int, channels: int) -> int:
    """Bytes of the buffer of pairs."""
    return -(-pixels // 2) * half_of(channels) * 8


def _words(count: int) -> int:
    return -(-count // 4) * 4
