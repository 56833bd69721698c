"""Counts what a function of a linked program executes: the emulator, counter.c, and its results."""

from __future__ import annotations

import importlib.util
import struct
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from codegen.errors import ThumbnetError
from codegen.profile.decode import Code
from codegen.profile.program import Program
from codegen.toolchain import find_tool, run

COUNTED_CORES = frozenset(
    ("cortex-m0", "cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33")
)
"""Cores that Unicorn emulates."""

_COUNT = np.dtype([(name, "u4") for name in ("layer", "block", "what", "next")] + [("times", "u8")])
_PAGE = 4096
_COMPILE_TIMEOUT = 120.0
_WRITE, _EXTRA_SHIFT, _EXTRA_MASK, _READ_ONLY = 1, 1, 3, 8  # class of an access, see counter.c


@dataclass(frozen=True)
class AccessClass:
    """What loads and stores have in common that cost the same.

    Attributes:
        write: It is a store.
        read_only: It reads the program's constants: on a board, flash.
        extra: Further bus accesses because of an unaligned address.
    """

    write: bool
    read_only: bool
    extra: int


@dataclass
class Flow:
    """How often the instructions of a program were executed, and in which order.

    Attributes:
        executions: Times by address. An instruction that an IT block skips counts as executed.
        jumps: Times by addresses of the instruction that jumps and of the one it goes to.
        accesses: Words and parts of words loaded and stored, by address of the block of code.
    """

    executions: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    jumps: dict[tuple[int, int], int] = field(default_factory=lambda: defaultdict(int))
    accesses: dict[tuple[int, AccessClass], int] = field(default_factory=lambda: defaultdict(int))

    @property
    def instructions(self) -> int:
        """Instructions executed."""
        return sum(self.executions.values())


@dataclass(frozen=True)
class Call:
    """A function to call: its address, the stack pointer, and up to three arguments."""

    entry: int
    stack: int
    arguments: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Counts:
    """One `Flow` a layer, and the bytes that were asked for."""

    flows: tuple[Flow, ...]
    output: bytes


@dataclass(frozen=True)
class Marks:
    """Which layer a piece of the program belongs to.

    A block of code that ends in a marked call, or begins a marked function, makes the layer the
    current one. Everything that runs until the next mark counts to it: the setting up of the
    arguments, the function called, its callees, and what follows the return.

    Attributes:
        calls: Layer by address of the instruction behind a call.
        functions: Layer by first address of a function.
    """

    calls: Mapping[int, int] = field(default_factory=dict)
    functions: Mapping[int, int] = field(default_factory=dict)

    @property
    def layers(self) -> int:
        """Number of layers; without marks everything counts to one."""
        return 1 + max((*self.calls.values(), *self.functions.values()), default=0)


@dataclass(frozen=True)
class Memory:
    """A piece of address space: first address and bytes."""

    address: int
    size: int


def count(
    program: Program,
    core: str,
    memories: Iterable[Memory],
    inputs: Mapping[int, bytes],
    call: Call,
    marks: Marks,
    output: Memory,
    workdir: Path,
    timeout: float,
) -> Counts:
    """Calls a function of a program in the emulator.

    Args:
        program: The program; its segments are loaded where they are when it runs.
        core: One of `COUNTED_CORES`.
        memories: The address space.
        inputs: More bytes to put into memory, by address.
        call: What to call.
        marks: Which layer what runs belongs to; layer 0 is current at first.
        output: What to give back after the run.
        workdir: Where the emulator is built; exists.
        timeout: Time limit in seconds.

    Raises:
        ThumbnetError: Unicorn is missing, or the function touches memory that is not there.
    """
    end = program.symbol("reset_handler")
    images = [(image.address, image.data) for image in program.images] + list(inputs.items())
    read_only = [(i.address, len(i.data)) for i in program.images if i.read_only]
    arguments = (*call.arguments, 0, 0, 0)[:3]
    words = [call.entry, end, call.stack, *arguments]
    words += _pairs(_pages(memories))
    words += _pairs([(address, len(data)) for address, data in images])
    words += _pairs(read_only)
    words += _pairs(sorted(marks.calls.items()))
    words += _pairs(sorted(marks.functions.items()))
    words += [output.address, output.size]
    job, result = workdir / "job.bin", workdir / "counts.bin"
    job.write_bytes(struct.pack(f"={len(words)}I", *words) + b"".join(data for _, data in images))
    finished = run([str(build_counter(workdir)), core, str(job), str(result)], timeout, check=False)
    if finished.status != 0:
        raise ThumbnetError(f"{program.path.name} in the emulator: {finished.text.strip()}")
    return _read_counts(result.read_bytes(), program.code, marks.layers)


