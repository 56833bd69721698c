"""What fills the buffer of pairs from int8 NHWC rows: parameters of ``im2col``.

It has an order of its own, `gather_order`, which the weights are permuted to: a row of the kernel
meets one stretch of bytes, a word of it gives with SXTB16 the pairs (0, 2) and (1, 3), and what is
left of all rows is paired at the end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codegen.ir import Pads, Shape
from codegen.kernels.base import Parameters, Tiles

FILLER = -1
"""In `gather_order`: a position whose weight is zero."""

_UNROLLED_WORDS = 80
_UNROLLED_LOADS = 8
"""Up to here the words of a pixel, and loads of a row of the kernel, are written out."""


@dataclass(frozen=True)
class Stretch:
    """How the bytes of one row of the kernel become pairs.

    Attributes:
        length: Bytes.
        words: Offsets of the words that give two pairs each.
        evens: Offset of the word that gives its even pair only, or none.
        singles: Offsets of the bytes left over.
    """

    length: int
    words: tuple[int, ...]
    evens: tuple[int, ...]
    singles: tuple[int, ...]

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """The offsets of each pair."""
        whole = [(word + i, word + i + 2) for word in self.words for i in (0, 1)]
        return (*whole, *((word, word + 2) for word in self.evens))


def stretch(length: int) -> Stretch:
    """The pairs of a stretch of bytes; no word reaches beyond it.

    The bytes left over lie before the last word, not behind it. For 3 pixels of 3 channels the
    last word of a pixel then is the first of the next one, at stride 2.
    """
    count, left = divmod(length, 4)
    if count == 0:
        return Stretch(length, (), (), tuple(range(length)))
    gap = 4 * (count - 1)
    words = (*range(0, gap, 4), length - 4)
    if left == 3:
        return Stretch(length, words, (gap,), (gap + 1,))
    return Stretch(length, words, (), tuple(range(gap, gap + left)))


def gather_order(kernel: tuple[int, int], channels: int) -> tuple[int, ...]:
    """What ``im2col`` writes to each input of the matrix product.

    Args:
        kernel: Height and width.
        channels: Channels of the image.

    Returns:
        For each ``k`` the index into ``[height][width][channels]`` of the window, or `FILLER`; the
        length is even.
    """
    row = stretch(kernel[1] * channels)
    starts = [ky * row.length for ky in range(kernel[0])]
    singles = [start + offset for start in starts for offset in row.singles]
    singles += [FILLER] * (len(singles) % 2)
    low = [start + pair[0] for start in starts for pair in row.pairs] + singles[::2]
    high = [start + pair[1] for start in starts for pair in row.pairs] + singles[1::2]
    return (*low, *high)


@dataclass(frozen=True)
class _Columns:
    """The columns of a row of windows, in bytes.

    Attributes:
        count: Windows.
        start: First byte of the first window; negative by what is added at the left.
        step: From window to window.
        length: Bytes of a row of a window.
        row: Bytes of a row of the image.
    """

    count: int
    start: int
    step: int
    length: int
    row: int

    @property
    def inside(self) -> tuple[int, int]:
        """The first window that is not cut at the left, and the first then that is at the right."""
        first = min(-(self.start // self.step), self.count) if self.start < 0 else 0
        room = self.row - self.length - self.start
        end = min(room // self.step + 1, self.count) if room >= 0 else 0
        return first, max(first, end)

    def at(self, window: int) -> int:
        """First byte of a window."""
        return self.start + window * self.step

    def patched_by_words(self) -> bool:
        """True if the windows at the edges can be put together of whole words of the row.

        The words start at the left end of the row, or for the other windows end at the right one.
        """
        first, end = self.inside
        for pixel in (*range(first), *range(end, self.count)):
            start = self.at(pixel)
            offsets = np.arange(start, start + self.length)
            words = offsets - (offsets - (0 if start < 0 else self.row)) % 4
            whole = (words >= 0) & (words <= self.row - 4)
            if np.any(whole != ((offsets >= 0) & (offsets < self.row))):
                return False
        return True

    def slide(self) -> tuple[int, int, int]:
        """Where windows of 9 bytes, 6 apart, slide over aligned words.

        Returns:
            The first window, the number of pairs of windows (behind which there is one more window,
            whose first words they write) and the byte of the first window in its word: 0 or 1.
        """
        inside, end = self.inside
        # Three bytes left of the row are a word of nothing but zero point.
        first = 0 if self.start == -3 else inside + (self.at(inside) % 4 > 1)
        pairs = (min(end, self.count - 1) - first) // 2
        if pairs <= 0 or self.row % 4 or end == inside:
            return inside, 0, 0
        return first, pairs, self.at(first) % 4


def im2col_parameters(
    shape: Shape,
    out: Shape,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pads: Pads,
    zero_point: int,
    slots_in: int,
) -> Parameters:
    """Parameters of ``im2col``.

    Args:
        shape: Of the image: ``(height, width, channels)``.
        out: Of the windows: ``(height, width, any)``.
        kernel: Height and width.
        stride: Down and across.
        pads: Around the image; only ``top`` and ``left`` matter, ``out`` says the rest.
        zero_point: Of the image: what the pads hold.
        slots_in: Rows kept of the image, or 0 if all are.
    """
    height, width, channels = shape
    row = stretch(kernel[1] * channels)
    row_pairs, row_singles = len(row.pairs), len(row.singles)
    half = kernel[0] * row_pairs + -(-kernel[0] * row_singles // 2)
    columns = _Columns(
        out[1], -pads.left * channels, stride[1] * channels, row.length, width * channels
    )
    first, end = columns.inside
    slides = kernel[0] == 3 and row.length == 9 and columns.step == 6
    slide = columns.slide() if slides else (first, 0, 0)
    slide_end = slide[0] + 2 * slide[1]
    inside = ((first, slide[0], columns.at(first)), (slide_end, end, columns.at(slide_end)))
    lowest = (out[0] - 1) * stride[0] - pads.top + kernel[0]
    unrolled = half <= _UNROLLED_WORDS and len(row.words) <= _UNROLLED_LOADS
    left_over = tuple((ky, offset, 0) for ky in range(kernel[0]) for offset in row.singles)
    return {
        "slots_in": slots_in,
        "in_height": height,
        "row_in": columns.row,
        "out_width": out[1],
        "kernel_height": kernel[0],
        "stride_y": stride[0],
        "pad_top": pads.top,
        "start": columns.start,
        "step": columns.step,
        "length": row.length,
        "half": half,
        "row_pairs": row_pairs,
        "row_singles": row_singles,
        "unrolled": int(unrolled),
        "loops": len(row.words[: None if row.length % 4 == 0 else -1]) // 4,
        "left_low": left_over[::2],
        "left_high": left_over[1::2] + left_over[len(left_over) - len(left_over) % 2 :],
        "words": tuple((offset, 2 * i, 1) for i, offset in enumerate(row.words)),
        "evens": tuple((offset, 2 * len(row.words), 0) for offset in row.evens),
        "singles": tuple((offset, i, 0) for i, offset in enumerate(row.singles)),
        "zero": zero_point,
        "outside": int(pads.top > 0 or lowest > height),
        "edges": _not_empty((0, min(first, slide[0]), 0), (end, out[1], 0)),
        "patch_words": -(-(3 + row.length) // 4),
        "by_words": int(columns.patched_by_words()),
        "inside": _not_empty(*inside),
        "slide": (slide,) if slide[1] else (),
        "slide_lead": int(columns.at(slide[0]) >= 0),
        "beside": 2 * half - 1 if slide[0] % 2 else 1,
    }


def _not_empty(*tiles: tuple[int, int, int]) -> Tiles:
    return tuple(tile for tile in tiles if tile[0] < tile[1])
