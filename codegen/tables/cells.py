"""What tables are made of: numbers and names as texts, and how a report is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from codegen import console

Document = Mapping[str, Any]

_LONGEST = 28
"""Longest name of a layer or tensor in a table; the end of a name tells more than its beginning."""


def show(
    document: Document, render: Callable[[Document], Iterable[RenderableType]], js: bool
) -> None:
    """Prints a report on stdout, as its JSON document or as tables; warnings go to stderr."""
    if js:
        console.print_json(document)
        return
    screen = console.output()
    for part in render(document):
        screen.print(part)
    for text in document.get("warnings", ()):
        console.warn(text)


def table(
    title: str,
    names: Sequence[str],
    rows: Iterable[Sequence[str]],
    left: Sequence[int],
    gap: int = 2,
) -> Table:
    """A table whose columns ``left`` hold text; ``gap`` spaces lie between two columns."""
    table = Table(
        title=title or None,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 0, 0, gap - 1),
    )
    for index, name in enumerate(names):
        # Text may break when a terminal is narrow; a number never does.
        justify: JustifyMethod = "left" if index in left else "right"
        table.add_column(name, justify=justify, overflow="fold", no_wrap=index not in left)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def byte_table(title: str, parts: Document) -> Table:
    """A table of one row of sizes."""
    return table(title, tuple(parts), [[number(value) for value in parts.values()]], left=())


def number(value: int | None) -> str:
    """With a comma between thousands; a dash for None."""
    return "-" if value is None else f"{value:,}"


def millions(value: int) -> str:
    """A number in millions, if it has some."""
    return f"{value / 1e6:,.2f} M" if value >= 1e6 else number(value)


def percent(value: float | None) -> str:
    """Two digits behind the point; a dash for None."""
    return "-" if value is None else f"{value:.2f}"


def shape_text(shape: Sequence[int] | str) -> str:
    """A shape as 8x8x3; a text as it is."""
    return shape if isinstance(shape, str) else "x".join(str(size) for size in shape)


def short(name: str) -> str:
    """The end of a long name."""
    return name if len(name) <= _LONGEST else "..." + name[3 - _LONGEST :]
