"""Turns what could not be folded or fused into 1x1 depthwise convolutions."""

from __future__ import annotations

import numpy as np

from codegen.ir import Graph
from codegen.ops import Affine, Clip, Depthwise
from codegen.passes.graph import as_float32, replaced


def lower_affine(graph: Graph) -> Graph:
    """Each Affine becomes a depthwise convolution; a Clip after it can still be fused."""
    return replaced(graph, {n: _scaling(n) for n in graph.nodes if isinstance(n, Affine)})


def lower_clip(graph: Graph) -> Graph:
    """Each Clip becomes a depthwise convolution with weight 1."""
    return replaced(
        graph,
        {
            node: Depthwise(
                node.name,
                node.inputs,
                node.output,
                np.ones((1, 1, graph.tensors[node.output].shape[2], 1), np.float32),
                np.zeros(graph.tensors[node.output].shape[2], np.float32),
                bounds=node.bounds,
            )
            for node in graph.nodes
            if isinstance(node, Clip)
        },
    )


def _scaling(node: Affine) -> Depthwise:
    weight = as_float32(node, node.scale).reshape(1, 1, -1, 1)
    return Depthwise(
        node.name,
        node.inputs,
        node.output,
        weight,
        as_float32(node, node.shift),
        statistics=node.statistics,
    )
