"""Per-channel scale and shift: what batch normalization is at inference. Folded by a pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from codegen.ir import FloatArray, Node, Normal, Shape


@dataclass(frozen=True, eq=False)
class Affine(Node):
    """``y = x * scale + shift`` with float64 [C] arrays (folded in double precision).

    ``statistics`` of ``y`` are known where it comes from a batch normalization.
    """

    op: ClassVar[str] = "affine"
    float_only: ClassVar[bool] = True

    scale: np.ndarray[tuple[int], np.dtype[np.float64]]
    shift: np.ndarray[tuple[int], np.dtype[np.float64]]
    statistics: Normal | None = None

    def infer(self, *shapes: Shape) -> Shape:
        return shapes[0]

    @property
    def parameters(self) -> int:
        return self.scale.size + self.shift.size

    def run_float(self, *xs: FloatArray) -> FloatArray:
        return (xs[0] * self.scale + self.shift).astype(np.float32)
