"""Counts what one inference of any C network takes on a Cortex-M4, by thumbnet's own counter.

A network is a `CProgram`: C files and an adapter that defines ``infer(input, output)``. It is
linked with newlib for memories larger than any board's, and called once in the emulator of
`codegen.profile`.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from codegen.boards import load_core
from codegen.elf import elf_sizes
from codegen.errors import ThumbnetError
from codegen.profile.counter import Call, KernelCalls, Memory, count
from codegen.profile.cycles import cycle_model, cycles_by_address
from codegen.profile.program import read_program
from codegen.toolchain import find_tool, run

CORE = "cortex-m4"

_HERE = Path(__file__).parent
_COMPILE_TIMEOUT = 1800.0
_RUN_TIMEOUT = 3600.0
_MEMORIES = tuple(Memory(start, 64 << 20) for start in (0x00000000, 0x20000000, 0x30000000))
"""As in bare.ld."""
_SECTIONS = ("-ffunction-sections", "-fdata-sections")
_LINK = (
    *("-mthumb", "-nostartfiles", "--specs=nosys.specs"),
    *("-Wl,--gc-sections", f"-Wl,-T,{_HERE / 'bare.ld'}"),
)
_NAMES = ("INPUT", "OUTPUT")
_PAINT = b"\xa5"
"""What unused stack holds."""


@dataclass(frozen=True)
class CProgram:
    """A network in C.

    Attributes:
        sources: C and assembly files, with the adapter.
        input_bytes: Bytes of one input.
        output_bytes: Bytes of one output.
        held_bytes: Bytes of the input that the caller must hold at a time.
        includes: Folders.
        flags: Compiler flags beside those that select the core.
    """

    sources: tuple[Path, ...]
    input_bytes: int
    output_bytes: int
    held_bytes: int
    includes: tuple[Path, ...] = ()
    flags: tuple[str, ...] = ("-O3",)


@dataclass(frozen=True)
class Cost:
    """What one inference takes.

    Attributes:
        instructions: Executed.
        cycles: Estimated for the Cortex-M4, zero wait states.
        flash: Bytes of code, constants and initial values.
        static: Bytes of variables, working memory among them.
        stack: Bytes of stack that were used.
        held: Bytes of input and output that the caller holds.
        output: What the network said.
    """

    instructions: int
    cycles: int
    flash: int
    static: int
    stack: int
    held: int
    output: bytes

    @property
    def ram(self) -> int:
        """Bytes of RAM."""
        return self.static + self.stack + self.held


def measure(program: CProgram, image: bytes, folder: Path) -> Cost:
    """Builds a network for the Cortex-M4, runs it once and counts.

    Args:
        program: The network.
        image: Its input.
        folder: Where to build; is made.

    Raises:
        ThumbnetError: It does not build, or fails in the emulator.
    """
    elf = folder / "network.elf"
    _build("arm-none-eabi-gcc", program, [*_LINK, *load_core(CORE).gcc_flags], "harness.c", elf)
    linked = read_program(elf)
    stack, output = linked.symbol("bench_stack"), linked.symbol("bench_output")
    source = linked.symbol("bench_input")
    counts = count(
        linked,
        CORE,
        _MEMORIES,
        {source: _checked(program, image), stack: _PAINT * (output - stack)},
        output,
        [Call(linked.symbol("infer"), (source, output))],
        KernelCalls(),
        [],
        Memory(stack, output - stack + program.output_bytes),
        folder,
        _RUN_TIMEOUT,
    )
    model, flow = cycle_model(CORE), counts.flows[0]
    cycles = cycles_by_address(model, linked.code, model.overlaps(linked.code), flow)
    painted, answer = counts.output[: output - stack], counts.output[output - stack :]
    sizes, buffers = elf_sizes(elf), linked.symbol("bench_end") - stack
    return Cost(
        instructions=flow.instructions,
        cycles=sum(cycles.values()),
        flash=sizes.flash,
        static=sizes.data + sizes.bss - buffers,
        stack=len(painted.lstrip(_PAINT)),
        held=program.held_bytes + program.output_bytes,
        output=answer,
    )


def run_on_host(program: CProgram, images: Sequence[bytes], folder: Path) -> list[bytes]:
    """Builds a network for this computer and runs it.

    Args:
        program: The network; assembly has no place in it.
        images: Inputs.
        folder: Where to build; is made.

    Returns:
        The outputs.

    Raises:
        ThumbnetError: It does not build or fails.
    """
    binary = folder / "network"
    _build("gcc", program, [], "host.c", binary)
    data = b"".join(_checked(program, image) for image in images)
    done = subprocess.run([str(binary)], input=data, capture_output=True, timeout=_RUN_TIMEOUT)
    size = program.output_bytes
    if done.returncode or len(done.stdout) != size * len(images):
        raise ThumbnetError(f"{binary.name} ended with status {done.returncode}")
    return [done.stdout[i : i + size] for i in range(0, len(done.stdout), size)]


def _build(tool: str, program: CProgram, flags: Sequence[str], main: str, out: Path) -> None:
    """One call of a compiler for everything."""
    out.parent.mkdir(parents=True, exist_ok=True)
    sizes = (program.input_bytes, program.output_bytes)
    defines = [f"-DBENCH_{name}_BYTES={size}" for name, size in zip(_NAMES, sizes, strict=True)]
    includes = [f"-I{folder}" for folder in program.includes]
    run(
        [
            *(find_tool(tool), "-std=gnu11", "-w", *_SECTIONS, *program.flags, *flags),
            *(*defines, *includes, str(_HERE / main), *map(str, program.sources)),
            *("-lm", "-o", str(out)),
        ],
        _COMPILE_TIMEOUT,
    )


def _checked(program: CProgram, image: bytes) -> bytes:
    if len(image) != program.input_bytes:
        raise ValueError(f"the input has {len(image)} bytes, not {program.input_bytes}")
    return image
