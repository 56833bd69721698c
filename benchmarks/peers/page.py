"""docs/peers.md and docs/peers.svg from rows and recorded figures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from benchmarks.markdown import million, number, table
from benchmarks.peers.recorded import Figure, Recorded
from benchmarks.peers.subject import Row
from codegen.svg import DotRow, Dots, dot_plot

_VWW = "MobileNetV1 0.25, 96"
_MACS = 7_489_664
_CORES = ("m7", "m33", "m55", "m3", "m0plus")
_COUNTED = """
## Counted earlier

The same network and cycle model, instructions counted in QEMU; not repeated here. On Cortex-M4, and
million instructions / million cycles on other cores, whose cycle models are estimates.

"""
_BOARDS = """
## Published, on boards

The same network; nothing of thumbnet ran on a board yet.

"""
_INTRODUCTION = """\
# thumbnet beside others

Made by `python -m benchmarks.peers`.

![Cycles and RAM of one inference](peers.svg)

## Counted here

Visual Wake Words of MLPerf Tiny: MobileNetV1 0.25, 96x96x3, {macs} M multiply-adds. Every program
is built by arm-none-eabi-gcc for Cortex-M4 (-O3, thumbnet -O2), linked with newlib, and counted
over one inference on the same picture by the same counter ([profile.md](profile.md); cycles at zero
wait states). RAM is variables and working memory, used stack, and the input and output that the
caller must hold. Flash is code, constants and initial values. Cycles a multiply-add are of those
that the network has, whether a program computes them all or not.

`Top-1` is the share of {images} pictures with the class that the trained float network gives them,
and the differences are those of the probability, in steps of 1/256. None of the pictures calibrated
anything here (the official int8 file has a calibration of its own), and they are photographs of
anything, not of persons only.

"""


def page(rows: Sequence[Row], recorded: Recorded) -> str:
    """The Markdown text."""
    images = max((row.agreement.images for row in rows if row.agreement), default=0)
    introduction = _INTRODUCTION.format(macs=f"{_MACS / 1e6:.2f}", images=images)
    return "".join((introduction, _measured(rows), _notes(rows), *_recorded(recorded)))


def _measured(rows: Sequence[Row]) -> str:
    head: tuple[str, ...] = (
        "",
        "model",
        "M instructions",
        "M cycles",
        "cycles a multiply-add",
        "RAM B",
    )
    head += ("of it working memory", "stack", "input, output", "flash B")
    head += ("top-1 %", "mean steps", "most steps")
    return table(head, (_cells(row) for row in rows))


def _cells(row: Row) -> tuple[str, ...]:
    cost, near = row.cost, row.agreement
    cells: list[str] = [f"**{row.who}**" if row.own else row.who, row.what]
    if cost:
        cells += [million(cost.instructions), million(cost.cycles), f"{cost.cycles / _MACS:.2f}"]
        cells += [number(n) for n in (cost.ram, cost.static, cost.stack, cost.held, cost.flash)]
    else:
        cells += ["-"] * 8
    if near:
        cells += [f"{near.top1:.1f}", f"{near.mean_steps:.2f}", f"{near.most_steps:.0f}"]
    else:
        cells += ["-"] * 3
    return tuple(cells)


def _notes(rows: Sequence[Row]) -> str:
    notes: dict[str, list[str]] = {}
    for row in rows:
        if row.note:
            notes.setdefault(row.note, []).append(row.who)
    lines = (f"- {'; '.join(dict.fromkeys(who))}: {note}.\n" for note, who in notes.items())
    return "\n" + "".join(lines)


def _recorded(recorded: Recorded) -> Iterable[str]:
    yield _COUNTED
    yield table(
        ("", "M instructions", "M cycles", "RAM B", *_CORES, "source"),
        (
            (
                *(f.who, million(f.instructions), million(f.cycles), number(f.ram)),
                *(_pair(f.cores.get(core)) for core in _CORES),
                f.source,
            )
            for f in recorded.counted
        ),
    )
    yield _BOARDS
    yield table(
        ("", "board", "ms", "M cycles", "cycles a multiply-add", "source"),
        (
            (
                *(f.who, f.board, _plain(f.milliseconds), million(f.cycles)),
                *(f"{f.cycles / _MACS:.2f}" if f.cycles else "-", f.source),
            )
            for f in recorded.board
        ),
    )
    yield "\n## Published, memory of other networks\n\n"
    yield table(
        ("model", "", "RAM KiB", "weights KiB", "ms", "source"),
        (
            (
                *(f.model, f.who, _plain(f.ram_kib), _plain(f.weights_kib)),
                *(_plain(f.milliseconds), f.source),
            )
            for f in recorded.memory
        ),
    )


def plot(rows: Sequence[Row], recorded: Recorded) -> str:
    """The SVG: cycles and RAM, measured and recorded, fewest cycles first."""
    points: list[tuple[DotRow, float | None, float | None]] = []
    for row in rows:
        if row.cost:
            label = DotRow(row.who, row.own, True)
            points.append((label, row.cost.cycles / 1e6, row.cost.ram / 1024))
    for figure in _plotted(recorded):
        ram = figure.ram_kib or (figure.ram / 1024 if figure.ram else None)
        where = ", on a board" if figure.board else ", ST model zoo" if figure.ram_kib else ""
        label = DotRow(figure.who + where, False, False)
        points.append((label, figure.cycles / 1e6 if figure.cycles else None, ram))
    points.sort(key=lambda point: (not point[0].own, point[1] or math.inf, point[2] or 0))
    labels, cycles, ram_kib = zip(*points, strict=True)
    return dot_plot(
        "Visual Wake Words, one inference on Cortex-M4; dots counted here, rings recorded",
        labels,
        [Dots("million cycles, log scale", cycles), Dots("RAM in KiB, log scale", ram_kib)],
    )


def _plotted(recorded: Recorded) -> Iterable[Figure]:
    yield from recorded.counted
    yield from (figure for figure in recorded.board if "Cortex-M4" in figure.board)
    yield from (figure for figure in recorded.memory if figure.model == _VWW)


def _pair(values: Sequence[float] | None) -> str:
    return " / ".join(f"{value:g}" for value in values) if values else "-"


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"
