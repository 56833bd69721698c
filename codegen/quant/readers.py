"""Scales that depend on who reads a tensor."""

from __future__ import annotations

from codegen.ir import Graph, Node, QParams
from codegen.ops import Add, AvgPool, Concat, Conv, Depthwise

FREE = (Conv, Depthwise, Add, AvgPool, Concat)
"""Operators whose output may have any scale."""


def join_scales(graph: Graph, qs: dict[str, QParams]) -> None:
    """Gives what only a concatenation reads the scale of its output, where it may have any.

    The values are rounded to that scale in any case; so they are rounded only once, and copied.

    Args:
        graph: A float graph.
        qs: Quantization of every tensor, changed in place.
    """
    for node in reversed(graph.nodes):  # the outer one of two concatenations first
        if isinstance(node, Concat):
            for name in node.inputs:
                if graph.consumers(name) == (node,) and _free(graph.producer(name)):
                    qs[name] = qs[node.output]


def _free(node: Node | None) -> bool:
    return isinstance(node, FREE)
