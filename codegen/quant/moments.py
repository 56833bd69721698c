"""Moments of a layer: of the int8 inputs it meets and of the output that it should give.

With ``x`` a window of the quantized input as real numbers and ``y`` the float network's output
before its clip, the mean squared error of weights ``w`` and bias ``b`` is a quadratic form in them.
What it says of ``w`` needs only the covariances; the bias is ``b = E[y] - w E[x]``, with the means
over those windows that count: where the clip cuts the output off, its error does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.errors import ThumbnetError
from codegen.ir import FloatArray, Int8Array, QParams
from codegen.ops import Conv
from codegen.ops.window import im2col, pad, taps
from codegen.quant.covariance import Covariance, Full, LowRank
from codegen.quant.weights import Layer, Matrix

WINDOWS, DEPTHWISE_WINDOWS = 8192, 200
"""So many windows of a picture are looked at in a convolution, or as many as it has inputs if these
are more; and in a depthwise layer: nine weights need no more."""

MARGIN = 0.1
"""Windows count up to so many standard deviations of the output beyond the clip."""

ENOUGH = 50
"""Fewer windows that count say nothing; then all of them do."""

CHUNK = 5
"""Pictures computed at once."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Means and covariances of a layer's windows.

    A convolution has one set of windows for all output channels, ``G = 1``; a depthwise layer one a
    channel, ``G = C``.

    Attributes:
        mean: Of the windows, float64 [G, n].
        target: Mean of the wanted output, float64 [C].
        covariance: Of the windows.
        cross: Of wanted output and window, float64 [C, n].
        windows: How many there were.
        active_mean: Mean of the windows that count for an output channel, float64 [C, n].
        active_target: Mean of the wanted output over them, float64 [C].
    """

    mean: Matrix
    target: NDArray[np.float64]
    covariance: Covariance
    cross: Matrix
    windows: int
    active_mean: Matrix
    active_target: NDArray[np.float64]

    def bias(self, weight: Matrix) -> NDArray[np.float64]:
        """The bias after which the mean output of each channel is the wanted one: float64 [C]."""
        return np.asarray(self.active_target - (weight * self.active_mean).sum(axis=1))

    def of(self, outputs: slice) -> Moments:
        """Those of some output channels of a convolution."""
        return replace(
            self,
            target=self.target[outputs],
            cross=self.cross[outputs],
            active_mean=self.active_mean[outputs],
            active_target=self.active_target[outputs],
        )


@dataclass(frozen=True, eq=False)
class Sums:
    """What the windows of some pictures add up to; with those of others, of all of them.

    Attributes:
        count: How many windows there were.
        parts: Sums of windows [G, n], outputs [C], outputs times windows [C, n]; then, over the
            windows that count, of windows [C, n], outputs [C] and ones [C]; of windows times
            windows [G, n, n] unless these are few. All float64.
        seen: The windows themselves, float32 [S, n], if they are few.
    """

    count: int
    parts: tuple[NDArray[np.float64], ...]
    seen: tuple[FloatArray, ...] = ()

    def __add__(self, other: Sums) -> Sums:
        parts = tuple(a + b for a, b in zip(self.parts, other.parts, strict=True))
        return Sums(self.count + other.count, parts, self.seen + other.seen)

    def moments(self) -> Moments:
        """The moments of these windows."""
        mean, target, cross = (part / self.count for part in self.parts[:3])
        active_sum, active_wanted, active_count, *square = self.parts[3:]
        covariance: Covariance
        if square:
            matrix = square[0] / self.count
            matrix -= mean[:, :, None] * mean[:, None, :]
            covariance = Full(matrix)
        else:
            covariance = LowRank((np.concatenate(self.seen) - mean) / np.sqrt(self.count))
        enough, divisor = active_count >= ENOUGH, np.maximum(active_count, 1.0)
        return Moments(
            mean,
            target,
            covariance,
            cross - target[:, None] * mean,
            self.count,
            np.where(enough[:, None], active_sum / divisor[:, None], mean),
            np.where(enough, active_wanted / divisor, target),
        )


def window_sums(
    node: Layer, x: Int8Array, y: FloatArray, q: QParams, deviation: NDArray[Any], few: bool
) -> Sums:
    """What a layer meets on some pictures.

    Args:
        node: The float layer.
        x: Its int8 input [N, H, W, C].
        y: Its float output before the clip, [N, Ho, Wo, Co].
        q: Quantization of the input.
        deviation: Standard deviation of the output before the clip, [C].
        few: Keep the windows and not their products: see ``few_windows``.

    Raises:
        ThumbnetError: There are no pictures.
    """
    if len(x) == 0:
        raise ThumbnetError(
            f"Layer {node.name!r} ({node.op}) was to be corrected or rounded without pictures. "
            "Give some with --calibrate, or use --bias-correction none and --rounding nearest."
        )
    margin = MARGIN * deviation[:, None]

    def of_batch(start: int) -> Sums:
        batch = slice(start, start + CHUNK)
        windows, wanted = _windows(node, q.real(x[batch]), y[batch])
        inside = (wanted > node.bounds.lo - margin) & (wanted < node.bounds.hi + margin)
        active = inside.astype(np.float32)
        parts = [
            windows.sum(axis=1, dtype=np.float64),
            wanted.sum(axis=1, dtype=np.float64),
            _products(wanted, windows).astype(np.float64),
            _products(active, windows).astype(np.float64),
            (active * wanted).sum(axis=1, dtype=np.float64),
            active.sum(axis=1, dtype=np.float64),
        ]
        if not few:
            parts.append((windows.transpose(0, 2, 1) @ windows).astype(np.float64))
        return Sums(windows.shape[1], tuple(parts), (windows[0],) if few else ())

    return reduce(add, map(of_batch, range(0, len(x), CHUNK)))


def few_windows(node: Layer, y: FloatArray) -> bool:
    """True if a layer meets fewer windows than it has inputs, for outputs [N, Ho, Wo, Co]."""
    return isinstance(node, Conv) and y.size // y.shape[3] < node.weight[0].size


def _products(wanted: FloatArray, windows: FloatArray) -> FloatArray:
    """Sum over the windows of each output [C, S] times its window [G, S, n]: [C, n]."""
    if len(windows) == 1:
        return np.asarray(wanted @ windows[0])
    return np.asarray((wanted[:, None, :] @ windows)[:, 0])


def _windows(node: Layer, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Windows [G, S, n] of ``x`` and the outputs [C, S] that belong to them; a sample of many."""
    total, most = y.size // y.shape[3], len(y) * _most_windows(node)
    x, outputs = pad(x, node.pads), y.reshape(total, -1)
    if isinstance(node, Conv) and total <= most:
        columns = im2col(x, node.kernel, node.stride)
        return columns.reshape(1, total, -1), outputs.T
    some = np.random.default_rng(0).permutation(total)[:most]
    place = np.unravel_index(some, y.shape[:3])
    parts = [view[place] for _, _, view in taps(x, node.kernel, node.stride)]
    wanted = np.ascontiguousarray(outputs[some].T)
    if isinstance(node, Conv):
        return np.concatenate(parts, axis=1)[None], wanted
    channels = np.repeat(np.stack(parts).transpose(2, 1, 0), node.multiplier, axis=0)
    return np.ascontiguousarray(channels), wanted


def _most_windows(node: Layer) -> int:
    """Windows of a picture that are looked at: a few for each weight that they decide on."""
    if isinstance(node, Conv):
        return max(WINDOWS, int(node.weight[0].size))
    return DEPTHWISE_WINDOWS
