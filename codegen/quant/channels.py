"""Exact simplification: an int8 graph without the channels that carry nothing.

A channel is dropped where nobody needs it: its value is the same for every input, and so part of
the biases after it, or nobody reads it. Every byte of every channel that remains is what it was.

What is needed is found from the output backwards. A convolution needs of its input those channels
that a needed output meets with a weight that is not zero, unless they are constant and can be
folded. Where the padding comes into play, a constant other than the zero point cannot: windows at
the edge see less of it. An output that is constant itself needs nothing. All other operators keep
channels apart; what they read and write is needed together or not at all. Where channels are a
sum's or a group's, everything is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.ir import Graph, Node, validate, with_nodes
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
from codegen.quant.fixed import ACCUMULATOR_LIMIT, largest_sum
from codegen.quant.intervals import Interval, intervals, sums, windows

BoolArray = NDArray[np.bool_]
_WHOLE = (Softmax, Lrn, GroupedConv)
"""Operators that need all channels and write all: shares of a sum, or groups of one size."""

Kept = Mapping[str, NDArray[np.intp]]


@dataclass(frozen=True, eq=False)
class Simplified:
    """What the pass did.

    Attributes:
        before: The graph it was given.
        graph: The graph it made, with the same nodes and tensors but fewer channels.
        kept: For each tensor the channels of ``before`` that remain, in order: int [C].
    """

    before: Graph
    graph: Graph
    kept: Kept

    @property
    def channels(self) -> int:
        """Number of channels that the layers of ``before`` compute."""
        return _channels(self.before)

    @property
    def removed(self) -> int:
        """How many of them are gone."""
        return _channels(self.before) - _channels(self.graph)


def drop_channels(graph: Graph) -> Simplified:
    """Folds constant channels into biases and drops those that nobody reads.

    Input and output of the graph stay as they are, and each tensor keeps a channel at least.

    Args:
        graph: An int8 graph.

    Returns:
        The smaller graph, and which channels it kept. If none can go, the graph itself.
    """
    found = intervals(graph)
    needed = _Demand(graph, found).needed
    kept = {name: np.flatnonzero(channels) for name, channels in needed.items()}
    if all(channels.all() for channels in needed.values()):
        return Simplified(graph, graph, kept)
    nodes = [_SMALLER[node.op](graph, node, found, kept) for node in graph.nodes]
    return Simplified(
        graph, validate(with_nodes(graph, nodes), "drop_channels", integer=True), kept
    )


def _channels(graph: Graph) -> int:
    return sum(graph.tensors[node.output].shape[2] for node in graph.nodes)


class _Demand:
    """Which channels are needed: bool [C] by tensor, the least set that the rules allow."""

    def __init__(self, graph: Graph, found: Mapping[str, Interval]) -> None:
        self.graph = graph
        self.reads = {n: _reads(graph, n, found) for n in graph.nodes if isinstance(n, Conv)}
        self.needed = {
            name: np.full(tensor.shape[2], name in (graph.input, graph.output))
            for name, tensor in graph.tensors.items()
        }
        self._settle()
        for channels in self.needed.values():
            if not channels.any():
                channels[0] = True
                self._settle()

    def _settle(self) -> None:
        """Applies the rules until they ask for nothing more."""
        before = -1
        while before != self._count():
            before = self._count()
            for node in reversed(self.graph.nodes):
                self._apply(node)

    def _count(self) -> int:
        return sum(int(channels.sum()) for channels in self.needed.values())

    def _apply(self, node: Node) -> None:
        needed = self.needed
        y, xs = needed[node.output], [needed[name] for name in node.inputs]
        if isinstance(node, Conv):
            xs[0] |= self.reads[node][y].any(axis=0)
        elif isinstance(node, Concat):
            ends = np.cumsum([len(x) for x in xs])[:-1]
            for x, part in zip(xs, np.split(y, ends), strict=True):
                x |= part
                part |= x
        elif isinstance(node, _WHOLE):
            xs[0][:] = y[:] = True
        else:
            groups = y.reshape(len(xs[0]), -1)  # a depthwise layer may write several a channel
            together = np.logical_or.reduce([groups.any(axis=1), *xs])
            for x in xs:
                x[:] = together
            groups[:] = together[:, None]


def _reads(graph: Graph, node: Conv, found: Mapping[str, Interval]) -> BoolArray:
    """Which input channels each output cannot do without: bool [O, I]."""
    x, y = found[node.inputs[0]], found[node.output]
    everywhere = bool(windows(graph, node).all())
    foldable = x.constant & (everywhere | (x.lo == graph.q(node.inputs[0]).zero_point))
    reads = node.weight.any(axis=(1, 2)) & ~foldable
    return np.asarray(reads & ~y.constant[:, None])


def _conv(graph: Graph, node: Conv, found: Mapping[str, Interval], kept: Kept) -> Conv:
    """The rows and columns that remain, and the biases with what the other columns gave.

    The proof that no sum overflows still holds: it allows 256 times each weight, and the weight
    that goes adds at most 255 times itself to the bias. An output that is constant is a bias
    alone, a sum that gives the constant.
    """
    assert node.requant is not None
    name = node.inputs[0]
    x, outputs, inputs = found[name], kept[node.output], kept[name]
    constant = found[node.output].constant[outputs]
    weight = np.where(constant[:, None, None, None], np.int8(0), node.weight[outputs])
    bias = np.where(constant, sums(graph, node, x).lo[outputs], node.bias[outputs])

    value = x.lo - graph.q(node.inputs[0]).zero_point
    value[inputs] = 0
    # Of the columns that go, those with weights are constant wherever a window meets them.
    bias += np.einsum("okli,i->o", weight, value, dtype=np.int64)
    weight = np.ascontiguousarray(weight[..., inputs])
    requant = replace(node.requant, multiplier=node.requant.multiplier[outputs])
    largest = largest_sum(weight.reshape(len(weight), -1), bias, requant.shift)
    assert largest < ACCUMULATOR_LIMIT, f"{node.name!r}: {largest}"
    return replace(node, weight=weight, bias=bias.astype(np.int32), requant=requant)


def _depthwise(
    graph: Graph, node: Depthwise, found: Mapping[str, Interval], kept: Kept
) -> Depthwise:
    assert node.requant is not None
    outputs, inputs = kept[node.output], kept[node.inputs[0]]
    return replace(
        node,
        weight=np.ascontiguousarray(node.weight[:, :, inputs]),
        bias=node.bias[outputs],
        requant=replace(node.requant, multiplier=node.requant.multiplier[outputs]),
    )


def _prelu(graph: Graph, node: PRelu, found: Mapping[str, Interval], kept: Kept) -> PRelu:
    return replace(node, slope=node.slope[kept[node.output]])


def _unchanged(graph: Graph, node: Node, found: Mapping[str, Interval], kept: Kept) -> Node:
    return node


_SMALLER: dict[str, Callable[[Graph, Any, Mapping[str, Interval], Kept], Node]] = {
    Conv.op: _conv,
    Depthwise.op: _depthwise,
    Add.op: _unchanged,
    Concat.op: _unchanged,
    GroupedConv.op: _unchanged,
    Lookup.op: _unchanged,
    Mul.op: _unchanged,
    PRelu.op: _prelu,
    Lrn.op: _unchanged,
    AvgPool.op: _unchanged,
    MaxPool.op: _unchanged,
    Pad.op: _unchanged,
    Softmax.op: _unchanged,
}
