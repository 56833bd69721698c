"""Range estimators: from the values of a tensor, batch by batch, to the range that is quantized.

A new estimator is one class here and one line in ``ESTIMATORS``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from codegen.ir import FloatArray

Range = tuple[float, float]


class RangeEstimator(Protocol):
    """Sees all values of one tensor once, then names a range."""

    def observe(self, values: FloatArray) -> None:
        """Takes the values of one batch, any shape."""

    def range(self) -> Range:
        """Smallest and largest real value to be represented."""


class MinMax:
    """The smallest and the largest value seen: nothing is clipped."""

    def __init__(self) -> None:
        self._lo, self._hi = np.inf, -np.inf

    def observe(self, values: FloatArray) -> None:
        # np.minimum, for min() would lose a NaN.
        self._lo = float(np.minimum(self._lo, values.min()))
        self._hi = float(np.maximum(self._hi, values.max()))

    def range(self) -> Range:
        return self._lo, self._hi


class Percentile:
    """Leaves a small share of the values out at either end.

    Counts values in equal bins over a range that doubles whenever a value falls outside, so that
    memory does not grow with the number of pictures.
    """

    BINS = 4096

    def __init__(self, share: float = 0.9999) -> None:
        self._share = share
        self._half = 0.0
        self._counts = np.zeros(self.BINS, np.int64)
        self._exact = MinMax()

    def observe(self, values: FloatArray) -> None:
        self._exact.observe(values)
        largest = float(np.abs(values).max())
        if not np.isfinite(largest):
            return
        if self._half == 0.0:
            self._half = largest
        while largest > self._half:
            self._double()
        if self._half > 0.0:
            counts, _ = np.histogram(values, self.BINS, (-self._half, self._half))
            self._counts += counts

    def _double(self) -> None:
        """Widens the range to twice its size: two bins become one, in the middle half."""
        quarter = self.BINS // 4
        merged = self._counts.reshape(-1, 2).sum(axis=1)
        self._counts = np.zeros(self.BINS, np.int64)
        self._counts[quarter : quarter + len(merged)] = merged
        self._half *= 2

    def range(self) -> Range:
        lo, hi = self._exact.range()
        if self._half == 0.0 or not np.isfinite([lo, hi]).all():
            return lo, hi
        below = np.cumsum(self._counts)
        total, edges = below[-1], np.linspace(-self._half, self._half, self.BINS + 1)
        left_out = (1.0 - self._share) * total
        first = int(np.searchsorted(below, left_out, side="right"))
        last = int(np.searchsorted(below, total - left_out, side="left"))
        return max(lo, float(edges[first])), min(hi, float(edges[last + 1]))


ESTIMATORS: dict[str, Callable[[], RangeEstimator]] = {
    "minmax": MinMax,
    "percentile": Percentile,
}
