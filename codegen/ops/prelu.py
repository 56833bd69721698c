"""PRelu with a slope for each channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from codegen.ir import FloatArray, Int8Array, Node, QParams, Requant, Shape
from codegen.quant.fixed import requantize_exactly


@dataclass(frozen=True, eq=False)
class PRelu(Node):
    """``x`` where it is not negative, ``slope * x`` where it is.

    The accumulator is ``q - z``; what is negative has other multipliers than the rest.

    Attributes:
        slope: [C], float32; in an integer graph int32, the multipliers of negative values, which
            may be negative themselves.
        requant: With the multiplier of the other values; None in a float graph.
    """

    op: ClassVar[str] = "prelu"

    slope: NDArray[Any]
    requant: Requant | None = None

    def infer(self, *shapes: Shape) -> Shape:
        if shapes[0][2] != len(self.slope):
            raise ValueError(f"{len(self.slope)} slopes for {shapes[0][2]} channels")
        return shapes[0]

    @property
    def parameters(self) -> int:
        return self.slope.size

    def run_float(self, *xs: FloatArray) -> FloatArray:
        return np.asarray(np.where(xs[0] < 0, xs[0] * self.slope, xs[0]), np.float32)

    def run_int(self, xs: tuple[Int8Array, ...], qs: tuple[QParams, ...]) -> Int8Array:
        assert self.requant is not None
        acc = xs[0].astype(np.int64) - qs[0].zero_point
        return self.requantized(acc, self.requant)

    def requantized(self, acc: NDArray[np.int64], requant: Requant) -> Int8Array:
        """The outputs for accumulators [..., C]."""
        positive = requantize_exactly(acc, requant)
        slopes = Requant(self.slope, requant.shift, requant.zero_point, requant.lo, requant.hi)
        return np.where(acc < 0, requantize_exactly(acc, slopes), positive)
