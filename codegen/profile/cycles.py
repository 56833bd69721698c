"""Cycles of instructions, by core, at zero wait states.

A `CycleModel` gives each kind of instruction a cost, each jump a refill of the pipeline, and each
instruction that follows another one in memory order an adjustment for what the two share. Only the
Cortex-M4's table was compared with boards: a counter that uses it read 0.8 to 4.6 % below published
cycles of AES and ML-KEM code.

Sources, with the names that `CycleModel.source` uses:
    M0: Arm DDI 0432C, Cortex-M0 Technical Reference Manual, 3.3, table 3-1.
    M0+: Arm DDI 0484C, Cortex-M0+ Technical Reference Manual, 3.3, table 3-1.
    M3: Arm DDI 0337, Cortex-M3 Technical Reference Manual, 3.3.1, table 3-1, and 3.3.2.
    M4: Arm 100166, Cortex-M4 Technical Reference Manual, 3.3.1, table 3-1, and 3.3.2 "Load/store
        timings"; 7.2.3 for floating point.
    M7: Arm publishes no table; measurements at https://www.quinapalus.com/cm7cycles.html.
    M33: Arm publishes no table; the M4's, with a load in one cycle and a wait for its result.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from codegen.errors import ThumbnetError
from codegen.profile.counter import Flow
from codegen.profile.decode import Code, Instruction, Kind
from codegen.profile.program import Program

Cost = int | tuple[int, int]
"""Cycles, or least and most where they depend on the data."""

Overlap = Callable[[Instruction, Instruction, bool], int]
"""Cycles added to (or, if negative, taken from) an instruction because of the one before it in
memory; told whether that one's own cycles were taken away."""

_SINGLE = (Kind.LOAD, Kind.STORE, Kind.STORE_REGISTER_OFFSET)
_MEMORY = (
    *_SINGLE, Kind.LOAD_MULTIPLE, Kind.STORE_MULTIPLE, Kind.LOAD_DOUBLE, Kind.STORE_DOUBLE
)  # fmt: skip
_BY_WORD = _MEMORY[len(_SINGLE) :]
_MULTIPLIER = (
    Kind.MULTIPLY, Kind.MULTIPLY_ADD, Kind.MULTIPLY_LONG, Kind.MULTIPLY_ADD_LONG, Kind.DSP,
    Kind.DIVIDE,
)  # fmt: skip
_JUMPS = (Kind.BRANCH, Kind.CALL, Kind.BRANCH_REGISTER, Kind.TABLE_BRANCH)


