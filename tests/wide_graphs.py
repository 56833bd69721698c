"""Int8 graphs with weights of more than eight bits, as weight zero points give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from codegen.ir import Graph, Node, validate
from codegen.ops import Conv, Depthwise
from codegen.quant.fixed import ACCUMULATOR_LIMIT, FLOAT32_EXACT, largest_sum


def widened(graph: Graph, seed: int) -> Graph:
    """``graph`` with some weights of most layers between -255 and 255."""
    rng = np.random.default_rng(seed)
    nodes = tuple(_widened(node, rng) for node in graph.nodes)
    return validate(replace(graph, nodes=nodes), "widened", integer=True)


def _widened(node: Node, rng: np.random.Generator) -> Node:
    if not isinstance(node, Conv | Depthwise) or rng.random() < 0.2:
        return node
    wide = rng.choice([-255, -200, -129, -128, 128, 130, 255], node.weight.shape)
    share = rng.choice([0.02, 0.3])
    weight = np.where(rng.random(node.weight.shape) < share, wide, node.weight).astype(np.int16)
    rows = weight.reshape(len(node.bias), -1)
    if isinstance(node, Depthwise):
        rows = weight.reshape(-1, len(node.bias)).T
    assert node.requant is not None
    holds = largest_sum(rows, node.bias, node.requant.shift) < ACCUMULATOR_LIMIT
    exact = 256 * np.abs(rows.astype(np.int64)).sum(axis=1).max() < FLOAT32_EXACT
    fits = holds and (exact or isinstance(node, Conv))
    return replace(node, weight=weight) if fits and np.abs(weight).max() > 127 else node
