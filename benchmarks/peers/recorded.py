"""The figures of recorded.toml, each with its source."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = Path(__file__).with_name("recorded.toml")


@dataclass(frozen=True)
class Figure:
    """What somebody measured elsewhere or earlier; None where it is not known.

    Attributes:
        who: The generator or runtime.
        source: Where the figure is from.
        model: The network, where it is not Visual Wake Words.
        board: Board, core and clock, where it ran on one.
        instructions: Of one inference.
        cycles: Of one inference.
        cores: Million instructions and cycles on other cores.
        ram: Bytes.
        ram_kib: KiB, as published.
        weights_kib: KiB of flash, as published.
        milliseconds: Of one inference.
    """

    who: str
    source: str
    model: str = ""
    board: str = ""
    instructions: int | None = None
    cycles: int | None = None
    cores: Mapping[str, Sequence[float]] = field(default_factory=dict)
    ram: int | None = None
    ram_kib: float | None = None
    weights_kib: float | None = None
    milliseconds: float | None = None


@dataclass(frozen=True)
class Recorded:
    """The figures: counted like ours, measured on boards, and memory of other networks."""

    counted: tuple[Figure, ...]
    board: tuple[Figure, ...]
    memory: tuple[Figure, ...]


def read_recorded(path: Path = FILE) -> Recorded:
    """Reads the file.

    Raises:
        ValueError: An entry lacks its source or has a key that is not known.
    """
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    return Recorded(*(_figures(document, kind) for kind in ("counted", "board", "memory")))


def _figures(document: Mapping[str, Any], kind: str) -> tuple[Figure, ...]:
    try:
        found = tuple(Figure(**entry) for entry in document[kind])
    except TypeError as error:
        raise ValueError(f"{kind}: {error}") from error
    for figure in found:
        if not figure.source.strip():
            raise ValueError(f"{kind}: {figure.who} has no source")
    return found
