"""Moments of a layer: of the int8 inputs it meets and of the output that it should give.

With ``x`` a window of the quantized input as real numbers and ``y`` the float network's output
before its clip, the mean squared error of weights ``w`` and bias ``b`` is a quadratic form in them.
What it says of ``w`` needs only the covariances; the bias is ``b = E[y] - w E[x]``, with the means
over those windows that count: where the clip cuts the output off, its error does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.errors import ThumbnetError
from codegen.ir import FloatArray, Int8Array, QParams
from codegen.ops import Conv
from codegen.ops.window import im2col, pad, taps
from codegen.quant.weights import Layer, Matrix

WINDOWS = 200
"""So many windows of a picture are looked at in a depthwise layer: nine weights need no more."""

MARGIN = 0.1
"""Windows count up to so many standard deviations of the output beyond the clip."""

ENOUGH = 50
"""Fewer windows that count say nothing; then all of them do."""

Batch = tuple[Int8Array, FloatArray]


@dataclass(frozen=True, eq=False)
class Moments:
    """Means and covariances of a layer's windows.

    A convolution has one set of windows for all output channels, ``G = 1``; a depthwise layer one a
    channel, ``G = C``.

    Attributes:
        mean: Of the windows, float64 [G, n].
        target: Mean of the wanted output, float64 [C].
        covariance: Of the windows, float64 [G, n, n].
        cross: Of wanted output and window, float64 [C, n].
        windows: How many there were.
        active_mean: Mean of the windows that count for an output channel, float64 [C, n].
        active_target: Mean of the wanted output over them, float64 [C].
    """

    mean: Matrix
    target: NDArray[np.float64]
    covariance: NDArray[np.float64]
    cross: Matrix
    windows: int
    active_mean: Matrix
    active_target: NDArray[np.float64]

    def bias(self, weight: Matrix) -> NDArray[np.float64]:
        """The bias after which the mean output of each channel is the wanted one: float64 [C]."""
        return np.asarray(self.active_target - (weight * self.active_mean).sum(axis=1))

    def times(self, weight: Matrix) -> Matrix:
        """``weight [C, n]`` times the covariance that it meets."""
        return times(weight, self.covariance)


def times(weight: Matrix, matrices: NDArray[np.float64]) -> Matrix:
    """Each row of ``weight [C, n]`` times its matrix: one for all, or one a row [G, n, m]."""
    if len(matrices) == 1:
        return np.asarray(weight @ matrices[0])
    return np.asarray(np.einsum("ci,cij->cj", weight, matrices))


def moments(node: Layer, batches: Iterable[Batch], q: QParams, deviation: NDArray[Any]) -> Moments:
    """Moments of a layer over pictures.

    Args:
        node: The float layer.
        batches: Its int8 input [N, H, W, C] and float output before the clip [N, Ho, Wo, Co].
        q: Quantization of the input.
        deviation: Standard deviation of the output before the clip, [C].

    Raises:
        ThumbnetError: There are no pictures.
    """
    count = 0
    sums: list[NDArray[np.float64]] = []
    for x, y in batches:
        windows, wanted = _windows(node, q.real(x), y)
        margin = MARGIN * deviation[:, None]
        inside = (wanted > node.bounds.lo - margin) & (wanted < node.bounds.hi + margin)
        active = inside.astype(np.float32)
        parts = (
            windows.sum(axis=1, dtype=np.float64),
            wanted.sum(axis=1, dtype=np.float64),
            (windows.transpose(0, 2, 1) @ windows).astype(np.float64),
            _products(wanted, windows).astype(np.float64),
            _products(active, windows).astype(np.float64),
            (active * wanted).sum(axis=1, dtype=np.float64),
            active.sum(axis=1, dtype=np.float64),
        )
        count += windows.shape[1]
        sums = [a + b for a, b in zip(sums, parts, strict=True)] if sums else list(parts)
    if count == 0:
        raise ThumbnetError(
            f"Layer {node.name!r} ({node.op}) was to be corrected or rounded without pictures. "
            "Give some with --calibrate, or use --bias-correction none and --rounding nearest."
        )
    mean, target, square, cross = (part / count for part in sums[:4])
    active_sum, active_wanted, active_count = sums[4:]
    enough, divisor = active_count >= ENOUGH, np.maximum(active_count, 1.0)
    return Moments(
        mean,
        target,
        square - mean[:, :, None] * mean[:, None, :],
        cross - target[:, None] * mean,
        count,
        np.where(enough[:, None], active_sum / divisor[:, None], mean),
        np.where(enough, active_wanted / divisor, target),
    )


def _products(wanted: FloatArray, windows: FloatArray) -> FloatArray:
    """Sum over the windows of each output [C, S] times its window [G, S, n]: [C, n]."""
    if len(windows) == 1:
        return np.asarray(wanted @ windows[0])
    return np.asarray((wanted[:, None, :] @ windows)[:, 0])


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
