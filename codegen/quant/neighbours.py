"""Scales that depend on the operators around a tensor."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from codegen.ir import Graph, Node, QParams
from codegen.ops import Add, AvgPool, Concat, Conv, Depthwise, GroupedConv, Lookup
from codegen.quant.ranges import Range

FREE = (Conv, Depthwise, GroupedConv, Add, AvgPool, Lookup, Concat)
"""Operators whose output may have any scale."""


def join_scales(graph: Graph, qs: dict[str, QParams]) -> None:
    """Gives what only a concatenation reads the scale of its output, where it may have any.

    The values are rounded to that scale in any case; so they are rounded only once, and copied.

    Args:
        graph: A float graph; what a quantized file says of a tensor is kept.
        qs: Quantization of every tensor, changed in place.
    """
    for node in reversed(graph.nodes):  # the outer one of two concatenations first
        if isinstance(node, Concat):
            for name in node.inputs:
                given = graph.tensors[name].q is not None
                if graph.consumers(name) == (node,) and _free(graph.producer(name)) and not given:
                    qs[name] = qs[node.output]


def product_scale(a: QParams, b: QParams, q: QParams) -> QParams:
    """Quantization of a product, whose steps are never finer than the product of theirs.

    Where calibration saw next to nothing, a gate that was shut, finer ones would show no more.

    Args:
        a: Of one factor.
        b: Of the other.
        q: What the range of the product gives.
    """
    return replace(q, scale=max(q.scale, a.scale * b.scale))


SAMPLES = 4096


def useful_range(graph: Graph, name: str, observed: Range) -> Range:
    """The part of a tensor's range in which its only reader, a Lookup, tells values apart.

    A hard swish is 0 for all that is below -3, a sigmoid nearly constant far from 0; so the steps
    of the tensor are spent on what lies between. What is outside is rounded to the ends of the
    range, where the function has the same value.

    Args:
        graph: A float graph.
        name: The tensor.
        observed: Its smallest and largest value.
    """
    readers = graph.consumers(name)
    if (
        len(readers) != 1
        or not isinstance(readers[0], Lookup)
        or name in (graph.input, graph.output)
    ):
        return observed
    if not np.isfinite(observed).all():
        return observed
    x = np.linspace(*observed, SAMPLES, dtype=np.float32)
    y = readers[0].run_float(x.reshape(1, 1, -1, 1)).reshape(-1)
    changes = np.flatnonzero(np.diff(y))
    if not len(changes):
        return observed
    return float(x[changes[0]]), float(x[changes[-1] + 1])


def _free(node: Node | None) -> bool:
    return isinstance(node, FREE)
