"""Average and maximum over windows; global pooling is the case of the whole map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from codegen.ir import (
    INT8_MIN,
    NO_BOUNDS,
    Bounds,
    FloatArray,
    Int8Array,
    Node,
    Pads,
    QParams,
    Requant,
    Shape,
)
from codegen.ops.window import Size, image_shape, output_size, pad, taps, window_counts
from codegen.quant.fixed import requantize


@dataclass(frozen=True, eq=False)
class AvgPool(Node):
    """Average over a window.

    The sum over the window is the accumulator; 1/(number of elements) is part of the scale.

    Attributes:
        kernel: Rows, columns.
        stride: Rows, columns.
        pads: Positions outside the image.
        count_pads: True if padding (zeros) counts as elements.
        beyond: Of the pads at the bottom and on the right, the rows and columns that do not count
            in any case: ceil mode reaches there.
        bounds: Clip of the result in real numbers; in an integer graph part of ``requant``.
        requant: None in a float graph; ``multiplier[i]`` belongs to windows with ``counts[i]``
            elements.
    """

    op: ClassVar[str] = "avgpool"

    kernel: Size
    stride: Size = (1, 1)
    pads: Pads = Pads()
    count_pads: bool = False
    beyond: Size = (0, 0)
    bounds: Bounds = NO_BOUNDS
    requant: Requant | None = None

    def infer(self, *shapes: Shape) -> Shape:
        return (*output_size(shapes[0], self.kernel, self.stride, self.pads), shapes[0][2])

    def divisors(self, shape: Shape) -> NDArray[np.int32]:
        """Number of elements that each window's sum is divided by: int32 [Ho, Wo]."""
        if not self.count_pads:
            return window_counts(shape, self.kernel, self.stride, self.pads)
        counted = (*self.counted_size(shape), shape[2])
        return window_counts(counted, self.kernel, self.stride, Pads(0, 0, *self.beyond))

    def counted_size(self, shape: Shape) -> Size:
        """Rows and columns of the image and the padding that counts."""
        height = shape[0] + self.pads.top + self.pads.bottom - self.beyond[0]
        width = shape[1] + self.pads.left + self.pads.right - self.beyond[1]
        return height, width

    def counts(self, shape: Shape) -> tuple[int, ...]:
        """The different numbers of elements that windows have, in rising order."""
        return tuple(int(count) for count in np.unique(self.divisors(shape)))

    def _sums(self, x: FloatArray) -> FloatArray:
        padded = pad(x, self.pads)
        total = sum(values for _, _, values in taps(padded, self.kernel, self.stride))
        return np.asarray(total, np.float32)

    def run_float(self, *xs: FloatArray) -> FloatArray:
        shape = image_shape(xs[0])
        mean = self._sums(xs[0]) / self.divisors(shape)[:, :, None].astype(np.float32)
        return np.clip(mean, self.bounds.lo, self.bounds.hi)

    def run_int(self, xs: tuple[Int8Array, ...], qs: tuple[QParams, ...]) -> Int8Array:
        # Exact in float32: quantization refuses windows whose sums could reach 2**24.
        r = self.requant
        assert r is not None
        shape = image_shape(xs[0])
        sums = self._sums(xs[0].astype(np.float32) - np.float32(qs[0].zero_point))
        which = np.searchsorted(self.counts(shape), self.divisors(shape))
        # As one row of pixels with a multiplier each, for the rule wants one a channel.
        per_pixel = np.repeat(r.multiplier[which.reshape(-1)], shape[2])
        flat = Requant(per_pixel, r.shift, r.zero_point, r.lo, r.hi)
        return requantize(sums.reshape(len(sums), 1, 1, -1), flat).reshape(sums.shape)


@dataclass(frozen=True, eq=False)
class MaxPool(Node):
    """Maximum over a window; padding never wins. Input and output share a scale."""

    op: ClassVar[str] = "maxpool"

    kernel: Size
    stride: Size = (1, 1)
    pads: Pads = Pads()

    def infer(self, *shapes: Shape) -> Shape:
        return (*output_size(shapes[0], self.kernel, self.stride, self.pads), shapes[0][2])

    def run_float(self, *xs: FloatArray) -> FloatArray:
        padded = pad(xs[0], self.pads, np.float32(-np.inf))
        values = [v for _, _, v in taps(padded, self.kernel, self.stride)]
        return np.asarray(np.maximum.reduce(values))

    def run_int(self, xs: tuple[Int8Array, ...], qs: tuple[QParams, ...]) -> Int8Array:
        padded = pad(xs[0], self.pads, INT8_MIN)
        values = [v for _, _, v in taps(padded, self.kernel, self.stride)]
        return np.asarray(np.maximum.reduce(values))
