"""Cycles of small programs, counted by hand from Arm's tables, and how they are counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from codegen.boards import Region, Timing, load_core
from codegen.errors import ThumbnetError
from codegen.profile import counter
from codegen.profile.counter import Call, Counts, Flow, KernelCalls, Memory, count
from codegen.profile.cycles import MODELS, check_alignment, cycle_model, cycles_by_address
from codegen.profile.program import Program, read_program
from codegen.profile.waits import Waits
from codegen.toolchain import find_tool, run

RAM = 0x20000000
RAM_BYTES = 4096
MEMORIES = [Memory(0, 4096), Memory(RAM, RAM_BYTES)]
FRAME = """
    .syntax unified
    .thumb
    .text
    .global kernel, reset_handler
    .type reset_handler, %function
    .thumb_func
reset_handler:
    b .
    .size reset_handler, . - reset_handler
    .balign 16
    .type kernel, %function
    .thumb_func
kernel:
    {body}
    .size kernel, . - kernel
    {more}
"""


@pytest.fixture(scope="module", autouse=True)
def built_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    program = counter.build_counter(tmp_path_factory.mktemp("counter"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counter, "build_counter", lambda folder: program)
        yield


def build(folder: Path, body: str, core: str, more: str = "") -> Program:
    source, elf = folder / "kernel.S", folder / "kernel.elf"
    source.write_text(FRAME.format(body=body, more=more))
    flags = [*load_core(core).gcc_flags, "-mthumb", "-nostdlib", "-Wl,-Ttext=0x100"]
    gcc = find_tool("arm-none-eabi-gcc")
    run([gcc, *flags, "-Wl,-e,kernel", str(source), "-o", str(elf)], 60)
    return read_program(elf)


def emulate(
    folder: Path, program: Program, core: str = "cortex-m4", layers: tuple[int, ...] = ()
) -> Counts:
    """Calls the kernel, and counts its calls of ``layer`` and ``other`` to the layers given."""
    call = Call(program.symbol("kernel"), (RAM, 5, RAM + 64))
    kernels = tuple(f for f in program.functions if layers and f.name in ("layer", "other"))
    return count(
        program,
        core,
        MEMORIES,
        {RAM: bytes(range(128))},
        RAM + RAM_BYTES,
        [call],
        KernelCalls(kernels, layers),
        MEMORIES,
        Memory(RAM, 4),
        folder,
        60,
    )


def flow_of(folder: Path, body: str, core: str = "cortex-m4") -> tuple[Program, Flow]:
    program = build(folder, body, core)
    return program, emulate(folder, program, core).flows[0]


def cycles(program: Program, flow: Flow, core: str = "cortex-m4", **options: bool) -> int:
    model = cycle_model(core, **options)
    overlaps = model.overlaps(program.code)
    return sum(cycles_by_address(model, program.code, overlaps, flow).values())


def cycles_of(folder: Path, body: str, core: str = "cortex-m4", **options: bool) -> int:
    return cycles(*flow_of(folder, body, core), core, **options)


@dataclass(frozen=True)
class Kernel:
    """A program, called with r0 = RAM, r1 = 5, r2 = RAM + 64; BX LR at its end takes 1 + 2."""

    name: str
    body: str
    instructions: int
    cycles: int


M4 = [
    # 4 x 1, BX 3.
    Kernel("alu", "adds r0, 1; lsls r1, r1, 2; eor r3, r0, r1, ror 4; movw r0, 1; bx lr", 5, 7),
    # 2, then 3 x 1: loads are pipelined. BX 3.
    Kernel("load run", "ldr r3, [r0]; ldr r1, [r0, 4]; ldrb r3, [r0, 9]; ldrsh r1, [r0, 2]; bx lr",
           5, 8),
    # 2 + 1 (register offset: as the immediate one) + ADDS 1 + 2 (the run was broken). BX 3.
    Kernel("load, load by register, add, load",
           "movs r1, 4; ldr r3, [r0]; ldr r3, [r0, r1]; adds r3, 1; ldr r3, [r0]; bx lr", 6, 10),
    # 2 + 2: the address of the second needs the first. BX 3.
    Kernel("load to address", "str r2, [r0]; ldr r3, [r0]; ldr r3, [r3]; bx lr", 4, 8),
    # 2 + 1 + ADD 1: the use of a loaded value costs nothing more. BX 3.
    Kernel("load to use", "ldr r3, [r0]; ldr r1, [r0, 4]; add r3, r1; bx lr", 4, 7),
    # Post-index: r0 is no loaded value, so 2 + 1. BX 3.
    Kernel("post-index", "ldr r3, [r0], 4; ldr r1, [r0], 4; bx lr", 3, 6),
    # STR immediate 1 + 1; LDR 2 (nothing is pipelined behind a store) + STR 1. BX 3.
    Kernel("stores", "str r1, [r0]; strb r1, [r0, 5]; ldr r3, [r0]; str r3, [r0, 8]; bx lr", 5, 8),
    # MOVS 1; STR by register 2; LDR 2; STR by register behind a load 1. BX 3.
    Kernel("stores by register",
           "movs r3, 8; str r1, [r0, r3]; ldr r1, [r0]; str r1, [r0, r3]; bx lr", 5, 9),
    # LDM of 2: 3; STM of 2: 3; LDRD 3; STRD 3; LDR behind them 2. BX 3.
    Kernel("multiple and double",
           "ldmia r0, {r1, r3}; stmia r2, {r1, r3}; ldrd r1, r3, [r0]; strd r1, r3, [r0, 8];"
           "ldr r3, [r0]; bx lr", 6, 17),
    # 5 turns: SUBS 5; BNE taken 4 x 3, not taken 1. BX 3.
    Kernel("loop", "1: subs r1, 1; bne 1b; bx lr", 11, 21),
    # 5 turns: LDR 2 (the branch before it ends the run) + STR 1 + SUBS 1, BNE 4 x 3 + 1. BX 3.
    Kernel("loop with load", "1: ldr r3, [r0]; str r3, [r2]; subs r1, 1; bne 1b; bx lr", 21, 36),
    # CBZ not taken 1, CBNZ taken 3, MOVS skipped. BX 3.
    Kernel("compare and branch", "cbz r1, 1f; cbnz r1, 1f; movs r0, 0; 1: bx lr", 3, 7),
    # CMP 1; IT behind a 16-bit instruction 0; 2 MOV 1 each; CMP.W 1; IT 1; MOV 1. BX 3.
    Kernel("IT", "cmp r1, 5; ite eq; moveq r0, 1; movne r0, 2; cmp.w r1, 4; it eq; moveq r0, 3;"
           "bx lr", 8, 9),
    # CMP 1, IT 0, BXEQ taken 3.
    Kernel("return in IT", "cmp r1, 5; it eq; bxeq lr; movs r0, 0; bx lr", 3, 4),
    # PUSH of 2: 3; BL 3; MOVS 1; BX 3; ADDS 1; POP of 2 with pc: 3 + 2.
    Kernel("call, push and pop",
           "push {r4, lr}; bl 1f; adds r0, 1; pop {r4, pc}; 1: movs r0, 1; bx lr", 6, 16),
    # MOVS 1; UDIV and SDIV 7 each, the middle of 2 to 12. BX 3.
    Kernel("divide", "movs r3, 3; udiv r0, r1, r3; sdiv r0, r1, r3; bx lr", 4, 18),
    # 8 x 1. BX 3.
    Kernel("multiply", "mul r3, r1, r1; mla r3, r1, r1, r3; umull r3, r12, r1, r1;"
           "smlal r3, r12, r1, r1; smlad r3, r1, r1, r3; smmulr r3, r1, r1; sxtb16 r3, r1, ror 8;"
           "usat r3, 8, r3, asr 8; bx lr", 9, 11),
    # ADDS 1; LDR at 4n + 1: 2 + 2; STR at 4n + 3: 1 + 2; LDRH at 4n + 1: 2 + 1;
    # ADDS 1; LDR at 4n + 2: 2 + 1. BX 3.
    Kernel("unaligned", "adds r0, 1; ldr r3, [r0]; str r3, [r0, 2]; ldrh r3, [r0]; adds r0, 1;"
           "ldr r3, [r0]; bx lr", 7, 18),
    # MOVS 1; TBB 2 + 2, over its table and a MOVS. BX 3.
    Kernel("table branch", "movs r1, 1; tbb [pc, r1]; .byte 1, 2; movs r0, 1; bx lr", 3, 8),
    # VLDR 2; VADD 1; VMLA 3; VSTR 1; VPUSH and VPOP of 2: 3 each; VLDR of a double 3. BX 3.
    Kernel("float", "vldr s0, [r0]; vadd.f32 s1, s0, s0; vmla.f32 s1, s0, s0; vstr s1, [r0];"
           "vpush {s0-s1}; vpop {s0-s1}; vldr d0, [r0]; bx lr", 8, 19),
]  # fmt: skip


def kernels(*all_of: Kernel) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("kernel", all_of, ids=lambda kernel: kernel.name)


@kernels(*M4)
def test_cortex_m4(tmp_path: Path, kernel: Kernel) -> None:
    program, flow = flow_of(tmp_path, kernel.body)
    assert flow.instructions == kernel.instructions
    assert cycles(program, flow) == kernel.cycles


def test_divisions_at_their_slowest(tmp_path: Path) -> None:
    assert cycles_of(tmp_path, "movs r3, 3; udiv r0, r1, r3; bx lr", worst=True) == 1 + 12 + 3


# Without an overlap of loads. MOVS 1; LDR 2 twice; STR 2; MULS 1; PUSH 3; BL, taken B and BX:
# M0 4, 3, 3; M0+ 3, 2, 2; POP with pc of 2: M0 6, M0+ 5.
V6M = (
    "push {r4, lr}; movs r3, 1; ldr r3, [r0]; ldr r3, [r0, 4]; str r3, [r0]; muls r3, r1, r3;"
    "bl 1f; b 2f; 1: bx lr; 2: pop {r4, pc}"
)


@pytest.mark.parametrize(
    ("core", "slow", "cycles"),
    [
        ("cortex-m0", False, 11 + 4 + 3 + 3 + 6),
        ("cortex-m0plus", False, 11 + 3 + 2 + 2 + 5),
        ("cortex-m0plus", True, 42 + 3 + 2 + 2 + 5),
    ],
)
def test_armv6m(tmp_path: Path, core: str, slow: bool, cycles: int) -> None:
    assert cycles_of(tmp_path, V6M, core, slow_multiply=slow) == cycles


def test_cortex_m3_multiplies_slower(tmp_path: Path) -> None:
    # MUL 1, MLA 2, UMULL 4 (3 to 5), SMLAL 5 (4 to 7), BX 3.
    body = "mul r3, r1, r1; mla r3, r1, r1, r3; umull r3, r12, r1, r1; smlal r3, r12, r1, r1; bx lr"
    assert cycles_of(tmp_path, body, "cortex-m3") == 15
    assert cycles_of(tmp_path, body, "cortex-m3", worst=True) == 1 + 2 + 5 + 7 + 3


def test_cortex_m33_waits_for_a_load(tmp_path: Path) -> None:
    # LDR 1, LDR 1, ADDS 1 and 1 for waiting, ADDS 1, BX 3.
    body = "ldr r3, [r0]; ldr r1, [r0, 4]; adds r1, 1; adds r3, 1; bx lr"
    assert cycles_of(tmp_path, body, "cortex-m33") == 8


def test_cortex_m7_issues_two(tmp_path: Path) -> None:
    # MOVS with ADDS; LDR with SUBS; two dependent ADDS 2; BX 1 + 1.
    body = "movs r3, 1; adds r1, 1; ldr r12, [r0]; subs r3, 1; adds r1, 1; adds r1, 1; bx lr"
    # (movs, adds) 1, (ldr, subs) 1, adds 1, adds with bx 1, refill 1.
    assert cycles_of(tmp_path, body, "cortex-m7") == 5


@pytest.mark.parametrize(("core", "cycles"), [("cortex-m33", 6), ("cortex-m7", 4)])
def test_an_address_that_a_load_writes_back_is_there_at_once(
    core: str, cycles: int, tmp_path: Path
) -> None:
    # Two LDR 2, ADDS 1, BX 3; on the M7 ADDS with BX 1, refill 1.
    assert cycles_of(tmp_path, "ldr r3, [r0], 4; ldr r1, [r0]; adds r3, 1; bx lr", core) == cycles


def test_only_the_cortex_m4_is_validated() -> None:
    assert [core for core, model in MODELS.items() if model.validated] == ["cortex-m4"]


FUNCTIONS = """
    .type layer, %function
    .thumb_func
