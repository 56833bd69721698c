"""What the passes ask of a graph and do to it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.errors import ThumbnetError
from codegen.ir import Graph, Node, with_nodes


def sole_consumer(graph: Graph, tensor: str) -> Node | None:
    """The only reader of ``tensor``, which may thus be merged with its writer.

    None if there are several, if it is the graph's output, or if a quantized file rounds here.
    """
    consumers = graph.consumers(tensor)
    kept = tensor == graph.output or graph.tensors[tensor].q is not None
    return consumers[0] if len(consumers) == 1 and not kept else None


def replaced(graph: Graph, changes: dict[Node, Node | None]) -> Graph:
    """``graph`` with nodes exchanged in place, or dropped where the new node is None."""
    nodes = (changes.get(node, node) for node in graph.nodes)
    return with_nodes(graph, [node for node in nodes if node is not None])


def without_dead(graph: Graph) -> Graph:
    """``graph`` without the nodes whose results nobody reads."""
    read = {graph.output}
    kept = []
    for node in reversed(graph.nodes):
        if node.output in read:
            kept.append(node)
            read.update(node.inputs)
    return with_nodes(graph, kept[::-1])


def as_float32(node: Node, values: NDArray[Any]) -> NDArray[np.float32]:
    """Folded weights in float32.

    Raises:
        ThumbnetError: One is too large for it.
    """
    with np.errstate(over="ignore"):
        result = np.ascontiguousarray(values, np.float32)
    if not np.isfinite(result).all():
        raise ThumbnetError(
            f"{node.op} {node.name!r} gets weights that float32 cannot hold when the scaling after "
            "it is folded into it. Train or export the model again."
        )
    return result
