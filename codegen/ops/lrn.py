"""Local response normalization over neighbouring channels (AlexNet, GoogLeNet)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from codegen.ir import FloatArray, Int8Array, Node, QParams, Requant, Shape
from codegen.quant.fixed import requantize_exactly

Number = TypeVar("Number", bound=np.generic)


@dataclass(frozen=True, eq=False)
class Lrn(Node):
    """``x / (bias + alpha / size * s) ** beta``, s the sum of squares over ``size`` channels.

    In integers ``s`` is the sum of ``(q - z)**2``, and ``(q - z)`` is the accumulator, whose
    multiplier is ``requant.multiplier[s >> shift]``.

    Attributes:
        size: Channels that are summed up: ``(size - 1) // 2`` before, ``size // 2`` behind.
        alpha: As above.
        beta: As above.
        bias: As above.
        shift: Of the sum of squares; in an integer graph.
        requant: With one multiplier for each entry of the table; None in a float graph.
    """

    op: ClassVar[str] = "lrn"

    size: int
    alpha: float = 1e-4
    beta: float = 0.75
    bias: float = 1.0
    shift: int = 0
    requant: Requant | None = None

    @property
    def before(self) -> int:
        """Channels before the one in the middle."""
        return (self.size - 1) // 2

    @property
    def behind(self) -> int:
        """Channels behind the one in the middle."""
        return self.size // 2

    def infer(self, *shapes: Shape) -> Shape:
        return shapes[0]

    def sums(self, squares: NDArray[Number]) -> NDArray[Number]:
        """Sums over neighbouring channels: [..., C] -> [..., C]."""
        channels = squares.shape[-1]
        ends = [(0, 0)] * (squares.ndim - 1)
        padded = np.pad(squares, [*ends, (self.before, self.behind)])
        parts = [padded[..., i : i + channels] for i in range(self.size)]
        return np.asarray(sum(parts[1:], parts[0]))

    def factor(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """What a value is multiplied by, for sums of squares of real values."""
        return np.asarray((self.bias + self.alpha / self.size * sums) ** -self.beta)

    def run_float(self, *xs: FloatArray) -> FloatArray:
        sums = self.sums(xs[0].astype(np.float64) ** 2)
        return np.asarray(xs[0] * self.factor(sums), np.float32)

    def run_int(self, xs: tuple[Int8Array, ...], qs: tuple[QParams, ...]) -> Int8Array:
        r = self.requant
        assert r is not None
        x = xs[0].astype(np.int32) - qs[0].zero_point
        multiplier = r.multiplier[self.sums(x * x) >> self.shift]
        by_value = Requant(multiplier, r.shift, r.zero_point, r.lo, r.hi)
        return requantize_exactly(x.astype(np.int64), by_value)
