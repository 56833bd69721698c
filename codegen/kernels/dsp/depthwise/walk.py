"""The code of a wide depthwise row, 3x3 at stride 1: a walk over the words of three rows.

A step takes the next four columns of all rows. Rows 0 and 1 are multiplied together: packed, a
word holds a column of both, and each output takes three SMLAD for the two rows instead of four
instructions; row 2 takes two. Two sums are carried from step to step, so that no column is loaded
twice, and the three words of weights of the packed rows stay in registers for the whole row; the
rest of the channel's record is copied to the frame.

    row 2           5 loads (6), 2 UXTB16, 8 SMLA..            16 cycles
    rows 0 and 1    3 loads (4), 2 PKH.., 4 UXTB16, 12 SMLAD   22
    4 outputs       1 load (2), SMMULR, USAT, STRH of each     14

Two steps make a round of the loop: the second one finds its carried sums in the registers of the
first one's last two, and leaves its own where those were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from codegen.kernels.dsp.depthwise.code import (
    INSTRUCTION_BYTES,
    REACH_AHEAD,
    REACH_BACK,
    Advance,
    Clamp,
    Constant,
    Epilogue,
    Instruction,
    Load,
    MultiplyAdd,
    Pack,
    Requantize,
    Save,
    Section,
    Store,
    Unpack,
    encodable,
)
from codegen.kernels.dsp.depthwise.window import Window

ROW, OUTPUT = "r0", "r1"
_X, _Y, _Z = "r2", "r9", "r10"
_SUMS = (("r3", "r4", "r5", "r6", "r7", "r8"), ("r7", "r8", "r5", "r6", "r3", "r4"))
"""Registers of the sums whose windows start at columns -2 to 3 of a step, even and odd."""
_PACKED_WEIGHTS = ("r11", "r12", "lr")
_STEP = 4
_RECORD = 28
"""Bytes of constants a channel: bias, two words of row 2, three of rows 0 and 1, multiplier."""
_OTHER_BYTES = 60
_BRANCH_CYCLES = 3


@dataclass(frozen=True)
class Frame:
    """Offsets from the stack pointer.

    Attributes:
        constants: The next channel's record.
        end: Where those of this half of the channels end.
        last: Where all end.
        row1: From row 0 to row 1.
        row2: From the word before, in row 0, to that of row 2.
        row2_first: The same for the first word: from the last one of the channel before.
        row_end: The word of row 0 behind which the loop ends.
        bias: This channel's.
        multiplier: This channel's.
        weights: This channel's two words of row 2.
        size: Bytes.
    """

    constants: int = 0
    end: int = 4
    last: int = 8
    row1: int = 12
    row2: int = 16
    row2_first: int = 20
    row_end: int = 24
    bias: int = 28
    multiplier: int = 32
    weights: tuple[int, int] = (36, 40)
    size: int = 44


FRAME = Frame()


@dataclass(frozen=True)
class Walk:
    """A function that walks.

    Attributes:
        before: Steps before the loop.
        loop: The steps of a round, or nothing.
        after: Steps behind the loop.
        first_step: Bytes from the last word of a channel to the first one of the next.
        halves: Channels of the lower halfwords and of the upper ones.
        cycles: Estimate of a call on a Cortex-M4.
        code_bytes: Estimate.
        compared: Registers whose equality ends the channels; the first one also ends the loop,
            when it equals the pointer to row 0.
        frame: The frame.
    """

    form: ClassVar[str] = "walk"
    compared: ClassVar[tuple[str, str]] = (_Y, _Z)
    frame: ClassVar[Frame] = FRAME
    before: tuple[Section, ...]
    loop: tuple[Section, ...]
    after: tuple[Section, ...]
    first_step: int
    halves: tuple[int, int]
    cycles: int
    code_bytes: int

    @property
    def frame_bytes(self) -> int:
        """Bytes of the frame."""
        return self.frame.size


def walks(window: Window) -> bool:
    """True if the walk can compute a row."""
    return (
        window.kernel == (3, 3)
        and window.stride == 1
        and window.skips_padding
        and not window.odd
        and _words(window) >= 2
        and _first_step(window) <= REACH_BACK
        and window.place(4, 0) <= REACH_AHEAD
    )


def make_walk(window: Window, epilogue: Epilogue, turn: int) -> Walk:
    """The code for a row.

    Args:
        window: The row; one that `walks`.
        epilogue: Its requantization.
        turn: Steps of a round of the loop, an even number; 0 if all are written out.
    """
    words = _words(window)
    rounds = (words - 2) // turn if turn else 0
    start = words - 1 - turn * rounds
    writer = _Writer(window, epilogue, rounds > 0, words)
    before = writer.steps(range(start))
    loop: list[Section] = []
    if rounds:
        began = writer.at
        loop = writer.steps(range(start, start + turn))
        writer.end_round(loop, turn, rounds, began)
    after = writer.steps(range(words - 1, words))
    writer.end_channel(after)
    channel = sum(s.cycles for s in (*before, *after)) + 1 + _BRANCH_CYCLES
    channel += rounds * (sum(s.cycles for s in loop) + 1 + _BRANCH_CYCLES)
    channel += epilogue.cycles * window.out_width
    sections = (*before, *loop, *after)
    return Walk(
        before=tuple(before),
        loop=tuple(loop),
        after=tuple(after),
        first_step=_first_step(window),
        halves=window.halves,
        cycles=channel * window.channels + 60,
        code_bytes=INSTRUCTION_BYTES * sum(len(s.code) for s in sections) + _OTHER_BYTES,
    )


def _words(window: Window) -> int:
    """Words of a row that the windows touch."""
    columns = min(window.in_width, window.out_width - window.pad_left + 2)
    return -(-columns // _STEP)


def _first_step(window: Window) -> int:
    return window.plane - _STEP * (_words(window) - 1)


class _Writer:
    """Writes the steps of a channel one after the other."""

    def __init__(self, window: Window, epilogue: Epilogue, looped: bool, words: int) -> None:
        self._window = window
        self._epilogue = epilogue
        self._looped = looped
        self._words = words
        self.at = 0
        """Place in the pairs where the pointer is."""

    def steps(self, words: range) -> list[Section]:
        """The code of some words of the row."""
        sections = []
        for word in words:
            first, last = word == 0, word == self._words - 1
            sums = self._sums(word)
            done = [o for o in sums if last or o + 2 - self._window.pad_left < _STEP * (word + 1)]
            outputs = (min(done), max(done))
            for what, code in (
                ("row 2", self._single_row(word, sums, first)),
                ("rows 0 and 1", self._packed_rows(word, sums, first)),
                ("requantized", self._requantize({o: sums[o] for o in done}, last)),
            ):
                sections.append(Section(0, outputs, what, tuple(code)))
        return sections

    def end_round(self, loop: list[Section], turn: int, rounds: int, began: int) -> None:
        """Advances the pointer to the pairs and tests where row 0 is."""
        amount = self._window.place(turn * _STEP, 0)
        code: list[Instruction] = []
        code += [Advance(OUTPUT, part) for part in encodable(began + amount - self.at)]
        self.at = began + amount * rounds
        code.append(Load(_Y, "sp", FRAME.row_end))
        last = loop.pop()
        # The load joins the one of the multiplier.
        joined = (last.code[0], code.pop(), *last.code[1:], *code)
        loop.append(Section(0, last.outputs, last.what, joined))

    def end_channel(self, after: list[Section]) -> None:
        """Moves the pointer to the pairs to the next channel."""
        last = after.pop()
        amount = encodable(8 - self.at)
        code = (*last.code, *(Advance(OUTPUT, part) for part in amount))
        after.append(Section(0, last.outputs, last.what, code))

    def _sums(self, word: int) -> dict[int, str]:
        """Registers of the outputs that a word belongs to."""
        first = _STEP * word - 2 + self._window.pad_left
        registers = _SUMS[word % 2]
        return {
            first + i: register
            for i, register in enumerate(registers)
            if 0 <= first + i < self._window.out_width
        }

    def _single_row(self, word: int, sums: dict[int, str], first: bool) -> list[Instruction]:
        """Row 2, whose first taps open sums with the bias; at first the channel's constants."""
        _, _, _, _, packed, bias = _SUMS[word % 2]
        code: list[Instruction] = []
        if first:
            code += self._constants(bias)
        else:
            code += [
                Load(_X, "sp", FRAME.row2),
                Load(bias, "sp", FRAME.bias),
                Load(_Y, "sp", FRAME.weights[0]),
                Load(_X, ROW, 0, index=_X),
                Load(_Z, "sp", FRAME.weights[1]),
            ]
        opened = set() if first else set(sorted(sums)[:2])
        # The register of the last but one sum is free until the second pair opens it.
        for pair, pixels in ((0, packed), (1, _X)):
            taps = list(self._window.taps(_STEP * word + 2 * pair, range(self._window.out_width)))
            if taps:
                code.append(Unpack(pixels, _X, 8 * pair))
            for tap in taps:
                target = sums[tap.output]
                addend = target if tap.output in opened else bias
                opened.add(tap.output)
                weights = (_Y, _Z)[tap.word]
                code.append(MultiplyAdd(tap.halves, target, pixels, weights, addend))
        return code

    def _constants(self, bias: str) -> list[Instruction]:
        """A channel's record, and what is kept of it in the frame."""
        pointer, multiplier = _SUMS[0][2], _SUMS[0][3]
        targets = (bias, _Y, _Z, *_PACKED_WEIGHTS, multiplier)
        code: list[Instruction] = [
            Load(pointer, "sp", FRAME.constants),
            Load(_X, "sp", FRAME.row2_first),
            Load(bias, pointer, 0, step=_RECORD),
        ]
        code += [Load(targets[i], pointer, 4 * i - _RECORD) for i in range(1, len(targets))]
        code.append(Load(_X, ROW, 0, index=_X))
        code += [
            Save(pointer, FRAME.constants),
            Save(bias, FRAME.bias),
            Save(_Y, FRAME.weights[0]),
            Save(_Z, FRAME.weights[1]),
            Save(multiplier, FRAME.multiplier),
        ]
        if self._looped:
            # Row 0 is still at the last word of the channel before.
            ahead = _first_step(self._window) + _STEP * (self._words - 2)
            parts = encodable(ahead)
            code += [Advance(pointer, parts[0], ROW)]
            code += [Advance(pointer, part) for part in parts[1:]]
            code += [Save(pointer, FRAME.row_end)]
        return code

    def _packed_rows(self, word: int, sums: dict[int, str], first: bool) -> list[Instruction]:
        """Rows 0 and 1, a column of both at a time; all sums are open."""
        step = _first_step(self._window) if first else _STEP
        code: list[Instruction] = [
            Load(_Y, "sp", FRAME.row1),
            Load(_X, ROW, step, advances=True),
            Load(_Y, ROW, 0, index=_Y),
        ]
        columns = [i for i in range(_STEP) if self._window.counts(_STEP * word + i)]
        # Bytes of columns 0 and 2 are the lower half of a word.
        code.append(Pack(False, _Z, _X, _Y))
        if 1 in columns:
            code.append(Pack(True, _Y, _X, _Y))
        unpacked = ((_X, _Z), (_X, _Y), (_Z, _Z), (_Y, _Y))
        for i in columns:
            pixels, source = unpacked[i]
            taps = [
                (kx, sums[output])
                for kx in (2, 1, 0)
                if (output := _STEP * word + i - kx + self._window.pad_left) in sums
            ]
            if taps:
                code.append(Unpack(pixels, source, i // 2 * 8))
            for kx, target in taps:
                code.append(MultiplyAdd("", target, pixels, _PACKED_WEIGHTS[kx], target))
        return code

    def _requantize(self, done: dict[int, str], last: bool) -> list[Instruction]:
        code: list[Instruction] = [Load(_X, "sp", FRAME.multiplier)]
        if last:
            code += [Load(_Y, "sp", FRAME.constants), Load(_Z, "sp", FRAME.end)]
        zero = ""
        if self._epilogue.zero:
            # The weights of the row are no longer needed behind its last word.
            zero = _PACKED_WEIGHTS[0] if last else _Z
            code.append(Constant(zero, self._epilogue.zero))
        code += [Requantize(register, _X, zero) for register in done.values()]
        code += [Clamp(register) for register in done.values()]
        for output, register in done.items():
            code += self._store(output, register)
        return code

    def _store(self, output: int, register: str) -> Sequence[Instruction]:
        offset = self._window.place(output, 0) - self.at
        if 0 <= offset <= REACH_AHEAD:
            return [Store(register, OUTPUT, offset)]
        self.at += offset
        moves = [Advance(OUTPUT, part) for part in encodable(offset)]
        return [*moves, Store(register, OUTPUT, 0)]
