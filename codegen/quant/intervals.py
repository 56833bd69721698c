"""Interval analysis of an int8 graph: between which values each channel of each tensor stays.

The ends go through the integer arithmetic itself. Most operators are monotone in each of their
inputs, up to the signs of their weights, and the epilogue never turns an order around, so that the
ends of a sum give the ends of the output; of a table the stretch between the ends is looked at, and
softmax and grouped convolutions are not followed. What the analysis leaves out is only that
channels depend on one another: an interval may be too wide, never too narrow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.ir import INT8_MAX, INT8_MIN, Graph, Requant
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
from codegen.ops.window import output_size, window_counts
from codegen.quant.fixed import requantize_exactly

Int64Array = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Interval:
    """Smallest and largest value of each channel, for any input: int64 [C] each."""

    lo: Int64Array
    hi: Int64Array

    @property
    def constant(self) -> NDArray[np.bool_]:
        """Channels that have one value everywhere: bool [C]."""
        return np.asarray(self.lo == self.hi)

    @property
    def ends(self) -> tuple[Int64Array, Int64Array]:
        """Smallest and largest values."""
        return self.lo, self.hi

    def including(self, value: int) -> Interval:
        """The interval that holds ``value`` too."""
        return Interval(np.minimum(self.lo, value), np.maximum(self.hi, value))

    def minus(self, value: int) -> Interval:
        """Both ends less ``value``."""
        return Interval(self.lo - value, self.hi - value)


def intervals(graph: Graph) -> dict[str, Interval]:
    """The interval of every tensor.

    Args:
        graph: An int8 graph.

    Returns:
        By tensor name. No byte that the simulator computes, from whatever input, lies outside.
    """
    found = {graph.input: _anything(graph.input_tensor.shape[2])}
    for node in graph.nodes:
        found[node.output] = _RULES[node.op](graph, node, tuple(found[x] for x in node.inputs))
    return found


def sums(graph: Graph, node: Conv | Depthwise, x: Interval) -> Interval:
    """The accumulators of a convolution, bias included.

    Args:
        graph: The int8 graph.
        node: One of its convolutions.
        x: Interval of its input.

    Returns:
        Smallest and largest accumulator of each output channel.
    """
    x = x.minus(graph.q(node.inputs[0]).zero_point)
    above, below = np.maximum(node.weight, 0), np.minimum(node.weight, 0)
    products = "okli,i->klo" if isinstance(node, Conv) else "klcm,c->klcm"

    def taps(for_positive: Int64Array, for_negative: Int64Array) -> Int64Array:
        total = np.einsum(products, above, for_positive, dtype=np.int64)
        total += np.einsum(products, below, for_negative, dtype=np.int64)
        return np.asarray(total.reshape(*node.kernel, -1))

    inside = windows(graph, node)
    lo = np.einsum("wkl,klo->wo", inside, taps(x.lo, x.hi)).min(axis=0)
    hi = np.einsum("wkl,klo->wo", inside, taps(x.hi, x.lo)).max(axis=0)
    bias = node.bias.astype(np.int64)
    return Interval(lo + bias, hi + bias)


def windows(graph: Graph, node: Conv | Depthwise) -> NDArray[np.bool_]:
    """The different windows of a convolution, as the taps that lie inside the image.

    Returns:
        bool [n, KH, KW]: n is 1 unless a window meets the padding.
    """
    shape = graph.shapes(node)[0]
    outputs = output_size(shape, node.kernel, node.stride, node.pads)
    before = (node.pads.top, node.pads.left)
    rows, columns = (
        _inside(shape[axis], outputs[axis], node.kernel[axis], node.stride[axis], before[axis])
        for axis in (0, 1)
    )
    return (rows[:, None, :, None] & columns[None, :, None, :]).reshape(-1, *node.kernel)


def _inside(size: int, outputs: int, kernel: int, stride: int, before: int) -> NDArray[np.bool_]:
    """Along one axis: the different sets of taps inside the image, bool [n, kernel]."""
    position = np.arange(outputs)[:, None] * stride - before + np.arange(kernel)
    return np.unique((position >= 0) & (position < size), axis=0)


def _anything(channels: int) -> Interval:
    return Interval(np.full(channels, INT8_MIN, np.int64), np.full(channels, INT8_MAX, np.int64))


def _requantized(acc: Interval, requant: Requant) -> Interval:
    lo, hi = (requantize_exactly(end, requant).astype(np.int64) for end in (acc.lo, acc.hi))
    return Interval(lo, hi)


def _convolution(graph: Graph, node: Conv | Depthwise, xs: tuple[Interval, ...]) -> Interval:
    assert node.requant is not None
    return _requantized(sums(graph, node, xs[0]), node.requant)


def _add(graph: Graph, node: Add, xs: tuple[Interval, ...]) -> Interval:
    r = node.requant
    assert r is not None
    qa, qb = (graph.q(name) for name in node.inputs)

    def end(a: Int64Array, b: Int64Array) -> Int64Array:
        total = (a - qa.zero_point) * r.ka + (b - qb.zero_point) * r.kb
        value = r.zero_point + ((total + (1 << (r.shift - 1))) >> r.shift)
        return np.asarray(np.clip(value, r.lo, r.hi))

    return Interval(end(xs[0].lo, xs[1].lo), end(xs[0].hi, xs[1].hi))


def _avgpool(graph: Graph, node: AvgPool, xs: tuple[Interval, ...]) -> Interval:
    assert node.requant is not None
    shape = graph.shapes(node)[0]
    x = xs[0].minus(graph.q(node.inputs[0]).zero_point)
    counts, divisors = node.counts(shape), node.divisors(shape)
    inside = window_counts(shape, node.kernel, node.stride, node.pads)
    ends = []
    for elements, divisor in {*zip(inside.flat, divisors.flat, strict=True)}:
        multiplier = node.requant.multiplier[[counts.index(divisor)]]
        acc = Interval(x.lo * elements, x.hi * elements)
        ends.append(_requantized(acc, replace(node.requant, multiplier=multiplier)))
    return Interval(
        np.minimum.reduce([end.lo for end in ends]), np.maximum.reduce([end.hi for end in ends])
    )


def _maxpool(graph: Graph, node: MaxPool, xs: tuple[Interval, ...]) -> Interval:
    inside = window_counts(graph.shapes(node)[0], node.kernel, node.stride, node.pads)
    return xs[0] if inside.all() else xs[0].including(INT8_MIN)


def _pad(graph: Graph, node: Pad, xs: tuple[Interval, ...]) -> Interval:
    return xs[0].including(node.fill(graph.q(node.inputs[0]))) if node.pads.any else xs[0]


def _grouped(graph: Graph, node: GroupedConv, xs: tuple[Interval, ...]) -> Interval:
    """What the epilogue lets through: its channels are all kept in any case."""
    assert node.requant is not None
    every = np.ones(len(node.bias), np.int64)
    return Interval(every * node.requant.lo, every * node.requant.hi)


def _concat(graph: Graph, node: Concat, xs: tuple[Interval, ...]) -> Interval:
    parts = []
    for name, x, requant in zip(node.inputs, xs, node.requants, strict=True):
        q = graph.q(name)
        parts.append(_requantized(x.minus(q.zero_point), requant) if requant else x)
    return Interval(
        np.concatenate([part.lo for part in parts]), np.concatenate([part.hi for part in parts])
    )


def _lookup(graph: Graph, node: Lookup, xs: tuple[Interval, ...]) -> Interval:
    assert node.table is not None
    reached = [node.table[lo : hi + 1] for lo, hi in zip(*xs[0].minus(INT8_MIN).ends, strict=True)]
    return Interval(
        np.array([values.min() for values in reached], np.int64),
        np.array([values.max() for values in reached], np.int64),
    )


def _mul(graph: Graph, node: Mul, xs: tuple[Interval, ...]) -> Interval:
    assert node.requant is not None
    zeros = [graph.q(name).zero_point for name in node.inputs]
    a, b = (x.minus(zero).ends for x, zero in zip(xs, zeros, strict=True))
    corners = [p * q for p in a for q in b]
    acc = Interval(np.minimum.reduce(corners), np.maximum.reduce(corners))
    return _requantized(acc, node.requant)


def _prelu(graph: Graph, node: PRelu, xs: tuple[Interval, ...]) -> Interval:
    """From the ends and zero, where the function may turn."""
    assert node.requant is not None
    x = xs[0].minus(graph.q(node.inputs[0]).zero_point)
    inner = np.clip(0, x.lo, x.hi)
    ends = [node.requantized(at, node.requant).astype(np.int64) for at in (x.lo, inner, x.hi)]
    return Interval(np.minimum.reduce(ends), np.maximum.reduce(ends))


def _lrn(graph: Graph, node: Lrn, xs: tuple[Interval, ...]) -> Interval:
    """From the ends with the largest and the smallest multiplier of the table."""
    assert node.requant is not None
    x = xs[0].minus(graph.q(node.inputs[0]).zero_point)
    factors = node.requant.multiplier
    extremes = [replace(node.requant, multiplier=m) for m in (factors.min(), factors.max())]
    ends = [_requantized(x, requant) for requant in extremes]
    return Interval(
        np.minimum.reduce([end.lo for end in ends]), np.maximum.reduce([end.hi for end in ends])
    )


def _softmax(graph: Graph, node: Softmax, xs: tuple[Interval, ...]) -> Interval:
    return _anything(len(xs[0].lo))


_RULES: dict[str, Callable[[Graph, Any, tuple[Interval, ...]], Interval]] = {
    Conv.op: _convolution,
    Depthwise.op: _convolution,
    GroupedConv.op: _grouped,
    Add.op: _add,
    Concat.op: _concat,
    Lookup.op: _lookup,
    Mul.op: _mul,
    PRelu.op: _prelu,
    Lrn.op: _lrn,
    AvgPool.op: _avgpool,
    MaxPool.op: _maxpool,
    Pad.op: _pad,
    Softmax.op: _softmax,
}
