"""Integer semantics of each operator as plain loops over Python integers, one output at a time.

Written from the arithmetic contract and not from the operators, which are held against it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from codegen.ir import QParams, Requant
from codegen.ops import (
    Add,
    AvgPool,
    Concat,
    Conv,
    Depthwise,
    GroupedConv,
    Lookup,
    Lrn,
    MaxPool,
    Mul,
    Pad,
    PRelu,
    Softmax,
)


def clamp(value: int, lo: int, hi: int) -> int:
    return min(max(value, lo), hi)


def scaled(acc: int, multiplier: int, r: Requant) -> int:
    assert abs(acc << r.shift) < 2**31, "the proof of the quantizer is wrong"
    return clamp(r.zero_point + (((acc << r.shift) * multiplier + 2**31) >> 32), r.lo, r.hi)


Image = np.ndarray


def windows(node: Any, x: Image, out: tuple[int, int]) -> Any:
    """For each output row and column its taps inside the image: (oy, ox, [(ky, kx, pixel)])."""
    for oy, ox in np.ndindex(out):
        taps = []
        for ky, kx in np.ndindex(*node.kernel):
            iy = oy * node.stride[0] + ky - node.pads.top
            ix = ox * node.stride[1] + kx - node.pads.left
            if 0 <= iy < x.shape[0] and 0 <= ix < x.shape[1]:
                taps.append((ky, kx, x[iy, ix].astype(np.int64)))
        yield oy, ox, taps


def conv_reference(node: Conv, xs: tuple[Image, ...], qs: tuple[QParams, ...], y: Image) -> None:
    weight = node.weight.astype(np.int64)
    for oy, ox, taps in windows(node, xs[0], y.shape[:2]):
        acc = node.bias.astype(np.int64)
        for ky, kx, pixel in taps:
            acc = acc + np.einsum("oi,i->o", weight[:, ky, kx], pixel - qs[0].zero_point)
        for o, total in enumerate(acc.tolist()):
            y[oy, ox, o] = scaled(total, int(node.requant.multiplier[o]), node.requant)


def grouped_reference(
    node: GroupedConv, xs: tuple[Image, ...], qs: tuple[QParams, ...], y: Image
) -> None:
    outputs, inputs = len(node.weight) // node.groups, node.weight.shape[3]
    for oy, ox, taps in windows(node, xs[0], y.shape[:2]):
        for o in range(y.shape[2]):
            first = o // outputs * inputs
            acc = int(node.bias[o])
            for ky, kx, pixel in taps:
                (row, between), (column, beside) = (
                    divmod(ky, node.dilation[0]),
                    divmod(kx, node.dilation[1]),
                )
                if between == 0 and beside == 0:
                    x = pixel[first : first + inputs] - qs[0].zero_point
                    acc += int((x * node.weight[o, row, column].astype(np.int64)).sum())
            y[oy, ox, o] = scaled(acc, int(node.requant.multiplier[o]), node.requant)


def depthwise_reference(
    node: Depthwise, xs: tuple[Image, ...], qs: tuple[QParams, ...], y: Image
) -> None:
    times = node.weight.shape[3]
    for oy, ox, taps in windows(node, xs[0], y.shape[:2]):
        for o in range(y.shape[2]):
            c, m = divmod(o, times)
            acc = int(node.bias[o])
            for ky, kx, pixel in taps:
                acc += (int(pixel[c]) - qs[0].zero_point) * int(node.weight[ky, kx, c, m])
            y[oy, ox, o] = scaled(acc, int(node.requant.multiplier[o]), node.requant)


def add_reference(node: Add, xs: tuple[Image, ...], qs: tuple[QParams, ...], y: Image) -> None:
    r = node.requant
    for index in np.ndindex(y.shape):
        a, b = (int(x[index]) - q.zero_point for x, q in zip(xs, qs, strict=True))
        total = a * r.ka + b * r.kb + 2 ** (r.shift - 1)
        assert abs(total) < 2**31, "the proof of the quantizer is wrong"
        y[index] = clamp(r.zero_point + (total >> r.shift), r.lo, r.hi)


def avgpool_reference(
    node: AvgPool, xs: tuple[Image, ...], qs: tuple[QParams, ...], y: Image
) -> None:
    counted = {}
    sums = []
    for oy, ox, taps in windows(node, xs[0], y.shape[:2]):
        count = len(taps)
        if node.count_pads:
            rows = range(oy * node.stride[0], oy * node.stride[0] + node.kernel[0])
            columns = range(ox * node.stride[1], ox * node.stride[1] + node.kernel[1])
            end = xs[0].shape[0] + node.pads.top + node.pads.bottom - node.beyond[0]
            right = xs[0].shape[1] + node.pads.left + node.pads.right - node.beyond[1]
            count = sum(row < end and column < right for row in rows for column in columns)
        acc = sum(pixel - qs[0].zero_point for _, _, pixel in taps)
        sums.append((oy, ox, count, acc))
        counted[count] = None
    order = sorted(counted)
    for oy, ox, count, acc in sums:
        multiplier = int(node.requant.multiplier[order.index(count)])
        for c, total in enumerate(acc.tolist()):
            y[oy, ox, c] = scaled(total, multiplier, node.requant)


def maxpool_reference(
    node: MaxPool, xs: tuple[Image, ...], qs: tuple[QParams, ...], y: Image
) -> None:
    for oy, ox, taps in windows(node, xs[0], y.shape[:2]):
        y[oy, ox] = np.max([pixel for _, _, pixel in taps], axis=0)


def pad_reference(node: Pad, xs: tuple[Image, ...], qs: tuple[QParams, ...], y: Image) -> None:
    y[...] = clamp(round(node.value / qs[0].scale) + qs[0].zero_point, -128, 127)
    height, width, _ = xs[0].shape
    y[node.pads.top : node.pads.top + height, node.pads.left : node.pads.left + width] = xs[0]


def concat_reference(
    node: Concat, xs: tuple[Image, ...], qs: tuple[QParams, ...], y: Image
) -> None:
    start = 0
    for x, q, requant in zip(xs, qs, node.requants, strict=True):
        for oy, ox, c in np.ndindex(x.shape):
            value = int(x[oy, ox, c])
            if requant is not None:
                value = scaled(value - q.zero_point, int(requant.multiplier[0]), requant)
            y[oy, ox, start + c] = value
        start += x.shape[2]


def lookup_reference(
    node: Lookup, xs: tuple[Image, ...], qs: tuple[QParams, ...], y: Image
) -> None:
    for index in np.ndindex(y.shape):
        y[index] = node.table[int(xs[0][index]) + 128]


def mul_reference(node: Mul, xs: tuple[Image, ...], qs: tuple[QParams, ...], y: Image) -> None:
    for oy, ox, c in np.ndindex(y.shape):
        at = (0, 0, c) if node.by_channel else (oy, ox, c)
        product = (int(xs[0][oy, ox, c]) - qs[0].zero_point) * (int(xs[1][at]) - qs[1].zero_point)
        y[oy, ox, c] = scaled(product, int(node.requant.multiplier[0]), node.requant)


def prelu_reference(node: PRelu, xs: tuple[Image, ...], qs: tuple[QParams, ...], y: Image) -> None:
    for oy, ox, c in np.ndindex(y.shape):
        acc = int(xs[0][oy, ox, c]) - qs[0].zero_point
        multiplier = int(node.slope[c] if acc < 0 else node.requant.multiplier[0])
        y[oy, ox, c] = scaled(acc, multiplier, node.requant)


def lrn_reference(node: Lrn, xs: tuple[Image, ...], qs: tuple[QParams, ...], y: Image) -> None:
    for oy, ox in np.ndindex(y.shape[:2]):
        pixel = [int(v) - qs[0].zero_point for v in xs[0][oy, ox]]
        for c, value in enumerate(pixel):
            first, end = c - (node.size - 1) // 2, c + node.size // 2 + 1
            total = sum(v * v for v in pixel[max(first, 0) : end])
            assert total < 2**31, "the proof of the quantizer is wrong"
            multiplier = int(node.requant.multiplier[total >> node.shift])
            y[oy, ox, c] = scaled(value, multiplier, node.requant)


def softmax_reference(
    node: Softmax, xs: tuple[Image, ...], qs: tuple[QParams, ...], y: Image
) -> None:
    for oy, ox in np.ndindex(y.shape[:2]):
        pixel = [int(v) for v in xs[0][oy, ox]]
        e = [int(node.table[max(pixel) - v]) for v in pixel]
        total = sum(e)
        assert total < 2**32
        for c, value in enumerate(e):
            assert 256 * value + total // 2 < 2**32, "does not fit unsigned 32 bits"
            y[oy, ox, c] = min((256 * value + total // 2) // total, 255) - 128


REFERENCES: dict[str, Callable[..., None]] = {
    "conv": conv_reference,
    "depthwise": depthwise_reference,
    "grouped": grouped_reference,
    "add": add_reference,
    "avgpool": avgpool_reference,
    "maxpool": maxpool_reference,
    "pad": pad_reference,
    "concat": concat_reference,
    "lookup": lookup_reference,
    "mul": mul_reference,
    "prelu": prelu_reference,
    "lrn": lrn_reference,
    "softmax": softmax_reference,
}
