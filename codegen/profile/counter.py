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
from codegen.profile.program import Function, Program
from codegen.toolchain import find_tool, run

COUNTED_CORES = frozenset(
    ("cortex-m0", "cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33")
)
"""Cores that Unicorn emulates."""

_COUNT = np.dtype([(name, "u4") for name in ("layer", "block", "what", "next")] + [("times", "u8")])
_PAGE = 4096
_COMPILE_TIMEOUT = 120.0
_WRITE, _EXTRA_SHIFT, _EXTRA_MASK, _RANGE_SHIFT = 1, 1, 3, 3  # class of an access: counter.c


@dataclass(frozen=True)
class AccessClass:
    """What loads and stores have in common that cost the same.

    Attributes:
        write: It is a store.
        extra: Further bus accesses because of an unaligned address.
        memory: Index of the memory that it touches among those told apart; -1 for another.
    """

    write: bool
    extra: int
    memory: int


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
    """A function to call: its address and up to three arguments."""

    entry: int
    arguments: tuple[int, ...] = ()


@dataclass(frozen=True)
class KernelCalls:
    """Which layer a piece of a run belongs to.

    Everything counts to the layer of the kernel call that is under way, or else of the next one
    (the setting up of arguments, the order of rows); after the last one, to that.

    Attributes:
        kernels: The functions whose calls are counted. A call from kernel to kernel is not.
        layers: The layer of each call, in the order of execution.
    """

    kernels: tuple[Function, ...] = ()
    layers: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Counts:
    """One `Flow` a layer, and the bytes that were asked for."""

    flows: tuple[Flow, ...]
    output: bytes


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
    stack: int,
    calls: Sequence[Call],
    kernel_calls: KernelCalls,
    told_apart: Sequence[Memory],
    output: Memory,
    workdir: Path,
    timeout: float,
) -> Counts:
    """Calls functions of a program in the emulator, one after the other.

    Args:
        program: The program; its segments are loaded where they are when it runs.
        core: One of `COUNTED_CORES`.
        memories: The address space.
        inputs: More bytes to put into memory, by address.
        stack: The stack pointer.
        calls: What to call.
        kernel_calls: Which layer what runs belongs to.
        told_apart: Memories whose accesses are counted apart; the first that holds an address.
        output: What to give back after the run.
        workdir: Where the emulator is built; exists.
        timeout: Time limit in seconds.

    Raises:
        ThumbnetError: Unicorn is missing, or the program touches memory that is not there or
            does not call its kernels as often as expected.
    """
    images = [(image.address, image.data) for image in program.images] + list(inputs.items())
    kernels = sorted((kernel.start, kernel.end - kernel.start) for kernel in kernel_calls.kernels)
    words = [program.symbol("reset_handler"), stack]
    words += _pairs(_pages(memories))
    words += _pairs([(address, len(data)) for address, data in images])
    words += _pairs([(memory.address, memory.size) for memory in told_apart])
    words += _pairs(kernels)
    words += _pairs([(layer, 0) for layer in kernel_calls.layers])
    words += [output.address, output.size, len(calls)]
    for call in calls:
        words += [call.entry, *(*call.arguments, 0, 0, 0)[:3]]
    job, result = workdir / "job.bin", workdir / "counts.bin"
    job.write_bytes(struct.pack(f"={len(words)}I", *words) + b"".join(data for _, data in images))
    finished = run([str(build_counter(workdir)), core, str(job), str(result)], timeout, check=False)
    if finished.status != 0:
        raise ThumbnetError(f"{program.path.name} in the emulator: {finished.text.strip()}")
    layers = 1 + max(kernel_calls.layers, default=0)
    return _read_counts(result.read_bytes(), program.code, layers)


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
        extra = what >> _EXTRA_SHIFT & _EXTRA_MASK
        kind = AccessClass(bool(what & _WRITE), extra, (what >> _RANGE_SHIFT) - 1)
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
