"""How a depthwise row is cut into strips: the bodies, how often they run, and what joins them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from codegen.kernels.dsp.depthwise.body import (
    CONSTANTS,
    Body,
    Cell,
    Homes,
    NoRegisterError,
    Writer,
)
from codegen.kernels.dsp.depthwise.code import INSTRUCTION_BYTES, Epilogue, merit
from codegen.kernels.dsp.depthwise.window import Window

_FURTHER_BODY_CYCLES = 40
"""Of a pass over all channels, beside them."""
_FURTHER_BODY_BYTES = 70
_REPEATED_BODY_BYTES = 60
_LARGEST_STRIP = 9
_SIZES_TRIED = 4
_WRITTEN_OUT = 4
"""Strips of a row that are written out rather than put into a loop."""


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
class Strips:
    """A function of strips.

    Attributes:
        passes: Its parts.
        rows: Pointers to rows.
        output: Pointer to the pairs.
        end: End of the constants of this half of the channels.
        frame_bytes: Bytes of the frame.
        last: Slot of the end of all constants.
        count: Slot of the number of repetitions to go.
        halves: Channels of the lower halfwords and of the upper ones.
        cycles: Estimate of a call on a Cortex-M4.
        code_bytes: Estimate.
    """

    form: ClassVar[str] = "strips"
    passes: tuple[Pass, ...]
    rows: tuple[Cell, ...]
    output: Cell
    end: Cell
    frame_bytes: int
    last: int
    count: int
    halves: tuple[int, int]
    cycles: int
    code_bytes: int


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
    """Ways to cut the row into strips: written out, or equal parts in a loop between others."""
    width = window.out_width
    if width <= _WRITTEN_OUT * size:
        yield (_Part(_strips(0, width, size)),)
    inside = window.inside
    for step in (size, 2 * size):
        # Parts look alike to the code if their words and pairs of pixels are whole.
        if step % 2 or step * window.stride % 4:
            continue
        start = -(-inside.start // size) * size
        repeats = (inside.stop - start) // step
        if repeats < 2:
            continue
        end = start + repeats * step
        first = (_Part(_strips(0, start, size)),) if start else ()
        last = (_Part(_strips(end, width - end, size)),) if end < width else ()
        yield (*first, _Part(_strips(start, step, size), repeats), *last)


def make_strips(window: Window, epilogue: Epilogue, limit: int) -> Strips:
    """The best code, see `merit`.

    Args:
        window: The row.
        epilogue: Its requantization.
        limit: Bytes of code.
    """

    def order(code: Strips) -> tuple[bool, float]:
        return merit(code.cycles, code.code_bytes, limit)

    plain: list[tuple[Strips, tuple[_Part, ...]]] = []
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
    _, parts = min(plain, key=lambda found: order(found[0]))
    found = []
    for unroll in _unrolls(window):
        for homes in _homes(window):
            with contextlib.suppress(NoRegisterError):
                found.append(_assemble(window, epilogue, parts, homes, unroll))
    return min(found, key=order)


def _unrolls(window: Window) -> list[int]:
    lower, upper = window.halves
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
) -> Strips:
    """Writes all bodies and joins them.

    Raises:
        NoRegisterError: A strip is too wide.
    """
    lower, upper = window.halves
    bodies = []
    for part in parts:
        bodies.append(Writer(window, epilogue, homes, unroll).body(part.strips))
    rows, output, end = homes.cells(window)
    places = [window.place(part.strips[0][0], 0) for part in parts]

    def moves(row: int, place: int) -> tuple[Move, ...]:
        # All channels were walked over: the lower halfwords and, two bytes on, the upper ones.
        back = 8 * upper + 2 if upper else 8 * lower
        return (
            *(Move(cell, row - window.channels * window.plane) for cell in rows),
            Move(output, place - back),
            Move(Cell(CONSTANTS, -1), -4 * window.record * window.channels),
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
    code_bytes = sum(
        INSTRUCTION_BYTES * body.instructions
        + _FURTHER_BODY_BYTES
        + (_REPEATED_BODY_BYTES if part.repeats > 1 else 0)
        for part, body in zip(parts, bodies, strict=True)
    )
    slots = sum(not cell.register for cell in (*rows, output, end))
    # With the nine registers pushed, an odd number of words keeps the stack aligned.
    words = (slots + 2) | 1
    return Strips(
        passes=tuple(passes),
        rows=rows,
        output=output,
        end=end,
        frame_bytes=4 * words,
        last=4 * slots,
        count=4 * slots + 4,
        halves=(lower, upper),
        cycles=cycles,
        code_bytes=code_bytes,
    )
