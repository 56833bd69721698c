"""Cross-layer equalisation: the channels of a tensor are given ranges that int8 can share.

Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", arXiv
1906.04721, sections 4.1 (equalisation) and 4.2.1 (high biases), with calibration pictures in place
of batch statistics.

A Relu commutes with a positive factor: dividing channel i of a tensor by ``s_i`` in the layers that
write it, and multiplying it back in those that read it, leaves the network the function it was.
Tensors that an addition or a pool ties together share one ``s``.

ReLU6 stays what it is, one clip for all channels. A channel that is ever clipped on the calibration
pictures keeps ``s_i = 1``; all others keep below the clip, so that on those pictures nothing
changes. On others a value may be clipped that was larger than any that calibration saw, which is
what its int8 range would do to it anyway. In the same way a channel that a Relu never cuts off on
those pictures gives its smallest value to the next layer's bias.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from codegen.ir import FloatArray, Graph, Node, validate
from codegen.ops import Add, AvgPool, Conv, Depthwise, MaxPool
from codegen.passes.graph import as_float32, replaced
from codegen.quant.scales import largest_sizes
from codegen.quant.weights import Layer, parts, rows

Vector = NDArray[np.float64]

NEXT_TO_NOTHING = 1e-6
"""A channel whose range is a smaller share of its layer's largest one is dead: it stays."""

SWEEPS = 12


@dataclass(frozen=True, eq=False)
class ChannelRange:
    """Smallest and largest value of each channel of a tensor: float64 [C] each."""

    lo: Vector
    hi: Vector

    @property
    def largest(self) -> Vector:
        """Largest absolute value."""
        return np.maximum(np.abs(self.lo), np.abs(self.hi))


Extremes = Mapping[str, ChannelRange]


@dataclass(frozen=True, eq=False)
class ChannelMap:
    """What became of a tensor's values: ``(x - shift) / factor`` by channel, float64 [C] each."""

    factor: Vector
    shift: Vector

    def apply(self, values: FloatArray) -> FloatArray:
        """Values [..., C] of the tensor after equalisation."""
        return np.asarray((values - self.shift.astype(np.float32)) / self.factor, np.float32)


@dataclass(frozen=True, eq=False)
class Equalized:
    """The graph after equalisation, and what became of the tensors that nodes write, by name."""

    graph: Graph
    maps: Mapping[str, ChannelMap]


def equalize(
    graph: Graph, extremes: Extremes, per_tensor: bool = False, exact: bool = False
) -> Equalized:
    """The same function with channels of more equal ranges.

    Args:
        graph: A simplified float graph.
        extremes: Of each tensor that a node writes, on the calibration pictures.
        per_tensor: Weights will share one scale a layer, so that it is their ranges that are
            balanced; else those of the activations against the columns of the weights.
        exact: Only what leaves the function the same for every picture: tensors that go through
            an upper clip stay, and high biases stay.
    """
    shifts = {} if exact else _shifts(graph, extremes)
    maps = {
        name: ChannelMap(np.ones(len(seen.lo)), shifts.get(name, np.zeros(len(seen.lo))))
        for name, seen in extremes.items()
    }
    graph = replaced(graph, {n: _shifted(n, shifts) for n in graph.nodes})
    groups = [group for group in _groups(graph) if _scalable(graph, group, exact)]
    for _ in range(SWEEPS if per_tensor else 1):
        for group in groups:
            seen = {name: _moved(extremes[name], maps[name]) for name in group}
            s = _factors(graph, group, seen, per_tensor)
            graph = _scaled(graph, group, s)
            maps |= {t: replace(maps[t], factor=maps[t].factor * s) for t in group}
    return Equalized(validate(graph, "equalize"), maps)


def _shifts(graph: Graph, extremes: Extremes) -> dict[str, Vector]:
    """What a Relu never cuts off, to be moved into the bias of the next layer: by tensor, [C].

    Only in front of layers without padding, whose zeros would not move along, and not where the
    upper clip is at work. A constant channel keeps its value: no range would gain.
    """
    shifts: dict[str, Vector] = {}
    for node in graph.nodes:
        readers = graph.consumers(node.output)
        if (
            isinstance(node, Layer)
            and node.bounds.lo == 0.0
            and node.output != graph.output
            and all(isinstance(reader, Conv) and not reader.pads.any for reader in readers)
        ):
            seen = extremes[node.output]
            free = (seen.lo > 0.0) & (seen.lo < seen.hi) & (seen.hi < node.bounds.hi)
            shifts[node.output] = np.where(free, seen.lo, 0.0)
    return shifts


def _shifted(node: Node, shifts: Mapping[str, Vector]) -> Node:
    if not isinstance(node, Layer):
        return node
    bias, known = node.bias.astype(np.float64), node.statistics
    if node.output in shifts:
        bias = bias - shifts[node.output]
        known = known and known.then(np.ones(len(bias)), -shifts[node.output])
    if isinstance(node, Conv) and node.inputs[0] in shifts:
        bias = bias + np.einsum("okli,i->o", node.weight, shifts[node.inputs[0]])
    return replace(node, bias=as_float32(node, bias), statistics=known)