layer:
    push {r4, lr}
1:  bl inner
    subs r4, 1
    bne 1b
    pop {r4, pc}
    .size layer, . - layer
    .type inner, %function
    .thumb_func
inner:
    bx lr
    .size inner, . - inner
    .type other, %function
    .thumb_func
other:
    subs r4, 1
    bne other
    b.w layer_two
    .size other, . - other
    .type layer_two, %function
    .thumb_func
layer_two:
    bx lr
    .size layer_two, . - layer_two
"""


def instructions(folder: Path, body: str, layers: tuple[int, ...]) -> list[int]:
    program = build(folder, body, "cortex-m4", FUNCTIONS)
    return [flow.instructions for flow in emulate(folder, program, layers=layers).flows]


def test_a_shared_function_counts_to_the_layer_that_calls_it(tmp_path: Path) -> None:
    body = "push {r4, lr}; movs r4, 3; bl layer; movs r4, 1; bl layer; pop {r4, pc}"
    # PUSH, MOVS, BL; PUSH, 3 x (BL, BX, SUBS, BNE), POP. MOVS, BL; PUSH, BL, ..., POP; POP.
    assert instructions(tmp_path, body, (0, 1)) == [3 + 1 + 12 + 1, 2 + 6 + 1]


def test_layers_take_turns_in_a_loop(tmp_path: Path) -> None:
    # 5 turns: MOVS, BL, SUBS twice with BNE, B and BX; SUBS and BNE lead to the next turn.
    body = "push {r4, lr}; 1: movs r4, 2; bl other; subs r1, 1; bne 1b; pop {r4, pc}"
    first, second = instructions(tmp_path, body, (0, 1, 0, 1, 0))
    assert first == 1 + 3 * (2 + 6) + 2 * 2 + 2 + 1
    assert second == 2 * (2 + 6) + 2 * 2


def test_a_kernel_may_be_reached_by_a_tail_call(tmp_path: Path) -> None:
    body = "push {r4, lr}; movs r4, 1; bl step; bl step; pop {r4, pc}; step: movs r4, 1; b layer"
    # PUSH, MOVS, BL, MOVS, B; PUSH, BL, BX, SUBS, BNE, POP. BL, MOVS, B; as before; POP.
    assert instructions(tmp_path, body, (1, 2)) == [0, 5 + 6, 3 + 6 + 1]


def test_too_few_calls_are_an_error(tmp_path: Path) -> None:
    body = "push {r4, lr}; movs r4, 1; bl layer; pop {r4, pc}"
    with pytest.raises(ThumbnetError, match="1 kernel calls, expected 2"):
        instructions(tmp_path, body, (0, 1))


def waits_of(folder: Path, body: str, flash: Timing = Timing(), ram: Timing = Timing()) -> int:  # noqa: B008
    program, flow = flow_of(folder, body)
    timed = [
        Region(name, memory.address, memory.size, "ram", timing)
        for name, memory, timing in zip(("flash", "RAM"), MEMORIES, (flash, ram), strict=True)
    ]
    waits = Waits(timed, cycle_model("cortex-m4"), program.code)
    return sum(waits.by_address(flow).values())


# A line of 16 bytes, then a loop in the next one. The kernel returns to a third.
STRAIGHT = "nop; nop; nop; nop; nop; nop; nop; nop; 1: subs r1, 1; bne 1b; bx lr"


def test_waits_for_instructions(tmp_path: Path) -> None:
    # The second line, in which the loop stays, and the return.
    assert waits_of(tmp_path, STRAIGHT, Timing(3, 16)) == 3 + 3
    # The second line is read while the 8 NOPs of the first execute.
    assert waits_of(tmp_path, STRAIGHT, Timing(3, 16, prefetch=True)) == 0 + 3
    # 9 wait states and 8 cycles: 9 + 1 - 8.
    assert waits_of(tmp_path, STRAIGHT, Timing(9, 16, prefetch=True)) == 2 + 9
    # Lines of 8 bytes: on to the second, 5 times on to the third, 4 times back, and the return.
    body = "nop; nop; nop; nop; 1: nop; nop; nop; nop; subs r1, 1; bne 1b; bx lr"
    assert waits_of(tmp_path, body, Timing(1, 8)) == 1 + 5 + 4 + 1
    # A loop stays in a cache.
    assert waits_of(tmp_path, body, Timing(1, 8, cached=True)) == 0


def test_waits_for_data(tmp_path: Path) -> None:
    # 2 loads and a store in RAM, the second in two accesses; a constant; the return.
    body = "ldr r3, [r0]; ldr r3, [r0, 2]; str r3, [r0]; ldr r3, 1f; bx lr; .balign 4; 1: .word 1"
    assert waits_of(tmp_path, body, ram=Timing(1)) == 1 + 2 + 1
    assert waits_of(tmp_path, body, flash=Timing(5, 16)) == 5 + 5
    assert waits_of(tmp_path, body) == 0
    # Behind a cache the four words of a line share its wait states; 4 loads in one block of code.
    body = f"{'ldr r3, 1f; ' * 4} bx lr; .balign 4; 1: .word 1"
    assert waits_of(tmp_path, body, flash=Timing(5, 16, cached=True)) == 5


def test_memory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ThumbnetError, match=r"address=0x40000000"):
        flow_of(tmp_path, "mov r0, 0x40000000; ldr r0, [r0]; bx lr")


def test_unaligned_accesses_fault_on_armv6m(tmp_path: Path) -> None:
    program, flow = flow_of(tmp_path, "adds r0, 2; ldr r3, [r0]; bx lr", "cortex-m0")
    check_alignment(cycle_model("cortex-m3"), program, [flow])
    with pytest.raises(ThumbnetError, match="kernel makes an unaligned access"):
        check_alignment(cycle_model("cortex-m0"), program, [flow])
