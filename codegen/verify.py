"""Verification: simulator, host C and emulated cores compute the same bytes, layer by layer."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from codegen import simulate
from codegen.boards import CORES
from codegen.build import build_host, build_target
from codegen.device.session import compare_device, is_device, open_device
from codegen.elf import elf_sizes
from codegen.errors import ThumbnetError
from codegen.images import load_images, to_int8
from codegen.ir import Graph, Int8Array
from codegen.output import Output, read_output
from codegen.progress import Progress, silent
from codegen.qemu import RunResult, read_trace, run_host, run_qemu
from codegen.targets import board_and_core, emulated_place, placement, sources_for

_SLOWEST = 5e6
"""Multiply-adds a second that any target surely reaches, for the time limit."""
_LEAST_TIME = 120.0
_HOSTS = ("host", "host:gcc", "host:clang")


@dataclass(frozen=True)
class TargetReport:
    """What one target did.

    Attributes:
        target: ``host``, ``host:clang``, ``qemu:CORE`` or ``qemu:BOARD``.
        images: Images run.
        layers: Layers compared.
        bytes: Bytes compared.
        difference: The first difference in words, or None.
        flash: Bytes of the production build, or None on the host.
        ram: arena, stack (measured) and static bytes, or None on the host.
        instructions: Of one inference, or None where they are not counted.
        cycles: Of one inference, as the clock of a device at a serial port counts them.
        stage_cycles: The same for each stage of the plan.
    """

    target: str
    images: int
    layers: int
    bytes: int
    difference: str | None = None
    flash: int | None = None
    ram: Mapping[str, int | None] | None = None
    instructions: int | None = None
    cycles: int | None = None
    stage_cycles: tuple[int, ...] | None = None

    @property
    def equal(self) -> bool:
        """True if every byte was the simulator's."""
        return self.difference is None


@dataclass(frozen=True)
class VerifyReport:
    """All targets, and those left out because the model does not fit there."""

    targets: tuple[TargetReport, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)

    @property
    def equal(self) -> bool:
        """True if every target that ran was equal."""
        return all(target.equal for target in self.targets)

    def to_json(self) -> dict[str, Any]:
        """The document of ``verify --json``: sizes in bytes."""
        names = [
            "target",
            "images",
            "layers",
            "bytes",
            "equal",
            "difference",
            "flash",
            "ram",
            "instructions",
            "cycles",
            "stage_cycles",
        ]
        targets = [{name: getattr(target, name) for name in names} for target in self.targets]
        skipped = [{"target": name, "reason": why} for name, why in self.skipped.items()]
        warnings = [f"{name} is left out: {why}" for name, why in self.skipped.items()]
        return {
            "equal": self.equal, "targets": targets, "skipped": skipped, "warnings": warnings
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Expected:
    """The inputs and what the simulator says about them."""

    graph: Graph
    images: Int8Array
    tensors: Mapping[str, Int8Array]

    @property
    def inputs(self) -> Int8Array:
        """int8 [N, bytes] for the runner."""
        return self.images.reshape(len(self.images), -1)

    @property
    def timeout(self) -> float:
        """Seconds that a run may take."""
        return _LEAST_TIME + len(self.images) * self.graph.macs() / _SLOWEST


def verify_model(
    out: Path,
    targets: tuple[str, ...],
    images: Path | None = None,
    random: int = 10,
    progress: Progress = silent,
    limit: int | None = None,
) -> VerifyReport:
    """Runs the simulator and every target on the same images and compares each layer's output.

    Args:
        out: Folder made by ``compile``.
        targets: ``host``, ``host:clang``, ``qemu`` (the core or board of ``out``), ``qemu:CORE``,
            ``qemu:BOARD``, ``qemu:all`` (every core where the model fits), ``qemu-serial`` and
            ``qemu-serial:PLACE`` (over an emulated serial port), ``serial:PATH`` (a board).
        images: Pictures, or None for random ones.
        random: Number of random images.
        progress: Told the targets done.
        limit: Pictures at most.

    Raises:
        ThumbnetError: A target is unknown, its tools are missing, the model does not fit, or the
            program ends with a fault.
    """
    output = read_output(out)
    expected = _expected(output.graph, images, random, limit, progress)
    chosen = _targets(output, targets)
    reports: dict[str, TargetReport] = {}
    skipped: dict[str, str] = {}
    progress("verifying", 0, len(chosen))

    def one(target: str, required: bool) -> None:
        try:
            reports[target] = _verify_target(output, target, expected)
        except ThumbnetError as error:
            if required:
                raise
            skipped[target] = str(error)
        progress("verifying", len(reports) + len(skipped), len(chosen))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda item: one(*item), chosen.items()))
    return VerifyReport(tuple(reports[target] for target in chosen if target in reports), skipped)


def _expected(
    graph: Graph, source: Path | None, random: int, limit: int | None, progress: Progress
) -> _Expected:
    shape, q = graph.input_tensor.shape, graph.q(graph.input)
    if source is not None:
        pixels = load_images(source, shape, graph.preprocess, limit).pixels
        images = to_int8(pixels, graph.preprocess, q)
    else:
        images = np.random.default_rng(0).integers(-128, 128, (random, *shape)).astype(np.int8)
    progress("simulating", 0, 1)
    return _Expected(graph, images, simulate.trace(graph, images))


def _targets(output: Output, wanted: tuple[str, ...]) -> dict[str, bool]:
    """Targets in order, each with whether it is an error if the model does not fit there."""
    chosen: dict[str, bool] = {}
    for target in wanted:
        kind, _, place = target.partition(":")
        if target == "qemu":
            chosen[f"qemu:{emulated_place(output)}"] = True
        elif target == "qemu:all":
            chosen.update({f"qemu:{core}": False for core in CORES if f"qemu:{core}" not in chosen})
        elif target in _HOSTS or (kind == "qemu" and place) or is_device(target):
            chosen[target] = True
        else:
            raise ThumbnetError(
                f"Unknown target {target!r}. Targets are host, host:clang, qemu, qemu:CORE, "
                "qemu:BOARD, qemu:all, qemu-serial, qemu-serial:BOARD and serial:/dev/ttyACM0."
            )
    return chosen


