"""Wait states: cycles that slower memories add to a program, by a simple model.

Flash is read in lines, by instructions and by loads of constants. The last line that was fetched
is kept, no other (no cache). With N wait states:
    without prefetch, each line that instructions newly touch costs N;
    with prefetch, the next line is read while the instructions of this one execute, so going on
    into it costs N + 1 less the cycles of this line's instructions, if that is more than 0; a jump
    into a line that is not the kept one costs N;
    each load and store of data costs N;
    an unaligned access counts as the two or three that the bus makes of it.
Behind a cache, code is taken to be in it (an inference is loops), and data to be read in order: the
words of a line share its N.
Real parts differ: caches miss, and fetches and loads compete for one port.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from codegen.boards import Region, Timing
from codegen.profile.counter import Flow
from codegen.profile.cycles import CycleModel
from codegen.profile.decode import Code, Instruction


@dataclass(frozen=True)
class WaitStates:
    """Memory timing that is chosen by hand, in place of the board's.

    Attributes:
        flash: Cycles that a read of a line of constants or code takes longer than one.
        ram: The same of an access to other memory.
        prefetch: The flash reads the next line ahead.
        line_bytes: Bytes of a line of flash, a power of two.
    """

    flash: int = 0
    ram: int = 0
    prefetch: bool = False
    line_bytes: int = 16


class Waits:
    """What a program waits for its memories.

    Args:
        memories: In the order in which flows tell them apart.
        model: Of the core.
        code: The program.
    """

    def __init__(self, memories: Sequence[Region], model: CycleModel, code: Code) -> None:
        self._memories, self._code = memories, code
        self._fetched = [
            _Fetches(memory.timing, own, model, code)
            for memory, own in zip(memories, _code_of(memories, code), strict=True)
            if memory.timing.wait_states and not memory.timing.cached
        ]

    def by_address(self, flow: Flow) -> dict[int, int]:
        """Cycles lost, by address of the instruction or of its block of code."""
        lost: dict[int, int] = defaultdict(int)
        for (block, access), times in flow.accesses.items():
            if access.memory >= 0:
                timing = self._memories[access.memory].timing
                words = times * (1 + access.extra)
                lost[block] += words * timing.wait_states // timing.words_a_wait
        for fetches in self._fetched:
            fetches.add(flow, lost)
        return lost


def _code_of(memories: Sequence[Region], code: Code) -> list[set[int]]:
    """The instructions in each memory, in the first of those that hold their address."""
    own: list[set[int]] = [set() for _ in memories]
    for address in code:
        for memory, addresses in zip(memories, own, strict=True):
            if memory.holds(address):
                addresses.add(address)
                break
    return own


class _Fetches:
    """What the instructions at the addresses ``own`` wait for."""

    def __init__(self, timing: Timing, own: set[int], model: CycleModel, code: Code) -> None:
        self._timing, self._own, self._code = timing, own, code
        self._busy: dict[int, int] = defaultdict(int)
        for instruction in code.values():
            self._busy[instruction.address // timing.line_bytes] += model.cost(instruction)

    def add(self, flow: Flow, lost: dict[int, int]) -> None:
        """Adds the cycles that a flow loses, by address."""
        line, wait = self._timing.line_bytes, self._timing.wait_states
        code, left = self._code, defaultdict[int, int](int)
        for (address, target), times in flow.jumps.items():
            left[address] += times
            if target not in self._own:
                continue
            first, last = target // line, _last_line(code[target], line)
            if first != _last_line(code[address], line):
                lost[target] += times * wait
            if last != first:
                lost[target] += times * wait
        for address, times in flow.executions.items():
            following = code.get(code[address].end)
            if following is None or following.address not in self._own:
                continue
            here = _last_line(code[address], line)
            if _last_line(following, line) != here:
                lost[following.address] += (times - left[address]) * self._going_on(here)

    def _going_on(self, number: int) -> int:
        """Cycles to wait for the line behind line ``number``."""
        wait = self._timing.wait_states
        return max(0, wait + 1 - self._busy[number]) if self._timing.prefetch else wait


def _last_line(instruction: Instruction, line_bytes: int) -> int:
    return (instruction.end - 1) // line_bytes
