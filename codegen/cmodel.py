"""All that the generated files contain, as the plain strings and numbers that templates place."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.ir import Shape
from codegen.kernels.base import (
    Parameters,
)

_CTYPES = {
    np.dtype(np.int8): "int8_t",
    np.dtype(np.int16): "int16_t",
    np.dtype(np.int32): "int32_t",
    np.dtype(np.uint32): "uint32_t",
}
_NUMBERS_A_LINE = 24
WEIGHTS, TABLES = "WEIGHTS", "TABLES"
"""Kinds of constants: macros of the generated C."""
_READS_DIGITS = 6
TEXT_LIMIT = 8 << 20
"""Bytes of weights beyond which they are not written as text."""


@dataclass(frozen=True, eq=False)
class ConstArray:
    """A constant array: ``const CTYPE NAME[LENGTH] SECTION = { LINES };``.

    ``reads`` is how often an inference reads each byte, at most.
    """

    name: str
    values: NDArray[Any]
    kind: str
    reads: int

    @property
    def section(self) -> str:
        """The macro that puts it into its section."""
        if self.kind == TABLES:
            return TABLES
        return f"{WEIGHTS}({self.reads_text}, {self.name})"

    @property
    def reads_text(self) -> str:
        """``reads`` as it stands in the section's name, where it sorts as text."""
        return f"{self.reads:0{_READS_DIGITS}d}"

    @property
    def ctype(self) -> str:
        """C type of an element."""
        return _CTYPES[self.values.dtype]

    @property
    def length(self) -> int:
        """Number of elements."""
        return self.values.size

    @property
    def bytes(self) -> int:
        """Bytes in flash."""
        return self.values.nbytes

    @property
    def lines(self) -> tuple[str, ...]:
        """The elements as text."""
        return lines_of([str(value) for value in self.values.tolist()], _NUMBERS_A_LINE)


@dataclass(frozen=True)
class Function:
    """A kernel function: its template and the numbers written into it.

    With ``assembly`` there is a second template, in assembly.
    """

    name: str
    template: str
    parameters: Parameters
    assembly: bool


@dataclass(frozen=True)
class Call:
    """The call of a kernel function, for the layer ``layer`` of the graph.

    ``arguments`` may use ``row``, the number of the row to be made.
    """

    layer: int
    function: str
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class StageCalls:
    """What makes a row of a stage, or with ``at_once`` all rows.

    ``reports`` are the statements by which the checking build tells the rows that were made, and
    ``written`` the three stretches of the arena that the stage may write to.
    """

    index: int
    comment: str
    calls: tuple[Call, ...]
    reports: tuple[str, ...]
    written: tuple[str, ...]
    rows: int
    at_once: bool


@dataclass(frozen=True)
class Stretch:
    """A segment after the first: entries of the table of runs, or one stage on whole tensors."""

    first_run: int
    end_run: int
    stage: StageCalls | None


@dataclass(frozen=True)
class RunTable:
    """The table that streaming follows: pairs of stage and row.

    ``marker`` in place of a stage says that the next row of the image must come first.
    """

    ctype: str
    marker: int
    lines: tuple[str, ...]
    length: int


@dataclass(frozen=True)
class Port:
    """The network's input or output, for the header."""

    shape: Shape
    bytes: int
    scale: str
    zero_point: int


@dataclass(frozen=True)
class CModel:
    """All that the generated files contain."""

    name: str
    macro: str
    input: Port
    output: Port
    arena_bytes: int
    state_offset: int
    input_offset: int
    input_slots: int
    functions: tuple[Function, ...]
    arrays: tuple[ConstArray, ...]
    streamed: tuple[StageCalls, ...]
    stretches: tuple[Stretch, ...]
    runs: RunTable | None
    longest_row: int
    streams_image: bool
    pixel_tables: ConstArray | None
    channels: str
    classes: tuple[str, ...]
    layers: int
    stages: int

    @property
    def all_arrays(self) -> tuple[ConstArray, ...]:
        """Constants of the layers and of the input conversion."""
        return self.arrays + ((self.pixel_tables,) if self.pixel_tables else ())

    @functools.cached_property
    def binary(self) -> tuple[tuple[ConstArray, int], ...]:
        """The arrays in a binary file, each with its offset; none if all are small."""
        weights = [array for array in self.arrays if array.kind == WEIGHTS]
        if sum(array.bytes for array in weights) <= TEXT_LIMIT:
            return ()
        ends = itertools.accumulate((-(-array.bytes // 4) * 4 for array in weights), initial=0)
        return tuple(zip(weights, ends, strict=False))

    @property
    def text_arrays(self) -> tuple[ConstArray, ...]:
        """The arrays that are written as C."""
        binary = {array.name for array, _ in self.binary}
        return tuple(array for array in self.all_arrays if array.name not in binary)


def lines_of(texts: list[str], a_line: int) -> tuple[str, ...]:
    """``texts`` with commas behind them, so many to a line."""
    return tuple(
        ", ".join(texts[start : start + a_line]) + "," for start in range(0, len(texts), a_line)
    )
