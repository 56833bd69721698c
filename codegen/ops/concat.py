"""Concatenation along the channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from codegen.ir import FloatArray, Int8Array, Node, QParams, Requant, Shape
from codegen.quant.fixed import requantize


@dataclass(frozen=True, eq=False)
class Concat(Node):
    """The channels of several maps of one size, one input after the other.

    Attributes:
        requants: For each input how it is brought to the output's scale, with one multiplier;
            None where it is copied. Empty in a float graph.
    """

    op: ClassVar[str] = "concat"

    requants: tuple[Requant | None, ...] = ()

    def infer(self, *shapes: Shape) -> Shape:
        sizes = {shape[:2] for shape in shapes}
        if len(sizes) != 1:
            raise ValueError(f"Concat of maps of {sorted(sizes)}")
        height, width = sizes.pop()
        return height, width, sum(shape[2] for shape in shapes)

    def run_float(self, *xs: FloatArray) -> FloatArray:
        return np.concatenate(xs, axis=3)

    def run_int(self, xs: tuple[Int8Array, ...], qs: tuple[QParams, ...]) -> Int8Array:
        parts = [
            x if r is None else requantize(x.astype(np.float32) - np.float32(q.zero_point), r)
            for x, q, r in zip(xs, qs, self.requants, strict=True)
        ]
        return np.concatenate(parts, axis=3)
