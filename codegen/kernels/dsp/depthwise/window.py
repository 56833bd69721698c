"""What a row of depthwise windows reads: words of pixels, taps on them, words of weights.

Two neighbouring pixels are multiplied at once (SMLAD) where both lie in the kernel, one of them
(SMLAxy) at the kernel's edge. Which weights stand side by side in a word follows from that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from codegen.kernels.layout import half_of, pair_halfword, position

HALVES = ("b", "t")
"""Suffixes of SMLAxy: bottom and top half of a register."""


Place = tuple[int, int]
"""Row and column of the kernel."""


@dataclass(frozen=True)
class Tap:
    """One multiply-add: of a pair of pixels with a word of weights, or of halves of them.

    Attributes:
        output: Pixel of the output.
        word: Word of the kernel's row.
        halves: Empty for both products of the pair, else the half of the pixels and that of the
            weights.
    """

    output: int
    word: int
    halves: str = ""


@dataclass(frozen=True)
class Piece:
    """What one load brings: four pixels, or a single one.

    Attributes:
        offset: Byte in the plane.
        single: A byte, zero-extended; otherwise a word.
        pairs: For each pair of pixels that is needed the rotation that unpacks it, 0 or 8, and its
            taps. A single pixel is the lower half of its pair, unpacked.
    """

    offset: int
    single: bool
    pairs: tuple[tuple[int, tuple[Tap, ...]], ...]


@dataclass(frozen=True)
class Window:
    """A row of windows over planar rows.

    Attributes:
        kernel: Height and width.
        stride: Columns from window to window.
        pad_left: Columns of padding left of the image.
        in_width: Pixels of an input row.
        out_width: Pixels of an output row.
        channels: Planes of an input row.
        plane: Bytes from plane to plane.
        skips_padding: Padding is zero and not there: its products are not added.
        odd: The first output is the second one of a pair of pixels.
        packs_rows: Rows 0 and 1 of a 3x3 kernel are multiplied together; see `walk`.
    """

    kernel: tuple[int, int]
    stride: int
    pad_left: int
    in_width: int
    out_width: int
    channels: int
    plane: int
    skips_padding: bool
    odd: bool = False
    packs_rows: bool = False

    @cached_property
    def words(self) -> tuple[tuple[int, int | None], ...]:
        """Columns of the kernel in the halves of each word of a row, bottom and top."""
        width = self.kernel[1]
        parities = {0, 1} if self.stride % 2 else {self.pad_left % 2}
        pairs = [(kx, kx + 1) for kx in range(width - 1) if kx % 2 in parities]
        held = {kx for pair in pairs for kx in pair}
        return (*pairs, *((kx, None) for kx in range(width) if kx not in held))

    @cached_property
    def layout(self) -> tuple[tuple[Place, Place | None], ...]:
        """Row and column of the weights in each word of a channel's record, bottom and top."""
        packed = 2 if self.packs_rows else 0
        singles = (
            ((ky, low), None if high is None else (ky, high))
            for ky in range(packed, self.kernel[0])
            for low, high in self.words
        )
        return (*singles, *(((0, kx), (1, kx)) for kx in range(self.kernel[1] if packed else 0)))

    @property
    def halves(self) -> tuple[int, int]:
        """Channels of the lower halfwords and of the upper ones."""
        half = half_of(self.channels)
        return half, self.channels - half

    @property
    def record(self) -> int:
        """Words of constants a channel: bias, weights, multiplier."""
        return 2 + len(self.layout)

    def place(self, output: int, channel: int) -> int:
        """Byte of an output from the first pair on."""
        return 2 * pair_halfword(output + self.odd, channel, self.channels)

    def weight_place(self, kx: int) -> tuple[int, int]:
        """Word of a row, and half of it, that holds a column of the kernel."""
        return next((i, pair.index(kx)) for i, pair in enumerate(self.words) if kx in pair)

    @property
    def inside(self) -> range:
        """The outputs that meet no padding that is left out."""
        if not self.skips_padding:
            return range(self.out_width)
        first = -(-self.pad_left // self.stride)
        room = self.in_width - self.kernel[1] + self.pad_left
        return range(first, max(first, min(room // self.stride + 1, self.out_width)))

    def pieces(self, outputs: range) -> Iterator[Piece]:
        """What some outputs need of a row, from left to right."""
        touched = {
            column
            for output in outputs
            for column in range(self._left(output), self._left(output) + self.kernel[1])
            if self.counts(column)
        }
        for word in sorted({column // 4 for column in touched}):
            columns = [column for column in touched if column // 4 == word]
            if len(columns) == 1:
                taps = tuple(self._single_taps(columns[0], outputs))
                yield Piece(position(columns[0]), True, ((0, taps),))
                continue
            pairs = ((8 * i, tuple(self.taps(4 * word + 2 * i, outputs))) for i in (0, 1))
            yield Piece(4 * word, False, tuple(pair for pair in pairs if pair[1]))

    def _left(self, output: int) -> int:
        return output * self.stride - self.pad_left

    def counts(self, column: int) -> bool:
        """True if products of a column have to be added."""
        return not self.skips_padding or 0 <= column < self.in_width

    def _single_taps(self, column: int, outputs: range) -> Iterator[Tap]:
        for output in outputs:
            kx = column - self._left(output)
            if 0 <= kx < self.kernel[1]:
                word, half = self.weight_place(kx)
                yield Tap(output, word, "b" + HALVES[half])

    def taps(self, column: int, outputs: range) -> Iterator[Tap]:
        """Taps on the pair of pixels that starts at ``column``."""
        for output in outputs:
            kx = column - self._left(output)
            inside = [i for i in (0, 1) if 0 <= kx + i < self.kernel[1] and self.counts(column + i)]
            if len(inside) == 2:
                yield Tap(output, self.words.index((kx, kx + 1)))
            elif inside:
                word, half = self.weight_place(kx + inside[0])
                yield Tap(output, word, HALVES[inside[0]] + HALVES[half])
