"""What depthwise-separable convolutions save: each block beside the standard convolution.

A standard convolution with a K x K kernel from M to N channels has K K M N weights; a depthwise
one and a pointwise one behind it have K K M + M N (Howard et al. 2017, arXiv:1704.04861, 3.1).
Multiply-adds are the weights times the positions of the output. Biases are not counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from codegen.ir import Graph
from codegen.ops import Conv, Depthwise


@dataclass(frozen=True)
class Block:
    """A depthwise-separable convolution.

    Attributes:
        name: Of its depthwise and its pointwise layer.
        kernel: Rows and columns.
        channels: Of its input, and of its output.
        positions: Rows times columns of the output.
        separable: Weights of both layers.
        standard: Weights of the convolution that they stand for.
    """

    name: str
    kernel: tuple[int, int]
    channels: tuple[int, int]
    positions: int
    separable: int
    standard: int

    def to_json(self) -> dict[str, Any]:
        """An entry of ``blocks`` in ``info --explain --json``."""
        return {
            "name": self.name,
            "kernel": list(self.kernel),
            "channels": list(self.channels),
            "standard": {"weights": self.standard, "macs": self.standard * self.positions},
            "separable": {"weights": self.separable, "macs": self.separable * self.positions},
            "times": self.standard / self.separable,
        }


def separable_blocks(graph: Graph) -> list[Block]:
    """The depthwise layers of a graph with the pointwise layers that mix their channels."""
    found = []
    for node in graph.nodes:
        if not isinstance(node, Depthwise):
            continue
        pointwise = _pointwise_after(graph, node)
        if pointwise is None:
            continue
        height, width, _, multiplier = node.weight.shape
        (_, _, source), (rows, columns, middle) = graph.shapes(node)[0], _shape(graph, node)
        channels = len(pointwise.weight)
        separable = height * width * source * multiplier + middle * channels
        found.append(
            Block(
                f"{node.name} + {pointwise.name}",
                (height, width),
                (source, channels),
                rows * columns,
                separable,
                height * width * source * channels,
            )
        )
    return found


def _shape(graph: Graph, node: Any) -> tuple[int, int, int]:
    return graph.tensors[node.output].shape


def _pointwise_after(graph: Graph, node: Depthwise) -> Conv | None:
    """The 1x1 convolution that reads all positions of what ``node`` makes.

    Operators in between (an activation, a product with a factor a channel) change no shape; the
    small network that makes such factors is passed by, for its maps are smaller.
    """
    shape, reached = _shape(graph, node), {node.output}
    for later in graph.nodes:
        if not reached.intersection(later.inputs):
            continue
        if isinstance(later, Conv) and later.pointwise and graph.shapes(later)[0] == shape:
            return later
        if _shape(graph, later) == shape and not isinstance(later, Conv | Depthwise):
            reached.add(later.output)
    return None
