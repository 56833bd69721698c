"""A family over widths and resolutions on boards: what each network takes, and what fits.

Every network is built with random weights, for cost does not depend on them, compiled once for each
core (and once more for a board whose flash needs denser kernels) and counted by the profiler. Of
a large network the cycles of each layer are those of a smaller resolution of the same width, times
its multiply-adds: within a few percent, for a kernel's cost per multiply-add hardly depends on it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from codegen.boards import Board, load_board, load_core
from codegen.errors import ThumbnetError
from codegen.fit import CODE_ESTIMATE, check_fit
from codegen.flow import CompileOptions, CompileReport, compile_model
from codegen.parallel import run_all
from codegen.profile import profile_model
from codegen.profile.counter import COUNTED_CORES
from codegen.progress import Progress, silent
from codegen.svg import Point, scatter_plot
from codegen.zoo.defaults import default_calibration
from codegen.zoo.make import save_network
from codegen.zoo.registry import build_network
from codegen.zoo.weights import random_weights

_COUNTED_MACS = 100_000_000
_COUNTED_MACS_WITHOUT_DSP = 12_000_000
"""Networks with more multiply-adds are not counted but scaled from a smaller one."""
_PICTURES = 2

Layers = Mapping[str, int]
"""A number for each layer, by its name."""


@dataclass(frozen=True)
class SweepOptions:
    """What the user asks of ``sweep``.

    Attributes:
        network: A network of the zoo.
        alphas: Width multipliers.
        resolutions: Rows and columns of the picture.
        boards: Names of boards.
        classes: Number of classes.
        exact: Count every network, however large.
        jobs: Networks at a time; 0 for as many as there are processors.
        dask: Address of a Dask scheduler; None for this computer.
    """

    network: str
    alphas: tuple[float, ...]
    resolutions: tuple[int, ...]
    boards: tuple[str, ...]
    classes: int = 1000
    exact: bool = False
    jobs: int = 0
    dask: str | None = None


@dataclass(frozen=True)
class Row:
    """A network on a board: sizes in bytes.

    Attributes:
        alpha: Width multiplier.
        resolution: Rows and columns of the picture.
        board: Name of the board.
        core: Its core.
        macs: Multiply-adds.
        parameters: Weights and biases.
        flash: Weights, tables and code.
        ram: Arena, stack, and the output that the caller keeps.
        cycles: Of one inference at zero wait states; None for a core that the profiler lacks.
        counted: The cycles are of this network, not scaled from a smaller one.
        milliseconds: At the board's clock.
        fits: It has room on the board.
        front: It fits, and no other network that fits has as many multiply-adds in as little time
            and RAM.
    """

    alpha: float
    resolution: int
    board: str
    core: str
    macs: int
    parameters: int
    flash: int
    ram: int
    cycles: int | None
    counted: bool
    milliseconds: float | None
    fits: bool
    front: bool = False


@dataclass(frozen=True)
class SweepReport:
    """The grid, widest and largest first, board by board."""

    options: SweepOptions
    rows: tuple[Row, ...]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The document of ``sweep --json``."""
        return {
            "network": self.options.network,
            "classes": self.options.classes,
            "rows": [vars(row) for row in self.rows],
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True)
class _Job:
    """One network, to be measured in one process for all boards; ``counted`` however large."""

    network: str
    alpha: float
    resolution: int
    classes: int
    boards: tuple[str, ...]
    counted: bool
    macs: int
    parameters: int

    def counts(self, core: str) -> bool:
        """True if the profiler runs it on this core."""
        most = _COUNTED_MACS if load_core(core).has_dsp else _COUNTED_MACS_WITHOUT_DSP
        return core in COUNTED_CORES and (self.counted or self.macs <= most)


@dataclass(frozen=True)
class _Made:
    """What a job found for one board; cycles where it was counted."""

    row: Row
    macs: Layers
    cycles: Layers | None


def sweep(options: SweepOptions, progress: Progress = silent) -> SweepReport:
    """Measures the grid.

    Raises:
        ThumbnetError: A name or number does not do, a package or tool is missing, or the Dask
            cluster cannot be reached.
    """
    boards = {name: load_board(name) for name in dict.fromkeys(options.boards)}
    jobs = _jobs(options, tuple(boards))
    found: list[_Made] = []
    # The longest first, so that the last one to end is a short one.
    order = sorted(jobs, key=lambda job: job.macs, reverse=True)
    for done, made in enumerate(run_all(_measure, order, options.jobs, options.dask), start=1):
        found += made
        progress("measuring networks", done, len(jobs))
    rows = [_timed(made, found, boards[made.row.board]) for made in found]
    rows.sort(key=lambda row: (tuple(boards).index(row.board), -row.alpha, -row.resolution))
    return SweepReport(options, tuple(_marked(rows)), tuple(_warnings(rows)))


def _jobs(options: SweepOptions, boards: tuple[str, ...]) -> list[_Job]:
    """Every width and resolution once; of each width at least the smallest is counted."""
    if not (options.alphas and options.resolutions and boards):
        raise ThumbnetError("name at least one alpha, one resolution and one board")
    alphas, resolutions = dict.fromkeys(options.alphas), dict.fromkeys(options.resolutions)
    jobs = []
    for alpha, resolution in product(alphas, resolutions):
        network = build_network(options.network, alpha, resolution, options.classes)
        counted = options.exact or resolution == min(resolutions)
        parts = (options.network, alpha, resolution, options.classes, boards)
        jobs.append(_Job(*parts, counted, network.macs, network.parameters))
    return jobs


