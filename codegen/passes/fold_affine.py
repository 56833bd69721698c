"""Folds per-channel scale and shift (batch normalization) into the layers around them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from codegen.ir import Graph
from codegen.ops import Affine, Conv, Convolution, Depthwise
from codegen.passes.graph import as_float32, replaced, sole_consumer


def merge_affine(graph: Graph) -> Graph:
    """Makes one Affine of a chain of them, in double precision."""
    for node in graph.nodes:
        after = sole_consumer(graph, node.output)
        # ``node`` may have been merged with the one before it already.
        first = graph.producer(node.output)
        if isinstance(first, Affine) and isinstance(after, Affine):
            merged = replace(
                after,
                inputs=first.inputs,
                scale=first.scale * after.scale,
                shift=first.shift * after.scale + after.shift,
                statistics=after.statistics
                or (first.statistics and first.statistics.then(after.scale, after.shift)),
            )
            graph = replaced(graph, {first: None, after: merged})
    return graph


def fold_affine(graph: Graph) -> Graph:
    """Folds each Affine into the convolution before it, or else into those after it."""
    for node in graph.nodes:
        if isinstance(node, Affine):
            graph = _into_producer(graph, node) or _into_consumers(graph, node) or graph
    return graph


def _into_producer(graph: Graph, affine: Affine) -> Graph | None:
    """``y * scale + shift`` of a convolution that nothing else reads."""
    layer = graph.producer(affine.inputs[0])
    if (
        not isinstance(layer, Convolution)
        or layer.bounds.any
        or sole_consumer(graph, layer.output) is not affine
    ):
        return None
    per_output = (1, 1, -1, layer.multiplier) if isinstance(layer, Depthwise) else (-1, 1, 1, 1)
    factor, given = affine.scale.reshape(per_output), layer.weight_scale
    folded = replace(
        layer,
        output=affine.output,
        weight=as_float32(layer, layer.weight.astype(np.float64) * factor),
        bias=as_float32(layer, layer.bias * affine.scale + affine.shift),
        weight_scale=None if given is None else given * np.abs(affine.scale),
        statistics=affine.statistics,
    )
    return replaced(graph, {layer: None, affine: folded})


def _into_consumers(graph: Graph, affine: Affine) -> Graph | None:
    """Into convolutions that read it; only those without padding, which a shift would miss."""
    consumers = graph.consumers(affine.output)
    kept = affine.output == graph.output or graph.tensors[affine.output].q is not None
    if kept or not consumers:
        return None
    folded: dict[object, Conv | Depthwise | None] = {affine: None}
    for layer in consumers:
        if not isinstance(layer, (Conv, Depthwise)):
            return None
        if layer.pads.any and affine.shift.any():
            return None
        folded[layer] = _scaled_input(layer, affine)
    return replaced(graph, folded)  # type: ignore[arg-type]


def _scaled_input(layer: Conv | Depthwise, affine: Affine) -> Conv | Depthwise:
    """``layer`` with the scale and shift of its input in its weights and bias."""
    weight = layer.weight.astype(np.float64)
    if isinstance(layer, Conv):
        scaled = weight * affine.scale
        constant = np.einsum("okli,i->o", weight, affine.shift)
    else:
        scaled = weight * affine.scale[:, None]
        constant = np.einsum("klcm,c->cm", weight, affine.shift).reshape(-1)
    return replace(
        layer,
        inputs=affine.inputs,
        weight=as_float32(layer, scaled),
        bias=as_float32(layer, layer.bias + constant),
        weight_scale=None,
    )
