"""One layer as a graph: what the tests of the operators compute with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codegen.ir import Graph, Node, Preprocess, Tensor, validate
from codegen.ops import AvgPool, Depthwise
from codegen.quant.quantize import quantize

SKEWED = (-1.3, 2.9)  # zero point -49


@dataclass(frozen=True, eq=False)
class Case:
    """One layer: the float node, the shapes of its inputs and the ranges of inputs and output.

    ``shape`` is that of the input ``a`` and, without ``second``, of ``b``; ``second`` is one pixel.
    """

    node: Node
    shape: tuple[int, int, int]
    ranges: tuple[tuple[float, float], ...] = (SKEWED,)
    output: tuple[float, float] | None = None
    second: tuple[int, int, int] | None = None

    def graphs(self) -> tuple[Graph, Graph]:
        """The float graph of this layer, and the int8 graph.

        A second input comes from a depthwise layer that does nothing or from a pool, for a graph
        has one input.
        """
        shape, channels = self.shape, self.shape[2]
        nodes: list[Node] = [self.node]
        names = sorted(set(self.node.inputs))
        shapes = {"a": shape, "b": self.second or shape}
        if self.second:
            nodes.insert(0, AvgPool("mean", ("a",), "b", shape[:2]))
        elif len(names) == 2:
            one, zero = np.ones((1, 1, channels, 1), np.float32), np.zeros(channels, np.float32)
            nodes.insert(0, Depthwise("copy", ("a",), "b", one, zero))
        tensors = {name: Tensor(name, shapes[name]) for name in names}
        tensors["y"] = Tensor("y", self.node.infer(*(shapes[name] for name in self.node.inputs)))
        pre = Preprocess((0.0,) * channels, (1.0,) * channels)
        graph = validate(Graph("case", tensors, tuple(nodes), "a", "y", pre), "test")
        ranges = dict(zip(tensors, self.ranges, strict=False))
        ranges["y"] = self.output or (-4.0, 4.0)
        return graph, quantize(graph, ranges)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)
