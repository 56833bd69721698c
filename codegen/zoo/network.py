"""A network as its paper describes it: layers with shapes, apart from any framework.

One description serves Keras (``keras_model``), ONNX (``onnx_model``), the weights (``weights``)
and the counts here. Shapes are ``(height, width, channels)`` of one picture.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from codegen.ir import Pads, Shape

Padding = Literal["same", "valid"]
Activation = Literal["", "relu", "relu6", "hard_swish", "hard_sigmoid", "softmax"]


@dataclass(frozen=True)
class Layer:
    """One layer: its name, the layers that it reads, and the shape that it gives."""

    name: str
    inputs: tuple[str, ...]
    shape: Shape


@dataclass(frozen=True)
class Input(Layer):
    """The picture."""


@dataclass(frozen=True)
class Conv(Layer):
    """Convolution, its normalization and its activation.

    Attributes:
        kernel: Rows and columns.
        stride: In both directions.
        padding: As in Keras: "same" puts the odd row and column below and on the right.
        groups: The input channels of a group are read by the outputs of that group only; as many
            groups as channels make it depthwise.
        source: Input channels.
        normalize: BatchNormalization follows and there is no bias.
        activation: Applied last.
    """

    kernel: int
    stride: int
    padding: Padding
    groups: int
    source: int
    normalize: bool
    activation: Activation

    @property
    def depthwise(self) -> bool:
        """True if every input channel has a filter of its own."""
        return self.groups == self.source == self.shape[2]

    @property
    def kernel_shape(self) -> tuple[int, int, int, int]:
        """Shape of the weights as Keras has them: [KH, KW, I / groups, O] or [KH, KW, C, 1]."""
        last = (self.source, 1) if self.depthwise else (self.source // self.groups, self.shape[2])
        return (self.kernel, self.kernel, *last)


@dataclass(frozen=True)
class Dense(Layer):
    """Fully connected layer over the flattened (rows, columns, channels) input."""

    source: int
    activation: Activation


@dataclass(frozen=True)
class Pool(Layer):
    """Maximum pooling; with padding "same", positions outside do not count."""

    kernel: int
    stride: int
    padding: Padding


@dataclass(frozen=True)
class GlobalAverage(Layer):
    """The mean over rows and columns: [1, 1, C]."""


@dataclass(frozen=True)
class Lrn(Layer):
    """Local response normalization over ``size`` channels (Krizhevsky et al. 2012, 3.3)."""

    size: int
    alpha: float
    beta: float
    bias: float


@dataclass(frozen=True)
class Concat(Layer):
    """Its inputs' channels, one after the other."""


@dataclass(frozen=True)
class Add(Layer):
    """The sum of two maps."""


@dataclass(frozen=True)
class Multiply(Layer):
    """A map times one factor a channel, the second input."""


@dataclass(frozen=True)
class Softmax(Layer):
    """Probabilities of the classes."""


@dataclass(frozen=True)
class Network:
    """Layers in an order in which they can be computed; the first is the input."""

    name: str
    layers: tuple[Layer, ...]

    def shape(self, name: str) -> Shape:
        """The shape that a layer gives."""
        return next(layer.shape for layer in self.layers if layer.name == name)

    @property
    def macs(self) -> int:
        """Multiply-adds of convolutions and fully connected layers, for one picture."""
        return sum(
            weights * (layer.shape[0] * layer.shape[1]) for layer, (weights, _) in self._weighted()
        )

    @property
    def parameters(self) -> int:
        """Weights and biases, with BatchNormalization folded into them."""
        return sum(weights + biases for _, (weights, biases) in self._weighted())

    def _weighted(self) -> list[tuple[Layer, tuple[int, int]]]:
        """The layers with weights, and how many weights and biases each has."""
        found: list[tuple[Layer, tuple[int, int]]] = []
        for layer in self.layers:
            if isinstance(layer, Conv):
                height, width, channels, filters = layer.kernel_shape
                found.append((layer, (height * width * channels * filters, layer.shape[2])))
            elif isinstance(layer, Dense):
                found.append((layer, (layer.source * layer.shape[2], layer.shape[2])))
        return found


