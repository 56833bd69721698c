"""Profiling: instructions and estimated cycles of each layer, by running the real program."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from codegen import simulate
from codegen.boards import Board, Core, Region, Timing, load_board, load_core
from codegen.build import build_target
from codegen.emit import write_model
from codegen.errors import ThumbnetError
from codegen.ir import Graph, Int8Array
from codegen.linker import ANYWHERE
from codegen.make_cmodel import make_cmodel
from codegen.output import Output, read_output
from codegen.plan import Plan
from codegen.profile.attribution import kernel_calls
from codegen.profile.counter import COUNTED_CORES, Call, Counts, Flow, Memory, count
from codegen.profile.cycles import CycleModel, check_alignment, cycle_model, cycles_by_address
from codegen.profile.program import Program, read_program
from codegen.profile.report import FunctionProfile, LayerProfile, ProfileOptions, ProfileReport
from codegen.profile.waits import Waits, WaitStates
from codegen.progress import Progress, silent
from codegen.qemu import run_qemu
from codegen.targets import placement

__all__ = [
    "FunctionProfile",
    "LayerProfile",
    "ProfileOptions",
    "ProfileReport",
    "WaitStates",
    "profile_model",
]

_SLOWEST = 1e6
"""Multiply-adds a second that the emulator surely reaches, for the time limit."""
_LEAST_TIME = 120.0
_ALIGNMENT = 1 << 20
_ADDRESSES = (1 << 32) - 1
_ROOMY = (
    Region("FLASH", 0x00000000, 1 << 28, "flash"),
    Region("RAM", 0x20000000, 1 << 28, "ram"),
)
"""Memory for every network, where no board is named: the counter needs no real one."""


def profile_model(
    out: Path,
    core: str | None = None,
    options: ProfileOptions | None = None,
    progress: Progress = silent,
) -> ProfileReport:
    """Runs the production build of a compiled network on one random image and counts.

    Args:
        out: Folder made by ``compile``.
        core: Core to profile for; None for the one ``out`` is for. The C of another core is
            generated anew.
        options: See `ProfileOptions`.
        progress: Told the stages.

    Raises:
        ThumbnetError: ``out`` or ``core`` does not do, a tool is missing, or the program computes
            something else than the simulator.
    """
    output = read_output(out)
    board, chosen, place = _target(output, core)
    options = options or ProfileOptions()
    image = _image(output.graph)
    with tempfile.TemporaryDirectory(prefix="thumbnet-") as work:
        folder = Path(work)
        progress("compiling", 0, 3)
        plan = output.plan(chosen.name)
        sources = _sources(output, plan, chosen, folder)
        elf = build_target(
            *(sources, output.name, board, chosen, folder / "build"),
            check=False,
            place=place,
        )
        progress("counting", 1, 3)
        if chosen.name not in COUNTED_CORES:
            return _total_only(output.graph, elf, board, chosen, image)
        program = read_program(elf)
        memories = _timed_memories(board, program, options.waits)
        counts = _count(output, plan, program, board, chosen, image, memories, folder)
    progress("estimating cycles", 2, 3)
    model = cycle_model(chosen.name, worst=options.worst, slow_multiply=options.slow_multiply)
    check_alignment(model, program, counts.flows)
    return _report(output.graph, program, counts, model, memories, options)


def _target(output: Output, core: str | None) -> tuple[Board, Core, Mapping[str, str]]:
    """The board whose memory the program is linked for, the core, and regions chosen by hand."""
    chosen = load_core(core or output.core)
    own = output.report.get("board")
    if own and chosen.name == output.core:
        board = load_board(str(own))
        return board, chosen, placement(output, board)
    board = load_board(chosen.qemu_board)
    if chosen.name in COUNTED_CORES:
        board = replace(board, regions=_ROOMY)
    return board, chosen, ANYWHERE


def _timed_memories(board: Board, program: Program, waits: WaitStates | None) -> tuple[Region, ...]:
    """The memories and what an access costs: the board's, or constants and RAM by hand."""
    if waits is None:
        return board.regions
    flash = Timing(waits.flash, waits.line_bytes, waits.prefetch)
    constants = [image for image in program.images if image.read_only]
    return (
        *(Region("flash", image.address, len(image.data), "flash", flash) for image in constants),
        Region("RAM", 0, _ADDRESSES, "ram", Timing(waits.ram)),
    )


def _image(graph: Graph) -> Int8Array:
    """The first of the random images that ``verify`` runs: int8 [1, H, W, C]."""
    shape = (1, *graph.input_tensor.shape)
    return np.random.default_rng(0).integers(-128, 128, shape).astype(np.int8)


def _sources(output: Output, plan: Plan, core: Core, work: Path) -> Path:
    """The generated C: the folder's own, or made anew for another core."""
    if core.name == output.core:
        return output.folder
    sources = work / "sources"
    sources.mkdir()
    write_model(plan, output.name, sources)
    return sources


def _time_limit(graph: Graph) -> float:
    return _LEAST_TIME + graph.macs() / _SLOWEST


