"""Element-wise addition of two activations: the residual connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from codegen.ir import (
    INT8_MAX,
    INT8_MIN,
    NO_BOUNDS,
    Bounds,
    FloatArray,
    Int8Array,
    Node,
    QParams,
    Shape,
)


@dataclass(frozen=True)
class AddRequant:
    """``q = clamp(z + ((qa - za) * ka + (qb - zb) * kb + 2**(shift - 1)) >> shift, lo, hi)``."""

    ka: int
    kb: int
    shift: int
    zero_point: int
    lo: int = INT8_MIN
    hi: int = INT8_MAX


@dataclass(frozen=True, eq=False)
class Add(Node):
    """Sum of two tensors of one shape, then a clip."""

    op: ClassVar[str] = "add"

    bounds: Bounds = NO_BOUNDS
    requant: AddRequant | None = None

    def infer(self, *shapes: Shape) -> Shape:
        if shapes[0] != shapes[1]:
            raise ValueError(f"Add of {shapes[0]} and {shapes[1]}")
        return shapes[0]

    def run_float(self, *xs: FloatArray) -> FloatArray:
        return np.asarray(np.clip(xs[0] + xs[1], self.bounds.lo, self.bounds.hi), np.float32)

    def run_int(self, xs: tuple[Int8Array, ...], qs: tuple[QParams, ...]) -> Int8Array:
        r = self.requant
        assert r is not None
        a = (xs[0].astype(np.int32) - qs[0].zero_point) * r.ka
        b = (xs[1].astype(np.int32) - qs[1].zero_point) * r.kb
        value = r.zero_point + ((a + b + (1 << (r.shift - 1))) >> r.shift)
        return np.asarray(np.clip(value, r.lo, r.hi), np.int8)