def output_side(side: int, kernel: int, stride: int, padding: Padding) -> int:
    """Rows or columns after a window has moved over ``side`` of them."""
    return -(-side // stride) if padding == "same" else (side - kernel) // stride + 1


def pads(shape: Shape, kernel: int, stride: int, padding: Padding) -> Pads:
    """What padding "same" adds to a map: half on either side, an odd one below and right."""
    if padding == "valid":
        return Pads()
    around = []
    for side in shape[:2]:
        total = max(0, (-(-side // stride) - 1) * stride + kernel - side)
        around.append((total // 2, total - total // 2))
    (top, bottom), (left, right) = around
    return Pads(top, left, bottom, right)


@dataclass
class Stack:
    """A network under construction: each method adds a layer and returns its name.

    Attributes:
        name: Of the network.
        normalize: Convolutions are followed by BatchNormalization unless they say otherwise.
    """

    name: str
    normalize: bool = True
    layers: dict[str, Layer] = field(default_factory=dict)

    def network(self) -> Network:
        """What was built."""
        return Network(self.name, tuple(self.layers.values()))

    def channels(self, x: str) -> int:
        """Channels of a layer's output."""
        return self.layers[x].shape[2]

    def _put(self, layer: Layer) -> str:
        assert layer.name not in self.layers, layer.name
        if min(layer.shape) < 1:
            raise ValueError(f"nothing is left of the picture before layer {layer.name}")
        self.layers[layer.name] = layer
        return layer.name

    def _window(self, x: str, kernel: int, stride: int, padding: Padding) -> tuple[int, int]:
        height, width, _ = self.layers[x].shape
        sides = [output_side(side, kernel, stride, padding) for side in (height, width)]
        return sides[0], sides[1]

    def input(self, resolution: int) -> str:
        """The picture, RGB."""
        return self._put(Input("input", (), (resolution, resolution, 3)))

    def conv(
        self,
        x: str,
        filters: int,
        kernel: int,
        name: str,
        activation: Activation = "relu6",
        stride: int = 1,
        padding: Padding = "same",
        groups: int = 1,
        normalize: bool | None = None,
    ) -> str:
        """A convolution, normalized as the whole network is if ``normalize`` is None."""
        shape = (*self._window(x, kernel, stride, padding), filters)
        normal = self.normalize if normalize is None else normalize
        source = self.channels(x)
        return self._put(
            Conv(name, (x,), shape, kernel, stride, padding, groups, source, normal, activation)
        )

    def depthwise(
        self, x: str, kernel: int, name: str, activation: Activation = "relu6", stride: int = 1
    ) -> str:
        """A depthwise convolution."""
        channels = self.channels(x)
        return self.conv(x, channels, kernel, name, activation, stride, groups=channels)

    def dense(self, x: str, units: int, name: str, activation: Activation = "") -> str:
        """A fully connected layer."""
        height, width, channels = self.layers[x].shape
        return self._put(Dense(name, (x,), (1, 1, units), height * width * channels, activation))

    def pool(
        self,
        x: str,
        kernel: int,
        stride: int,
        name: str,
        padding: Padding = "same",
    ) -> str:
        """Maximum pooling."""
        shape = (*self._window(x, kernel, stride, padding), self.channels(x))
        return self._put(Pool(name, (x,), shape, kernel, stride, padding))

    def global_average(self, x: str, name: str = "global_average") -> str:
        """The mean of each channel."""
        return self._put(GlobalAverage(name, (x,), (1, 1, self.channels(x))))

    def lrn(self, x: str, name: str) -> str:
        """Local response normalization with AlexNet's and GoogLeNet's constants."""
        return self._put(Lrn(name, (x,), self.layers[x].shape, 5, 1e-4, 0.75, 1.0))

    def concat(self, parts: tuple[str, ...], name: str) -> str:
        """Channels of several maps."""
        height, width, _ = self.layers[parts[0]].shape
        return self._put(Concat(name, parts, (height, width, sum(map(self.channels, parts)))))

    def add(self, a: str, b: str, name: str) -> str:
        """The sum."""
        return self._put(Add(name, (a, b), self.layers[b].shape))

    def multiply(self, x: str, factors: str, name: str) -> str:
        """A map times one factor a channel."""
        return self._put(Multiply(name, (x, factors), self.layers[x].shape))

    def softmax(self, x: str) -> str:
        """Probabilities, the network's output."""
        return self._put(Softmax("softmax", (x,), self.layers[x].shape))