def _moved(seen: ChannelRange, channels: ChannelMap) -> ChannelRange:
    return ChannelRange(
        (seen.lo - channels.shift) / channels.factor, (seen.hi - channels.shift) / channels.factor
    )


def _groups(graph: Graph) -> list[tuple[str, ...]]:
    """Tensors that must share one factor a channel, in execution order."""
    group = {name: {name} for name in graph.tensors}
    for node in graph.nodes:
        if isinstance(node, Add | AvgPool | MaxPool):
            merged = set.union(*(group[name] for name in (*node.inputs, node.output)))
            group.update(dict.fromkeys(merged, merged))
    found = {id(names): tuple(t for t in graph.tensors if t in names) for names in group.values()}
    return list(found.values())


def _scalable(graph: Graph, group: tuple[str, ...], exact: bool) -> bool:
    """True if every layer around the tensors can take a factor a channel."""
    if graph.input in group or graph.output in group:
        return False
    around = [n for n in graph.nodes if n.output in group or set(n.inputs) & set(group)]
    clips = [getattr(n, "bounds", None) for n in around if n.output in group]
    return all(isinstance(n, Layer | Add | AvgPool | MaxPool) for n in around) and all(
        clip is None
        or (clip.lo in (0.0, -np.inf) and clip.hi > 0.0 and not (exact and np.isfinite(clip.hi)))
        for clip in clips
    )


def _writers(graph: Graph, group: tuple[str, ...]) -> Iterator[Layer]:
    return (n for n in graph.nodes if isinstance(n, Layer) and n.output in group)


def _readers(graph: Graph, group: tuple[str, ...]) -> Iterator[Layer]:
    return (n for n in graph.nodes if isinstance(n, Layer) and n.inputs[0] in group)


def _factors(graph: Graph, group: tuple[str, ...], seen: Extremes, per_tensor: bool) -> Vector:
    """``s`` of a group: float64 [C], 1 where a channel must stay as it is."""
    largest = np.maximum.reduce([seen[name].largest for name in group])
    read = np.maximum.reduce([_column_ranges(n, per_tensor) for n in _readers(graph, group)])
    if per_tensor:
        written = np.maximum.reduce([_row_ranges(n) for n in _writers(graph, group)])
    else:
        # A scale a channel forgives every factor but those on the columns of a convolution.
        written = largest / max(largest.max(), np.finfo(float).tiny)
        if all(isinstance(n, Depthwise) for n in _readers(graph, group)):
            read = 1.0 / np.where(written > 0.0, written, 1.0)
    usable = _alive(written) & _alive(read) & _alive(largest)
    s = np.sqrt(np.where(usable, written, 1.0) / np.where(usable, read, 1.0))
    for name in group:
        bounds = getattr(graph.producer(name), "bounds", None)
        if bounds is not None and np.isfinite(bounds.hi):
            hi = seen[name].hi
            s = np.where(hi >= bounds.hi * (1 - 1e-6), 1.0, np.maximum(s, hi / bounds.hi))
    return np.where(usable, s, 1.0)


def _alive(ranges: Vector) -> NDArray[np.bool_]:
    return np.asarray(ranges > NEXT_TO_NOTHING * ranges.max())


def _row_ranges(node: Layer) -> Vector:
    """Largest absolute weight of each output channel."""
    return largest_sizes(rows(node))


def _column_ranges(node: Layer, per_tensor: bool) -> Vector:
    """Largest absolute weight that each input channel meets, relative to its scale."""
    if isinstance(node, Depthwise):
        return np.asarray(np.abs(node.weight.astype(np.float64)).max(axis=(0, 1, 3)))
    largest = np.zeros(node.weight.shape[3])
    for part in parts(node):
        size = np.abs(node.weight[part].astype(np.float64))
        if not per_tensor:
            row = size.max(axis=(1, 2, 3), keepdims=True)
            size /= np.where(row > 0.0, row, 1.0)
        largest = np.maximum(largest, size.max(axis=(0, 1, 2)))
    return largest


def _scaled(graph: Graph, group: tuple[str, ...], s: Vector) -> Graph:
    """Channels of the group's tensors divided by ``s``."""
    changes: dict[Node, Node | None] = {}
    for node in _writers(graph, group):
        changes[node] = replace(
            node,
            weight=as_float32(node, node.weight / _along_outputs(node, s)),
            bias=as_float32(node, node.bias / s),
            statistics=node.statistics and node.statistics.then(1.0 / s, 0.0),
        )
    for node in _readers(graph, group):
        before = changes.get(node) or node
        assert isinstance(before, Layer)
        along = s if isinstance(node, Conv) else s[:, None]
        changes[node] = replace(before, weight=as_float32(node, before.weight * along))
    return replaced(graph, changes)


def _along_outputs(node: Layer, s: Vector) -> Vector:
    if isinstance(node, Conv):
        return s.reshape(-1, 1, 1, 1)
    return s.reshape(1, 1, -1, node.multiplier)
