"""docs/growth.md and docs/growth.svg from measured cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.markdown import million, number, table
from codegen.svg import Lines, line_plot

_INTRODUCTION = """\
# How cost grows

Made by `python -m benchmarks.growth`.

![Cycles, RAM, flash and generator time over the resolution](growth.svg)

MobileNets for {classes} classes with random weights, for Cortex-M4. Instructions and cycles
are counted over one inference ([profile.md](profile.md); zero wait states). RAM is the arena, the
stack that was used, and the row of the image and the output that the caller holds. Flash is
weights, tables and code as linked. Generator seconds are processor time of reading, calibrating
with {images} pictures, planning and writing C, in one process, without the C compiler.

"""


@dataclass(frozen=True)
class Cell:
    """What one network takes; sizes in bytes.

    Attributes:
        net: ``v1`` or ``v2``.
        alpha: Width multiplier.
        resolution: Pixels.
        macs: Multiply-adds.
        parameters: Weights and biases.
        instructions: Of one inference.
        cycles: Of one inference, estimated.
        ram: Arena, stack, a row of the image and output.
        flash: Weights, tables and code.
        seconds: Processor time of the generator.
    """

    net: str
    alpha: float
    resolution: int
    macs: int
    parameters: int
    instructions: int
    cycles: int
    ram: int
    flash: int
    seconds: float

    @property
    def name(self) -> str:
        """The network without its resolution."""
        return f"MobileNet{self.net.upper()} {self.alpha:g}"


def page(cells: Sequence[Cell], classes: int, images: int) -> str:
    """The Markdown text."""
    head: tuple[str, ...] = (
        "network",
        "resolution",
        "M multiply-adds",
        "M parameters",
        "M instructions",
    )
    head += ("M cycles", "cycles a multiply-add", "RAM B", "flash B", "generator s")
    rows = (
        (
            *(cell.name, str(cell.resolution), million(cell.macs), million(cell.parameters)),
            *(million(cell.instructions), million(cell.cycles)),
            *(f"{cell.cycles / cell.macs:.2f}", number(cell.ram), number(cell.flash)),
            f"{cell.seconds:.1f}",
        )
        for cell in ordered(cells)
    )
    return _INTRODUCTION.format(classes=classes, images=images) + table(head, rows)


def plot(cells: Sequence[Cell]) -> str:
    """The SVG: a line a network, over the resolution."""
    names = list(dict.fromkeys(cell.name for cell in ordered(cells)))
    places = sorted({cell.resolution for cell in cells})
    found = {(cell.name, cell.resolution): cell for cell in cells}

    def lines(title: str, value: Callable[[Cell], float]) -> Lines:
        return Lines(
            title,
            [
                [value(found[name, place]) if (name, place) in found else None for place in places]
                for name in names
            ],
        )

    return line_plot(
        "Cost over resolution, Cortex-M4, log scale",
        [str(place) for place in places],
        names,
        [
            lines("million cycles", lambda cell: cell.cycles / 1e6),
            lines("RAM in KiB", lambda cell: cell.ram / 1024),
            lines("flash in KiB", lambda cell: cell.flash / 1024),
            lines("generator, seconds", lambda cell: cell.seconds),
        ],
    )


def ordered(cells: Sequence[Cell]) -> list[Cell]:
    """By network, width and resolution."""
    return sorted(cells, key=lambda cell: (cell.net, cell.alpha, cell.resolution))
