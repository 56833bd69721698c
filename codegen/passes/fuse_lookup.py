"""Makes one table of everything that is computed from single values of one tensor.

So ``x * relu6(x + 3) / 6``, ``x * HardSigmoid(x)`` and ``HardSwish(x)`` are the same, and each is
rounded once.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from codegen.ir import Graph, Node, with_nodes
from codegen.ops import Activation, Add, Affine, Clip, Lookup, Mul
from codegen.passes.graph import sole_consumer

Region = frozenset[Node]


def fuse_lookup(graph: Graph) -> Graph:
    """Replaces each group of nodes that is a nonlinear function of one tensor by a Lookup.

    Products come first, for they may take in activations that would else stand alone. A clip and
    what scales it are a group where a product reads them; convolutions take them in otherwise.
    """
    for is_seed in (_is_product, _is_activation, _is_gate):
        for node in reversed(graph.nodes):
            if node in graph.nodes and is_seed(graph, node) and (found := _region(graph, node)):
                graph = _fused(graph, found)
    return graph


def _is_product(graph: Graph, node: Node) -> bool:
    return isinstance(node, Mul)


def _is_activation(graph: Graph, node: Node) -> bool:
    return isinstance(node, Activation)


def _is_gate(graph: Graph, node: Node) -> bool:
    """True for a scaled clip (a hard sigmoid in pieces) that is multiplied by something."""
    return (
        isinstance(node, Affine)
        and isinstance(graph.producer(node.inputs[0]), Clip)
        and any(isinstance(reader, Mul) for reader in graph.consumers(node.output))
    )


def _region(graph: Graph, seed: Node) -> Region | None:
    """Nodes up to ``seed`` and behind it that are a function of one tensor; None if there are none.

    What a product reads is followed back until one tensor is left.
    """
    position = {node.output: index for index, node in enumerate(graph.nodes)}
    region = {seed}
    while len(read := _read(region)) > 1 or _whole_gate(graph, region):
        last = max(read, key=lambda name: position.get(name, -1))
        before = graph.producer(last)
        if before is None or not _may_join(graph, before, region):
            break
        region.add(before)
    if len(_read(region)) > 1 or not _single_values(region):
        return None
    output = seed
    while (after := sole_consumer(graph, output.output)) and _unary(after):
        region.add(after)
        output = after
    return frozenset(region)


def _whole_gate(graph: Graph, region: set[Node]) -> bool:
    """True while clips and scalings before a scaled clip can be taken in, too."""
    return all(isinstance(node, (Affine, Clip)) for node in region)


def _read(region: set[Node]) -> set[str]:
    """The tensors that the region reads from outside."""
    made = {node.output for node in region}
    return {name for node in region for name in node.inputs} - made


def _may_join(graph: Graph, node: Node, region: set[Node]) -> bool:
    """True if ``node`` works value by value and nothing outside the region reads its result."""
    tensor = graph.tensors[node.output]
    kept = node.output == graph.output or tensor.q is not None
    inside = all(reader in region for reader in graph.consumers(node.output))
    same_shape = all(shape == tensor.shape for shape in graph.shapes(node))
    binary = isinstance(node, (Mul, Add)) and same_shape
    return not kept and inside and (_unary(node) or binary)


def _unary(node: Node) -> bool:
    return isinstance(node, (Activation, Clip)) or (isinstance(node, Affine) and _uniform(node))


def _uniform(node: Affine) -> bool:
    return bool(np.ptp(node.scale) == 0 and np.ptp(node.shift) == 0)


def _single_values(region: set[Node]) -> bool:
    """True if no node of the region differs from channel to channel."""
    scaled = [node for node in region if isinstance(node, Affine)]
    by_channel = any(isinstance(node, Mul) and node.by_channel for node in region)
    return all(map(_uniform, scaled)) and not by_channel


def _fused(graph: Graph, region: Region) -> Graph:
    """The graph with the region as one Lookup, where its last node was."""
    body = tuple(_for_any_channels(node) for node in graph.nodes if node in region)
    (source,) = _read(set(region))
    last = body[-1]
    fused = Lookup(last.name, (source,), last.output, body)
    nodes = [
        fused if n.output == last.output else n
        for n in graph.nodes
        if n not in region or n.output == last.output
    ]
    return with_nodes(graph, nodes)


def _for_any_channels(node: Node) -> Node:
    """A node of the body whose constants fit any number of channels."""
    if isinstance(node, Affine):
        return replace(node, scale=node.scale[:1], shift=node.shift[:1])
    return node
