"""What a kernel form is: what it accepts, how it walks memory, how its constants are packed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.ir import Graph, Node, Shape

Tiles = tuple[tuple[int, int, int], ...]
Parameters = dict[str, int | Tiles]

DISJOINT = 1 << 60
"""Safe distance of a kernel whose output must not touch its input."""


@dataclass(frozen=True, eq=False)
class CArray:
    """A constant array of the generated C.

    Attributes:
        role: What it holds: ``weight``, ``bias``, ``multiplier``, ``table``.
        values: int8, int32 or uint32, any shape; written in memory order.
    """

    role: str
    values: NDArray[Any]

    @property
    def is_weight(self) -> bool:
        """True for the int8 weights, which boards may keep in another memory than the tables."""
        return self.role == "weight"


@dataclass(frozen=True, eq=False)
class KernelCall:
    """A kernel made for one layer.

    Attributes:
        parameters: Numbers that the template writes into the function; layers with equal ones
            share a function.
        arrays: Constants that are given to the function, in the order of its parameters.
        at_once: True if one call makes all rows, False if it is called for each row.
    """

    parameters: Parameters
    arrays: tuple[CArray, ...] = ()
    at_once: bool = False


@dataclass(frozen=True)
class RowPlan:
    """How the rows of a layer's tensors are kept and made.

    Attributes:
        slots_in: For each input the rows kept, or 0 if all are.
        slots_out: Rows kept of the output, or 0 if all are.
        whole: True if nothing streams: the layer may be computed at once.
    """

    slots_in: tuple[int, ...]
    slots_out: int
    whole: bool


class Kernel:
    """A form of a kernel. One instance each, in ``codegen.kernels.FAMILIES``.

    Attributes:
        family: Folder of its template below templates/kernels/.
        name: Its template, and the first part of its functions' names.
        op: The operator it computes.
    """

    family: str
    name: str
    op: str

    def refuses(self, graph: Graph, node: Node) -> str | None:
        """Why this form cannot compute ``node``, or None if it can."""
        return None

    def safe_distance(self, graph: Graph, node: Node, which: int) -> int:
        """How many bytes the output must start below input ``which`` so that both may overlap.

        The kernel then never writes a byte of the input that is still to be read.
        ``DISJOINT`` if there is no such distance.
        """
        return DISJOINT

    def call(self, graph: Graph, node: Node, rows: RowPlan) -> KernelCall:
        """Constants and parameters for ``node``."""
        raise NotImplementedError


def raster_distance(
    first_read: NDArray[np.int64], pixel_bytes: int, pixels_per_step: int = 1
) -> int:
    """Safe distance of a kernel that computes output pixels in raster order.

    Within a step all inputs of its pixels may be read until the last byte is written.

    Args:
        first_read: int64 [pixels], lowest input byte that each output pixel reads.
        pixel_bytes: Output bytes a pixel.
        pixels_per_step: Output pixels computed together.
    """
    pixels = len(first_read)
    still_read = np.minimum.accumulate(first_read[::-1])[::-1]
    starts = np.arange(0, pixels, pixels_per_step)
    ends = np.minimum(starts + pixels_per_step, pixels) * pixel_bytes
    return int((ends - still_read[starts]).max())


def window_first_read(
    shape: Shape, out: Shape, stride: tuple[int, int], pad_top: int, pad_left: int
) -> NDArray[np.int64]:
    """Lowest input byte of each window: int64 [pixels], for ``raster_distance``."""
    height, width, channels = shape
    rows = np.clip(np.arange(out[0]) * stride[0] - pad_top, 0, height - 1)
    columns = np.clip(np.arange(out[1]) * stride[1] - pad_left, 0, width - 1)
    first = (rows[:, None] * width + columns[None, :]) * channels
    return first.reshape(-1).astype(np.int64)
