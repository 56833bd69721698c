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

from codegen.boards import Timing
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


@dataclass(frozen=True)
class TimedMemory:
    """A memory and what an access costs: name, first address, bytes."""

    name: str
    address: int
    size: int
    timing: Timing


def waits_by_address(
    memories: Sequence[TimedMemory], model: CycleModel, code: Code, flow: Flow
) -> dict[int, int]:
    """Cycles lost by waiting, by address of the instruction or of its block of code.

    Args:
        memories: In the order in which ``flow`` tells them apart.
        model: Of the core.
        code: The program.
        flow: What was executed.
    """
    lost: dict[int, int] = defaultdict(int)
    for (block, access), times in flow.accesses.items():
        if access.memory >= 0:
            timing = memories[access.memory].timing
            words = times * (1 + access.extra)
            lost[block] += words * timing.wait_states // timing.words_a_wait
    for index, memory in enumerate(memories):
        if memory.timing.wait_states and not memory.timing.cached:
            own = {i.address for i in code.values() if memory_at(memories, i.address) == index}
            _add_fetches(memory.timing, own, model, code, flow, lost)
    return lost


def memory_at(memories: Sequence[TimedMemory], address: int) -> int:
    """Index of the first memory that holds an address; -1 if none does."""
    inside = (i for i, m in enumerate(memories) if m.address <= address < m.address + m.size)
    return next(inside, -1)


def _add_fetches(
    timing: Timing,
    own: set[int],
    model: CycleModel,
    code: Code,
    flow: Flow,
    lost: dict[int, int],
) -> None:
    """Adds what the instructions at the addresses ``own`` wait for."""
    line, wait = timing.line_bytes, timing.wait_states
    busy: dict[int, int] = defaultdict(int)
    for instruction in code.values():
        busy[instruction.address // line] += model.cost(instruction)

    def going_on(number: int) -> int:
        """Cycles to wait for the line behind line ``number``."""
        return max(0, wait + 1 - busy[number]) if timing.prefetch else wait

    left: dict[int, int] = defaultdict(int)
    for (address, target), times in flow.jumps.items():
        left[address] += times
        if target not in own:
            continue
        first, last = target // line, _last_line(code[target], line)
        if first != _last_line(code[address], line):
            lost[target] += times * wait
        if last != first:
            lost[target] += times * wait
    for address, times in flow.executions.items():
        following = code.get(code[address].end)
        if following is None or following.address not in own:
            continue
        here = _last_line(code[address], line)
        if _last_line(following, line) != here:
            lost[following.address] += (times - left[address]) * going_on(here)


def _last_line(instruction: Instruction, line_bytes: int) -> int:
    return (instruction.end - 1) // line_bytes
