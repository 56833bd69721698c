"""The matrix product of the dsp family: pairs of inputs times weights, requantized.

**Weight chain** (1.5 bytes a weight). Four output channels a, b, c, d share three sums of SMLAD. A
halfword of a weight holds two channels, ``256 * b + a``, and so

    P = 256 Sb + Sa,  Q = 256 Sc + Sb,  R = 256 Sd + Sc                          (mod 2^32)
    P - (Q << 8) + (R << 16) = Sa + 2^24 Sd

gives Sa from its low 24 bits, then Sb, Sc and Sd by subtraction: exact while each sum with its
bias fits 24 bits, which is proved from the weights. The tile is 4 channels x 2 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codegen.ir import Graph, Requant
from codegen.kernels.base import OUTPUT_ROW, SCRATCH, CArray, KernelCall, Parameters, RowPlan
from codegen.ops import Conv, Depthwise

TILE = 4
"""Output channels that are summed together."""
UNROLL = 16
"""Pairs of inputs that a loop's body multiplies at most."""
_SUM_BITS = 24
_IMMEDIATE = 4095
"""Largest offset of a store."""


@dataclass(frozen=True)
class Inner:
    """The sum over the pairs of inputs: some written out, then a loop.

    Attributes:
        straight: Pairs before the loop, at least one.
        blocks: Rounds of the loop, 0 for none.
        unroll: Pairs a round.
    """

    straight: int
    blocks: int
    unroll: int


def inner(pairs: int, most: int = UNROLL) -> Inner:
    """How ``pairs`` pairs of inputs are summed: little code, and few rounds."""
    if pairs <= most:
        return Inner(pairs, 0, 0)

    def cost(unroll: int) -> int:
        blocks, rest = divmod(pairs - 1, unroll)
        return 4 * blocks + unroll + rest

    unroll = min(range(1, most + 1), key=cost)
    blocks, rest = divmod(pairs - 1, unroll)
    return Inner(1 + rest, blocks, unroll)


def value_range(graph: Graph, tensor: str) -> tuple[int, int]:
    """The least and the largest value that a tensor can hold."""
    producer = graph.producer(tensor)
    if isinstance(producer, Conv | Depthwise) and producer.requant:
        return producer.requant.lo, producer.requant.hi
    return -128, 127


