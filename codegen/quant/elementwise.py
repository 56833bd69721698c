"""Float node -> integer node for the operators that work value by value, or channel by channel.

``RULES`` is part of the rules of ``codegen.quant.quantize``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.ir import NO_BOUNDS, Bounds, Graph, Node, QParams, Requant
from codegen.ops import Concat, Lookup, Lrn, Mul, PRelu
from codegen.quant.fixed import ACCUMULATOR_LIMIT, multipliers
from codegen.quant.refusal import refuse
from codegen.quant.scales import quantized_bounds

_DIFFERENCE = 255
"""The largest ``|q - zero_point|``."""


def _one_multiplier(
    node: Node, scale: float, largest: int, q: QParams, bounds: Bounds = NO_BOUNDS
) -> Requant:
    """The epilogue of accumulators up to ``largest`` that all have one scale.

    Raises:
        ThumbnetError: They could overflow.
    """
    multiplier, shift = multipliers(np.array([scale]))
    if largest << shift >= ACCUMULATOR_LIMIT:
        raise refuse(node, f"its input's scale is {scale:.0f} times its output's")
    return Requant(multiplier, shift, q.zero_point, *quantized_bounds(bounds, q))


def _several_multipliers(node: Node, scales: NDArray[np.float64], q: QParams) -> Requant:
    """The epilogue of differences ``q - zero_point``, with a multiplier for each scale.

    Raises:
        ThumbnetError: A scale is not finite, or accumulators could overflow.
    """
    if not np.isfinite(scales).all():
        raise refuse(node, "it multiplies by values that are NaN or infinite")
    common = _one_multiplier(node, float(scales.max()), _DIFFERENCE, q)
    return replace(common, multiplier=multipliers(scales)[0])


def _concat(graph: Graph, node: Concat, qs: Mapping[str, QParams]) -> Node:
    q = qs[node.output]

    def rescaled(source: QParams) -> Requant | None:
        if source == q:
            return None
        return _one_multiplier(node, source.scale / q.scale, _DIFFERENCE, q)

    return replace(node, requants=tuple(rescaled(qs[name]) for name in node.inputs))


def _lookup(graph: Graph, node: Lookup, qs: Mapping[str, QParams]) -> Node:
    return replace(node, table=node.make_table(qs[node.inputs[0]], qs[node.output]))


def _mul(graph: Graph, node: Mul, qs: Mapping[str, QParams]) -> Node:
    (a, b), q = (qs[name] for name in node.inputs), qs[node.output]
    scale = a.scale * b.scale / q.scale
    requant = _one_multiplier(node, scale, a.largest * b.largest, q, node.bounds)
    return replace(node, bounds=NO_BOUNDS, requant=requant)


def _prelu(graph: Graph, node: PRelu, qs: Mapping[str, QParams]) -> Node:
    q_in, q = qs[node.inputs[0]], qs[node.output]
    slopes = node.slope.astype(np.float64)
    requant = _several_multipliers(node, np.append(1.0, np.abs(slopes)) * q_in.scale / q.scale, q)
    positive, negative = np.split(requant.multiplier, [1])
    slope = np.where(slopes < 0, -negative, negative)
    return replace(node, slope=slope, requant=replace(requant, multiplier=positive))


_FEWEST, _MOST = 256, 4096
"""Entries of the table of a local response normalization."""

_TABLE_ERROR = 0.125
"""Steps of the output that sharing an entry may cost, if the largest table is not too small."""


def _lrn(graph: Graph, node: Lrn, qs: Mapping[str, QParams]) -> Node:
    """As many entries as the error demands; an entry is for the sum in the middle of its reach."""
    q_in, q = qs[node.inputs[0]], qs[node.output]
    largest = min(node.size, graph.tensors[node.output].shape[2]) * q_in.largest**2
    if largest >= ACCUMULATOR_LIMIT:
        raise refuse(node, f"its sums of squares could reach {largest:,} and overflow 32 bits")
    entries = _FEWEST
    while True:
        shift = max(0, (largest // entries).bit_length())
        starts = np.arange((largest >> shift) + 2, dtype=np.float64) * 2.0**shift
        real = q_in.scale**2
        factors = node.factor(starts * real) * q_in.scale / q.scale
        values = np.minimum(np.sqrt(starts[1:]), q_in.largest)
        if entries >= _MOST or (np.abs(np.diff(factors)) * values / 2).max() <= _TABLE_ERROR:
            break
        entries *= 2
    middles = (starts[:-1] + (2.0**shift - 1) / 2) * real
    scales = node.factor(middles) * q_in.scale / q.scale
    return replace(node, shift=shift, requant=_several_multipliers(node, scales, q))


RULES: dict[str, Callable[[Graph, Any, Mapping[str, QParams]], Node]] = {
    Concat.op: _concat,
    Lookup.op: _lookup,
    Mul.op: _mul,
    PRelu.op: _prelu,
    Lrn.op: _lrn,
}
