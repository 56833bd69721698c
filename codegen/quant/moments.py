"""Moments of a layer: of the int8 inputs it meets and of the output that it should give.

With ``x`` a window of the quantized input as real numbers and ``y`` the float network's output
before its clip, the mean squared error of weights ``w`` and bias ``b`` is a quadratic form in them.
What it says of ``w`` needs only the covariances; the bias is ``b = E[y] - w E[x]``, with the means
over those windows that count: where the clip cuts the output off, its error does not matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.errors import ThumbnetError
from codegen.ir import FloatArray, Int8Array, QParams
from codegen.ops import Conv
from codegen.ops.window import im2col, pad, taps
from codegen.quant.covariance import Covariance, Full, LowRank
from codegen.quant.weights import Layer, Matrix

WINDOWS = 200
"""So many windows of a picture are looked at in a depthwise layer: nine weights need no more."""

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


def moments(
    node: Layer, x: Int8Array, y: FloatArray, q: QParams, deviation: NDArray[Any]
) -> Moments:
    """Moments of a layer over pictures.

    Args:
        node: The float layer.
        x: Its int8 input [N, H, W, C].
        y: Its float output before the clip, [N, Ho, Wo, Co].
        q: Quantization of the input.
        deviation: Standard deviation of the output before the clip, [C].

    Raises:
        ThumbnetError: There are no pictures.
    """
    if len(x) == 0:
        raise ThumbnetError(
            f"Layer {node.name!r} ({node.op}) was to be corrected or rounded without pictures. "
            "Give some with --calibrate, or use --bias-correction none and --rounding nearest."
        )
    few, count = few_windows(node, y), 0
    sums: list[NDArray[np.float64]] = []
    seen: list[FloatArray] = []
    for windows, wanted in _batches(node, x, y, q):
        margin = MARGIN * deviation[:, None]
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
        if few:
            seen.append(windows[0])
        else:
            parts.append((windows.transpose(0, 2, 1) @ windows).astype(np.float64))
        count += windows.shape[1]
        sums = [a + b for a, b in zip(sums, parts, strict=True)] if sums else parts
    mean, target, cross = (part / count for part in sums[:3])
    active_sum, active_wanted, active_count, *square = sums[3:]
    covariance: Covariance
    if few:
        covariance = LowRank((np.concatenate(seen) - mean) / np.sqrt(count))
    else:
        covariance = Full(square[0] / count - mean[:, :, None] * mean[:, None, :])
    enough, divisor = active_count >= ENOUGH, np.maximum(active_count, 1.0)
    return Moments(
        mean,
        target,
        covariance,
        cross - target[:, None] * mean,
        count,
        np.where(enough[:, None], active_sum / divisor[:, None], mean),
        np.where(enough, active_wanted / divisor, target),
    )


def few_windows(node: Layer, y: FloatArray) -> bool:
    """True if a layer meets fewer windows than it has inputs, for outputs [N, Ho, Wo, Co]."""
    return isinstance(node, Conv) and y.size // y.shape[3] < node.weight[0].size


def _products(wanted: FloatArray, windows: FloatArray) -> FloatArray:
    """Sum over the windows of each output [C, S] times its window [G, S, n]: [C, n]."""
    if len(windows) == 1:
        return np.asarray(wanted @ windows[0])
    return np.asarray((wanted[:, None, :] @ windows)[:, 0])


def _batches(
    node: Layer, x: Int8Array, y: FloatArray, q: QParams
) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Windows [G, S, n] and the outputs [C, S] that belong to them, some pictures at a time."""
    for start in range(0, len(x), CHUNK):
        part = slice(start, start + CHUNK)
        yield _windows(node, q.real(x[part]), y[part])


def _windows(node: Layer, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Windows [G, S, n] of ``x`` and the outputs [C, S] that belong to them."""
    x, outputs = pad(x, node.pads), y.shape[3]
    if isinstance(node, Conv):
        columns = im2col(x, node.kernel, node.stride)
        return columns.reshape(1, -1, columns.shape[3]), y.reshape(-1, outputs).T
    total, wanted = len(y) * y.shape[1] * y.shape[2], len(y) * WINDOWS
    some = np.random.default_rng(0).permutation(total)[:wanted]
    parts = [v.reshape(total, -1)[some] for _, _, v in taps(x, node.kernel, node.stride)]
    channels = np.repeat(np.stack(parts).transpose(2, 1, 0), node.multiplier, axis=0)
    return np.ascontiguousarray(channels), np.ascontiguousarray(y.reshape(total, outputs)[some].T)
