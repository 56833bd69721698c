"""Float node -> integer node for the operators that work value by value, or channel by channel.

``RULES`` is part of the rules of ``codegen.quant.quantize``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from codegen.ir import NO_BOUNDS, Bounds, Graph, Node, QParams, Requant
from codegen.ops import Concat, Lookup, Mul
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


RULES: dict[str, Callable[[Graph, Any, Mapping[str, QParams]], Node]] = {
    Concat.op: _concat,
    Lookup.op: _lookup,
    Mul.op: _mul,
}
