"""Float graph and ranges -> int8 graph, after the arithmetic contract.

Each operator has one function here that gives its integer twin; ``_RULES`` lists those of the
operators without weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from codegen.errors import ThumbnetError
from codegen.ir import INT8_MAX, INT8_MIN, NO_BOUNDS, Graph, Node, QParams, Requant, validate
from codegen.ops import Add, AddRequant, AvgPool, Conv, Depthwise, MaxPool, Pad, Softmax, softmax
from codegen.quant.fixed import (
    ACCUMULATOR_LIMIT,
    FLOAT32_EXACT,
    largest_sum,
    multipliers,
)
from codegen.quant.ranges import Range
from codegen.quant.scales import WEIGHT_MAX, activation_qparams, quantized_bounds
from codegen.quant.weights import Layer, LayerWeights, from_rows, nearest

QMap = dict[str, QParams]
WeightMap = Mapping[str, LayerWeights]


def quantize(graph: Graph, ranges: Mapping[str, Range], weights: WeightMap | None = None) -> Graph:
    """The int8 graph.

    Args:
        graph: A simplified float graph (no ``float_only`` operators).
        ranges: Of every tensor, the input included.
        weights: Of convolutions, by the name of the tensor they write; those that are not named
            round to the nearest step.

    Returns:
        A graph with the same tensors and nodes, all integer.

    Raises:
        ThumbnetError: A layer cannot be held by the arithmetic (named, with the reason).
    """
    qs = choose_qparams(graph, ranges)
    nodes = tuple(integer_node(graph, node, qs, weights or {}) for node in graph.nodes)
    tensors = {name: replace(tensor, q=qs[name]) for name, tensor in graph.tensors.items()}
    return validate(replace(graph, nodes=nodes, tensors=tensors), "quantize")


def choose_qparams(graph: Graph, ranges: Mapping[str, Range]) -> QMap:
    """Quantization of every tensor: from its range, its operator, or its neighbour."""
    qs: QMap = {}
    for name in graph.tensors:
        producer = graph.producer(name)
        if isinstance(producer, Softmax):
            qs[name] = softmax.OUTPUT
        else:
            bounds = getattr(producer, "bounds", NO_BOUNDS)
            qs[name] = activation_qparams(ranges[name], bounds, name)
    for node in graph.nodes:  # these move values without computing: one scale on both sides
        if isinstance(node, MaxPool | Pad):
            qs[node.output] = qs[node.inputs[0]]
    return qs


def _refuse(node: Node, reason: str) -> ThumbnetError:
    return ThumbnetError(
        f"Layer {node.name!r} ({node.op}) cannot be computed in int8: {reason}. "
        "Split the layer or retrain it with smaller values."
    )


def integer_node(graph: Graph, node: Node, qs: QMap, weights: WeightMap) -> Node:
    """The integer twin of a node: see ``quantize``."""
    if isinstance(node, Conv | Depthwise):
        return _layer(node, qs, weights.get(node.output))
    return _RULES[node.op](graph, node, qs)


def _layer(node: Layer, qs: QMap, weights: LayerWeights | None) -> Layer:
    """A convolution: integer weights, bias and requantization."""
    q_in, q_out = qs[node.inputs[0]], qs[node.output]
    if isinstance(node, Depthwise):
        height, width = node.kernel
        if height * width * 256 * WEIGHT_MAX >= FLOAT32_EXACT:
            raise _refuse(node, f"its {height}x{width} kernel has more than 500 positions")
    made = weights or nearest(node, q_in.scale)
    q_bias = np.rint(made.bias / (q_in.scale * made.scale)).astype(np.int64)
    lo, hi = quantized_bounds(node.bounds, q_out)

    # A channel without weights is a constant: a bias alone, with a multiplier of 2**16 that gives
    # it back unchanged. (A scale too small for a multiplier needs no such care: with M = 0 the
    # output is the zero point, and the real value is within a quarter of a step of it.)
    scale = q_in.scale * made.scale / q_out.scale
    constant = ~made.integers.any(axis=1)
    multiplier, shift = multipliers(np.where(constant, 2.0**-16, scale))
    values = np.clip(np.rint(made.bias / q_out.scale), INT8_MIN - INT8_MAX, INT8_MAX - INT8_MIN)
    multiplier[constant] = 1 << (16 - shift) if shift <= 16 else 0
    q_bias[constant] = values[constant].astype(np.int64) << 16

    worst = largest_sum(made.integers, q_bias, shift)
    if worst >= ACCUMULATOR_LIMIT:
        raise _refuse(node, f"its sums could reach {worst:,} and overflow 32 bits")
    return replace(
        node,
        weight=from_rows(node, made.integers.astype(np.int8)),
        bias=q_bias.astype(np.int32),
        bounds=NO_BOUNDS,
        requant=Requant(multiplier, shift, q_out.zero_point, lo, hi),
        statistics=None,
    )


def _add(graph: Graph, node: Add, qs: QMap) -> Node:
    (qa, qb), qy = (qs[name] for name in node.inputs), qs[node.output]
    ratios, largest = (qa.scale / qy.scale, qb.scale / qy.scale), (qa.largest, qb.largest)
    for shift in range(30, 0, -1):
        ka, kb = (round(ratio * 2.0**shift) for ratio in ratios)
        if ka * largest[0] + kb * largest[1] + 2 ** (shift - 1) < ACCUMULATOR_LIMIT:
            lo, hi = quantized_bounds(node.bounds, qy)
            requant = AddRequant(ka, kb, shift, qy.zero_point, lo, hi)
            return replace(node, bounds=NO_BOUNDS, requant=requant)
    raise _refuse(node, f"its inputs' scales are {max(ratios):.0f} times its output's")


def _avgpool(graph: Graph, node: AvgPool, qs: QMap) -> Node:
    q_in, q_out = qs[node.inputs[0]], qs[node.output]
    area = node.kernel[0] * node.kernel[1]
    if area * 256 >= FLOAT32_EXACT:
        raise _refuse(node, f"its window has {area:,} elements, more than 65,535")
    counts = np.array(node.counts(graph.shapes(node)[0]), np.float64)
    if not counts.all():
        raise _refuse(node, "a window lies wholly in the padding")
    multiplier, shift = multipliers(q_in.scale / q_out.scale / counts)
    if area * 256 << shift >= ACCUMULATOR_LIMIT:
        raise _refuse(
            node, f"its input's scale is {q_in.scale / q_out.scale:.0f} times its output's"
        )
    lo, hi = quantized_bounds(node.bounds, q_out)
    requant = Requant(multiplier, shift, q_out.zero_point, lo, hi)
    return replace(node, bounds=NO_BOUNDS, requant=requant)


def _softmax(graph: Graph, node: Softmax, qs: QMap) -> Node:
    channels = graph.tensors[node.output].shape[2]
    return replace(node, table=Softmax.make_table(qs[node.inputs[0]].scale, channels))


def _unchanged(graph: Graph, node: Node, qs: QMap) -> Node:
    return node


_RULES: dict[str, Callable[[Graph, Any, QMap], Node]] = {
    Add.op: _add,
    AvgPool.op: _avgpool,
    MaxPool.op: _unchanged,
    Pad.op: _unchanged,
    Softmax.op: _softmax,
}
