"""Float graph and ranges -> int8 graph, after the arithmetic contract.

Each operator has one function here that gives its integer twin; ``_RULES`` lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.ir import INT8_MAX, INT8_MIN, NO_BOUNDS, Graph, Node, QParams, Requant, validate
from codegen.ops import (
    Add,
    AddRequant,
    AvgPool,
    Conv,
    Depthwise,
    GroupedConv,
    Lookup,
    MaxPool,
    Mul,
    Pad,
    Softmax,
    softmax,
)
from codegen.quant import elementwise
from codegen.quant.fixed import (
    ACCUMULATOR_LIMIT,
    FLOAT32_EXACT,
    largest_sum,
    multipliers,
)
from codegen.quant.neighbours import join_scales, product_scale, useful_range
from codegen.quant.ranges import Range
from codegen.quant.refusal import refuse as _refuse
from codegen.quant.scales import (
    WEIGHT_MAX,
    WIDE_MAX,
    activation_qparams,
    quantized_bounds,
    weight_scales,
    wide_scales,
)

QMap = dict[str, QParams]


def quantize(graph: Graph, ranges: Mapping[str, Range], wide_depthwise: bool = False) -> Graph:
    """The int8 graph.

    Args:
        graph: A simplified float graph (no ``float_only`` operators).
        ranges: Of every tensor, the input included.
        wide_depthwise: Depthwise weights take 16 bits instead of 8.

    Returns:
        A graph with the same tensors and nodes, all integer.

    Raises:
        ThumbnetError: A layer cannot be held by the arithmetic (named, with the reason).
    """
    qs = choose_qparams(graph, ranges)
    rules = {**_RULES, **(_WIDE if wide_depthwise else {})}
    nodes = tuple(rules[node.op](graph, node, qs) for node in graph.nodes)
    tensors = {name: replace(tensor, q=qs[name]) for name, tensor in graph.tensors.items()}
    return validate(replace(graph, nodes=nodes, tensors=tensors), "quantize")


def choose_qparams(graph: Graph, ranges: Mapping[str, Range]) -> QMap:
    """Quantization of every tensor: from its range, its operator, or its neighbour."""
    qs: QMap = {}
    for name in graph.tensors:
        producer = graph.producer(name)
        if isinstance(producer, Softmax) or (
            isinstance(producer, Lookup) and producer.is_probability and name == graph.output
        ):
            qs[name] = softmax.OUTPUT
        else:
            bounds = getattr(producer, "bounds", NO_BOUNDS)
            qs[name] = activation_qparams(useful_range(graph, name, ranges[name]), bounds, name)
    join_scales(graph, qs)
    for node in graph.nodes:
        if isinstance(node, MaxPool | Pad):  # moves values without computing: one scale
            qs[node.output] = qs[node.inputs[0]]
        elif isinstance(node, Mul):
            a, b = (qs[name] for name in node.inputs)
            qs[node.output] = product_scale(a, b, qs[node.output])
    return qs


def _epilogue(
    node: Conv | Depthwise | GroupedConv, weight: NDArray[Any], qs: QMap, wide: bool = False
) -> tuple[NDArray[Any], NDArray[np.int32], Requant]:
    """Integer weights [C, n], bias and requantization of a layer with float weights [C, n]."""
    q_in, q_out = qs[node.inputs[0]], qs[node.output]
    bias = node.bias.astype(np.float64)
    scales = weight_scales(weight, bias, q_in.scale)
    largest = WEIGHT_MAX
    if wide:
        scales, largest = wide_scales(scales, weight, bias, q_in.scale, q_out.scale), WIDE_MAX
    q_weight = np.clip(np.rint(weight / scales[:, None]), -largest, largest).astype(np.int64)
    q_bias = np.rint(bias / (q_in.scale * scales)).astype(np.int64)
    lo, hi = quantized_bounds(node.bounds, q_out)

    # A channel without weights is a constant: a bias alone, with a multiplier of 2**16 that gives
    # it back unchanged. (A scale too small for a multiplier needs no such care: with M = 0 the
    # output is the zero point, and the real value is within a quarter of a step of it.)
    scale = q_in.scale * scales / q_out.scale
    constant = ~q_weight.any(axis=1)
    multiplier, shift = multipliers(np.where(constant, 2.0**-16, scale))
    values = np.clip(np.rint(bias / q_out.scale), INT8_MIN - INT8_MAX, INT8_MAX - INT8_MIN)
    multiplier[constant] = 1 << (16 - shift) if shift <= 16 else 0
    q_bias[constant] = values[constant].astype(np.int64) << 16

    worst = largest_sum(q_weight, q_bias, shift)
    if worst >= ACCUMULATOR_LIMIT:
        raise _refuse(node, f"its sums could reach {worst:,} and overflow 32 bits")
    requant = Requant(multiplier, shift, q_out.zero_point, lo, hi)
    return q_weight.astype(np.int16 if wide else np.int8), q_bias.astype(np.int32), requant


def _conv(graph: Graph, node: Conv | GroupedConv, qs: QMap) -> Node:
    weight = node.weight.astype(np.float64).reshape(len(node.weight), -1)
    q_weight, bias, requant = _epilogue(node, weight, qs)
    return replace(
        node,
        weight=q_weight.reshape(node.weight.shape),
        bias=bias,
        bounds=NO_BOUNDS,
        requant=requant,
    )


def _wide_depthwise(graph: Graph, node: Depthwise, qs: QMap) -> Node:
    return _depthwise(graph, node, qs, wide=True)


def _depthwise(graph: Graph, node: Depthwise, qs: QMap, wide: bool = False) -> Node:
    height, width, channels, multiplier = node.weight.shape
    if not wide and height * width * 256 * WEIGHT_MAX >= FLOAT32_EXACT:
        raise _refuse(node, f"its {height}x{width} kernel has more than 500 positions")
    weight = node.weight.astype(np.float64).reshape(height * width, channels * multiplier).T
    q_weight, bias, requant = _epilogue(node, weight, qs, wide)
    return replace(
        node,
        weight=np.ascontiguousarray(q_weight.T).reshape(node.weight.shape),
        bias=bias,
        bounds=NO_BOUNDS,
        requant=requant,
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
    Conv.op: _conv,
    Depthwise.op: _depthwise,
    GroupedConv.op: _conv,
    Add.op: _add,
    AvgPool.op: _avgpool,
    MaxPool.op: _unchanged,
    Pad.op: _unchanged,
    Softmax.op: _softmax,
    **elementwise.RULES,
}
_WIDE: dict[str, Callable[[Graph, Any, QMap], Node]] = {Depthwise.op: _wide_depthwise}
