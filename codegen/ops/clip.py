"""Relu, ReLU6 and Clip. Fused into the layer before it by a pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from codegen.ir import Bounds, FloatArray, Node, Shape


@dataclass(frozen=True, eq=False)
class Clip(Node):
    """``y = min(max(x, lo), hi)`` in real numbers."""

    op: ClassVar[str] = "clip"
    float_only: ClassVar[bool] = True

    bounds: Bounds

    def infer(self, *shapes: Shape) -> Shape:
        return shapes[0]

    def run_float(self, *xs: FloatArray) -> FloatArray:
        return np.clip(xs[0], self.bounds.lo, self.bounds.hi)
