"""The matrix product of the dsp family: pairs of inputs times weights, requantized.

The tile is 4 output channels a, b, c, d by 2 pixels. A halfword of a weight holds two channels, so
that SMLAD multiplies four at once; two forms tell their sums apart again.

**Weight chain**, 1.5 bytes a weight. With ``256 * b + a`` in a halfword, three sums

    P = 256 Sb + Sa,  Q = 256 Sc + Sb,  R = 256 Sd + Sc                          (mod 2^32)
    P - (Q << 8) + (R << 16) = Sa + 2^24 Sd

give Sa from its low 24 bits, then Sb, Sc and Sd by subtraction.

**Packed weights**, 1 byte each. ``A = 256 Sb + Sa`` and, with the low bytes alone, ``Sa``; the same
for c and d. Eight SMLAD instead of six, and two SXTB16.

Both are exact while each sum, with its bias, fits 24 bits; that is proved from the weights.

A weight of nine bits, which a zero point may ask for, is the sum of several of eight: its pair of
inputs is read again. Quantizers leave few such weights, for they are the ends of the range.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.ir import Graph, Requant
from codegen.kernels.base import (
    OUTPUT_ROW,
    SCRATCH,
    UNROLL,
    CArray,
    KernelCall,
    Parameters,
    RowPlan,
    Variant,
)
from codegen.kernels.dsp.gather import FILLER
from codegen.kernels.layout import Planar, position
from codegen.ops import Conv, Depthwise
from codegen.quant.fixed import requantize_exactly
from codegen.quant.scales import WEIGHT_MAX

TILE = 4
"""Output channels that are summed together."""
_SUM_BITS = 24
_IMMEDIATE = 4095
"""Largest offset of a store."""
_DOUBLED = 14 / 16
"""Two tiles are written out up to this part of the pairs that a loop's body may have."""
_SHORT = 4
"""Pairs that a loop's body has at most in layers of a single pixel, whose time does not matter."""
_MOST_AGAIN = 32
"""Pairs at most that are read again."""
_PLACES = 1 << 16
"""Offsets of pixels in a row of an odd number lie below this."""


@dataclass(frozen=True)
class Inner:
    """The sum over the pairs of inputs: some written out, then a loop.

    Attributes:
        straight: Pairs before the loop.
        blocks: Rounds of the loop, 0 for none.
        unroll: Pairs a round.
    """

    straight: int
    blocks: int
    unroll: int


def inner(pairs: int, most: int) -> Inner:
    """How ``pairs`` pairs of inputs are summed: few rounds, and little code.

    A round costs four cycles a tile, a pair that is written out 42 bytes.
    """
    if pairs <= most:
        return Inner(pairs, 0, 0)

    def cost(unroll: int) -> int:
        blocks, rest = divmod(pairs - 1, unroll)
        return 16 * blocks + unroll + rest

    unroll = min(range(1, most + 1), key=cost)
    blocks, rest = divmod(pairs - 1, unroll)
    return Inner(1 + rest, blocks, unroll) if blocks > 1 else Inner(pairs, 0, 0)


def value_range(graph: Graph, tensor: str) -> tuple[int, int]:
    """The least and the largest value that a tensor can hold."""
    producer = graph.producer(tensor)
    if isinstance(producer, Conv | Depthwise) and producer.requant:
        return producer.requant.lo, producer.requant.hi
    return -128, 127


@dataclass(frozen=True)
class Sums:
    """Constants of a layer as the product needs them.

    A channel whose output is the same for every input gets constants of its own: a filter without
    inputs may have a bias that outgrows every sum.

    Attributes:
        weight: int8 or int16 [O, K].
        bias: int64 [O], zero points not folded in.
        multiplier: int32 [O].
        worst: The largest magnitude that a sum can have.
    """

    weight: NDArray[Any]
    bias: NDArray[np.int64]
    multiplier: NDArray[np.int32]
    worst: int


