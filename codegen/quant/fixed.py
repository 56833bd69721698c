"""THE requantization rule: from an int32 accumulator to an int8 output, the same on every core.

With ``scale = s_in * s_w / s_out`` and ``M = round(scale * 2**(32 - shift))``, cut to its 16
leading significant bits,

    q = clamp(zero_point + (((acc << shift) * M + 2**31) >> 32), lo, hi)

Round half up, one rounding, product in 64 bits. ``shift`` is 0 unless a scale is 0.5 or more. The
scales of a file that is quantized already are not cut: ``M`` then has up to 31 bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.ir import Int8Array, Requant

MULTIPLIER_BITS = 16
ACCUMULATOR_LIMIT = 2**31
FLOAT32_EXACT = 2**24
"""Sums of products of int8 values below this are exact in float32."""

_SAME = 2.0**-23
"""Relative difference of two scales that are one, rounded to float32."""

_FEW_STEPS = 2.0**20
"""Outputs, before they are clipped, that float64 holds exactly on a grid of 2**-32."""

_BLOCK = 1 << 15
"""Elements handled at once by ``requantize``: two float64 buffers of it stay in a cache."""


def largest_sum(weight: NDArray[Any], bias: NDArray[Any], shift: int) -> int:
    """An upper bound of a layer's sums, shifted; must stay below ``ACCUMULATOR_LIMIT``.

    ``|x - z|`` and ``|z| + |x|`` both stay below 256, whichever way a kernel folds the zero point.

    Args:
        weight: [C, n] integer weights by output channel.
        bias: [C] integer biases.
        shift: Left shift of the accumulator.
    """
    return int((np.abs(bias.astype(np.int64)) + 256 * absolute_sums(weight)).max()) << shift


def absolute_sums(weight: NDArray[Any]) -> NDArray[np.int64]:
    """The sum of the magnitudes of each channel's integer weights: int64 [C] from [C, n]."""
    above, below = np.maximum(weight, 0), np.minimum(weight, 0)
    return np.asarray(above.sum(axis=1, dtype=np.int64) - below.sum(axis=1, dtype=np.int64))


def _leading_bits(value: int) -> int:
    """``value`` rounded (half up) to its 16 leading significant bits."""
    excess = value.bit_length() - MULTIPLIER_BITS
    if excess <= 0:
        return value
    return ((value + (1 << (excess - 1))) >> excess) << excess


def _multiplier(value: float, cut: bool) -> int:
    """``value`` as a whole number, cut to its leading bits.

    Without ``cut`` only if that is the value itself as far as float32 tells: thumbnet's own files.
    """
    whole = round(value)
    short = _leading_bits(whole)
    return short if cut or abs(short - value) <= _SAME * value else whole


def multipliers(scales: NDArray[np.float64], cut: bool = True) -> tuple[NDArray[np.int32], int]:
    """``M`` for each scale and the common shift.

    Args:
        scales: float64 [C], positive.
        cut: To 16 leading bits; not for scales that a file gives.

    Returns:
        int32 [C] with ``0 <= M < 2**31`` (0 where the scale is too small to be held) and the
        left shift of the accumulator.
    """
    shift = 0
    while True:
        values = [_multiplier(float(s) * 2.0 ** (32 - shift), cut) for s in scales]
        if max(values) < 2**31:
            return np.array(values, np.int32), shift
        shift += 1


def requantize_exactly(acc: NDArray[np.int64], requant: Requant) -> Int8Array:
    """The rule to the letter, in integers; ``requantize`` is measured against it.

    Args:
        acc: int64 [..., C] accumulators, bias included.
        requant: The layer's epilogue.

    Returns:
        int8 [..., C].
    """
    product = (acc << requant.shift) * requant.multiplier.astype(np.int64)
    value = requant.zero_point + ((product + 2**31) >> 32)
    return np.asarray(np.clip(value, requant.lo, requant.hi), np.int8)


def requantize(
    acc: NDArray[np.floating[Any]], requant: Requant, bias: NDArray[np.int32] | None = None
) -> Int8Array:
    """The same function, evaluated in float64 a cache-sized block at a time.

    It is exact: ``acc * M / 2**32``, the bias's share of it, the zero point and the one half all
    are multiples of ``2**-32``, so that float64 holds them below ``2**20``; what lies beyond is
    clipped, however it is rounded. A bias beyond is added before the multiplication.

    Args:
        acc: float32 or float64 [N, H, W, C] holding integers, bias not included.
        requant: The layer's epilogue, with one multiplier a channel or one for all.
        bias: int32 [C].

    Returns:
        int8 [N, H, W, C].
    """
    n, height, width, channels = acc.shape
    factor = np.broadcast_to(requant.multiplier, channels) * 2.0 ** (requant.shift - 32)
    offset = np.full(channels, requant.zero_point + 0.5)
    if bias is not None and np.abs(bias * factor).max() >= _FEW_STEPS:
        acc, bias = acc.astype(np.float64) + bias, None
    if bias is not None:
        offset = offset + bias * factor
    # One row of the image is the unit: the constants are repeated to its length.
    row = width * channels
    factor, offset = np.tile(factor, width), np.tile(offset, width)
    flat = acc.reshape(n * height, row)
    out = np.empty((n * height, row), np.int8)
    step = max(1, _BLOCK // row)
    buffer = np.empty((step, row))
    for start in range(0, n * height, step):
        part = flat[start : start + step]
        y = buffer[: len(part)]
        np.multiply(part, factor, out=y)
        y += offset
        np.floor(y, out=y)
        np.clip(y, requant.lo, requant.hi, out=y)
        out[start : start + step] = y
    return out.reshape(n, height, width, channels)
