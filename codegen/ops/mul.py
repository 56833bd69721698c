"""Product of two activations, value by value or with one factor a channel (squeeze and excite)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from codegen.ir import (
    NO_BOUNDS,
    Bounds,
    FloatArray,
    Int8Array,
    Node,
    QParams,
    Requant,
    Shape,
)
from codegen.quant.fixed import requantize


@dataclass(frozen=True, eq=False)
class Mul(Node):
    """Product of two tensors of one shape, or of a map and a vector, then a clip.

    The accumulator is ``(qa - za) * (qb - zb)``, with one multiplier for all.

    Attributes:
        by_channel: The second input is one pixel, whose channels multiply those of every pixel.
        bounds: Clip of the result in real numbers; in an integer graph part of ``requant``.
        requant: None in a float graph.
    """

    op: ClassVar[str] = "mul"

    by_channel: bool = False
    bounds: Bounds = NO_BOUNDS
    requant: Requant | None = None

    def infer(self, *shapes: Shape) -> Shape:
        a, b = shapes
        if b != ((1, 1, a[2]) if self.by_channel else a):
            raise ValueError(f"Mul of {a} and {b}")
        return a

    def run_float(self, *xs: FloatArray) -> FloatArray:
        return np.asarray(np.clip(xs[0] * xs[1], self.bounds.lo, self.bounds.hi), np.float32)

    def run_int(self, xs: tuple[Int8Array, ...], qs: tuple[QParams, ...]) -> Int8Array:
        assert self.requant is not None
        a, b = (
            x.astype(np.float32) - np.float32(q.zero_point) for x, q in zip(xs, qs, strict=True)
        )
        return requantize(a * b, self.requant)
