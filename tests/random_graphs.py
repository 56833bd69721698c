"""Random small float graphs over all operators, and their quantization, for property tests."""

from __future__ import annotations

import numpy as np

from codegen.ir import Bounds, Graph, Node, Pads, Preprocess, Tensor, validate
from codegen.ops import Add, AvgPool, Conv, Depthwise, MaxPool, Pad, Softmax
from codegen.quant.quantize import quantize
from codegen.simulate_float import run_float

BOUNDS = (Bounds(), Bounds(0.0), Bounds(0.0, 6.0), Bounds(-1.0, 1.0), Bounds(0.5, 2.0))


class GraphMaker:
    """Grows a graph node by node from a seed; the same seed gives the same graph."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        height, width = self.rng.integers(3, 15, 2)
        channels = int(self.rng.choice([1, 2, 3, 4, 5, 8, 9]))
        self.tensors = {"in": Tensor("in", (int(height), int(width), channels))}
        self.nodes: list[Node] = []

    def make(self) -> Graph:
        """A float graph of 1 to 8 nodes, ending in a classifier or in a map."""
        name = "in"
        for _ in range(self.rng.integers(1, 7)):
            grow = self.rng.choice(
                [self.conv, self.pointwise, self.depthwise, self.add, self.pool, self.pad],
                p=[0.15, 0.25, 0.3, 0.1, 0.1, 0.1],
            )
            name = grow(name)
        if self.rng.random() < 0.5:
            name = self.classifier(name)
        return self.graph(name)

    def graph(self, output: str) -> Graph:
        live = _needed(self.nodes, output)
        tensors = {name: t for name, t in self.tensors.items() if name == "in" or name in live}
        nodes = tuple(node for node in self.nodes if node.output in live)
        channels = self.tensors["in"].shape[2]
        pre = Preprocess((0.0,) * channels, (1.0,) * channels)
        return validate(Graph("random", tensors, nodes, "in", output, pre), "random")

    def _append(self, node: Node) -> str:
        self.nodes.append(node)
        shape = node.infer(*(self.tensors[name].shape for name in node.inputs))
        self.tensors[node.output] = Tensor(node.output, shape)
        return node.output

    def _names(self) -> tuple[str, str]:
        number = len(self.nodes)
        return f"node/{number};", f"t{number}"

    def _weights(self, *shape: int, axis: int) -> np.ndarray:
        """Mostly normal weights; some channels extreme, tiny, or dead."""
        weight = self.rng.normal(0, 1, shape)
        by_channel = np.moveaxis(weight, axis, 0)
        for channel in by_channel:
            kind = self.rng.random()
            if kind < 0.1:
                channel[...] = self.rng.choice([-1.0, 1.0], channel.shape)  # all at +-127
            elif kind < 0.15:
                channel[...] = 0.0
            elif kind < 0.2:
                channel *= 1e-30
            elif kind < 0.3:
                channel *= 10.0 ** self.rng.uniform(-3, 2)
        return weight.astype(np.float32)

    def _bias(self, n: int) -> np.ndarray:
        return (self.rng.normal(0, 1, n) * self.rng.choice([0.0, 0.3, 3.0])).astype(np.float32)

    def _window(self, name: str, limit: int = 5) -> tuple[tuple, tuple, Pads]:
        """A kernel, stride and padding that fit the tensor."""
        height, width, _ = self.tensors[name].shape
        kernel = tuple(int(k) for k in self.rng.integers(1, limit + 1, 2))
        top, bottom = (int(p) for p in self.rng.integers(0, kernel[0], 2))
        left, right = (int(p) for p in self.rng.integers(0, kernel[1], 2))
        kernel = (min(kernel[0], height + top), min(kernel[1], width + left))
        top, bottom = min(top, kernel[0] - 1), min(bottom, kernel[0] - 1)
        left, right = min(left, kernel[1] - 1), min(right, kernel[1] - 1)
        kernel = (min(kernel[0], height + top + bottom), min(kernel[1], width + left + right))
        stride = tuple(int(s) for s in self.rng.integers(1, 4, 2))
        return kernel, stride, Pads(top, left, bottom, right)

    def _bounds(self) -> Bounds:
        return BOUNDS[self.rng.integers(len(BOUNDS))]

    def conv(self, name: str) -> str:
        kernel, stride, pads = self._window(name)
        outputs = int(self.rng.integers(1, 11))
        weight = self._weights(outputs, *kernel, self.tensors[name].shape[2], axis=0)
        title, out = self._names()
        bias = self._bias(outputs)
        return self._append(
            Conv(title, (name,), out, weight, bias, stride, pads, self._bounds())
        )

    def pointwise(self, name: str) -> str:
        outputs = int(self.rng.integers(1, 14))
        weight = self._weights(outputs, 1, 1, self.tensors[name].shape[2], axis=0)
        title, out = self._names()
        return self._append(
            Conv(title, (name,), out, weight, self._bias(outputs), bounds=self._bounds())
        )

    def depthwise(self, name: str) -> str:
        kernel, stride, pads = self._window(name)
        channels = self.tensors[name].shape[2]
        multiplier = int(self.rng.choice([1, 1, 1, 2, 3]))
        weight = self._weights(*kernel, channels * multiplier, axis=2)
        title, out = self._names()
        return self._append(
            Depthwise(
                title, (name,), out,
                weight.reshape(*kernel, channels, multiplier), self._bias(channels * multiplier),
                stride, pads, self._bounds(),
            )
        )  # fmt: skip

    def add(self, name: str) -> str:
        shape = self.tensors[name].shape
        partners = [t.name for t in self.tensors.values() if t.shape == shape]
        title, out = self._names()
        other = partners[self.rng.integers(len(partners))]
        return self._append(Add(title, (name, other), out, self._bounds()))

    def pool(self, name: str) -> str:
        kernel, stride, pads = self._window(name, 4)
        title, out = self._names()
        if self.rng.random() < 0.5:
            node: Node = MaxPool(title, (name,), out, kernel, stride, pads)
        else:
            count = bool(self.rng.random() < 0.5)
            node = AvgPool(title, (name,), out, kernel, stride, pads, count, self._bounds())
        counts_fine = AvgPool("", ("",), "", kernel, stride, pads).counts(self.tensors[name].shape)
        return self._append(node) if counts_fine[0] > 0 else name

    def pad(self, name: str) -> str:
        title, out = self._names()
        pads = Pads(*(int(p) for p in self.rng.integers(0, 3, 4)))
        return self._append(Pad(title, (name,), out, pads, float(self.rng.choice([0.0, 0.5]))))

    def classifier(self, name: str) -> str:
        shape = self.tensors[name].shape
        if self.rng.random() < 0.5:
            title, out = self._names()
            name = self._append(AvgPool(title, (name,), out, shape[:2]))
            shape = self.tensors[name].shape
        classes = int(self.rng.integers(1, 12))
        title, out = self._names()
        weight = self._weights(classes, *shape, axis=0)
        name = self._append(Conv(title, (name,), out, weight, self._bias(classes)))
        title, out = self._names()
        return self._append(Softmax(title, (name,), out))


def _needed(nodes: list[Node], output: str) -> set[str]:
    needed = {output}
    for node in reversed(nodes):
        if node.output in needed:
            needed.update(node.inputs)
    return needed


def random_quantized(seed: int) -> tuple[Graph, Graph]:
    """A random float graph and its int8 graph, calibrated on random images."""
    graph = GraphMaker(seed).make()
    rng = np.random.default_rng(seed)
    # Shifted, so that zero points lie anywhere.
    images = rng.normal(rng.uniform(-2, 2), 1, (4, *graph.input_tensor.shape)).astype(np.float32)
    values = run_float(graph, images)
    ranges = {name: (float(x.min()), float(x.max())) for name, x in values.items()}
    return graph, quantize(graph, ranges)


def extreme_images(graph: Graph, seed: int) -> np.ndarray:
    """int8 images: random, all -128, all 127, alternating."""
    rng = np.random.default_rng(seed)
    shape = graph.input_tensor.shape
    alternating = np.where(np.arange(graph.input_tensor.size) % 2, -128, 127).reshape(shape)
    return np.stack(
        [
            rng.integers(-128, 128, shape),
            np.full(shape, -128),
            np.full(shape, 127),
            alternating,
            np.clip(rng.normal(0, 40, shape), -128, 127),
        ]
    ).astype(np.int8)