@functools.lru_cache(maxsize=256)
def sums_of(graph: Graph, conv: Conv) -> Sums:
    """The constants of a layer."""
    assert conv.requant is not None
    q = graph.q(conv.inputs[0])
    lo, hi = value_range(graph, conv.inputs[0])
    least, most = min(lo - q.zero_point, 0), max(hi - q.zero_point, 0)
    weight = conv.weight.reshape(len(conv.weight), -1)
    bias, multiplier = conv.bias.astype(np.int64), conv.requant.multiplier
    positive = np.maximum(weight, 0).sum(axis=1, dtype=np.int64)
    negative = np.minimum(weight, 0).sum(axis=1, dtype=np.int64)
    largest = bias + positive * most + negative * least
    smallest = bias + positive * least + negative * most
    highest = requantize_exactly(largest, conv.requant).astype(np.int64)
    constant = requantize_exactly(smallest, conv.requant) == highest
    # 4 * (c - z) * 2^30 / 2^32, shifted left and right again
    fixed = 4 * (highest - conv.requant.zero_point)
    weight = np.where(constant[:, None], np.int8(0), weight)
    bias = np.where(constant, fixed, bias)
    multiplier = np.where(constant, 1 << (30 - conv.requant.shift), multiplier).astype(np.int32)
    sums = np.where(constant, fixed, np.maximum(np.abs(largest), np.abs(smallest)))
    return Sums(weight, bias, multiplier, int(np.abs(sums).max()))


def refuses(graph: Graph, conv: Conv) -> str | None:
    """Why the product cannot compute a layer, or None if it can."""
    if conv.requant is None:
        return "not quantized"
    columns = conv.weight.reshape(len(conv.weight), -1)
    again = _times_again(columns)
    if again.sum() > _MOST_AGAIN or (again.any() and 4 * columns.shape[1] >= _IMMEDIATE):
        return "many weights of more than 8 bits"
    worst = sums_of(graph, conv).worst
    if worst >= 1 << (_SUM_BITS - 1 - conv.requant.shift):
        return f"a sum may reach {worst:,}, more than {_SUM_BITS} bits"
    _, width, channels = graph.tensors[conv.output].shape
    if width * channels >= _PLACES:
        return "more output channels than the offsets of stores reach"
    if width > _IMMEDIATE // TILE - 2 * TILE:
        return "longer rows than the offsets of stores reach"
    return None