@dataclass(frozen=True)
class CycleModel:
    """What instructions cost on a core.

    Attributes:
        core: Name of the core.
        source: Where the numbers are from.
        validated: Counts after this table were compared with boards.
        costs: Cycles by kind of instruction; 1 for those left out. Of multiple and double loads
            and stores: before the first word.
        words_a_cycle: Words that multiple and double loads and stores move in a cycle.
        refill: Cycles that a jump adds.
        refills: The same for kinds of instructions that differ.
        overlap: See `Overlap`.
        unaligned: An unaligned access costs a cycle for each further bus access; False: it faults.
        worst: Take the most, not the middle, where a cost depends on the data.
    """

    core: str
    source: str
    costs: Mapping[Kind, Cost]
    refill: int
    overlap: Overlap
    validated: bool = False
    refills: Mapping[Kind, int] = field(default_factory=dict)
    words_a_cycle: int = 1
    unaligned: bool = True
    worst: bool = False

    def cost(self, instruction: Instruction) -> int:
        """Cycles of an instruction alone, without the refill after a jump."""
        cost = self.costs.get(instruction.kind, 1)
        if isinstance(cost, tuple):
            cost = cost[1] if self.worst else sum(cost) // 2
        if instruction.kind in _BY_WORD:
            cost += -(-instruction.words // self.words_a_cycle)
        elif instruction.kind in _SINGLE:
            cost += instruction.words - 1  # VLDR and VSTR of a double
        return cost

    def refill_after(self, instruction: Instruction) -> int:
        """Cycles that a jump adds to an instruction."""
        return self.refills.get(instruction.kind, self.refill)

    def overlaps(self, code: Code) -> dict[int, int]:
        """Adjustments by address, of instructions that are reached from the one before them."""
        found: dict[int, int] = {}
        before: Instruction | None = None
        for instruction in code.values():
            if before and before.end == instruction.address:
                saved = found.get(before.address, 0) < 0
                if cycles := self.overlap(before, instruction, saved):
                    found[instruction.address] = cycles
            before = instruction
        return found


def cycles_by_address(
    model: CycleModel, code: Code, overlaps: Mapping[int, int], flow: Flow
) -> dict[int, int]:
    """Cycles spent in each instruction, zero wait states.

    Exact for the model, however an emulator cut the code into blocks: an instruction was reached
    from the one before it as often as that one was executed and did not jump.

    Args:
        model: The core's model.
        code: The program.
        overlaps: ``model.overlaps(code)``.
        flow: What was executed.

    Returns:
        Cycles by address; those of unaligned accesses at the start of their block of code.
    """
    left: dict[int, int] = defaultdict(int)
    for (address, _), times in flow.jumps.items():
        left[address] += times
    cycles: dict[int, int] = defaultdict(int)
    for address, times in flow.executions.items():
        instruction = code[address]
        jumps = left.get(address, 0)
        cycles[address] += times * model.cost(instruction)
        cycles[address] += jumps * model.refill_after(instruction)
        if instruction.end in overlaps:
            cycles[instruction.end] += (times - jumps) * overlaps[instruction.end]
    if model.unaligned:
        for (block, access), times in flow.accesses.items():
            cycles[block] += times * access.extra
    return cycles


def check_alignment(model: CycleModel, program: Program, flows: Iterable[Flow]) -> None:
    """Refuses unaligned accesses on a core that has none: the emulator is more tolerant.

    Raises:
        ThumbnetError: The program made one; says where.
    """
    if model.unaligned:
        return
    for flow in flows:
        for (block, access), times in flow.accesses.items():
            if access.extra and times:
                raise ThumbnetError(
                    f"{program.name_at(block)} makes an unaligned access, which faults on "
                    f"{model.core}"
                )


def _alone(before: Instruction, instruction: Instruction, saved: bool) -> int:
    return 0


def _pipelined(before: Instruction, instruction: Instruction, saved: bool) -> int:
    """M3 and M4 (DDI 0337 and 100166, 3.3.2).

    A load or a store with register offset behind a load takes a cycle less, unless its address
    needs what was loaded. Nothing is pipelined behind a store. IT is free behind a 16-bit
    instruction.
    """
    if instruction.kind is Kind.IT:
        return -1 if before.size == 2 and before.kind is not Kind.IT else 0
    pipelines = instruction.kind in (Kind.LOAD, Kind.STORE_REGISTER_OFFSET)
    if before.kind is not Kind.LOAD or not pipelines or before.text.startswith("v"):
        return 0
    return 0 if _loaded(before) & instruction.address_registers else -1


def _loaded(load: Instruction) -> frozenset[str]:
    """Registers that come from memory: not the address that is written back."""
    writes_back = len(load.writes) > load.words
    return load.writes - load.address_registers if writes_back else load.writes


def _waits_for_load(before: Instruction, instruction: Instruction, saved: bool) -> int:
    """M33, an estimate: a result that is loaded can be used after one more cycle."""
    return int(before.kind is Kind.LOAD and bool(_loaded(before) & instruction.reads))


def _dual_issue(before: Instruction, instruction: Instruction, saved: bool) -> int:
    """M7, an estimate: two neighbours issue together when neither needs the other.

    One of the two may access memory and one may multiply; a branch may only be the second.
    """
    if before.writes & instruction.reads:
        return int(before.kind is Kind.LOAD and bool(_loaded(before) & instruction.reads))
    if saved or before.kind in (*_JUMPS, *_BY_WORD, Kind.DIVIDE, Kind.SYSTEM):
        return 0
    if instruction.kind in (*_BY_WORD, Kind.DIVIDE, Kind.SYSTEM):
        return 0
    both = (before.kind, instruction.kind)
    clash = all(k in _MEMORY for k in both) or all(k in _MULTIPLIER for k in both)
    return 0 if clash else -1


_V7M: Mapping[Kind, Cost] = {
    Kind.LOAD: 2,
    Kind.STORE: 1,
    Kind.STORE_REGISTER_OFFSET: 2,
    **dict.fromkeys(_BY_WORD, 1),
    Kind.DIVIDE: (2, 12),
    Kind.TABLE_BRANCH: 2,
}
_M4: Mapping[Kind, Cost] = {**_V7M, Kind.FLOAT_MULTIPLY_ADD: 3, Kind.FLOAT_DIVIDE: 14}
_M3: Mapping[Kind, Cost] = {
    **_V7M,
    Kind.MULTIPLY_ADD: 2,
    Kind.MULTIPLY_LONG: (3, 5),
    Kind.MULTIPLY_ADD_LONG: (4, 7),
}
_V6M: Mapping[Kind, Cost] = {
    **dict.fromkeys(_SINGLE, 2),
    **dict.fromkeys(_BY_WORD, 1),
}
_ONE_CYCLE_MEMORY: Mapping[Kind, Cost] = {**_M4, **dict.fromkeys(_SINGLE, 1)}

MODELS: Mapping[str, CycleModel] = {
    model.core: model
    for model in (
        CycleModel(
            "cortex-m0", "Arm DDI 0432C, table 3-1", {**_V6M, Kind.SYSTEM: 4}, 2, _alone,
            refills={Kind.CALL: 3, Kind.LOAD_MULTIPLE: 3}, unaligned=False,
        ),
        CycleModel(
            "cortex-m0plus", "Arm DDI 0484C, table 3-1", {**_V6M, Kind.SYSTEM: 3}, 1, _alone,
            refills={Kind.CALL: 2, Kind.LOAD_MULTIPLE: 2}, unaligned=False,
        ),
        CycleModel("cortex-m3", "Arm DDI 0337, table 3-1 and 3.3.2", _M3, 2, _pipelined),
        CycleModel(
            "cortex-m4", "Arm 100166, tables 3-1 and 7-1, 3.3.2", _M4, 2, _pipelined, validated=True
        ),
        CycleModel(
            "cortex-m7", "estimate: dual issue after quinapalus.com/cm7cycles.html",
            {**_ONE_CYCLE_MEMORY, Kind.LOAD_DOUBLE: 0, Kind.STORE_DOUBLE: 0}, 1,
            _dual_issue, words_a_cycle=2,
        ),
        CycleModel(
            "cortex-m33", "estimate: the M4's, loads in one cycle", _ONE_CYCLE_MEMORY, 2,
            _waits_for_load,
        ),
    )
}  # fmt: skip
"""By core; a taken branch is 1 + refill, where Arm says 1 + P with P from 1 to 3 for M3 and M4."""


def cycle_model(core: str, *, worst: bool = False, slow_multiply: bool = False) -> CycleModel:
    """The model of a core (a key of `MODELS`).

    Args:
        core: Name of the core.
        worst: Divisions (and on the M3 long products) at their slowest, not at the middle.
        slow_multiply: M0 and M0+ with the small multiplier: MULS in 32 cycles instead of 1.
    """
    model = MODELS[core]
    if slow_multiply and not model.unaligned:
        model = replace(model, costs={**model.costs, Kind.MULTIPLY: 32})
    return replace(model, worst=worst)
