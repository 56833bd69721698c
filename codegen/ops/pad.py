"""Constant padding that no layer after it can take over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from codegen.ir import INT8_MAX, INT8_MIN, FloatArray, Int8Array, Node, Pads, QParams, Shape
from codegen.ops.window import pad


@dataclass(frozen=True, eq=False)
class Pad(Node):
    """Rows and columns of one real ``value`` around an image; input and output share a scale."""

    op: ClassVar[str] = "pad"

    pads: Pads
    value: float = 0.0

    def infer(self, *shapes: Shape) -> Shape:
        height, width, channels = shapes[0]
        pads = self.pads
        return height + pads.top + pads.bottom, width + pads.left + pads.right, channels

    def fill(self, q: QParams) -> int:
        """The int8 value of the padding."""
        return int(np.clip(np.rint(self.value / q.scale) + q.zero_point, INT8_MIN, INT8_MAX))

    def run_float(self, *xs: FloatArray) -> FloatArray:
        return pad(xs[0], self.pads, self.value)

    def run_int(self, xs: tuple[Int8Array, ...], qs: tuple[QParams, ...]) -> Int8Array:
        return pad(xs[0], self.pads, self.fill(qs[0]))
