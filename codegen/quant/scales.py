"""From ranges and weights to scales, zero points and integers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.errors import ThumbnetError
from codegen.ir import INT8_MAX, INT8_MIN, Bounds, QParams
from codegen.quant.ranges import Range

WEIGHT_MAX = 127
WIDE_MAX = 32767
"""Largest weight of 8 and of 16 bits."""
_WIDE_MULTIPLIER = 2.0**-19
"""The least scale of a sum of wide weights, in steps of the output: 14 bits of its multiplier."""
_WIDE_SUM = 2**29
"""Sums of wide weights stay below: kernels that read activations as bytes need a bit more."""
BIAS_LIMIT = 2**30
"""Biases stay below, so that the sums of the weights have the other half of an int32."""


def activation_qparams(observed: Range, bounds: Bounds, tensor: str) -> QParams:
    """Scale and zero point of an activation.

    The range always holds zero, so that padding is exact, and ends where the bounds end. After
    the zero point is rounded the scale is widened until both ends can be represented. It is a
    float32, as ONNX stores scales: a quantized ONNX file then says all that is computed.

    Args:
        observed: What calibration saw.
        bounds: Clip that the tensor went through.
        tensor: Its name, for the message.

    Raises:
        ThumbnetError: The observed range is not finite.
    """
    if not np.isfinite(observed).all():
        raise ThumbnetError(
            f"Tensor {tensor!r} takes values that are not finite ({observed[0]} to {observed[1]}) "
            "on the calibration images. Check the preprocessing and the model's weights."
        )
    lo, hi = (float(np.clip(end, bounds.lo, bounds.hi)) for end in observed)
    lo, hi = min(lo, 0.0), max(hi, 0.0)
    if hi - lo < np.finfo(np.float32).tiny:
        return QParams(1.0, INT8_MIN)
    scale = (hi - lo) / (INT8_MAX - INT8_MIN)
    zero_point = int(np.clip(np.rint(INT8_MIN - lo / scale), INT8_MIN, INT8_MAX))
    above = hi / (INT8_MAX - zero_point) if zero_point < INT8_MAX else 0.0
    below = lo / (INT8_MIN - zero_point) if zero_point > INT8_MIN else 0.0
    widened = max(above, below)
    scale32 = np.float32(widened)
    if float(scale32) < widened:
        scale32 = np.nextafter(scale32, np.float32(np.inf))
    return QParams(float(scale32), zero_point)


def quantized_bounds(bounds: Bounds, q: QParams) -> tuple[int, int]:
    """The clip in int8 values of the output, ``(lo, hi)``."""
    ends = np.array([bounds.lo, bounds.hi]) / q.scale + q.zero_point
    lo, hi = np.clip(np.rint(ends), INT8_MIN, INT8_MAX)
    return int(lo), int(hi)


def largest_sizes(weight: NDArray[Any]) -> NDArray[np.float64]:
    """The largest magnitude of each row: float64 [C] from [C, n]."""
    ends = weight.max(axis=1).astype(np.float64), weight.min(axis=1).astype(np.float64)
    return np.asarray(np.maximum(ends[0], -ends[1]))


def weight_scales(
    weight: NDArray[np.floating[Any]], bias: NDArray[np.floating[Any]], input_scale: float
) -> NDArray[np.float64]:
    """One scale a channel: the largest weight becomes 127, and the bias fits.

    Where a channel's weights are next to nothing beside its bias, the bias decides; the weights
    then round to fewer steps, or to zero.

    Args:
        weight: [C, n] float weights by output channel.
        bias: [C] float.
        input_scale: Scale of the activations that meet the weights.

    Returns:
        float64 [C], all positive; 1 for channels with neither weight nor bias.
    """
    by_weight = largest_sizes(weight) / WEIGHT_MAX
    by_bias = np.abs(bias.astype(np.float64)) / (input_scale * BIAS_LIMIT)
    scales = np.maximum(by_weight, by_bias)
    return np.where(scales > 0.0, scales, 1.0)


def wide_scales(
    narrow: NDArray[np.float64],
    weight: NDArray[np.floating[Any]],
    bias: NDArray[np.floating[Any]],
    input_scale: float,
    output_scale: float,
) -> NDArray[np.float64]:
    """One scale a channel for weights of 16 bits, at most as coarse as those for 8 bits.

    As fine as the range of the weights, the sums (with the bias) in 32 bits and the precision of
    the multiplier allow.

    Args:
        narrow: float64 [C], what ``weight_scales`` gives.
        weight: [C, n] float weights by output channel.
        bias: [C] float.
        input_scale: Scale of the activations that meet the weights.
        output_scale: Scale of the output.

    Returns:
        float64 [C], all positive.
    """
    total = np.abs(weight.astype(np.float64)).sum(axis=1)
    sums = 256 * total + np.abs(bias.astype(np.float64)) / input_scale
    # All sums are shifted left if the scale of one needs it.
    shifted = max(1.0, 4.0 * float(narrow.max()) * input_scale / output_scale)
    needed = np.maximum(largest_sizes(weight) / WIDE_MAX, sums * shifted / _WIDE_SUM)
    needed = np.maximum(needed, _WIDE_MULTIPLIER * output_scale / input_scale)
    return np.asarray(np.minimum(narrow, needed))