def refuses(graph: Graph, conv: Conv) -> str | None:
    """Why the product cannot compute a layer, or None if it can."""
    if conv.requant is None:
        return "not quantized"
    q = graph.tensors[conv.inputs[0]].q
    assert q is not None
    lo, hi = value_range(graph, conv.inputs[0])
    least, most = min(lo - q.zero_point, 0), max(hi - q.zero_point, 0)
    weight = conv.weight.reshape(len(conv.weight), -1).astype(np.int64)
    positive, negative = np.maximum(weight, 0).sum(axis=1), np.minimum(weight, 0).sum(axis=1)
    largest = conv.bias + positive * most + negative * least
    smallest = conv.bias + positive * least + negative * most
    limit = 1 << (_SUM_BITS - 1 - conv.requant.shift)
    worst = int(max(largest.max(), -smallest.min()))
    if worst >= limit:
        return f"a sum may reach {worst:,}, more than {_SUM_BITS} bits"
    _, width, channels = graph.tensors[conv.output].shape
    if channels > (_IMMEDIATE if width == 1 else _IMMEDIATE // 2):
        return "more output channels than the offsets of stores reach"
    if width > _IMMEDIATE // TILE - 2 * TILE:
        return "longer rows than the offsets of stores reach"
    return None


def _halfwords(weight: NDArray[np.int64]) -> NDArray[np.int16]:
    """[4, 2 * pairs] -> [pairs, 3, 2]: P, Q, R of each pair, both inputs side by side."""
    chained = 256 * weight[1:] + weight[:-1]
    half = weight.shape[1] // 2
    return chained.reshape(3, 2, half).transpose(2, 0, 1).astype(np.int16)


def _group_table(bias: NDArray[np.int64], multiplier: NDArray[np.int32]) -> NDArray[np.int32]:
    """[4], [4] -> [7]: what the sums P, Q, R begin with, and the multipliers."""
    chained = (256 * bias[1:] + bias[:-1]).astype(np.uint32).view(np.int32)
    return np.concatenate([chained, multiplier])


def _pack(
    weight: NDArray[np.int64], bias: NDArray[np.int64], multiplier: NDArray[np.int32]
) -> tuple[CArray, CArray]:
    """Constants of some groups of four channels, the last filled up with zeros."""
    outputs, inputs = weight.shape
    groups = -(-outputs // TILE)
    full = np.zeros((groups, TILE, inputs), np.int64)
    full.reshape(-1, inputs)[:outputs] = weight
    biases = np.zeros((groups, TILE), np.int64)
    biases.reshape(-1)[:outputs] = bias
    factors = np.zeros((groups, TILE), np.int32)
    factors.reshape(-1)[:outputs] = multiplier
    table = [_group_table(b, m) for b, m in zip(biases, factors, strict=True)]
    return (
        CArray("weight", np.stack([_halfwords(group) for group in full])),
        CArray("table", np.stack(table)),
    )


def calls(
    graph: Graph, conv: Conv, order: Sequence[int], stored_zero: int, pixels: int, rows: RowPlan
) -> tuple[KernelCall, ...]:
    """The product of a row: a call for the whole groups of channels, one for the rest.

    Args:
        graph: The graph.
        conv: The layer.
        order: For each place in a pixel's pairs the index into the layer's inputs
            ``[kh][kw][channels]``, -1 where there is none.
        stored_zero: What the pairs hold for a real zero.
        pixels: Pixels a row.
        rows: How the output's rows are kept.
    """
    assert conv.requant is not None
    outputs = len(conv.weight)
    flat = conv.weight.reshape(outputs, -1).astype(np.int64)
    weight = np.where(np.array(order) < 0, 0, flat[:, np.array(order)])
    bias = conv.bias.astype(np.int64) - stored_zero * flat.sum(axis=1)
    made = []
    whole = outputs - outputs % TILE
    for first, end in ((0, whole), (whole, outputs)):
        if first < end:
            part = slice(first, end)
            arrays = _pack(weight[part], bias[part], conv.requant.multiplier[part])
            if first > 0:
                arrays = tuple(CArray(f"{a.role}_rest", a.values) for a in arrays)
            made.append(
                KernelCall(
                    _parameters(conv.requant, len(order) // 2, pixels, outputs, (first, end), rows),
                    arrays,
                    template="product",
                    label=f"{pixels}x{len(order)}_{end - first}",
                    operands=(SCRATCH, OUTPUT_ROW),
                    assembly=True,
                )
            )
    return tuple(made)


def _parameters(
    requant: Requant,
    pairs: int,
    pixels: int,
    outputs: int,
    channels: tuple[int, int],
    rows: RowPlan,
) -> Parameters:
    first, end = channels
    planar = rows.planar_out
    offset = 128 if planar else 0
    loop = inner(pairs)
    return {
        "pixels": pixels,
        "inputs": 2 * pairs,
        "outputs": end - first,
        "pairs": pairs,
        "straight": loop.straight,
        "blocks": loop.blocks,
        "unroll": loop.unroll,
        "first": first,
        "groups": -(-(end - first) // TILE),
        "channels": min(end - first, TILE),
        "channel_step": planar.plane if planar else 1,
        "second": 2 if planar else outputs if pixels > 1 else 0,
        "next": 2 * outputs if pixels > 2 else 0,
        "odd": pixels % 2,
        "saturate": "usat" if planar else "ssat",
        "unsigned": int(bool(planar)),
        "rounding": 128 + 256 * (requant.zero_point + offset),
        "lo": requant.lo + offset,
        "hi": requant.hi + offset,
        "clips_lo": int(requant.lo > -128),
        "clips_hi": int(requant.hi < 127),
        "shift": requant.shift,
    }
