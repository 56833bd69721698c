"""Kernel families and their forms: the one registry that plan, templates and tests consume.

A new core costs one family (a module here, a folder below templates/kernels/) and one line in
``FAMILY_OF_CORE``.
"""

from __future__ import annotations

from codegen.errors import ThumbnetError
from codegen.ir import Graph, Node
from codegen.kernels import portable
from codegen.kernels.base import Kernel

FAMILIES: dict[str, tuple[Kernel, ...]] = {"portable": portable.KERNELS}
"""Forms in the order of preference."""

FAMILY_OF_CORE: dict[str, str] = {}
"""Cores that have a family of their own; the others take the portable one."""


def family_of(core: str) -> str:
    """The kernel family for a core."""
    return FAMILY_OF_CORE.get(core, "portable")


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
