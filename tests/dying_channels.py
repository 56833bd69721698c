"""Int8 graphs with channels that carry nothing, and what must hold once they are dropped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from random_graphs import extreme_images

from codegen import simulate
from codegen.ir import Graph, Node, Pads, QParams, Requant, Shape, Tensor, validate, with_nodes
from codegen.ops import Add, AddRequant, AvgPool, Conv, Depthwise
from codegen.quant.channels import Simplified, drop_channels
from codegen.quant.fixed import ACCUMULATOR_LIMIT, largest_sum

ZERO = -100
"""Zero point of every tensor; scales are equal too."""


class Net:
    """An int8 graph of hand-made layers whose scale is 1/128: sums become outputs by a shift."""

    def __init__(self, channels: int = 4, size: tuple[int, int] = (6, 5)) -> None:
        self.rng = np.random.default_rng(0)
        self.shapes: dict[str, Shape] = {"x": (*size, channels)}
        self.nodes: list[Node] = []

    def append(self, node: Node) -> None:
        self.shapes[node.output] = node.infer(*(self.shapes[name] for name in node.inputs))
        self.nodes.append(node)

    def conv(
        self,
        x: str,
        y: str,
        outputs: int = 4,
        size: int = 1,
        constant: Mapping[int, int] = {},
        unread: tuple[int, ...] = (),
        **more: Any,
    ) -> None:
        """``constant`` gives output channels their value, ``unread`` names input channels."""
        weight = self.weights(outputs, size, size, self.shapes[x][2])
        weight[..., list(unread)] = 0
        weight[list(constant)] = 0
        self.append(Conv(y, (x,), y, weight, self.bias(outputs, constant), **self.more(more, y)))

    def depthwise(
        self,
        x: str,
        y: str,
        size: int = 3,
        multiplier: int = 1,
        constant: Mapping[int, int] = {},
        **more: Any,
    ) -> None:
        outputs = self.shapes[x][2] * multiplier
        weight = self.weights(size, size, outputs)
        weight[..., list(constant)] = 0
        weight = weight.reshape(size, size, -1, multiplier)
        bias = self.bias(outputs, constant)
        self.append(Depthwise(y, (x,), y, weight, bias, **self.more(more, y, outputs)))

    def add(self, a: str, b: str, y: str) -> None:
        requant = AddRequant(1 << 14, 1 << 14, 15, ZERO)
        self.append(Add(y, (a, b), y, requant=requant))

    def avgpool(self, x: str, y: str, kernel: tuple[int, int], pads: Pads = Pads()) -> None:
        pool = AvgPool(y, (x,), y, kernel, pads=pads)
        counts = np.array(pool.counts(self.shapes[x]))
        multiplier = np.asarray(2**31 / (counts + 1), np.int32)  # of each a little less
        self.append(replace(pool, requant=Requant(multiplier, 0, ZERO)))

    def weights(self, *shape: int) -> np.ndarray:
        values = self.rng.integers(1, 128, shape) * self.rng.choice([-1, 1], shape)
        return np.asarray(values, np.int8)

    def bias(self, outputs: int, constant: Mapping[int, int]) -> np.ndarray:
        bias = self.rng.integers(-2000, 2000, outputs)
        for channel, value in constant.items():
            bias[channel] = (value - ZERO) * 128
        return np.asarray(bias, np.int32)

    def more(self, more: dict[str, Any], y: str, outputs: int | None = None) -> dict[str, Any]:
        """The other fields of a layer; ``lo`` and ``hi`` go into its epilogue."""
        ends = {end: more.pop(end) for end in ("lo", "hi") if end in more}
        count = outputs or 64
        return {**more, "requant": Requant(np.full(count, 2**25, np.int32), 0, ZERO, **ends)}

    def graph(self, output: str | None = None) -> Graph:
        q = QParams(0.1, ZERO)
        nodes = [_fitted(node) for node in self.nodes]
        start = Graph("g", {"x": Tensor("x", self.shapes["x"], q)}, (), "x", nodes[-1].output)
        start = replace(start, output=output or start.output)
        graph = with_nodes(start, nodes)
        tensors = {name: replace(tensor, q=q) for name, tensor in graph.tensors.items()}
        return validate(replace(graph, tensors=tensors), "test")


def _fitted(node: Node) -> Node:
    """A convolution with as many multipliers as channels."""
    if isinstance(node, Conv):
        assert node.requant
        multiplier = node.requant.multiplier[: len(node.weight)]
        return replace(node, requant=replace(node.requant, multiplier=multiplier))
    return node


def images_for(graph: Graph) -> np.ndarray:
    more = np.random.default_rng(1).integers(-128, 128, (4, *graph.input_tensor.shape))
    return np.concatenate([extreme_images(graph, 0), more.astype(np.int8)])


def assert_exact(before: Graph, done: Simplified) -> None:
    """Every remaining channel has the bytes that it had; input and output are untouched."""
    after, kept = done.graph, done.kept
    assert after.input_tensor == before.input_tensor
    assert after.output_tensor == before.output_tensor
    assert [node.name for node in after.nodes] == [node.name for node in before.nodes]
    assert set(kept) == set(before.tensors) == set(after.tensors)
    images = images_for(before)
    want, got = simulate.trace(before, images), simulate.trace(after, images)
    for name, values in got.items():
        assert np.array_equal(values, want[name][..., kept[name]]), name
        assert after.tensors[name] == replace(
            before.tensors[name], shape=(*before.tensors[name].shape[:2], len(kept[name]))
        )
    for node in after.nodes:
        if isinstance(node, Conv):
            assert node.requant
            sums = largest_sum(node.weight.reshape(len(node.weight), -1), node.bias, 0)
            assert sums << node.requant.shift < ACCUMULATOR_LIMIT
            assert (node.weight.dtype, node.bias.dtype) == (np.int8, np.int32)


def dropped(net: Net, output: str | None = None) -> dict[str, list[int]]:
    """Checks exactness; the channels that are gone, by tensor."""
    before = net.graph(output)
    done = drop_channels(before)
    assert_exact(before, done)
    again = drop_channels(done.graph)
    assert again.graph is done.graph  # nothing is left for a second time
    gone = {
        name: sorted(set(range(tensor.shape[2])) - set(done.kept[name].tolist()))
        for name, tensor in before.tensors.items()
    }
    assert done.removed == sum(map(len, gone.values()))
    return {name: numbers for name, numbers in gone.items() if numbers}


def dying(graph: Graph, seed: int) -> Graph:
    """``graph`` with some weights zeroed and some biases as far out as the sums allow."""
    rng = np.random.default_rng(seed)

    def changed(node: Node) -> Node:
        if not isinstance(node, (Conv, Depthwise)) or rng.random() < 0.3:
            return node
        assert node.requant
        by_output = (len(node.bias), -1)
        if isinstance(node, Conv):
            weight = node.weight * (rng.random(node.weight.shape[3]) < 0.8)
            weight = weight * (rng.random(len(weight)) < 0.8)[:, None, None, None]
            rows = weight.reshape(by_output)
        else:
            weight = node.weight * (rng.random(node.weight.shape[2:]) < 0.8)
            rows = weight.reshape(-1, len(node.bias)).T
        room = ((ACCUMULATOR_LIMIT - 1) >> node.requant.shift) - 256 * np.abs(
            rows.astype(np.int64)
        ).sum(axis=1)
        side = rng.choice([-1, 0, 1], len(room), p=[0.2, 0.7, 0.1])
        bias = np.where(side == 0, node.bias, side * room).astype(np.int32)
        return replace(node, weight=weight.astype(np.int8), bias=bias)

    return validate(replace(graph, nodes=tuple(map(changed, graph.nodes))), "dying")
