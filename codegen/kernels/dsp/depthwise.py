"""Depthwise convolution of the dsp family: planar rows in, pairs out; code and constants.

The function is generated for its shape, ``void name(const int8_t *const *rows, int16_t *x, const
int32_t *constants)``; see templates/kernels/dsp/depthwise.S.jinja and its portable twin. The
constants are a record a channel: the bias, for each row of the kernel the words of
`Window.words`, the multiplier.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from codegen.ir import QParams, Requant
from codegen.kernels.dsp.depthwise_code import (
    Body,
    Cell,
    Epilogue,
    Homes,
    NoRegisterError,
    Writer,
)
from codegen.kernels.dsp.depthwise_window import Window
from codegen.kernels.layout import Planar, pair_halfword
from codegen.ops import Depthwise

CODE_BYTES = 1400
"""Code that a function takes at most where there is a choice."""
_BYTES_PER_INSTRUCTION = 4
_FURTHER_BODY_CYCLES = 40
"""Of a pass over all channels, beside them."""
_LARGEST_KERNEL = 7
_LARGEST_STRIP = 9
_SIZES_TRIED = 4
_WRITTEN_OUT = 4
"""Strips of a row that are written out rather than put into a loop."""
_ZERO = 128
"""What is added to an int8 value to keep it as a byte."""


@dataclass(frozen=True)
class Move:
    """What is added to a pointer.

    Attributes:
        cell: The pointer.
        amount: Bytes.
    """

    cell: Cell
    amount: int


@dataclass(frozen=True)
class Pass:
    """A body, run over all channels for one or more equal parts of the row.

    Attributes:
        body: The code.
        repeats: How often.
        again: What the pointers lack for the next time.
        next: What they lack for the next pass.
    """

    body: Body
    repeats: int
    again: tuple[Move, ...]
    next: tuple[Move, ...]


@dataclass(frozen=True)
class Code:
    """A depthwise function in assembly.

    Attributes:
        passes: Its parts.
        rows: Pointers to rows.
        output: Pointer to the pairs.
        end: End of the constants of this half of the channels.
        frame: Bytes of the frame.
        last: Slot of the end of all constants.
        count: Slot of the number of repetitions to go.
        halves: Channels of the lower halfwords and of the upper ones.
        cycles: Estimate of a call on a Cortex-M4.
        code_bytes: Estimate.
    """

    passes: tuple[Pass, ...]
    rows: tuple[Cell, ...]
    output: Cell
    end: Cell
    frame: int
    last: int
    count: int
    halves: tuple[int, int]
    cycles: int
    code_bytes: int


@dataclass(frozen=True)
class DepthwiseFunction:
    """Everything that the templates write into a function.

    Attributes:
        window: Its shape.
        epilogue: Its requantization.
    """

    window: Window
    epilogue: Epilogue

    @property
    def record(self) -> int:
        """Words of constants a channel."""
        return self.window.record

    @property
    def places(self) -> tuple[tuple[int, int], ...]:
        """For each column of the kernel its word in a row of the record, and the half."""
        return tuple(self.window.weight_place(kx) for kx in range(self.window.kernel[1]))

    @property
    def code(self) -> Code:
        """The assembly."""
        return _code(self.window, self.epilogue)


def refuses(node: Depthwise, input_zero: int) -> str | None:
    """Why the function cannot compute a layer, or None if it can.

    Args:
        node: The quantized layer.
        input_zero: Zero point of the input, int8.
    """
    if node.requant is None:
        return "not quantized"
    if node.multiplier != 1:
        return "more than one output channel for an input channel"
    if max(node.kernel) > _LARGEST_KERNEL:
        return f"kernel larger than {_LARGEST_KERNEL}x{_LARGEST_KERNEL}"
    if node.stride[1] > 2:
        return "stride above 2"
    weight = node.weight.astype(np.int64).reshape(-1, node.bias.size)
    bias = _bias(node, input_zero)
    # As bytes the inputs are 0..255; sums start from the bias.
    worst = np.abs(bias) + 255 * np.abs(weight).sum(axis=0)
    if int(worst.max()) << node.requant.shift >= 1 << 31:
        return "a sum may outgrow 32 bits"
    return None


def depthwise_function(
    node: Depthwise, planar: Planar, input_q: QParams, out_width: int
) -> DepthwiseFunction:
    """The function for a layer.

    Args:
        node: The quantized layer; not one that `refuses`.
        planar: The input's rows.
        input_q: The input's quantization.
        out_width: Pixels of an output row.
    """
    assert node.requant is not None
    _, width, channels = planar.shape
    last = (out_width - 1) * node.stride[1] - node.pads.left
    meets_image = node.pads.left < node.kernel[1] and last < width
    window = Window(
        kernel=node.kernel,
        stride=node.stride[1],
        pad_left=node.pads.left,
        in_width=width,
        out_width=out_width,
        channels=channels,
        plane=planar.plane,
        skips_padding=input_q.zero_point == -_ZERO and meets_image,
    )
    return DepthwiseFunction(window, _epilogue(node.requant))


def packed_constants(
    window: Window, node: Depthwise, input_zero: int
) -> NDArray[np.int32]:
    """Constants of a function.

    Args:
        window: Its shape.
        node: The layer.
        input_zero: Zero point of the input, int8; folded into the bias.

    Returns:
        int32 [C, record]: bias; for each row of the kernel its words of two weights, the right one
        in the upper half; multiplier.
    """
    assert node.requant is not None
    weight = node.weight.astype(np.int64)[..., 0]
    columns = [[pair[0], pair[1]] for pair in window.words]
    low = np.stack([weight[:, lo] for lo, _ in columns], axis=1)
    high = np.stack(
        [weight[:, hi] if hi is not None else np.zeros_like(weight[:, 0]) for _, hi in columns],
        axis=1,
    )
    words = (high << 16) | (low & 0xFFFF)  # [kh, words, C]
    channels = weight.shape[2]
    record = np.empty((channels, window.record), np.int64)
    record[:, 0] = _bias(node, input_zero)
    record[:, 1:-1] = words.reshape(-1, channels).T
    record[:, -1] = node.requant.multiplier
    return record.astype(np.int32)


def _bias(node: Depthwise, input_zero: int) -> NDArray[np.int64]:
    """The bias for inputs as bytes."""
    weight = node.weight.astype(np.int64).reshape(-1, node.bias.size)
    return np.asarray(node.bias.astype(np.int64) - (input_zero + _ZERO) * weight.sum(axis=0))


def _epilogue(requant: Requant) -> Epilogue:
    return Epilogue(
        requant.shift, requant.zero_point + _ZERO, requant.lo + _ZERO, requant.hi + _ZERO
    )


@dataclass(frozen=True)
class _Part:
    """Equal parts of the row: the strips of the first one, and how many there are."""

    strips: tuple[range, ...]
    repeats: int = 1

    @property
    def width(self) -> int:
        return sum(map(len, self.strips))


def _strips(first: int, width: int, size: int) -> tuple[range, ...]:
    end = first + width
    return tuple(range(start, min(start + size, end)) for start in range(first, end, size))


def _partitions(window: Window, size: int) -> Iterator[tuple[_Part, ...]]:
    """Ways to cut the row into strips: written out, or equal parts in a loop and a rest."""
    width = window.out_width
    if width <= _WRITTEN_OUT * size:
        yield (_Part(_strips(0, width, size)),)
    for step in (size, 2 * size):
        repeats, rest = divmod(width, step)
        # Parts look alike to the code if their words and pairs of pixels are whole.
        if repeats < 2 or step % 2 or step * window.stride % 4:
            continue
        last = (_Part(_strips(width - rest, rest, size)),) if rest else ()
        yield (_Part(_strips(0, step, size), repeats), *last)


@functools.lru_cache(maxsize=256)
def _code(window: Window, epilogue: Epilogue) -> Code:
    """The fastest code that is not too large, or else the smallest."""
    plain: list[tuple[Code, tuple[_Part, ...]]] = []
    sizes = range(min(window.out_width, _LARGEST_STRIP), 0, -1)
    feasible = 0
    for size in sizes:
        before = len(plain)
        for parts in _partitions(window, size):
            for homes in (Homes(0, False, False), Homes(2, False, False)):
                with contextlib.suppress(NoRegisterError):
                    plain.append((_assemble(window, epilogue, parts, homes, 1), parts))
        feasible += len(plain) > before
        if feasible == _SIZES_TRIED:
            break
    _, parts = min(plain, key=lambda found: _merit(found[0]))
    found = []
    for unroll in _unrolls(window):
        for homes in _homes(window):
            with contextlib.suppress(NoRegisterError):
                found.append(_assemble(window, epilogue, parts, homes, unroll))
    return min(found, key=_merit)


def _merit(code: Code) -> tuple[bool, int, int]:
    """Less is better."""
    too_large = code.code_bytes > CODE_BYTES
    return too_large, code.code_bytes if too_large else code.cycles, code.code_bytes


def _halves(window: Window) -> tuple[int, int]:
    half = -(-window.channels // 2)
    return half, window.channels - half


def _unrolls(window: Window) -> list[int]:
    lower, upper = _halves(window)
    return [unroll for unroll in (1, 2, 4) if lower % unroll == 0 and upper % unroll == 0]


def _homes(window: Window) -> Iterator[Homes]:
    height = window.kernel[0]
    for rows in range(min(height, 3) + 1):
        for output in (False, True):
            yield Homes(rows, output, False)
    yield Homes(min(height, 3), True, True)


def _assemble(
    window: Window,
    epilogue: Epilogue,
    parts: Sequence[_Part],
    homes: Homes,
    unroll: int,
) -> Code:
    """Writes all bodies and joins them.

    Raises:
        NoRegisterError: A strip is too wide.
    """
    lower, upper = _halves(window)
    bodies = []
    for part in parts:
        shape = window if part.repeats == 1 else replace(window, skips_padding=False)
        bodies.append(Writer(shape, epilogue, homes, unroll).body(part.strips))
    rows, output, end = homes.cells(window)
    places = [2 * pair_halfword(part.strips[0][0], 0, window.channels) for part in parts]

    def moves(row: int, place: int) -> tuple[Move, ...]:
        # All channels were walked over: the lower halfwords and, two bytes on, the upper ones.
        back = 8 * upper + 2 if upper else 8 * lower
        return (
            *(Move(cell, row - window.channels * window.plane) for cell in rows),
            Move(output, place - back),
            Move(Cell("r2", -1), -4 * window.record * window.channels),
        )

    passes = []
    cycles = _FURTHER_BODY_CYCLES
    for i, (part, body) in enumerate(zip(parts, bodies, strict=True)):
        again = (part.width * window.stride, part.width // 2 * 8 * lower)
        following: tuple[Move, ...] = ()
        if i + 1 < len(parts):
            done = (part.repeats - 1) * again[0]
            following = moves(
                bodies[i + 1].origin - body.origin - done,
                places[i + 1] - places[i] - (part.repeats - 1) * again[1],
            )
        passes.append(
            Pass(body, part.repeats, moves(*again) if part.repeats > 1 else (), following)
        )
        cycles += part.repeats * (body.cycles * window.channels // unroll + _FURTHER_BODY_CYCLES)
    slots = sum(not cell.register for cell in (*rows, output, end))
    # With the nine registers pushed, an odd number of words keeps the stack aligned.
    words = (slots + 2) | 1
    return Code(
        passes=tuple(passes),
        rows=rows,
        output=output,
        end=end,
        frame=4 * words,
        last=4 * slots,
        count=4 * slots + 4,
        halves=(lower, upper),
        cycles=cycles,
        code_bytes=_BYTES_PER_INSTRUCTION * sum(body.instructions for body in bodies) + 120,
    )
