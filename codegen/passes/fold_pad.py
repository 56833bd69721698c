"""Moves explicit padding into the layers after it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from codegen.ir import Bounds, Graph, Node
from codegen.ops import AvgPool, Clip, Conv, Depthwise, GroupedConv, MaxPool, Pad, Softmax
from codegen.ops.window import window_counts
from codegen.passes.graph import replaced, sole_consumer


def fold_pad(graph: Graph) -> Graph:
    """Drops each Pad whose consumers can all pad by themselves and give the same numbers."""
    for node in graph.nodes:
        if isinstance(node, Pad):
            graph = _fold(_merge(graph, node), node.output)
    return graph


def _merge(graph: Graph, pad: Pad) -> Graph:
    """Joins ``pad`` and a Pad before it that nothing else reads, if both fill with one value."""
    before = graph.producer(pad.inputs[0])
    if (
        isinstance(before, Pad)
        and before.value == pad.value
        and sole_consumer(graph, before.output) is pad
    ):
        merged = replace(pad, inputs=before.inputs, pads=before.pads + pad.pads)
        return replaced(graph, {before: None, pad: merged})
    return graph


def _fold(graph: Graph, output: str) -> Graph:
    pad = graph.producer(output)
    consumers = graph.consumers(output)
    if not isinstance(pad, Pad) or pad.value != 0 or not consumers or output == graph.output:
        return graph
    folded = {node: _padded(graph, pad, node) for node in consumers}
    if any(node is None for node in folded.values()):
        return graph
    return replaced(graph, {pad: None, **folded})


def _padded(graph: Graph, pad: Pad, node: Node) -> Node | None:
    """``node`` reading what ``pad`` reads and padding by itself; None if it cannot."""
    if not isinstance(node, (Conv, Depthwise, GroupedConv, AvgPool, MaxPool)):
        return None
    pads = node.pads + pad.pads
    # A window that lies wholly in the padding is a case that kernels need not know.
    if max(pads.top, pads.bottom) >= node.kernel[0] or max(pads.left, pads.right) >= node.kernel[1]:
        return None
    if isinstance(node, AvgPool):
        # The zeros of the Pad count as elements, so the pool's own must count too.
        if node.pads.any and not node.count_pads:
            return None
        return replace(node, inputs=pad.inputs, pads=pads, count_pads=True)
    if isinstance(node, MaxPool):
        # The zeros take part in the maximum, while a pool's own padding never wins.
        shape = graph.tensors[pad.inputs[0]].shape
        inside = int(np.min(window_counts(shape, node.kernel, node.stride, pads)))
        if inside == 0 or not _never_negative(graph, pad.inputs[0]):
            return None
    return replace(node, inputs=pad.inputs, pads=pads)


def _never_negative(graph: Graph, tensor: str) -> bool:
    """True if no value of ``tensor`` can be below zero."""
    node = graph.producer(tensor)
    if isinstance(node, Softmax):
        return True
    bounds = getattr(node, "bounds", None)
    if isinstance(bounds, Bounds) and min(bounds.lo, bounds.hi) >= 0:
        return True
    if isinstance(node, (MaxPool, AvgPool, Clip)):
        return _keeps_sign(node) and _never_negative(graph, node.inputs[0])
    return isinstance(node, Pad) and node.value >= 0 and _never_negative(graph, node.inputs[0])


def _keeps_sign(node: Node) -> bool:
    """True if a value of the node is never negative as long as its inputs are not."""
    bounds = getattr(node, "bounds", Bounds())
    return bool(bounds.hi >= 0)
