"""Random small float graphs over all operators, and their quantization, for property tests."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from codegen.errors import ThumbnetError
from codegen.ir import Bounds, Graph, Int8Array, Node, Pads, Preprocess, Tensor, validate
from codegen.ops import (
    Activation,
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
from codegen.quant.quantize import quantize
from codegen.simulate_float import run_float

BOUNDS = (Bounds(), Bounds(0.0), Bounds(0.0, 6.0), Bounds(-1.0, 1.0), Bounds(0.5, 2.0))
WIDEST = 70
"""Most channels of a tensor."""


RIGHTLY = ("overflow 32 bits", "times its output's")
"""Words of messages of graphs that are refused as they should be."""


class GraphMaker:
    """Grows a graph node by node from a seed; the same seed gives the same graph."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        wide = self.rng.random() < 0.15
        height, width = self.rng.integers(1, 6, 2) if wide else self.rng.integers(3, 15, 2)
        choice = [16, 33, 64, WIDEST] if wide else [1, 2, 3, 4, 5, 8, 9]
        channels = int(self.rng.choice(choice))
        self.tensors = {"in": Tensor("in", (int(height), int(width), channels))}
        self.nodes: list[Node] = []
        self.kinds: dict[Callable[[str], str], float] = {
            self.conv: 0.13,
            self.pointwise: 0.18,
            self.wide_pointwise: 0.05,
            self.depthwise: 0.22,
            self.depthwise_5x5: 0.06,
            self.add: 0.1,
            self.residual: 0.06,
            self.separable: 0.2,
            self.amplify: 0.05,
            self.pool: 0.08,
            self.pad: 0.07,
            self.concat: 0.06,
            self.fire: 0.04,
            self.lookup: 0.07,
            self.prelu: 0.03,
            self.lrn: 0.04,
            self.grouped: 0.06,
            self.depthwise_7x7: 0.03,
            self.mul: 0.05,
            self.squeeze_excite: 0.05,
        }

    def make(self) -> Graph:
        """A float graph of up to about 15 nodes, ending in a classifier or in a map.

        One in ten has a single layer, of any operator.
        """
        if self.rng.random() < 0.1:
            kinds = [*self.kinds, self.softmax]
            return self.graph(self._grow("in", kinds[self.rng.integers(len(kinds))]))
        name = "in"
        chances = np.array(list(self.kinds.values()))
        for _ in range(self.rng.integers(1, 7)):
            kind = self.rng.choice(len(chances), p=chances / chances.sum())
            name = self._grow(name, list(self.kinds)[kind])
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

    def _grow(self, name: str, kind: Callable[[str], str]) -> str:
        """At least one more node, even where the kind has none that fits."""
        grown = kind(name)
        return grown if grown != name else self.pointwise(name)

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
        if self.rng.random() < 0.1:
            kernel = (height, width)
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
        return self._append(Conv(title, (name,), out, weight, bias, stride, pads, self._bounds()))

    def pointwise(self, name: str, outputs: int | None = None) -> str:
        outputs = outputs or int(self.rng.integers(1, 14))
        weight = self._weights(outputs, 1, 1, self.tensors[name].shape[2], axis=0)
        title, out = self._names()
        return self._append(
            Conv(title, (name,), out, weight, self._bias(outputs), bounds=self._bounds())
        )

    def wide_pointwise(self, name: str) -> str:
        """Many channels out, and then in, where the map is small enough."""
        height, width, _ = self.tensors[name].shape
        if height * width > 60:
            return name
        wide = self.pointwise(name, int(self.rng.integers(20, WIDEST + 1)))
        return self.pointwise(wide)

    def amplify(self, name: str) -> str:
        """Large weights and a narrow clip: a scale of 0.5 or more, so that sums are shifted."""
        channels = self.tensors[name].shape[2]
        weight = np.zeros((1, 1, channels, 1), np.float32)
        weight[0, 0, :, 0] = 10.0 ** self.rng.uniform(1, 3, channels)
        bias = self._bias(channels)
        title, out = self._names()
        return self._append(Depthwise(title, (name,), out, weight, bias, bounds=Bounds(-1.0, 1.0)))

    def depthwise(self, name: str) -> str:
        return self._depthwise(name, *self._window(name), int(self.rng.choice([1, 1, 1, 2, 3])))

    def depthwise_5x5(self, name: str) -> str:
        stride = tuple(int(s) for s in self.rng.integers(1, 3, 2))
        return self._depthwise(name, (5, 5), stride, Pads(2, 2, 2, 2), 1)

    def depthwise_7x7(self, name: str) -> str:
        return self._depthwise(name, (7, 7), (1, 1), Pads(3, 3, 3, 3), 1)

    def _depthwise(
        self, name: str, kernel: tuple, stride: tuple, pads: Pads, multiplier: int
    ) -> str:
        channels = self.tensors[name].shape[2]
        multiplier = multiplier if channels * multiplier <= WIDEST else 1
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
        inputs = [name, partners[self.rng.integers(len(partners))]]
        self.rng.shuffle(inputs)
        return self._append(Add(title, tuple(inputs), out, self._bounds()))

    def concat(self, name: str) -> str:
        """With one or two other tensors of the same size, or with itself."""
        size = self.tensors[name].shape[:2]
        partners = [t.name for t in self.tensors.values() if t.shape[:2] == size]
        count = int(self.rng.integers(1, 3))
        inputs = [name, *(partners[i] for i in self.rng.integers(len(partners), size=count))]
        self.rng.shuffle(inputs)
        if sum(self.tensors[x].shape[2] for x in inputs) > 2 * WIDEST:
            return name
        title, out = self._names()
        return self._append(Concat(title, tuple(inputs), out))

    def fire(self, name: str) -> str:
        """Convolutions whose results are only joined: their scales are the same."""
        narrow = self.pointwise(name, 3)
        branches = [self.pointwise(narrow, 5), self._square(narrow, 3), self._square(narrow, 5)]
        title, out = self._names()
        return self._append(Concat(title, tuple(branches), out))

    def _square(self, name: str, size: int) -> str:
        """A convolution that keeps rows and columns."""
        weight = self._weights(4, size, size, self.tensors[name].shape[2], axis=0)
        title, out = self._names()
        pads = Pads(*(size // 2,) * 4)
        return self._append(
            Conv(title, (name,), out, weight, self._bias(4), pads=pads, bounds=self._bounds())
        )

    def grouped(self, name: str) -> str:
        """In groups, dilated, or both."""
        height, width, channels = self.tensors[name].shape
        fitting = [n for n in range(1, channels + 1) if channels % n == 0]
        groups = int(self.rng.choice(fitting))
        outputs = groups * int(self.rng.integers(1, 6))
        kernel, stride, pads = self._window(name, 3)
        room = (height + pads.top + pads.bottom, width + pads.left + pads.right)
        most = [(size - 1) // max(k - 1, 1) for size, k in zip(room, kernel, strict=True)]
        dilation = tuple(int(self.rng.integers(1, max(1, min(m, 3)) + 1)) for m in most)
        title, out = self._names()
        weight = self._weights(outputs, *kernel, channels // groups, axis=0)
        return self._append(
            GroupedConv(
                title, (name,), out, weight, self._bias(outputs), stride, pads,
                self._bounds(), groups=groups, dilation=dilation,
            )
        )  # fmt: skip

    def lookup(self, name: str) -> str:
        functions = ("elu", "hardsigmoid", "hardswish", "leakyrelu", "sigmoid", "tanh")
        function = functions[self.rng.integers(len(functions))]
        title, out = self._names()
        body = (Activation(title, (name,), out, function, 0.2, 0.5),)
        return self._append(Lookup(title, (name,), out, body))

    def prelu(self, name: str) -> str:
        channels = self.tensors[name].shape[2]
        title, out = self._names()
        slope = self.rng.normal(0, 0.5, channels).astype(np.float32)
        return self._append(PRelu(title, (name,), out, slope))

    def lrn(self, name: str) -> str:
        title, out = self._names()
        size, alpha = int(self.rng.integers(1, 7)), 10.0 ** self.rng.uniform(-4, 0)
        return self._append(Lrn(title, (name,), out, size, alpha))

    def mul(self, name: str) -> str:
        shape = self.tensors[name].shape
        partners = [t.name for t in self.tensors.values() if t.shape == shape]
        title, out = self._names()
        inputs = (name, partners[self.rng.integers(len(partners))])
        return self._append(Mul(title, inputs, out, False, self._bounds()))

    def squeeze_excite(self, name: str) -> str:
        """A factor for each channel, computed from the whole map."""
        height, width, channels = self.tensors[name].shape
        title, out = self._names()
        mean = self._append(AvgPool(title, (name,), out, (height, width)))
        gate = self.lookup(self.pointwise(self.pointwise(mean, 3), channels))
        title, out = self._names()
        return self._append(Mul(title, (name, gate), out, True, self._bounds()))

    def separable(self, x: str) -> str:
        """A pointwise layer, a depthwise one of any kernel, and another pointwise one.

        Between the first two there may be a function, read by others too.
        """
        depthwise = self.depthwise if self.rng.random() < 0.7 else self.depthwise_5x5
        wide = self.pointwise(x)
        if self.rng.random() < 0.3:
            wide = self.lookup(wide)
        return self.pointwise(depthwise(wide))

    def residual(self, name: str) -> str:
        """An inverted residual block whose input has a third reader."""
        channels = self.tensors[name].shape[2]
        wide = self.pointwise(name, min(WIDEST, 2 * channels))
        kernel = (3, 3)
        deep = self._depthwise(wide, kernel, (1, 1), Pads(1, 1, 1, 1), 1)
        narrow = self.pointwise(deep, channels)
        title, out = self._names()
        once = self._append(Add(title, (name, narrow), out))
        title, out = self._names()
        return self._append(Add(title, (once, name), out, self._bounds()))

    def pool(self, name: str) -> str:
        kernel, stride, pads = self._window(name, 4)
        title, out = self._names()
        if self.rng.random() < 0.5:
            node: Node = MaxPool(title, (name,), out, kernel, stride, pads)
        else:
            count = bool(self.rng.random() < 0.5)
            beyond = (0, 0)
            if count and self.rng.random() < 0.5:
                beyond = (int(self.rng.integers(pads.bottom + 1)), pads.right)
            node = AvgPool(title, (name,), out, kernel, stride, pads, count, beyond, self._bounds())
        counts_fine = AvgPool("", ("",), "", kernel, stride, pads).counts(self.tensors[name].shape)
        return self._append(node) if counts_fine[0] > 0 else name

    def pad(self, name: str) -> str:
        title, out = self._names()
        pads = Pads(*(int(p) for p in self.rng.integers(0, 3, 4)))
        return self._append(Pad(title, (name,), out, pads, float(self.rng.choice([0.0, 0.5]))))

    def softmax(self, name: str) -> str:
        title, out = self._names()
        return self._append(Softmax(title, (name,), out))

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
        return self.softmax(name)


def _needed(nodes: list[Node], output: str) -> set[str]:
    needed = {output}
    for node in reversed(nodes):
        if node.output in needed:
            needed.update(node.inputs)
    return needed


def random_quantized(seed: int) -> tuple[Graph, Graph]:
    """A random float graph and its int8 graph, calibrated on random images.

    One in four has depthwise weights of 16 bits.

    About one seed in a hundred gives a layer whose sums need more than 32 bits, or one that makes
    next to nothing of its input, which is refused rightly; such a graph is replaced by another one.
    """
    for other in range(20):
        graph = GraphMaker(seed + 1_000_000 * other).make()
        rng = np.random.default_rng(seed)
        # Shifted, so that zero points lie anywhere, both ends included.
        shift = rng.choice([rng.uniform(-2, 2), -10.0, 10.0], p=[0.8, 0.1, 0.1])
        images = rng.normal(shift, 1, (4, *graph.input_tensor.shape)).astype(np.float32)
        try:
            return graph, quantize(graph, ranges_on(graph, images), wide_depthwise=seed % 4 == 3)
        except ThumbnetError as error:
            if not any(words in str(error) for words in RIGHTLY):
                raise
    raise AssertionError(f"seed {seed} gives only layers that are refused")


def ranges_on(graph: Graph, images: np.ndarray) -> dict[str, tuple[float, float]]:
    """Smallest and largest value of each tensor of a float graph."""
    values = run_float(graph, images)
    return {name: (float(x.min()), float(x.max())) for name, x in values.items()}


def extreme_images(graph: Graph, seed: int) -> Int8Array:
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
