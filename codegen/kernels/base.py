"""What a kernel form is: what it accepts, how it walks memory, how its constants are packed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.ir import Graph, Node, Shape
from codegen.kernels.layout import Planar

Tiles = tuple[tuple[int, int, int], ...]
Parameters = dict[str, Any]

DISJOINT = 1 << 60
"""Safe distance of a kernel whose output must not touch its input."""


@dataclass(frozen=True, eq=False)
class CArray:
    """A constant array of the generated C.

    Attributes:
        role: What it holds: ``weight``, ``bias``, ``multiplier``, ``table``.
        values: int8, int16, int32 or uint32, any shape; written in memory order.
    """

    role: str
    values: NDArray[Any]

    @property
    def is_weight(self) -> bool:
        """True for the weights, which boards may keep in another memory than the tables."""
        return self.role.startswith("weight")


UNROLL = 16
"""Steps that the body of an inner loop has at most: about 700 bytes, for small caches."""

_CODE = 512
"""Bytes of a function in C, an estimate."""

INPUTS, OUTPUT, SCRATCH = "inputs", "output", "scratch"
ROW = "row"
OUTPUT_ROW = "output row"
"""Operands of a call: all input tensors, the output tensor, the stage's scratch memory, the number
of the row, and the row of the output that is to be made."""


@dataclass(frozen=True, eq=False)
class KernelCall:
    """The call of a function made for one layer.

    Attributes:
        parameters: Numbers that the template writes into the function; layers with equal ones
            share a function.
        arrays: Constants that are given to the function, after its operands.
        at_once: True if one call makes all rows, False if it is called for each row.
        template: Name of the function's template; empty for the kernel's name.
        label: Part of the function's name that tells its shape; empty for what the parameters say.
        layer: Which of the stage's layers the work belongs to.
        operands: What the function is given.
        offset: Bytes behind the first of the row of the output, for ``OUTPUT_ROW``.
        assembly: True if there is a template in assembly, too, for cores that have the
            instructions; the one in C is then its portable twin.
    """

    parameters: Parameters
    arrays: tuple[CArray, ...] = ()
    at_once: bool = False
    template: str = ""
    label: str = ""
    layer: int = 0
    operands: tuple[str, ...] = (INPUTS, OUTPUT, ROW)
    offset: int = 0
    assembly: bool = False


@dataclass(frozen=True)
class Variant:
    """One of several ways in which a kernel can do the same work.

    Attributes:
        name: Unique within the kernel.
        cycles: Estimate for one image.
        flash_bytes: Constants and code.
    """

    name: str
    cycles: int
    flash_bytes: int


@dataclass(frozen=True)
class RowPlan:
    """How the rows of a stage's tensors are kept and made.

    Attributes:
        slots_in: For each input the rows kept, or 0 if all are.
        slots_out: Rows kept of the output, or 0 if all are.
        whole: True if nothing streams: the stage may be computed at once.
        variant: Name of the variant that was chosen, where there are any.
        unroll: Steps that the body of an inner loop has at most.
        dual_issue: The core issues two instructions together.
        planar_out: The layout of the output if it is planar.
    """

    slots_in: tuple[int, ...]
    slots_out: int
    whole: bool
    variant: str = ""
    unroll: int = UNROLL
    dual_issue: bool = False
    planar_out: Planar | None = None


class Kernel:
    """A form of a kernel. One instance each, in ``codegen.kernels.FAMILIES``.

    Attributes:
        family: Folder of its template below templates/kernels/.
        name: Its template, and the first part of its functions' names.
        op: The operator it computes, or begins with.
        gathers: True if it reads all that a row of the output needs before it writes that row.
        fuses: True if it computes more than one layer.
    """

    family: str
    name: str
    op: str
    gathers: bool = False
    fuses: bool = False

    def layers(self, graph: Graph, node: Node) -> tuple[Node, ...]:
        """The layers that it computes together, beginning with ``node``."""
        return (node,)

    def refuses(self, graph: Graph, node: Node) -> str | None:
        """Why this form cannot compute ``node``, or None if it can."""
        return None

    def planar_input(self, graph: Graph, node: Node) -> Planar | None:
        """The layout in which it reads its input if that is not NHWC."""
        return None

    def flash_bytes(self, graph: Graph, node: Node) -> int:
        """Constants and code beside those of the variants, an estimate."""
        layers = self.layers(graph, node)
        return _CODE + sum(array.nbytes for layer in layers for _, array in layer.arrays())

    def variants(self, graph: Graph, node: Node) -> tuple[Variant, ...]:
        """The ways to choose from, the fastest first; empty if there is only one."""
        return ()

    def scratch_bytes(self, graph: Graph, node: Node, ring: bool, whole: bool) -> int:
        """Bytes of memory that it needs while it makes a row.

        Args:
            graph: The graph.
            node: The first layer.
            ring: Only some rows of its input are kept.
            whole: Nothing streams: it may be computed at once.
        """
        return 0

    def safe_distance(self, graph: Graph, node: Node, which: int) -> int:
        """How many bytes the output must start below input ``which`` so that both may overlap.

        The kernel then never writes a byte of the input that is still to be read.
        ``DISJOINT`` if there is no such distance. Not asked if ``gathers``.
        """
        return DISJOINT

    def calls(self, graph: Graph, node: Node, rows: RowPlan) -> tuple[KernelCall, ...]:
        """The functions to call for a row (or for all) of the layers that begin with ``node``."""
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
