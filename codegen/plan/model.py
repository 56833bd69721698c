"""The plan: which kernel computes each layer and where in the arena each tensor lives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from codegen.ir import Graph, Node
from codegen.kernels.base import Kernel


@dataclass(frozen=True)
class Buffer:
    """A tensor's place in the arena.

    Attributes:
        tensor: Name of the tensor.
        offset: First byte, counted from the arena's start.
        size: Bytes.
        first: Index of the step that writes it (-1: the caller does).
        last: Index of the last step that reads it.
    """

    tensor: str
    offset: int
    size: int
    first: int
    last: int


@dataclass(frozen=True, eq=False)
class Step:
    """One call of a kernel: a node of the graph, computed on whole tensors.

    Attributes:
        index: Position in the plan; the layer number in traces and reports.
        node: What is computed.
        kernel: How.
        refused: Kernels of the family that were tried before, with the reason each was refused.
    """

    index: int
    node: Node
    kernel: Kernel
    refused: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything that the code generator needs to know.

    Attributes:
        graph: The int8 graph.
        family: Name of the kernel family.
        steps: In execution order.
        buffers: By tensor name; the graph's output has none (the caller gives its memory).
        arena_bytes: Size of the arena.
        lower_bound: No arrangement can be smaller than this.
    """

    graph: Graph
    family: str
    steps: tuple[Step, ...]
    buffers: Mapping[str, Buffer]
    arena_bytes: int
    lower_bound: int

    def live_bytes(self, step: Step) -> int:
        """Arena bytes that are occupied while ``step`` runs: the extent of its live buffers."""
        live = [b for b in self.buffers.values() if b.first <= step.index <= b.last]
        return max((b.offset + b.size for b in live), default=0)
