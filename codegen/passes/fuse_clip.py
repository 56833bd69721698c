"""Makes clips (Relu, ReLU6) part of the layers before them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from codegen.ir import Graph, Node
from codegen.ops import Add, AvgPool, Clip, Conv, Depthwise, GroupedConv, MaxPool, Mul, Pad
from codegen.passes.graph import replaced, sole_consumer

CLIPPING = (Conv, Depthwise, GroupedConv, Add, Mul, AvgPool, Clip)
"""Operators with bounds."""


def fuse_clip(graph: Graph) -> Graph:
    """Fuses each Clip into the operator before it, if nothing else reads what comes between.

    The fused node writes the Clip's output.
    """
    for node in graph.nodes:
        if isinstance(node, Clip):
            graph = _fuse(graph, node)
    return graph


def _fuse(graph: Graph, clip: Clip) -> Graph:
    before = graph.producer(clip.inputs[0])
    if before is None or not _may_join(graph, before, clip):
        return graph
    if isinstance(before, CLIPPING):
        fused = replace(before, output=clip.output, bounds=before.bounds.then(clip.bounds))
        return replaced(graph, {before: None, clip: fused})
    if isinstance(before, (MaxPool, Pad)):
        return _fuse_before(graph, before, clip)
    return graph


def _may_join(graph: Graph, before: Node, clip: Clip) -> bool:
    """True if nothing else reads what comes between, nor does rounding there make a difference."""
    between, after = graph.tensors[before.output], graph.tensors[clip.output]
    if between.q is not None and between.q == after.q:  # a clip of the same integers
        return graph.consumers(between.name) == (clip,) and between.name != graph.output
    return sole_consumer(graph, between.name) is clip


def _fuse_before(graph: Graph, mover: MaxPool | Pad, clip: Clip) -> Graph:
    """Clips before a MaxPool or Pad instead of after it: the same numbers, for a clip is monotone.

    The tensor between keeps its name. Its values are those of the ONNX value of that name clipped
    to the bounds of the node that writes it.
    """
    source = graph.producer(mover.inputs[0])
    if not isinstance(source, CLIPPING) or sole_consumer(graph, source.output) is not mover:
        return graph
    clipped = replace(source, bounds=source.bounds.then(clip.bounds))
    moved = replace(mover, output=clip.output)
    if isinstance(moved, Pad):
        value = np.clip(moved.value, clip.bounds.lo, clip.bounds.hi)
        moved = replace(moved, value=float(value))
    return replaced(graph, {source: clipped, mover: None, clip: moved})
