"""The simulator: runs an int8 graph with each operator's integer face. The definition of truth."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from codegen.ir import Graph, Int8Array

_CHUNK_BYTES = 1 << 20
"""Images are taken together until the largest tensor of a chunk has this size."""


def run(graph: Graph, images: Int8Array) -> Int8Array:
    """The network's output.

    Args:
        graph: An int8 graph.
        images: int8 [N, H, W, C] in the quantization of the graph's input.

    Returns:
        int8 [N, Ho, Wo, Co].
    """
    return trace(graph, images, {graph.output})[graph.output]


def trace(
    graph: Graph, images: Int8Array, names: Collection[str] | None = None
) -> dict[str, Int8Array]:
    """The tensors asked for, by name; every one that a node writes if ``names`` is None.

    Args:
        graph: An int8 graph.
        images: int8 [N, H, W, C].
        names: Tensor names, the graph's input allowed.

    Returns:
        int8 [N, H, W, C] for each name.
    """
    wanted = {node.output for node in graph.nodes} if names is None else set(names)
    largest = max(tensor.size for tensor in graph.tensors.values())
    chunk = max(1, _CHUNK_BYTES // largest)
    parts = [
        _run_chunk(graph, images[start : start + chunk], wanted)
        for start in range(0, len(images), chunk)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in wanted}


def _run_chunk(graph: Graph, images: Int8Array, wanted: set[str]) -> dict[str, Int8Array]:
    last_use = {name: i for i, node in enumerate(graph.nodes) for name in node.inputs}
    live = {graph.input: images}
    kept = {name: images for name in wanted & {graph.input}}
    for i, node in enumerate(graph.nodes):
        qs = tuple(graph.q(name) for name in node.inputs)
        y = node.run_int(tuple(live[name] for name in node.inputs), qs)
        for name in node.inputs:
            if last_use[name] == i:
                live.pop(name, None)
        live[node.output] = y
        if node.output in wanted:
            kept[node.output] = y
    return kept
