"""Kernel families and their forms: the one registry that plan, templates and tests consume.

A new core costs one family (a module here, a folder below templates/kernels/) and one line in
``FAMILY_OF_CORE``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from codegen.errors import ThumbnetError
from codegen.ir import Graph, Node
from codegen.kernels import dsp, elementwise, grouped, portable
from codegen.kernels.base import Kernel, Variant

FAMILIES: dict[str, tuple[Kernel, ...]] = {
    "portable": portable.KERNELS + grouped.KERNELS + elementwise.KERNELS,
    "dsp": dsp.KERNELS,
}
"""Forms in the order of preference."""

FAMILY_OF_CORE: dict[str, str] = dict.fromkeys(("cortex-m4", "cortex-m7", "cortex-m33"), "dsp")
"""Cores that have a family of their own; the others take the portable one."""


DUAL_ISSUE_CORES = frozenset({"cortex-m7"})
"""Cores that issue two instructions together, for which loads and products take turns."""


@dataclass(frozen=True, eq=False)
class Stage:
    """Layers that one kernel computes together.

    Attributes:
        layers: The first one's position in the graph, and the one after the last.
        nodes: What is computed, in order.
        kernel: How.
        refused: Forms that were tried before, with the reason each was refused.
        variant: Which of the kernel's variants; None if it has none.
        fixed_bytes: Flash for what is the same in all variants, an estimate.
    """

    layers: range
    nodes: tuple[Node, ...]
    kernel: Kernel
    refused: tuple[str, ...]
    variant: Variant | None
    fixed_bytes: int

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors that it reads."""
        return self.nodes[0].inputs

    @property
    def output(self) -> str:
        """Name of the tensor that it makes."""
        return self.nodes[-1].output

    @property
    def flash_bytes(self) -> int:
        """Constants and code, as far as they can be estimated."""
        return self.fixed_bytes + (self.variant.flash_bytes if self.variant else 0)

    @property
    def name(self) -> str:
        """The names of its layers."""
        return " + ".join(node.name for node in self.nodes)


def family_of(core: str) -> str:
    """The kernel family for a core."""
    return FAMILY_OF_CORE.get(core, "portable")


def stages(
    family: str,
    graph: Graph,
    flash_budget: int | None = None,
    apart: frozenset[int] = frozenset(),
) -> tuple[Stage, ...]:
    """All layers of a graph, each with the first form that accepts it.

    Where a form has variants the fastest is taken; with a budget, as long as that is exceeded, the
    smaller one of the stage that loses the fewest cycles for each byte saved.

    Args:
        family: Kernel family.
        graph: The graph.
        flash_budget: Bytes for constants and code.
        apart: Layers that are not to be fused with those behind them.

    Raises:
        ThumbnetError: No form of the family nor a portable one computes a layer.
    """
    made: list[Stage] = []
    start = 0
    while start < len(graph.nodes):
        kernel, refused = choose(family, graph, graph.nodes[start], fused=start not in apart)
        nodes = kernel.layers(graph, graph.nodes[start])
        fastest = next(iter(kernel.variants(graph, nodes[0])), None)
        fixed = kernel.flash_bytes(graph, nodes[0])
        made.append(Stage(range(start, start + len(nodes)), nodes, kernel, refused, fastest, fixed))
        start += len(nodes)
    if flash_budget is not None:
        _shrink(graph, made, flash_budget)
    return tuple(made)


def _shrink(graph: Graph, stages: list[Stage], budget: int) -> None:
    """Takes smaller variants until the flash does not exceed the budget, or none is left."""
    smaller = []
    for index, stage in enumerate(stages):
        for variant in stage.kernel.variants(graph, stage.nodes[0])[1:]:
            assert stage.variant
            saved = stage.variant.flash_bytes - variant.flash_bytes
            if saved > 0:
                lost = (variant.cycles - stage.variant.cycles) / saved
                smaller.append((lost, index, variant))
    total = sum(stage.flash_bytes for stage in stages)
    for _, index, variant in sorted(smaller, key=lambda change: change[:2]):
        if total <= budget:
            return
        total -= stages[index].flash_bytes
        stages[index] = replace(stages[index], variant=variant)
        total += stages[index].flash_bytes


def choose(
    family: str, graph: Graph, node: Node, fused: bool = True
) -> tuple[Kernel, tuple[str, ...]]:
    """The first form that accepts ``node``, and why each form before it did not.

    Forms that compute more than one layer are only asked if ``fused``.

    Raises:
        ThumbnetError: No form of the family nor a portable one computes the layer.
    """
    refused: list[str] = []
    forms = FAMILIES[family] + (FAMILIES["portable"] if family != "portable" else ())
    for kernel in forms:
        if kernel.op != node.op or (kernel.fuses and not fused):
            continue
        reason = kernel.refuses(graph, node)
        if reason is None:
            return kernel, tuple(refused)
        refused.append(f"{kernel.family}/{kernel.name}: {reason}")
    raise ThumbnetError(
        f"No kernel computes layer {node.name!r} ({node.op}): {'; '.join(refused) or 'none known'}."
    )