def _measure(job: _Job) -> list[_Made]:
    """Builds, compiles and counts one network."""
    boards = [load_board(name) for name in job.boards]
    network = build_network(job.network, job.alpha, job.resolution, job.classes)
    with tempfile.TemporaryDirectory(prefix="thumbnet-") as work:
        folder = Path(work)
        model = folder / "net.onnx"
        save_network(network, random_weights(network), model)
        found: list[_Made] = []
        for core in dict.fromkeys(board.core for board in boards):
            own = [board for board in boards if board.core == core]
            found += _for_core(job, model, core, own, None)
    return found


def _for_core(
    job: _Job, model: Path, core: str, boards: Sequence[Board], budget: int | None
) -> list[_Made]:
    """Boards of one core; those that lack flash again, with kernels of denser weights."""
    out = model.parent / f"{core}-{budget}"
    options = CompileOptions(
        out, model, default_calibration(), core, name="net", flash_budget=budget, limit=_PICTURES
    )
    report = compile_model(options)
    constants = report.constants
    fits = {
        b.name: check_fit(report.plan, constants, b, required=False) is not None for b in boards
    }
    dense: dict[int, list[Board]] = {}
    if budget is None:
        for board in boards:
            room = board.flash_bytes - CODE_ESTIMATE
            if job.parameters < room < constants.weights + constants.tables:
                dense.setdefault(room, []).append(board)
    again = [board for group in dense.values() for board in group]
    here = [board for board in boards if board not in again]
    cycles = _profiled(out, core) if here and job.counts(core) else None
    macs = {layer["name"]: layer["macs"] for layer in report.to_json()["layers"]}
    found = [_Made(_row(job, board, report, fits[board.name]), macs, cycles) for board in here]
    for room, group in dense.items():
        found += _for_core(job, model, core, group, room)
    return found


def _row(job: _Job, board: Board, report: CompileReport, fits: bool) -> Row:
    document = report.to_json()
    sizes = (document["flash"]["total"], document["ram"]["total"])
    network = (document["macs"], document["parameters"])
    where = (job.alpha, job.resolution, board.name, board.core)
    return Row(*where, *network, *sizes, None, job.counts(board.core), None, fits)


def _profiled(out: Path, core: str) -> Layers:
    return {layer.name: layer.cycles or 0 for layer in profile_model(out, core).layers}


def _timed(made: _Made, all_made: Iterable[_Made], board: Board) -> Row:
    """The row with its cycles, counted or scaled."""
    row = made.row
    counted = [made] if made.cycles else _same_width(row, all_made)
    if not counted:
        return row
    nearest = max(counted, key=lambda other: other.row.macs)
    cycles = _scaled(nearest, made)
    return replace(row, cycles=cycles, milliseconds=1000 * cycles / board.clock_hz)


def _same_width(row: Row, all_made: Iterable[_Made]) -> list[_Made]:
    """What was counted of the same width for the same core."""
    kind = (row.alpha, row.core)
    return [
        other for other in all_made if other.cycles and (other.row.alpha, other.row.core) == kind
    ]


def _scaled(smaller: _Made, made: _Made) -> int:
    """Cycles from those of another resolution: by multiply-adds, by area where there are none."""
    assert smaller.cycles is not None
    area = (made.row.resolution / smaller.row.resolution) ** 2
    total = 0.0
    for name, cycles in smaller.cycles.items():
        before, now = smaller.macs.get(name, 0), made.macs.get(name, 0)
        total += cycles * (now / before if before and now else area)
    return round(total)


def _marked(rows: Sequence[Row]) -> Iterable[Row]:
    """The rows, with the Pareto front of each board."""
    for row in rows:
        rivals = [other for other in rows if other.board == row.board and other.fits]
        front = row.fits and not any(_beats(other, row) for other in rivals)
        yield replace(row, front=front)


def _beats(other: Row, row: Row) -> bool:
    """True if a network is as good in everything and better in something."""
    ours = (-row.macs, row.milliseconds or 0, row.ram)
    theirs = (-other.macs, other.milliseconds or 0, other.ram)
    return all(a <= b for a, b in zip(theirs, ours, strict=True)) and theirs != ours


def _warnings(rows: Sequence[Row]) -> Iterable[str]:
    uncounted = dict.fromkeys(row.core for row in rows if row.cycles is None)
    if uncounted:
        yield f"the profiler does not know {', '.join(uncounted)}: cycles are left out"


def plotted(report: SweepReport) -> str:
    """Multiply-adds over time as SVG, a panel a board; filled: it fits; the line: the front."""
    panels = []
    for board in dict.fromkeys(row.board for row in report.rows):
        points = [
            Point(
                row.milliseconds,
                row.macs / 1e6,
                f"{row.alpha:g} {row.resolution}",
                row.fits,
                row.front,
            )
            for row in report.rows
            if row.board == board and row.milliseconds
        ]
        panels.append((load_board(board).title, points))
    title = f"{report.options.network}: filled what fits, the line what is best"
    return scatter_plot(title, "milliseconds", "million multiply-adds", panels)
