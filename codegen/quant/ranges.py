"""Range estimators: from the values of a tensor, batch by batch, to the range that is quantized.

What an estimator keeps does not grow with the number of pictures. A new one is one class here and
one line in ``ESTIMATORS``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from codegen.ir import INT8_MAX, INT8_MIN, FloatArray

Range = tuple[float, float]
STEPS = INT8_MAX - INT8_MIN


class RangeEstimator(Protocol):
    """Sees all values of one tensor once, then names a range."""

    def observe(self, values: FloatArray) -> None:
        """Takes the values of one batch, [N, ...]."""

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


class Average:
    """Moving average of each picture's extremes, as quantization-aware training keeps it.

    Jacob et al. 2018, arXiv 1712.05877, section 3.1. The weight of a picture is at least
    ``1 - momentum``, and more while there are few, so that the first ones do not dominate.
    """

    def __init__(self, momentum: float = 0.99) -> None:
        self._momentum = momentum
        self._seen = 0
        self._ends = np.zeros(2)

    def observe(self, values: FloatArray) -> None:
        for image in values.reshape(len(values), -1):
            self._seen += 1
            share = max(1.0 - self._momentum, 1.0 / self._seen)
            ends = np.array([image.min(), image.max()], np.float64)
            self._ends = (1.0 - share) * self._ends + share * ends

    def range(self) -> Range:
        lo, hi = (float(end) for end in self._ends)
        return lo, hi


class Histogram:
    """Counts values in equal bins over a range that doubles whenever a value falls outside.

    The base of the estimators that weigh what clipping loses; those implement ``choose``.
    """

    BINS = 8192

    def __init__(self) -> None:
        self._half = 0.0
        self._counts = np.zeros(self.BINS, np.int64)
        self._exact = MinMax()

    def observe(self, values: FloatArray) -> None:
        self._exact.observe(values)
        largest = float(np.abs(self._exact.range()).max())
        if not np.isfinite(largest):
            return
        if self._half == 0.0:
            self._half = largest
        while largest > self._half:
            self._double()
        if self._half > 0.0:
            position = values.reshape(-1) * np.float32(self.BINS / (2 * self._half))
            index = np.minimum((position + np.float32(self.BINS / 2)).astype(np.int32), self.BINS)
            counts = np.bincount(np.maximum(index, 0), minlength=self.BINS + 1)
            counts[self.BINS - 1] += counts[self.BINS]  # the largest value itself
            self._counts += counts[: self.BINS]

    def _double(self) -> None:
        """Widens the range to twice its size: two bins become one, in the middle half."""
        quarter = self.BINS // 4
        merged = self._counts.reshape(-1, 2).sum(axis=1)
        self._counts = np.zeros(self.BINS, np.int64)
        self._counts[quarter : quarter + len(merged)] = merged
        self._half *= 2

    def range(self) -> Range:
        lo, hi = self._exact.range()
        if self._half == 0.0 or lo == hi or not np.isfinite([lo, hi]).all():
            return lo, hi
        edges = np.linspace(-self._half, self._half, self.BINS + 1)
        chosen = self.choose(self._counts, edges, (lo, hi))
        return max(lo, chosen[0]), min(hi, chosen[1])

    def choose(self, counts: NDArray[np.int64], edges: NDArray[np.float64], seen: Range) -> Range:
        """The range to represent.

        Args:
            counts: int64 [n], values in each bin.
            edges: float64 [n + 1], rising.
            seen: Smallest and largest value.
        """
        raise NotImplementedError


class Percentile(Histogram):
    """Leaves a small share of the values out at either end."""

    def __init__(self, share: float = 0.9999) -> None:
        super().__init__()
        self._share = share

    def choose(self, counts: NDArray[np.int64], edges: NDArray[np.float64], seen: Range) -> Range:
        below = np.cumsum(counts)
        total = below[-1]
        left_out = (1.0 - self._share) * total
        first = int(np.searchsorted(below, left_out, side="right"))
        last = int(np.searchsorted(below, total - left_out, side="left"))
        return float(edges[first]), float(edges[last + 1])


class LeastError(Histogram):
    """The range whose 256 values come nearest to what was seen, in the mean square.

    The ends are tried in turn, each in ``TRIALS`` steps while the other stays.
    """

    TRIALS = 100

    def choose(self, counts: NDArray[np.int64], edges: NDArray[np.float64], seen: Range) -> Range:
        used = np.flatnonzero(counts)
        values, weights = (edges[used] + edges[used + 1]) / 2, counts[used].astype(np.float64)
        lo, hi = min(seen[0], 0.0), max(seen[1], 0.0)

        def error(low: float, high: float) -> float:
            return float(weights @ (rounded(values, low, high) - values) ** 2)

        for _ in range(2):
            if hi > 0.0:
                ends = max(seen[1], 0.0) * np.linspace(1.0, 0.2, self.TRIALS)
                hi = float(min(ends, key=lambda end: error(lo, end)))
            if lo < 0.0:
                ends = min(seen[0], 0.0) * np.linspace(1.0, 0.2, self.TRIALS)
                lo = float(min(ends, key=lambda end: error(end, hi)))
        return lo, hi


class Entropy(Histogram):
    """The range after which the histogram is told apart least from the one before.

    Kullback-Leibler divergence of the clipped histogram from its quantized form, as in TensorRT
    (Migacz 2017): the counts that share a step are spread evenly over its bins that are not
    empty. Both ends shrink by one factor.
    """

    TRIALS = 80

    def choose(self, counts: NDArray[np.int64], edges: NDArray[np.float64], seen: Range) -> Range:
        centres = (edges[:-1] + edges[1:]) / 2
        lo, hi = min(seen[0], 0.0), max(seen[1], 0.0)
        # A value that is met again and again, as the zero of a Relu is, says nothing about steps.
        counts = np.where((edges[:-1] <= 0.0) & (edges[1:] >= 0.0), 0, counts)
        if not counts.any():
            return lo, hi
        factors = np.linspace(1.0, 0.1, self.TRIALS)
        best = min(factors, key=lambda f: self._divergence(counts, centres, f * lo, f * hi))
        return float(best * lo), float(best * hi)

    @staticmethod
    def _divergence(
        counts: NDArray[np.int64], centres: NDArray[np.float64], lo: float, hi: float
    ) -> float:
        inside = (centres >= lo) & (centres <= hi)
        kept = counts[inside].astype(np.float64)
        if not kept.any():
            return np.inf
        clipped = kept.copy()
        clipped[0] += counts[centres < lo].sum()
        clipped[-1] += counts[centres > hi].sum()
        step = np.rint((centres[inside] - lo) * (STEPS / (hi - lo))).astype(np.intp)
        full = kept > 0
        sums = np.bincount(step, kept, STEPS + 1)
        bins = np.bincount(step[full], minlength=STEPS + 1)
        spread = np.where(full, sums[step] / np.maximum(bins[step], 1), 0.0)
        p, q = clipped / clipped.sum(), spread / spread.sum()
        # Outliers may fall into an edge bin that was empty: there q is next to nothing, not zero.
        some = p > 0
        return float((p[some] * np.log(p[some] / np.maximum(q[some], 1e-12))).sum())


def rounded(values: NDArray[np.float64], lo: float, hi: float) -> NDArray[np.float64]:
    """``values`` after int8 with the range ``lo <= 0 <= hi``, ``lo < hi``."""
    scale = (hi - lo) / STEPS
    zero = np.rint(-lo / scale)
    return np.asarray(scale * (np.clip(np.rint(values / scale) + zero, 0, STEPS) - zero))


ESTIMATORS: dict[str, Callable[[], RangeEstimator]] = {
    "minmax": MinMax,
    "average": Average,
    "percentile": Percentile,
    "mse": LeastError,
    "entropy": Entropy,
}
