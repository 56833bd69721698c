"""The intermediate representation: frozen tensors, nodes and graphs, and their rules.

A graph describes one image: shapes are ``(height, width, channels)`` and the arrays that the faces
of an operator take and give are ``[batch, height, width, channels]``. Vectors are ``1 x 1 x C``.
Every stage up to the plan takes a graph and gives a new one; nothing is changed in place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from codegen.errors import ThumbnetError

Shape = tuple[int, int, int]
FloatArray = NDArray[np.float32]
Int8Array = NDArray[np.int8]

INT8_MIN, INT8_MAX = -128, 127


@dataclass(frozen=True)
class QParams:
    """Affine quantization of an int8 tensor: ``real = scale * (q - zero_point)``."""

    scale: float
    zero_point: int

    @property
    def largest(self) -> int:
        """The largest ``|q - zero_point|`` that an int8 value can have."""
        return max(INT8_MAX - self.zero_point, self.zero_point - INT8_MIN)

    def real(self, values: Int8Array) -> FloatArray:
        """The real numbers, float32, that int8 values stand for, any shape."""
        return np.asarray((values.astype(np.float32) - self.zero_point) * np.float32(self.scale))


@dataclass(frozen=True)
class Tensor:
    """An activation: its name (as in the ONNX file), shape ``(H, W, C)`` and quantization.

    In a float graph ``q`` is what a quantized file says; None leaves it to calibration.
    """

    name: str
    shape: Shape
    q: QParams | None = None

    @property
    def size(self) -> int:
        """Number of elements of one image; bytes once the tensor is int8."""
        height, width, channels = self.shape
        return height * width * channels

    @property
    def row_size(self) -> int:
        """Number of elements of one row."""
        return self.shape[1] * self.shape[2]


@dataclass(frozen=True)
class Preprocess:
    """How a picture becomes the network's input: ``x = (pixel - mean) / std``, pixel in 0..255.

    Attributes:
        mean: One value a channel, in pixel units.
        std: One value a channel, in pixel units.
        channels: ``RGB``, ``BGR`` or ``GRAY``.
        resize: ``stretch`` (the whole picture to the input size) or ``crop`` (the short side to
            ``size / 0.875``, then the central part), both bilinear with antialiasing.
    """

    mean: tuple[float, ...] = (127.5, 127.5, 127.5)
    std: tuple[float, ...] = (127.5, 127.5, 127.5)
    channels: str = "RGB"
    resize: str = "stretch"


@dataclass(frozen=True)
class Pads:
    """Rows and columns added around an image."""

    top: int = 0
    left: int = 0
    bottom: int = 0
    right: int = 0

    def __add__(self, other: Pads) -> Pads:
        return Pads(
            self.top + other.top,
            self.left + other.left,
            self.bottom + other.bottom,
            self.right + other.right,
        )

    @property
    def any(self) -> bool:
        """True if at least one row or column is added."""
        return (self.top, self.left, self.bottom, self.right) != (0, 0, 0, 0)


@dataclass(frozen=True)
class Bounds:
    """A clip in real numbers: Relu is ``(0, inf)``, ReLU6 ``(0, 6)``."""

    lo: float = -np.inf
    hi: float = np.inf

    @property
    def any(self) -> bool:
        """True if at least one side is finite."""
        return bool(np.isfinite(self.lo) or np.isfinite(self.hi))

    def then(self, other: Bounds) -> Bounds:
        """The clip that equals this one followed by ``other``."""
        return Bounds(*(min(max(v, other.lo), other.hi) for v in (self.lo, self.hi)))


NO_BOUNDS = Bounds()


@dataclass(frozen=True, eq=False)
class Normal:
    """How a tensor is distributed before its clip, as batch normalization left it in training.

    Attributes:
        mean: float64 [C], ``beta``.
        std: float64 [C], ``|gamma|``.
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]

    def then(self, scale: NDArray[np.float64], shift: NDArray[np.float64] | float) -> Normal:
        """Of ``x * scale + shift``."""
        return Normal(self.mean * scale + shift, self.std * np.abs(scale))


@dataclass(frozen=True, eq=False)
class Requant:
    """The integer epilogue of a layer: see ``codegen.quant.fixed``.

    Attributes:
        multiplier: int32 [C], ``M`` of each output channel.
        shift: Left shift of the accumulator before the multiplication, one for the layer.
        zero_point: Of the output.
        lo: Smallest output value.
        hi: Largest output value.
    """

    multiplier: NDArray[np.int32]
    shift: int
    zero_point: int
    lo: int = INT8_MIN
    hi: int = INT8_MAX