def _total_only(
    graph: Graph, elf: Path, board: Board, core: Core, image: Int8Array
) -> ProfileReport:
    """What QEMU can tell of a core that Unicorn does not know."""
    result = run_qemu(elf, board, image.reshape(1, -1), elf.parent, _time_limit(graph), count=True)
    _check_output(graph, image, result.output)
    if result.instructions is None:
        raise ThumbnetError(f"QEMU counted no instructions on {board.title}")
    return ProfileReport(
        core=core.name,
        instructions=result.instructions,
        cycles=None,
        model=f"none for {core.name}",
        validated=False,
        memories=(),
        layers=_layers(graph, [None] * len(graph.nodes), [None] * len(graph.nodes)),
        functions=None,
        warnings=(
            f"{core.name}: instructions of the whole network only, counted by QEMU; the emulator "
            "that counts by layer does not know this core.",
        ),
    )


def _count(
    output: Output,
    plan: Plan,
    program: Program,
    board: Board,
    core: Core,
    image: Int8Array,
    timed: Sequence[Region],
    work: Path,
) -> Counts:
    graph = output.graph
    memories = [Memory(region.origin, region.length) for region in board.regions]
    pixels = Memory(_free_address(memories), image.size)
    result = Memory(program.symbol("output"), graph.output_tensor.size)
    counts = count(
        program,
        core.name,
        [*memories, pixels],
        {pixels.address: image.tobytes()},
        program.symbol("ld_process_stack_end"),
        _inference(output, program, pixels, result),
        kernel_calls(plan, make_cmodel(plan, output.name), program),
        [Memory(memory.origin, memory.length) for memory in timed],
        result,
        work,
        _time_limit(graph),
    )
    _check_output(graph, image, np.frombuffer(counts.output, np.int8))
    return counts


def _free_address(memories: Sequence[Memory]) -> int:
    """An address where a board has nothing."""
    end = max(memory.address + memory.size for memory in memories)
    return -(-end // _ALIGNMENT) * _ALIGNMENT


def _inference(output: Output, program: Program, pixels: Memory, result: Memory) -> list[Call]:
    """What the runner calls: begin, each row of the image, finish."""
    arena, name = program.symbol("arena"), output.name
    rows = output.graph.input_tensor.shape[0]
    push = program.symbol(f"{name}_push_rows")
    row_bytes = pixels.size // rows
    return [
        Call(program.symbol(f"{name}_begin"), (arena,)),
        *(Call(push, (arena, pixels.address + row * row_bytes, 1)) for row in range(rows)),
        Call(program.symbol(f"{name}_finish"), (arena, result.address)),
    ]


def _check_output(graph: Graph, image: Int8Array, found: Int8Array) -> None:
    if not np.array_equal(simulate.run(graph, image).reshape(-1), found.reshape(-1)):
        raise ThumbnetError(
            "The program computes something else than the simulator, so its profile is worthless. "
            "`thumbnet verify` shows where."
        )


def _report(
    graph: Graph,
    program: Program,
    counts: Counts,
    model: CycleModel,
    memories: tuple[Region, ...],
    options: ProfileOptions,
) -> ProfileReport:
    cycles = _cycles(memories, model, program, counts.flows)
    slow = tuple(memory for memory in memories if memory.timing.wait_states)
    by_layer = [sum(spent.values()) for spent in cycles]
    executed = [flow.instructions for flow in counts.flows]
    warnings = []
    if not model.validated:
        warnings.append(f"cycles for {model.core} are not validated on hardware: {model.source}")
    return ProfileReport(
        core=model.core,
        instructions=sum(executed),
        cycles=sum(by_layer),
        model=model.source,
        validated=model.validated and not slow,
        memories=slow,
        layers=_layers(graph, executed, by_layer),
        functions=_functions(program, counts.flows, cycles) if options.functions else None,
        warnings=tuple(warnings),
    )


def _cycles(
    memories: Sequence[Region], model: CycleModel, program: Program, flows: Sequence[Flow]
) -> list[dict[int, int]]:
    """Cycles by address, for each layer."""
    code = program.code
    overlaps = model.overlaps(code)
    spent = [cycles_by_address(model, code, overlaps, flow) for flow in flows]
    waits = Waits(memories, model, code)
    for cycles, flow in zip(spent, flows, strict=True):
        for address, lost in waits.by_address(flow).items():
            cycles[address] = cycles.get(address, 0) + lost
    return spent


def _layers(
    graph: Graph, instructions: Sequence[int | None], cycles: Sequence[int | None]
) -> tuple[LayerProfile, ...]:
    return tuple(
        LayerProfile(node.name, node.op, node.macs(*graph.shapes(node)), executed, spent)
        for node, executed, spent in zip(graph.nodes, instructions, cycles, strict=True)
    )


def _functions(
    program: Program, flows: Sequence[Flow], cycles: Sequence[dict[int, int]]
) -> tuple[FunctionProfile, ...]:
    executed: dict[str, int] = defaultdict(int)
    spent: dict[str, int] = defaultdict(int)
    for flow, by_address in zip(flows, cycles, strict=True):
        for address, times in flow.executions.items():
            executed[program.name_at(address)] += times
        for address, number in by_address.items():
            spent[program.name_at(address)] += number
    profiles = (FunctionProfile(name, executed[name], spent[name]) for name in executed)
    return tuple(sorted(profiles, key=lambda profile: -profile.cycles))
