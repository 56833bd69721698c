"""Three kinds of small plots as SVG: text stays text, the same numbers give the same bytes.

Colours are for light and dark pages; a plot brings its own background.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

_STYLE = """\
<style>
.back { fill: #ffffff } .grid { stroke: #d0d7de } .muted { fill: #59636e }
text { font: 12px sans-serif; fill: #1f2328 } .title { font-weight: bold }
.s0 { color: #0969da } .s1 { color: #bf3989 } .s2 { color: #bc4c00 } .s3 { color: #1a7f37 }
.s4 { color: #8250df } .s5 { color: #818b98 }
.dot { fill: currentColor } .ring { fill: none; stroke: currentColor; stroke-width: 2 }
.line { fill: none; stroke: currentColor; stroke-width: 2 } .own { font-weight: bold }
@media (prefers-color-scheme: dark) {
.back { fill: #0d1117 } .grid { stroke: #30363d } .muted { fill: #9198a1 } text { fill: #f0f6fc }
.s0 { color: #58a6ff } .s1 { color: #f778ba } .s2 { color: #f0883e } .s3 { color: #3fb950 }
.s4 { color: #bc8cff } .s5 { color: #9198a1 }
}
</style>"""
_COLOURS = 6
_ROW = 22
_LABEL = 280
_PANEL = 240
_VALUE = 62
_TOP = 52


@dataclass(frozen=True)
class Dots:
    """A panel of a dot plot, on a logarithmic scale.

    Attributes:
        title: With the unit.
        values: One a row; None leaves the row empty.
    """

    title: str
    values: Sequence[float | None]


@dataclass(frozen=True)
class DotRow:
    """A row of a dot plot: its label, whether it is ours, and whether it was measured here."""

    label: str
    own: bool
    measured: bool


@dataclass(frozen=True)
class Lines:
    """A panel of a line plot, logarithmic upwards.

    Attributes:
        title: With the unit.
        values: One sequence a line, one value a place; None leaves a gap at an end.
    """

    title: str
    values: Sequence[Sequence[float | None]]


def dot_plot(title: str, rows: Sequence[DotRow], panels: Sequence[Dots]) -> str:
    """A row a thing, a panel a quantity; filled dots were measured, rings are recorded."""
    height = _TOP + _ROW * len(rows) + 12
    parts = [_text(12, 20, title, "title")]
    for i, row in enumerate(rows):
        parts.append(_text(12, _row_y(i) + 4, row.label, "own" if row.own else ""))
    for number, panel in enumerate(panels):
        left = _LABEL + number * (_PANEL + _VALUE)
        parts += _dot_panel(panel, rows, left, height)
    return _document(_LABEL + len(panels) * (_PANEL + _VALUE), height, parts)


def _dot_panel(panel: Dots, rows: Sequence[DotRow], left: float, height: float) -> Iterable[str]:
    known = [value for value in panel.values if value]
    low, high = _decades(known)
    yield _text(left, 42, panel.title, "muted")
    for power in range(low, high + 1):
        x = left + _PANEL * (power - low) / (high - low)
        yield f'<path class="grid" d="M{x:.1f} {_TOP - 4}V{height - 10}"/>'
    for i, (value, row) in enumerate(zip(panel.values, rows, strict=True)):
        if value:
            x = left + _PANEL * (math.log10(value) - low) / (high - low)
            colour = "s0" if row.own else "s5" if not row.measured else "s2"
            shape = "dot" if row.measured else "ring"
            yield f'<circle class="{colour} {shape}" cx="{x:.1f}" cy="{_row_y(i)}" r="5"/>'
            yield _text(x + 10, _row_y(i) + 4, short(value), "own" if row.own else "muted")


def _row_y(number: int) -> int:
    return _TOP + _ROW * number + _ROW // 2


def line_plot(
    title: str, places: Sequence[str], names: Sequence[str], panels: Sequence[Lines]
) -> str:
    """Panels side by side, two in a row, with a line for each of ``names``."""
    wide, tall = 330, 250
    lines = -(-len(panels) // 2)
    parts = [_text(12, 20, title, "title")]
    for i, name in enumerate(names):
        x = 12 + i * 152
        parts.append(f'<path class="line s{i % _COLOURS}" d="M{x} 38h18"/>')
        parts.append(_text(x + 24, 42, name))
    for number, panel in enumerate(panels):
        left, top = 52 + number % 2 * (wide + 60), 84 + number // 2 * tall
        parts += _line_panel(panel, places, left, top, wide - 70, tall - 90)
    return _document(2 * (wide + 60), 60 + lines * tall, parts)


def _line_panel(
    panel: Lines, places: Sequence[str], left: float, top: float, width: float, height: float
) -> Iterable[str]:
    known = [value for line in panel.values for value in line if value]
    low, high = _decades(known)
    yield _text(left - 40, top - 14, panel.title, "muted")
    for power in range(low, high + 1):
        y = top + height * (high - power) / (high - low)
        yield f'<path class="grid" d="M{left} {y:.1f}h{width}"/>'
        yield _text(left - 8, y + 4, short(10.0**power), "muted", "end")
    step = width / max(1, len(places) - 1)
    for i, place in enumerate(places):
        yield _text(left + i * step, top + height + 18, place, "muted", "middle")
    for number, line in enumerate(panel.values):
        points = [
            (left + i * step, top + height * (high - math.log10(value)) / (high - low))
            for i, value in enumerate(line)
            if value
        ]
        colour = f"s{number % _COLOURS}"
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        yield f'<polyline class="line {colour}" points="{path}"/>'
        for x, y in points:
            yield f'<circle class="dot {colour}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>'


@dataclass(frozen=True)
class Point:
    """A point of a scatter plot.

    Attributes:
        x: Above 0.
        y: Above 0.
        label: Written beside it.
        filled: A dot and not a ring.
        line: It lies on the line that is drawn through such points.
    """

    x: float
    y: float
    label: str
    filled: bool
    line: bool


def scatter_plot(
    title: str, across: str, upwards: str, panels: Sequence[tuple[str, Sequence[Point]]]
) -> str:
    """Panels of points side by side, two in a row, logarithmic both ways.

    Args:
        title: Of the plot.
        across: What x is, with its unit.
        upwards: What y is, with its unit.
        panels: Title and points of each.
    """
    wide, tall = 400, 340
    lines = -(-len(panels) // 2)
    parts = [_text(12, 20, title, "title"), _text(12, 42, f"across: {across}; upwards: {upwards}")]
    for number, (name, points) in enumerate(panels):
        left, top = 56 + number % 2 * (wide + 60), 90 + number // 2 * tall
        parts.append(_text(left - 40, top - 16, name, "own"))
        parts += _scatter_panel(points, left, top, wide - 70, tall - 90)
    return _document(min(2, len(panels)) * (wide + 60), 60 + lines * tall, parts)


def _scatter_panel(
    points: Sequence[Point], left: float, top: float, width: float, height: float
) -> Iterable[str]:
    (low_x, high_x), (low_y, high_y) = (
        _decades([point.x for point in points]),
        _decades([point.y for point in points]),
    )
    for power in range(low_x, high_x + 1):
        x = left + width * (power - low_x) / (high_x - low_x)
        yield f'<path class="grid" d="M{x:.1f} {top}v{height}"/>'
        yield _text(x, top + height + 18, short(10.0**power), "muted", "middle")
    for power in range(low_y, high_y + 1):
        y = top + height * (high_y - power) / (high_y - low_y)
        yield f'<path class="grid" d="M{left} {y:.1f}h{width}"/>'
        yield _text(left - 8, y + 4, short(10.0**power), "muted", "end")

    def place(point: Point) -> tuple[float, float]:
        x = left + width * (math.log10(point.x) - low_x) / (high_x - low_x)
        return x, top + height * (high_y - math.log10(point.y)) / (high_y - low_y)

    path = " ".join("{:.1f},{:.1f}".format(*place(p)) for p in sorted(points, key=_x) if p.line)
    yield f'<polyline class="line s0" points="{path}"/>'
    for point in points:
        x, y = place(point)
        colour, shape = "s0" if point.line else "s5", "dot" if point.filled else "ring"
        yield f'<circle class="{colour} {shape}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
        yield _text(x + 7, y + 4, point.label, "own" if point.line else "muted")


def _x(point: Point) -> float:
    return point.x


def _decades(values: Sequence[float]) -> tuple[int, int]:
    """Powers of ten around positive values, at least one apart."""
    if not values:
        return 0, 1
    low = math.floor(math.log10(min(values)))
    return low, max(low + 1, math.ceil(math.log10(max(values))))


def short(value: float) -> str:
    """A number with three digits, or as many as it has before its point."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _text(x: float, y: float, text: str, style: str = "", anchor: str = "") -> str:
    attributes = f' class="{style}"' if style else ""
    attributes += f' text-anchor="{anchor}"' if anchor else ""
    return f'<text x="{x:g}" y="{y:g}"{attributes}>{escape(text)}</text>'


def _document(width: float, height: float, parts: Iterable[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}">'
    back = f'<rect class="back" width="{width:g}" height="{height:g}" rx="6"/>'
    return "\n".join((head, _STYLE, back, *parts, "</svg>", ""))
