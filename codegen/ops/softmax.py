"""Softmax over the channels of each pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from codegen.ir import INT8_MAX, FloatArray, Int8Array, Node, QParams, Shape

OUTPUT = QParams(1.0 / 256.0, -128)
"""Quantization of probabilities where a file says nothing, the one that TFLite uses too."""


@dataclass(frozen=True, eq=False)
class Softmax(Node):
    """``exp(x) / sum(exp(x))`` over the channels.

    The integer face looks exponentials up: with ``e[i] = table[max(q) - q[i]]``,

        q_out = min((steps * e[i] + sum(e) / 2) / sum(e), 127 - zero_point) + zero_point

    in unsigned 32-bit arithmetic, divisions rounding down.

    Attributes:
        table: uint32 [256], ``exp(-scale * d)`` for each difference ``d``, in fixed point; None
            in a float graph.
        steps: Steps of the output that make 1: the reciprocal of its scale, rounded.
        zero_point: Of the output.
    """

    op: ClassVar[str] = "softmax"

    table: NDArray[np.uint32] | None = None
    steps: int = 256
    zero_point: int = OUTPUT.zero_point

    def infer(self, *shapes: Shape) -> Shape:
        return shapes[0]

    @staticmethod
    def make_table(scale: float, channels: int, steps: int = 256) -> NDArray[np.uint32]:
        """The table for an input scale: as many fraction bits as cannot overflow.

        ``steps * e + sum / 2`` stays below 2**32 as ``e <= 2**bits`` and
        ``sum <= channels * 2**bits``.
        """
        bits = 31 - int(np.ceil(np.log2(steps + channels / 2)))
        return np.asarray(np.rint(np.exp(-scale * np.arange(256)) * 2.0**bits), np.uint32)

    def run_float(self, *xs: FloatArray) -> FloatArray:
        e = np.exp(xs[0] - xs[0].max(axis=3, keepdims=True))
        return np.asarray(e / e.sum(axis=3, keepdims=True))

    def run_int(self, xs: tuple[Int8Array, ...], qs: tuple[QParams, ...]) -> Int8Array:
        assert self.table is not None
        x = xs[0].astype(np.int32)
        e = self.table[x.max(axis=3, keepdims=True) - x].astype(np.uint64)
        total = e.sum(axis=3, keepdims=True)
        share = (np.uint64(self.steps) * e + total // 2) // total
        value = np.minimum(share, np.uint64(INT8_MAX - self.zero_point))
        return np.asarray(value.astype(np.int32) + self.zero_point, np.int8)
