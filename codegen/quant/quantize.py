"""Float graph and ranges -> int8 graph, after the arithmetic contract.

Each operator has one function here that gives its integer twin; ``_RULES`` lists those of the
operators without weights.
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
    Convolution,
    Depthwise,
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
from codegen.quant.refusal import refuse
from codegen.quant.scales import WEIGHT_MAX, activation_qparams, largest_sizes, quantized_bounds
from codegen.quant.weights import LayerWeights, from_rows, nearest, rows, wide_nearest

QMap = dict[str, QParams]
WeightMap = Mapping[str, LayerWeights]


def quantize(
    graph: Graph,
    ranges: Mapping[str, Range],
    weights: WeightMap | None = None,
    wide_depthwise: bool = False,
) -> Graph:
    """The int8 graph.

    What a quantized file says is kept: scales and zero points of tensors, and scales of weights,
    whose integers are thereby the file's.

    Args:
        graph: A simplified float graph (no ``float_only`` operators).
        ranges: Of every tensor that ``unscaled`` names.
        weights: Of convolutions, by the name of the tensor they write; those that are not named
            round to the nearest step.
        wide_depthwise: Those of depthwise layers have 16 bits then.

    Returns:
        A graph with the same tensors and nodes, all integer.

    Raises:
        ThumbnetError: A layer cannot be held by the arithmetic (named, with the reason).
    """
    qs = choose_qparams(graph, ranges)
    chosen = dict(weights or {})
    if wide_depthwise:
        for node in graph.nodes:
            if isinstance(node, Depthwise) and node.output not in chosen:
                q_in, q_out = qs[node.inputs[0]], qs[node.output]
                chosen[node.output] = wide_nearest(node, q_in.scale, q_out.scale)
    nodes = tuple(integer_node(graph, node, qs, chosen) for node in graph.nodes)
    tensors = {name: replace(tensor, q=qs[name]) for name, tensor in graph.tensors.items()}
    return validate(replace(graph, nodes=nodes, tensors=tensors), "quantize", integer=True)


def unscaled(graph: Graph) -> tuple[str, ...]:
    """The tensors whose quantization must be found by calibration."""
    return tuple(
        name
        for name, tensor in graph.tensors.items()
        if tensor.q is None and not isinstance(graph.producer(name), MaxPool | Pad | Softmax)
    )


def choose_qparams(graph: Graph, ranges: Mapping[str, Range]) -> QMap:
    """Quantization of every tensor: from the file, its range, its operator, or its neighbour."""
    qs: QMap = {}
    for name, tensor in graph.tensors.items():
        producer = graph.producer(name)
        if isinstance(producer, MaxPool | Pad):  # they move values: one scale on both sides
            qs[name] = qs[producer.inputs[0]]
        elif tensor.q is not None:
            qs[name] = tensor.q
        elif isinstance(producer, Softmax) or (
            isinstance(producer, Lookup) and producer.is_probability and name == graph.output
        ):
            qs[name] = softmax.OUTPUT
        else:
            bounds = getattr(producer, "bounds", NO_BOUNDS)
            found = useful_range(graph, name, ranges[name])
            qs[name] = activation_qparams(found, bounds, name)
            if isinstance(producer, Mul):
                a, b = (qs[factor] for factor in producer.inputs)
                qs[name] = product_scale(a, b, qs[name])
    join_scales(graph, qs)
    return qs


def integer_node(graph: Graph, node: Node, qs: QMap, weights: WeightMap) -> Node:
    """The integer twin of a node: see ``quantize``."""
    if isinstance(node, Convolution):
        return _layer(node, qs, weights.get(node.output))
    return _RULES[node.op](graph, node, qs)


def _layer(node: Convolution, qs: QMap, weights: LayerWeights | None) -> Convolution:
    """A convolution: integer weights, bias and requantization."""
    q_in, q_out = qs[node.inputs[0]], qs[node.output]
    if node.weight_scale is not None:
        return _given_layer(node, q_in, q_out)
    made = weights or nearest(node, q_in.scale)
    q_bias = np.rint(made.bias / (q_in.scale * made.scale)).astype(np.int64)

    # A channel without weights is a constant: a bias alone, with a multiplier of 2**16 that gives
    # it back unchanged. (A scale too small for a multiplier needs no such care: with M = 0 the
    # output is the zero point, and the real value is within a quarter of a step of it.)
    scale = q_in.scale * made.scale / q_out.scale
    constant = np.asarray(~made.integers.any(axis=1))
    multiplier, shift = multipliers(np.where(constant, 2.0**-16, scale))
    values = np.clip(np.rint(made.bias / q_out.scale), INT8_MIN - INT8_MAX, INT8_MAX - INT8_MIN)
    _make_constant(constant, values.astype(np.int64), q_bias, multiplier, shift)
    requant = Requant(multiplier, shift, q_out.zero_point, *quantized_bounds(node.bounds, q_out))
    return _proved(node, made.integers, q_bias, requant)


def _make_constant(
    which: NDArray[np.bool_],
    steps: NDArray[np.int64],
    bias: NDArray[np.int64],
    multiplier: NDArray[np.int32],
    shift: int,
) -> None:
    """Gives channels without weights a bias and a multiplier that make ``steps``, in place."""
    bias[which] = steps[which] << 16
    multiplier[which] = 1 << (16 - shift) if shift <= 16 else 0


def _given_layer(node: Convolution, q_in: QParams, q_out: QParams) -> Convolution:
    """A convolution whose scales of weights a quantized file gives: its own integers."""
    assert node.weight_scale is not None
    weight, bias = rows(node), node.bias.astype(np.float64)
    scales = np.where(node.weight_scale > 0, node.weight_scale, 1.0)
    q_weight = np.rint(weight / scales[:, None]).astype(np.int64)
    bias_steps = np.rint(bias / (q_in.scale * scales))
    q_bias = np.clip(bias_steps, -(2.0**62), 2.0**62).astype(np.int64)
    scale = q_in.scale * scales / q_out.scale
    multiplier, shift = multipliers(scale, cut=False)
    lo, hi = quantized_bounds(node.bounds, q_out)

    # A dead channel may have a scale so small that its bias outgrows 32 bits. If no input moves its
    # output by more than a step it is taken for a constant; else the proof refuses it.
    reach = 256 * np.abs(q_weight).sum(axis=1)
    outgrown = (np.abs(q_bias) + reach) * 2.0**shift >= ACCUMULATOR_LIMIT
    sums = np.stack([bias_steps - reach, bias_steps, bias_steps + reach])
    outputs = np.clip(np.rint(sums * scale) + q_out.zero_point, lo, hi).astype(np.int64)
    constant = outgrown & (np.ptp(outputs, axis=0) <= 1)
    q_weight[constant] = 0
    _make_constant(constant, outputs[1] - q_out.zero_point, q_bias, multiplier, shift)
    requant = Requant(multiplier, shift, q_out.zero_point, lo, hi)
    return _proved(node, q_weight, q_bias, requant)


def _proved(
    node: Convolution, weight: NDArray[Any], bias: NDArray[np.int64], requant: Requant
) -> Convolution:
    """The layer with its weights in as few bits as hold them, if no sum can overflow."""
    worst = largest_sum(weight, bias, requant.shift)
    if worst >= ACCUMULATOR_LIMIT:
        raise refuse(node, f"its sums could reach {worst:,} and overflow 32 bits")
    largest = int(largest_sizes(weight).max())
    if largest > np.iinfo(np.int16).max:
        raise refuse(node, f"a weight is {largest:,} steps and does not fit 16 bits")
    narrow = largest <= WEIGHT_MAX
    height, width = node.kernel
    if (
        isinstance(node, Depthwise)
        and narrow
        and height * width * 256 * WEIGHT_MAX >= FLOAT32_EXACT
    ):
        raise refuse(node, f"its {height}x{width} kernel has more than 500 positions")
    return replace(
        node,
        weight=from_rows(node, weight.astype(np.int8 if narrow else np.int16)),
        bias=bias.astype(np.int32),
        bounds=NO_BOUNDS,
        requant=requant,
        weight_scale=None,
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
    raise refuse(node, f"its inputs' scales are {max(ratios):.0f} times its output's")


def _avgpool(graph: Graph, node: AvgPool, qs: QMap) -> Node:
    q_in, q_out = qs[node.inputs[0]], qs[node.output]
    area = node.kernel[0] * node.kernel[1]
    if area * 256 >= FLOAT32_EXACT:
        raise refuse(node, f"its window has {area:,} elements, more than 65,535")
    counts = np.array(node.counts(graph.shapes(node)[0]), np.float64)
    if not counts.all():
        raise refuse(node, "a window lies wholly in the padding")
    multiplier, shift = multipliers(q_in.scale / q_out.scale / counts)
    if area * 256 << shift >= ACCUMULATOR_LIMIT:
        raise refuse(
            node, f"its input's scale is {q_in.scale / q_out.scale:.0f} times its output's"
        )
    lo, hi = quantized_bounds(node.bounds, q_out)
    requant = Requant(multiplier, shift, q_out.zero_point, lo, hi)
    return replace(node, bounds=NO_BOUNDS, requant=requant)


def _softmax(graph: Graph, node: Softmax, qs: QMap) -> Node:
    channels, q = graph.tensors[node.output].shape[2], qs[node.output]
    steps = round(1.0 / q.scale)
    if not 0 < steps < 2**16:
        raise refuse(node, f"the scale of its output, {q.scale:g}, is none for shares of 1")
    table = Softmax.make_table(qs[node.inputs[0]].scale, channels, steps)
    return replace(node, table=table, steps=steps, zero_point=q.zero_point)


def _unchanged(graph: Graph, node: Node, qs: QMap) -> Node:
    return node


_RULES: dict[str, Callable[[Graph, Any, QMap], Node]] = {
    Add.op: _add,
    AvgPool.op: _avgpool,
    MaxPool.op: _unchanged,
    Pad.op: _unchanged,
    Softmax.op: _softmax,
    **elementwise.RULES,
}