@dataclass(frozen=True, eq=False)
class Node:
    """One operator. Subclasses in ``codegen.ops`` add typed attributes and the operator's faces.

    ``name`` is the name of the ONNX node it comes from (for messages), ``inputs`` and ``output``
    are tensor names.
    """

    op: ClassVar[str] = ""
    float_only: ClassVar[bool] = False

    name: str
    inputs: tuple[str, ...]
    output: str

    def infer(self, *shapes: Shape) -> Shape:
        """Output shape from the input shapes."""
        raise NotImplementedError

    def macs(self, *shapes: Shape) -> int:
        """Multiply-adds for one image."""
        return 0

    @property
    def parameters(self) -> int:
        """Number of trained values."""
        return 0

    @property
    def integer(self) -> bool:
        """True if the node has all that its integer face needs."""
        needed = (getattr(self, name, self) for name in ("requant", "table"))
        return not self.float_only and all(value is not None for value in needed)

    def run_float(self, *xs: FloatArray) -> FloatArray:
        """The real function on float32 ``[N, H, W, C]`` arrays."""
        raise NotImplementedError

    def run_int(self, xs: tuple[Int8Array, ...], qs: tuple[QParams, ...]) -> Int8Array:
        """The integer function on int8 ``[N, H, W, C]`` arrays; ``qs`` belongs to the inputs."""
        raise NotImplementedError

    def arrays(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """The constant arrays of this node with the name of the field that holds them."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                yield field.name, value


@dataclass(frozen=True, eq=False)
class Graph:
    """A network of one input and one output, its nodes in execution order."""

    name: str
    tensors: Mapping[str, Tensor]
    nodes: tuple[Node, ...]
    input: str
    output: str
    preprocess: Preprocess = Preprocess()
    classes: tuple[str, ...] = ()

    @property
    def input_tensor(self) -> Tensor:
        return self.tensors[self.input]

    @property
    def output_tensor(self) -> Tensor:
        return self.tensors[self.output]

    def q(self, tensor: str) -> QParams:
        """Quantization of a tensor of an integer graph."""
        q = self.tensors[tensor].q
        assert q is not None
        return q

    def shapes(self, node: Node) -> tuple[Shape, ...]:
        """Shapes of the inputs of ``node``."""
        return tuple(self.tensors[name].shape for name in node.inputs)

    def consumers(self, tensor: str) -> tuple[Node, ...]:
        """The nodes that read ``tensor``."""
        return tuple(node for node in self.nodes if tensor in node.inputs)

    def producer(self, tensor: str) -> Node | None:
        """The node that writes ``tensor``, or None for the graph's input."""
        return next((node for node in self.nodes if node.output == tensor), None)

    @property
    def quantized(self) -> bool:
        """True once every tensor has quantization parameters and every node is integer."""
        known = all(tensor.q is not None for tensor in self.tensors.values())
        return known and all(node.integer for node in self.nodes)

    def macs(self) -> int:
        """Multiply-adds of one inference."""
        return sum(node.macs(*self.shapes(node)) for node in self.nodes)


def with_nodes(graph: Graph, nodes: list[Node]) -> Graph:
    """``graph`` with other nodes: shapes inferred anew, tensors nobody writes dropped."""
    known = graph.tensors
    tensors = {graph.input: known[graph.input]}
    for node in nodes:
        shape = node.infer(*(tensors[name].shape for name in node.inputs))
        old = known.get(node.output)
        tensors[node.output] = Tensor(node.output, shape, old.q if old else None)
    return replace(graph, nodes=tuple(nodes), tensors=tensors)


def validate(graph: Graph, stage: str, integer: bool = False) -> Graph:
    """Checks the rules that every stage relies on and gives the graph back.

    Args:
        graph: The graph to check.
        stage: Name of the pass or stage that made it, for the message.
        integer: It must be an int8 graph.

    Raises:
        ThumbnetError: A rule is broken. It is a defect of thumbnet, not of the model, unless the
            message says otherwise.
    """

    def rule(holds: bool, text: str) -> None:
        if not holds:
            raise ThumbnetError(f"internal error after {stage!r}: {text}. Please report it.")

    rule(graph.input in graph.tensors, f"input tensor {graph.input!r} is not described")
    available = {graph.input}
    for node in graph.nodes:
        where = f"{node.op} {node.name!r}"
        for name in node.inputs:
            rule(name in available, f"{where} reads {name!r} before it is written")
        rule(node.output not in available, f"{where} writes {node.output!r} a second time")
        rule(node.output in graph.tensors, f"{where} writes {node.output!r}, not described")
        shape = node.infer(*graph.shapes(node))
        rule(
            shape == graph.tensors[node.output].shape and min(shape) > 0,
            f"{where} gives {shape}, described as {graph.tensors[node.output].shape}",
        )
        for field, array in node.arrays():
            rule(bool(np.isfinite(array).all()), f"{where} has a value in {field} not finite")
        available.add(node.output)
    rule(graph.output in available, f"output {graph.output!r} is never written")
    rule(set(graph.tensors) == available, "a tensor is described that nobody writes")
    for node in graph.nodes if integer else ():
        rule(node.integer, f"{node.op} {node.name!r} has no integer face")
    rule(not integer or graph.quantized, "a tensor has no quantization")
    return graph
