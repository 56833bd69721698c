"""The code of strips of a depthwise row, and the registers they use.

A **strip** of neighbouring outputs has its sums in registers. For each row of the kernel its
weights and pixels are loaded, in groups, because the second of two neighbouring loads takes one
cycle instead of two; each pair of pixels is unpacked and added to all sums that it belongs to. The
first multiply-add of a sum takes the bias as its addend. The rows are walked down in one strip and
up in the next one, which finds the weights of its first row where they are.

A **body** is one or more strips of one or more channels, in a loop over the channels. Pointers are
advanced by the first access through them (post-indexing costs nothing); later accesses of the body
reach back. What finds no register is kept on the stack.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from codegen.kernels.dsp.depthwise.code import (
    REACH_AHEAD,
    REACH_BACK,
    Advance,
    Clamp,
    Constant,
    Epilogue,
    Instruction,
    Load,
    MultiplyAdd,
    Requantize,
    Save,
    Section,
    Store,
    Unpack,
    cycles,
    encodable,
)
from codegen.kernels.dsp.depthwise.window import Piece, Window

CONSTANTS = "r2"
"""The pointer to the constants."""
_HOMES = ("lr", "r12", "r11", "r10", "r9", "r8")
"""Where what keeps a register is kept."""
_POOL = ("r0", "r1", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "lr")
_BIAS = "bias"
"""Stands for the register of the sum that is opened last, until that is known."""


class NoRegisterError(Exception):
    """There are too few registers, or an offset is out of reach."""


@dataclass(frozen=True)
class Cell:
    """Where a pointer is kept: in a register, or in a word of the frame."""

    register: str
    slot: int


@dataclass(frozen=True)
class Body:
    """Code for one or more channels, and how its loop ends.

    Attributes:
        sections: The code.
        origin: Byte of a plane where the pointers to the rows have to point.
        end: Register that holds the address of the last record's end.
        cycles: Of one round, on a Cortex-M4.
    """

    sections: tuple[Section, ...]
    origin: int
    end: str
    cycles: int

    @property
    def instructions(self) -> int:
        """How many there are."""
        return sum(len(section.code) for section in self.sections)


@dataclass(frozen=True)
class Homes:
    """What is kept in a register between the channels, in the order of its use.

    Attributes:
        rows: Pointers to rows.
        output: The pointer to the pairs.
        end: The end of the constants.
    """

    rows: int
    output: bool
    end: bool

    def cells(self, window: Window) -> tuple[tuple[Cell, ...], Cell, Cell]:
        """Places of the pointers to the rows, of that to the pairs and of the end."""
        registers = list(_HOMES)
        slots = iter(range(0, 4 * (window.kernel[0] + 2), 4))

        def cell(keeps: bool) -> Cell:
            return Cell(registers.pop(0), -1) if keeps else Cell("", next(slots))

        rows = tuple(cell(ky < self.rows) for ky in range(window.kernel[0]))
        return rows, cell(self.output), cell(self.end)


class _Pointer:
    """A pointer that the first access of a body advances, where it can."""

    def __init__(self, cell: Cell, step: int) -> None:
        self.cell = cell
        self.step = step
        self.origin: int | None = None
        self.moved = 0

    def access(self, place: int) -> tuple[int, int]:
        """Offset from the register to ``place``, and what the access shall add to it."""
        if self.origin is None:
            self.origin = place
            self.moved = self.step if self.step <= REACH_BACK else 0
            return 0, self.moved
        return place - self.origin - self.moved, 0


@dataclass
class _Tail:
    """Loads that a requantization needs, and the registers of those already done."""

    channel: int
    pending: list[str]
    registers: dict[str, str] = field(default_factory=dict)


def _two_pairs(piece: Piece) -> bool:
    return len(piece.pairs) == 2


def _renamed(op: Instruction, register: str) -> Instruction:
    """Puts a register where the bias is loaded to and added from."""
    if isinstance(op, Load) and op.target == _BIAS:
        return replace(op, target=register)
    if isinstance(op, MultiplyAdd) and op.addend == _BIAS:
        return replace(op, addend=register)
    return op


class Writer:
    """Writes a body."""

    def __init__(self, window: Window, epilogue: Epilogue, homes: Homes, unroll: int) -> None:
        self._window = window
        self._epilogue = epilogue
        self._unroll = unroll
        rows, output, end = homes.cells(window)
        self._rows = [_Pointer(cell, window.plane * unroll) for cell in rows]
        self._output = _Pointer(output, 8 * unroll)
        self._constants = _Pointer(Cell(CONSTANTS, -1), 4 * window.record * unroll)
        self._end = end
        kept = {cell.register for cell in (*rows, output, end)}
        self._free = [register for register in _POOL if register not in kept]
        self._code: list[Instruction] = []
        self._sections: list[Section] = []
        self._held_weights: tuple[int, int, list[str]] | None = None
        self._held_pointer: tuple[int, str] | None = None

    def body(self, strips: Sequence[range]) -> Body:
        """The strips of some channels, then what the pointers lack.

        Raises:
            NoRegisterError: A strip is too wide.
        """
        down = True
        end = self._end.register
        for channel in range(self._unroll):
            for strip in strips:
                last = channel == self._unroll - 1 and strip == strips[-1]
                end = self._strip(channel, strip, down, last) or end
                down = not down
        self._finish(strips[-1])
        code = [op for section in self._sections for op in section.code]
        clamps = self._unroll * sum(map(len, strips))
        origin = self._rows[0].origin
        assert origin is not None
        total = cycles(code) + clamps * self._epilogue.cycles + 4  # CMP and a taken branch
        return Body(tuple(self._sections), origin, end, total)

    def _take(self) -> str:
        if not self._free and self._held_pointer:
            self._release_pointer()
        if not self._free and self._held_weights:
            self._release_weights()
        if not self._free:
            raise NoRegisterError
        return self._free.pop(0)

    def _give(self, *registers: str) -> None:
        self._free = sorted({*self._free, *registers}, key=_POOL.index)

    def _release_pointer(self) -> None:
        if self._held_pointer:
            self._give(self._held_pointer[1])
        self._held_pointer = None

    def _release_weights(self) -> None:
        if self._held_weights:
            self._give(*self._held_weights[2])
        self._held_weights = None

    def _section(self, channel: int, strip: range, row: int | None) -> None:
        what = "requantized" if row is None else f"row {row}"
        outputs = (strip[0], strip[-1])
        self._sections.append(Section(channel, outputs, what, tuple(self._code)))
        self._code = []

    def _constant(self, channel: int, word: int, target: str) -> Load:
        offset, step = self._constants.access(4 * (channel * self._window.record + word))
        return Load(target, CONSTANTS, offset, step)

    def _strip(self, channel: int, strip: range, down: bool, last: bool) -> str:
        """All rows of a strip and its requantization; gives the register of the end, if loaded."""
        height = self._window.kernel[0]
        rows = range(height) if down else range(height)[::-1]
        if self._held_weights and self._held_weights[:2] != (channel, rows[0]):
            self._release_weights()
        sums = {output: self._take() for output in strip}
        tail = _Tail(channel, ["multiplier"])
        if not self._output.cell.register:
            tail.pending.append("output")
        if last and not self._end.register:
            tail.pending.append("end")
        for row in rows:
            self._row(channel, row, sums, row == rows[0], tail if row == rows[-1] else None)
            self._section(channel, strip, row)
        self._requantize(channel, sums, tail)
        self._section(channel, strip, None)
        return tail.registers.get("end", "")

    def _row(
        self, channel: int, row: int, sums: dict[int, str], opens: bool, tail: _Tail | None
    ) -> None:
        """A row of the kernel: its weights and pixels, and all taps on them."""
        window, pointer = self._window, self._rows[row]
        base, loads = self._base(row)
        if opens:
            loads.append(self._constant(channel, 0, _BIAS))
        weights, more = self._weights(channel, row)
        loads += more
        pieces = list(window.pieces(range(min(sums), max(sums) + 1)))
        opened: list[int] = []
        before = pointer.moved
        while pieces:
            group, pieces = self._split(pieces)
            registers = [self._take() for _ in group]
            for piece, register in zip(group, registers, strict=True):
                offset, step = pointer.access(channel * window.plane + piece.offset)
                if not -REACH_BACK <= offset <= REACH_AHEAD:
                    raise NoRegisterError
                loads.append(Load(register, base, offset, step, piece.single))
            if tail and not pieces:
                loads += self._preload(tail, len(self._free) - any(map(_two_pairs, group)))
            self._code += loads
            loads = []
            order = sorted(zip(group, registers, strict=True), key=lambda g: not g[0].single)
            for piece, register in order:
                self._taps(piece, register, weights, sums, opened if opens else None)
        if opens:
            self._code = [_renamed(op, sums[opened[-1]]) for op in self._code]
        if not pointer.cell.register and pointer.moved != before:
            self._code.append(Save(base, pointer.cell.slot))
        self._held_weights = (channel, row, weights)
        if not pointer.cell.register:
            self._held_pointer = (row, base)
        if tail is None:
            self._release_pointer()
            self._release_weights()

    def _base(self, row: int) -> tuple[str, list[Load]]:
        """The register that points to a row, and how it gets there."""
        cell = self._rows[row].cell
        if cell.register:
            return cell.register, []
        if self._held_pointer and self._held_pointer[0] == row:
            register, self._held_pointer = self._held_pointer[1], None
            return register, []
        self._release_pointer()
        register = self._take()
        return register, [Load(register, "sp", cell.slot)]

    def _weights(self, channel: int, row: int) -> tuple[list[str], list[Load]]:
        """The registers of a row's weights, and how they get there."""
        if self._held_weights:
            registers, self._held_weights = self._held_weights[2], None
            return registers, []
        count = len(self._window.words)
        registers = [self._take() for _ in range(count)]
        first = 1 + row * count
        loads = [self._constant(channel, first + i, registers[i]) for i in range(count)]
        return registers, loads

    def _split(self, pieces: list[Piece]) -> tuple[list[Piece], list[Piece]]:
        """As many pieces as can be loaded together, and the rest."""
        count = 0
        while count < len(pieces) and self._room(pieces[: count + 1]):
            count += 1
        if count == 0:
            raise NoRegisterError
        return pieces[:count], pieces[count:]

    def _room(self, group: list[Piece]) -> bool:
        """True if there are registers; single pixels are used up before words are unpacked."""
        words = [piece for piece in group if not piece.single]
        unpacked = any(map(_two_pairs, words))
        return len(self._free) >= max(len(group), len(words) + unpacked)

    def _taps(
        self,
        piece: Piece,
        register: str,
        weights: list[str],
        sums: dict[int, str],
        opened: list[int] | None,
    ) -> None:
        """Unpacks what was loaded, adds it to the sums and gives its register back.

        The last pair is unpacked in place. Sums are opened where ``opened`` is given.
        """
        for rotate, taps in piece.pairs:
            last = taps is piece.pairs[-1][1]
            pixels = register if last else self._take()
            if not piece.single:
                self._code.append(Unpack(pixels, register, rotate))
            for tap in taps:
                addend = target = sums[tap.output]
                if opened is not None and tap.output not in opened:
                    opened.append(tap.output)
                    addend = _BIAS
                self._code.append(
                    MultiplyAdd(tap.halves, target, pixels, weights[tap.word], addend)
                )
            self._give(pixels)

    def _preload(self, tail: _Tail, room: int) -> list[Load]:
        """Some of the requantization's loads, for as many registers as there is room for."""
        loads = []
        for _ in range(min(room, len(tail.pending))):
            role = tail.pending.pop(0)
            register = tail.registers[role] = self._take()
            if role == "multiplier":
                loads.append(self._constant(tail.channel, self._window.record - 1, register))
            else:
                cell = self._output.cell if role == "output" else self._end
                loads.append(Load(register, "sp", cell.slot))
        return loads

    def _requantize(self, channel: int, sums: dict[int, str], tail: _Tail) -> None:
        window, pointer = self._window, self._output
        self._code += self._preload(tail, len(tail.pending))
        zero = ""
        if self._epilogue.zero:
            zero = self._take()
            self._code.append(Constant(zero, self._epilogue.zero))
        for register in sums.values():
            self._code.append(Requantize(register, tail.registers["multiplier"], zero))
        self._code += [Clamp(register) for register in sums.values()]
        base = pointer.cell.register or tail.registers["output"]
        before = pointer.moved
        for output, register in sums.items():
            offset, step = pointer.access(window.place(output, channel))
            if not -REACH_BACK <= offset <= REACH_AHEAD:
                self._code += [Advance(base, part) for part in encodable(offset)]
                pointer.moved += offset
                offset = 0
            self._code.append(Store(register, base, offset, step))
        if not pointer.cell.register and pointer.moved != before:
            self._code.append(Save(base, pointer.cell.slot))
        done = [register for role, register in tail.registers.items() if role != "end"]
        self._give(*sums.values(), *done, *([zero] if zero else []))

    def _finish(self, strip: range) -> None:
        """Advances what the first accesses could not."""
        self._release_pointer()
        self._release_weights()
        scratch = self._free[0]
        for pointer in (*self._rows, self._output, self._constants):
            if amount := pointer.step - pointer.moved:
                base = pointer.cell.register or scratch
                kept = [] if pointer.cell.register else [pointer.cell.slot]
                self._code += [Load(base, "sp", slot) for slot in kept]
                self._code += [Advance(base, part) for part in encodable(amount)]
                self._code += [Save(base, slot) for slot in kept]
        if self._code:
            self._section(self._unroll - 1, strip, None)
