"""Wait states: cycles that slower memories add to a program, by a simple model.

Flash is read in lines, by instructions and by loads of constants. The last line that was fetched
is kept, no other (no cache). With N wait states:
    without prefetch, each line that instructions newly touch costs N;
    with prefetch, the next line is read while the instructions of this one execute, so going on
    into it costs N + 1 less the cycles of this line's instructions, if that is more than 0; a jump
    into a line that is not the kept one costs N;
    each load of a constant costs N, and each load and store in RAM that memory's wait states;
    an unaligned access counts as the two or three that the bus makes of it.
Real parts differ: their caches make loops cheaper, their fetches and loads compete for one port.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from codegen.profile.counter import Flow
from codegen.profile.cycles import CycleModel
from codegen.profile.decode import Code, Instruction


@dataclass(frozen=True)
class WaitStates:
    """Memory timing.

    Attributes:
        flash: Cycles that a read of a line of flash takes longer than one.
        ram: The same of an access to RAM.
        prefetch: The flash reads the next line ahead.
        line_bytes: Bytes of a line of flash, a power of two.
    """

    flash: int = 0
    ram: int = 0
    prefetch: bool = False
    line_bytes: int = 16

    def __bool__(self) -> bool:
        return bool(self.flash or self.ram)


def waits_by_address(
    waits: WaitStates, model: CycleModel, code: Code, flow: Flow
) -> dict[int, int]:
    """Cycles lost by waiting, by address of the instruction or of its block of code."""
    lost: dict[int, int] = defaultdict(int)
    for (block, access), times in flow.accesses.items():
        wait = waits.flash if access.read_only else waits.ram
        lost[block] += times * (1 + access.extra) * wait
    if waits.flash:
        _add_fetches(waits, model, code, flow, lost)
    return lost


def _add_fetches(
    waits: WaitStates, model: CycleModel, code: Code, flow: Flow, lost: dict[int, int]
) -> None:
    line = waits.line_bytes
    busy: dict[int, int] = defaultdict(int)
    for instruction in code.values():
        busy[instruction.address // line] += model.cost(instruction)

    def going_on(number: int) -> int:
        """Cycles to wait for the line behind line ``number``."""
        return max(0, waits.flash + 1 - busy[number]) if waits.prefetch else waits.flash

    left: dict[int, int] = defaultdict(int)
    for (address, target), times in flow.jumps.items():
        left[address] += times
        if target not in code:
            continue
        first, last = target // line, _last_line(code[target], line)
        if first != _last_line(code[address], line):
            lost[target] += times * waits.flash
        if last != first:
            lost[target] += times * waits.flash
    for address, times in flow.executions.items():
        following = code.get(code[address].end)
        if following is None:
            continue
        here = _last_line(code[address], line)
        if _last_line(following, line) != here:
            lost[following.address] += (times - left[address]) * going_on(here)


def _last_line(instruction: Instruction, line_bytes: int) -> int:
    return (instruction.end - 1) // line_bytes
