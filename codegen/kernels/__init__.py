"""Kernel families and their forms: the one registry that plan, templates and tests consume.

A new core costs one family (a module here, a folder below templates/kernels/) and one line in
``FAMILY_OF_CORE``.
"""

from __future__ import annotations

from dataclasses import dataclass

from codegen.errors import ThumbnetError
from codegen.ir import Graph, Node
from codegen.kernels import dsp, portable
from codegen.kernels.base import Kernel

FAMILIES: dict[str, tuple[Kernel, ...]] = {
    "portable": portable.KERNELS,
    "dsp": dsp.KERNELS,
}
"""Forms in the order of preference."""

FAMILY_OF_CORE: dict[str, str] = dict.fromkeys(("cortex-m4", "cortex-m7", "cortex-m33"), "dsp")
"""Cores that have a family of their own; the others take the portable one."""


@dataclass(frozen=True, eq=False)
class Stage:
    """Layers that one kernel computes together.

    Attributes:
        layers: The first one's position in the graph, and the one after the last.
        nodes: What is computed, in order.
        kernel: How.
        refused: Forms that were tried before, with the reason each was refused.
    """

    layers: range
    nodes: tuple[Node, ...]
    kernel: Kernel
    refused: tuple[str, ...]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors that it reads."""
        return self.nodes[0].inputs

    @property
    def output(self) -> str:
        """Name of the tensor that it makes."""
        return self.nodes[-1].output

    @property
    def name(self) -> str:
        """The names of its layers."""
        return " + ".join(node.name for node in self.nodes)


def family_of(core: str) -> str:
    """The kernel family for a core."""
    return FAMILY_OF_CORE.get(core, "portable")


def stages(family: str, graph: Graph) -> tuple[Stage, ...]:
    """All layers of a graph, each with the first form that accepts it.

    Raises:
        ThumbnetError: No form of the family nor a portable one computes a layer.
    """
    made: list[Stage] = []
    start = 0
    while start < len(graph.nodes):
        kernel, refused = choose(family, graph, graph.nodes[start])
        nodes = kernel.layers(graph, graph.nodes[start])
        made.append(Stage(range(start, start + len(nodes)), nodes, kernel, refused))
        start += len(nodes)
    return tuple(made)


def choose(family: str, graph: Graph, node: Node) -> tuple[Kernel, tuple[str, ...]]:
    """The first form that accepts ``node``, and why each form before it did not.

    Raises:
        ThumbnetError: No form of the family nor a portable one computes the layer.
    """
    refused: list[str] = []
    forms = FAMILIES[family] + (FAMILIES["portable"] if family != "portable" else ())
    for kernel in forms:
        if kernel.op != node.op:
            continue
        reason = kernel.refuses(graph, node)
        if reason is None:
            return kernel, tuple(refused)
        refused.append(f"{kernel.family}/{kernel.name}: {reason}")
    raise ThumbnetError(
        f"No kernel computes layer {node.name!r} ({node.op}): {'; '.join(refused) or 'none known'}."
    )