def _verify_target(output: Output, target: str, expected: _Expected) -> TargetReport:
    kind, _, place = target.partition(":")
    with tempfile.TemporaryDirectory(prefix="thumbnet-") as work:
        if is_device(target):
            return _verify_device(output, target, expected, Path(work))
        if kind == "host":
            return _verify_host(output, target, place or "gcc", expected, Path(work))
        return _verify_qemu(output, target, place, expected, Path(work))


def _verify_host(
    output: Output, target: str, compiler: str, expected: _Expected, work: Path
) -> TargetReport:
    def run(check: bool) -> RunResult:
        folder = work / ("check" if check else "production")
        program = build_host(output.folder, output.name, folder, check, compiler)
        return run_host(program, expected.inputs, folder, expected.timeout)

    return _compared(target, expected, run(True), lambda: run(False))


def _verify_device(output: Output, target: str, expected: _Expected, work: Path) -> TargetReport:
    with open_device(output, target, work, check=True) as device:
        graph, images = expected.graph, expected.images
        done = compare_device(device, graph, images, expected.tensors)
        arena = device.hello.arena
    return TargetReport(
        target, len(images), done.layers, done.bytes, done.difference,
        ram={"stack": done.last.stack, "arena": arena},
        cycles=done.last.cycles, stage_cycles=done.last.stage_cycles,
    )  # fmt: skip


def _verify_qemu(
    output: Output, target: str, place: str, expected: _Expected, work: Path
) -> TargetReport:
    board, core = board_and_core(output, place)
    sources = sources_for(output, core, work)

    def build(check: bool) -> Path:
        folder = work / ("check" if check else "production")
        place = placement(output, board)
        return build_target(sources, output.name, board, core, folder, check, place=place)

    check = build(True)
    traced = run_qemu(check, board, expected.inputs, check.parent, expected.timeout)
    elf = build(False)
    report = _compared(
        target,
        expected,
        traced,
        lambda: run_qemu(elf, board, expected.inputs, elf.parent, expected.timeout),
    )
    counted = run_qemu(elf, board, expected.inputs[:1], elf.parent, expected.timeout, count=True)
    sizes = elf_sizes(elf)
    ram = {**(report.ram or {}), "arena": sizes.arena, "static": sizes.data + sizes.bss}
    return replace(report, flash=sizes.flash, ram=ram, instructions=counted.instructions)


def _compared(
    target: str, expected: _Expected, traced: RunResult, production: Callable[[], RunResult]
) -> TargetReport:
    """Compares the rows of the checking build and the outputs of the production build."""
    graph = expected.graph
    assert traced.trace is not None
    compared, difference = compare_trace(graph, expected.tensors, traced.trace)
    final = production()
    if difference is None:
        want = expected.tensors[graph.output]
        found = final.output.reshape(want.shape)
        compared += found.size
        where = np.argwhere(found != want)
        if len(where):
            index = tuple(int(i) for i in where[0])
            node = graph.nodes[-1]
            difference = _difference(
                f"production build, layer {len(graph.nodes) - 1} {node.name!r}",
                index, int(want[index]), int(found[index]),
            )  # fmt: skip
    ram = {"stack": final.stack} if final.stack is not None else None
    return TargetReport(
        target, len(expected.images), len(graph.nodes), compared, difference, ram=ram
    )


def compare_trace(
    graph: Graph, expected: Mapping[str, Int8Array], trace: Path
) -> tuple[int, str | None]:
    """Compares every row that a checking build reported.

    Args:
        graph: The int8 graph; layer numbers count its nodes.
        expected: int8 [N, H, W, C] of each node's output, from the simulator.
        trace: File of a checking build.

    Returns:
        Bytes compared, and the first difference in words: layer, coordinate, expected, found; a
        row that is missing or reported too often is a difference too.
    """
    images = len(next(iter(expected.values())))
    seen = {
        index: np.zeros(expected[node.output].shape[1], np.int64)
        for index, node in enumerate(graph.nodes)
    }
    compared = 0
    for layer, row, data in read_trace(trace):
        where = f"layer {layer}"
        if layer not in seen or row >= len(seen[layer]):
            return compared, f"{where}, row {row}: there is no such row"
        node = graph.nodes[layer]
        where = f"{where} {node.name!r} ({node.op})"
        image = int(seen[layer][row])
        seen[layer][row] += 1
        want = expected[node.output]
        if image >= images or data.size != want[0, row].size:
            return compared, f"{where}, row {row}: reported too often or with a wrong length"
        found = data.reshape(want.shape[2:])
        compared += data.size
        differ = np.argwhere(found != want[image, row])
        if len(differ):
            index = (image, row, int(differ[0][0]), int(differ[0][1]))
            found_value = int(found[index[2], index[3]])
            return compared, _difference(where, index, int(want[index]), found_value)
    for layer, counts in seen.items():
        if (counts != images).any():
            row = int(np.argmax(counts != images))
            name = graph.nodes[layer].name
            return compared, (
                f"layer {layer} {name!r}, row {row}: reported {counts[row]} times "
                f"for {images} images"
            )
    return compared, None


def _difference(where: str, index: tuple[int, ...], expected: int, found: int) -> str:
    image, y, x, channel = index
    return (
        f"{where}: image {image}, row {y}, column {x}, channel {channel}: "
        f"expected {expected}, found {found}"
    )