def _pairs(pairs: Sequence[tuple[int, int]]) -> list[int]:
    return [len(pairs), *(word for pair in pairs for word in pair)]


def _pages(memories: Iterable[Memory]) -> list[tuple[int, int]]:
    """Memories with whole pages, which is what Unicorn maps."""
    pages = []
    for memory in memories:
        start = memory.address // _PAGE * _PAGE
        pages.append((start, -(-(memory.address + memory.size - start) // _PAGE) * _PAGE))
    return pages


def build_counter(folder: Path) -> Path:
    """Builds counter.c with the headers and the library of Unicorn's Python package.

    Raises:
        ThumbnetError: Unicorn or the compiler is missing.
    """
    found = importlib.util.find_spec("unicorn")
    if found is None or found.origin is None:
        raise ThumbnetError("profile needs the emulator Unicorn: pip install 'thumbnet[profile]'")
    package = Path(found.origin).parent
    library = next(
        (path for end in ("so*", "*dylib") for path in (package / "lib").glob(f"libunicorn.{end}")),
        None,
    )
    if library is None or not (package / "include" / "unicorn" / "unicorn.h").exists():
        raise ThumbnetError(
            f"{package} lacks Unicorn's library or its headers; install the one of PyPI: "
            "pip install --force-reinstall unicorn"
        )
    program = folder / "counter"
    source = Path(__file__).with_name("counter.c")
    run(
        [
            *(find_tool("gcc"), "-std=c99", "-O2", "-isystem", str(package / "include")),
            *(str(source), str(library), f"-Wl,-rpath,{library.parent}", "-o", str(program)),
        ],
        _COMPILE_TIMEOUT,
    )
    return program


def _read_counts(data: bytes, code: Code, layers: int) -> Counts:
    edges, accesses = struct.unpack_from("=2I", data)
    start = struct.calcsize("=2I")
    records = np.frombuffer(data, _COUNT, edges + accesses, start)
    flows = tuple(Flow() for _ in range(layers))
    _add_edges(flows, records[:edges], code)
    for layer, block, what, times in zip(
        *(records[edges:][name].tolist() for name in ("layer", "block", "next", "times")),
        strict=True,
    ):
        kind = AccessClass(
            bool(what & _WRITE), bool(what & _READ_ONLY), what >> _EXTRA_SHIFT & _EXTRA_MASK
        )
        flows[layer].accesses[block, kind] += times
    return Counts(flows, data[start + records.nbytes :])


def _add_edges(flows: Sequence[Flow], edges: npt.NDArray[np.void], code: Code) -> None:
    """Turns transitions between blocks of code into executions and jumps of instructions."""
    for layer, block, end, following, times in zip(
        *(edges[name].tolist() for name in ("layer", "block", "what", "next", "times")),
        strict=True,
    ):
        flow, address = flows[layer], block
        while address < end:
            if address not in code:
                raise ThumbnetError(f"the emulator ran 0x{address:08x}, where no instruction is")
            flow.executions[address] += times
            last, address = address, code[address].end
        if following != end or code[last].always_jumps:
            flow.jumps[last, following] += times