def _times_again(weight: NDArray[Any]) -> NDArray[np.int64]:
    """How often each input must be read again, for weights [O, K] of more than 8 bits."""
    largest = np.maximum(weight.max(axis=0), -weight.min(axis=0).astype(np.int64))
    return np.asarray(np.maximum(-(-largest // WEIGHT_MAX) - 1, 0))


def _in_steps(
    weight: NDArray[Any],
) -> tuple[NDArray[np.int8], tuple[int, ...]]:
    """The weights of each step, and which pair it reads.

    Args:
        weight: int8 or int16 [O, inputs] in the order of the pairs' halves.

    Returns:
        int8 [O, 2 * steps] in the same order, and the pair of each step. Those that are
        read again come behind the first one, which opens the sums.
    """
    halves = weight.reshape(len(weight), 2, -1)
    again = _times_again(weight).reshape(2, -1).max(axis=0)
    if not again.any():
        return weight.astype(np.int8), tuple(range(len(again)))
    repeated = np.repeat(np.arange(len(again)), again).tolist()
    steps = (0, *repeated, *range(1, len(again)))
    left, parts = halves.copy(), []
    for pair in steps:
        part = np.clip(left[..., pair], -WEIGHT_MAX, WEIGHT_MAX)
        left[..., pair] -= part
        parts.append(part)
    assert not left.any()
    return np.stack(parts, axis=2).reshape(len(weight), -1).astype(np.int8), steps


def _chain(channels: NDArray[np.int64]) -> NDArray[np.int64]:
    """[4, ...] -> [3, ...]: P, Q and R."""
    return np.asarray(256 * channels[1:] + channels[:-1])


def _packed(channels: NDArray[np.int64]) -> NDArray[np.int64]:
    """[4, ...] -> [2, ...]: a and b, c and d."""
    return np.asarray(256 * channels[1::2] + channels[::2])


def _chain_start(bias: NDArray[np.int64]) -> list[int]:
    return [*_chain(bias).tolist(), 0]


def _packed_start(bias: NDArray[np.int64]) -> list[int]:
    ab, cd = _packed(bias).tolist()
    return [ab, int(bias[0]), cd, int(bias[2])]


@dataclass(frozen=True)
class Form:
    """How weights are stored and multiplied.

    Attributes:
        name: Its template.
        words: Words of weights for four channels and two inputs.
        step_cycles: Cycles of a tile for two inputs, on Cortex-M4.
        block_cycles: Cycles of a round of the inner loop beside its steps.
        tile_cycles: Cycles of a tile beside its steps.
        halfwords: Weights of four channels to those of the words.
        start: Biases of four channels to what the sums begin with, four numbers.
        interleaves: Loads and products take turns on cores that issue two instructions together.
    """

    name: str
    words: int
    step_cycles: int
    block_cycles: int
    tile_cycles: int
    halfwords: Callable[[NDArray[np.int64]], NDArray[np.int64]]
    start: Callable[[NDArray[np.int64]], list[int]]
    interleaves: bool


CHAIN = Form("product_chain", 3, 12, 4, 56, _chain, _chain_start, True)
PACKED = Form("product_packed", 2, 15, 6, 53, _packed, _packed_start, False)

FORMS = {form.name: form for form in (CHAIN, PACKED)}
"""By name, the fastest first."""
_CODE = 300
_STEP_CODE = 42
"""Bytes of code of a function, and of each step that is written out."""


def variants(conv: Conv, order: Sequence[int], pixels: int, rows: int) -> tuple[Variant, ...]:
    """What each form costs for a layer: ``order`` as for ``calls``, ``pixels`` a row."""
    groups = -(-len(conv.weight) // TILE)
    loop = inner(len(order) // 2, UNROLL if rows * pixels > 1 else _SHORT)
    again = int(_times_again(conv.weight.reshape(len(conv.weight), -1)).sum())
    pairs = len(order) // 2 + again
    tiles = rows * -(-pixels // 2) * groups
    return tuple(
        Variant(
            form.name,
            tiles * (form.tile_cycles + pairs * form.step_cycles + loop.blocks * form.block_cycles),
            groups * (4 * form.words * pairs + 32)
            + _CODE
            + _STEP_CODE * (loop.straight + loop.unroll + again),
        )
        for form in FORMS.values()
    )


def _pack(
    form: Form,
    weight: NDArray[np.int8],
    bias: NDArray[np.int64],
    multiplier: NDArray[np.int32],
) -> tuple[CArray, CArray]:
    """Constants of some groups of four channels, the last filled up with zeros.

    Weights: int16 [groups, pairs, words, 2], both inputs of a pair side by side. Table: int32
    [groups, 8], what the sums begin with and the multipliers.
    """
    outputs, inputs = weight.shape
    fill = -outputs % TILE
    weight = np.pad(weight, ((0, fill), (0, 0))).reshape(-1, TILE, 2, inputs // 2)
    bias = np.pad(bias, (0, fill)).reshape(-1, TILE)
    multiplier = np.pad(multiplier, (0, fill)).reshape(-1, TILE)
    words = np.empty((len(weight), inputs // 2, form.words, 2), np.int16)
    for group, packed in zip(weight, words, strict=True):
        packed[...] = form.halfwords(group.astype(np.int64)).transpose(2, 0, 1)
    starts = np.array([form.start(group) for group in bias], np.int64)
    table = np.concatenate([starts.astype(np.uint32).view(np.int32), multiplier], axis=1)
    return CArray("weight", words), CArray("table", table)


def calls(
    graph: Graph,
    conv: Conv,
    order: Sequence[int],
    stored_zero: int,
    size: tuple[int, int],
    rows: RowPlan,
    first_pixel: int = 0,
) -> tuple[KernelCall, ...]:
    """The product of some rows: a call for the whole groups of channels, one for the rest.

    Args:
        graph: The graph.
        conv: The layer.
        order: For each place in a pixel's pairs the index into the layer's inputs
            ``[kh][kw][channels]``, or ``FILLER``.
        stored_zero: What the pairs hold for a real zero.
        size: Rows, and pixels of each.
        rows: How the output's rows are kept.
        first_pixel: Where in the row the pixels begin: a multiple of four.
    """
    assert conv.requant is not None
    form = FORMS[rows.variant] if rows.variant else CHAIN
    sums, planar = sums_of(graph, conv), rows.planar_out
    outputs = len(conv.weight)
    places = np.array(order)
    weight = np.where(places == FILLER, np.int8(0), sums.weight[:, places])
    weight, steps = _in_steps(weight)
    bias = sums.bias - stored_zero * sums.weight.sum(axis=1, dtype=np.int64)
    offset = first_pixel * (1 if planar else outputs)
    made = []
    whole = outputs - outputs % TILE
    for first, end in ((0, whole), (whole, outputs)):
        if first < end:
            part = slice(first, end)
            arrays = _pack(form, weight[part], bias[part], sums.multiplier[part])
            suffix = "_rest" if first else ""
            made.append(
                KernelCall(
                    _parameters(form, conv.requant, steps, size, outputs, part, rows),
                    tuple(CArray(f"{a.role}{suffix}", a.values) for a in arrays),
                    template=form.name,
                    label=f"{size[0] * size[1]}x{len(order)}_{end - first}",
                    operands=(SCRATCH, OUTPUT_ROW),
                    offset=offset + first * (planar.plane if planar else 1),
                    assembly=True,
                )
            )
    return tuple(made)


def _parameters(
    form: Form,
    requant: Requant,
    steps: tuple[int, ...],
    size: tuple[int, int],
    outputs: int,
    channels: slice,
    rows: RowPlan,
) -> Parameters:
    planar, unroll, pairs = rows.planar_out, rows.unroll, 1 + max(steps)
    pixels = size[0] * size[1]
    offset = 128 if planar else 0
    interleaved = form.interleaves and rows.dual_issue and len(steps) == pairs
    # Then the last pair, behind which nothing is loaded, stands apart.
    loop = inner(pairs - interleaved, unroll if pixels > 1 else _SHORT)
    count = channels.stop - channels.start
    # Tiles of NHWC pixels that immediate offsets can step over.
    reach = 2 if planar else min(_IMMEDIATE // (2 * outputs), 2)
    return {
        "pixels": pixels,
        "pixel_pairs": -(-pixels // 2),
        "outputs": count,
        "pairs": pairs,
        "straight": loop.straight,
        "blocks": loop.blocks,
        "unroll": loop.unroll,
        "interleaved": int(interleaved),
        # A group of channels; every one but that of the rest has four.
        "groups": -(-count // TILE),
        "group_bytes": 4 * form.words * len(steps),
        # Pairs that are read again behind the first one: bytes from the second.
        "again": tuple(8 * (pair - 1) for pair in steps[1 : 1 + len(steps) - pairs]),
        "steps": steps if len(steps) > pairs else (),
        "step_count": len(steps),
        "channels": min(count, TILE),
        "channel_step": planar.plane if planar else 1,
        # Where pixels go.
        "unsigned": int(bool(planar)),
        "second": 2 if planar else outputs,
        "tiles": 1 + (len(steps) <= unroll * _DOUBLED and size[1] % 4 == 0 and reach == 2),
        "tile_step": 1 if planar else 2 * outputs,
        "next": 4 if planar else 4 * outputs,
        "places": _places(planar, size, outputs) if size[1] % 2 or not reach else (),
        # Requantization.
        "saturate": "usat" if planar else "ssat",
        "zero": requant.zero_point + offset,
        "rounding": 128 + 256 * (requant.zero_point + offset),
        "lo": requant.lo + offset,
        "hi": requant.hi + offset,
        "clips_lo": int(requant.lo > -128),
        "clips_hi": int(requant.hi < 127),
        "shift": requant.shift,
    }


def _places(
    planar: Planar | None, size: tuple[int, int], outputs: int
) -> tuple[tuple[int, int], ...]:
    """Offsets of each pair of pixels; where there is no second one, that of the first.

    Both are written, the first one last.
    """
    height, width = size
    step = planar.row_bytes if planar else width * outputs
    place = [
        row * step + (position(pixel) if planar else pixel * outputs)
        for row in range(height)
        for pixel in range(width)
    ]
    return tuple(zip(place[::2], [*place[1::2], *place[-1:]], strict=False))
