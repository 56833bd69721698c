"""Tables and numbers of the pages in docs/."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def number(value: int | None) -> str:
    """With commas, or a dash."""
    return "-" if value is None else f"{value:,}"


def million(value: int | None) -> str:
    """In millions, or a dash."""
    return "-" if value is None else f"{value / 1e6:.{2 if value < 1e7 else 1}f}"
