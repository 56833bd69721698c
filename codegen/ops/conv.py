"""Convolution over all input channels; the fully connected layer is the case of a whole map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from codegen.ir import FloatArray, Int8Array, QParams
from codegen.ops.convolution import Convolution
from codegen.ops.window import Size, im2col, pad
from codegen.quant.fixed import FLOAT32_EXACT, requantize


@dataclass(frozen=True, eq=False)
class Conv(Convolution):
    """2-D convolution, dilation 1, groups 1.

    Attributes:
        weight: [O, KH, KW, I].
    """

    op: ClassVar[str] = "conv"

    @property
    def kernel(self) -> Size:
        """Rows and columns of the kernel."""
        return self.weight.shape[1], self.weight.shape[2]

    @property
    def pointwise(self) -> bool:
        """True for 1x1, stride 1: a matrix product over the pixels."""
        return self.kernel == (1, 1) and self.stride == (1, 1) and not self.pads.any

    def run_float(self, *xs: FloatArray) -> FloatArray:
        columns = im2col(pad(xs[0], self.pads), self.kernel, self.stride)
        weight = self.weight.reshape(len(self.weight), -1)
        y = np.clip(columns @ weight.T + self.bias, self.bounds.lo, self.bounds.hi)
        return np.asarray(y, np.float32)

    def run_int(self, xs: tuple[Int8Array, ...], qs: tuple[QParams, ...]) -> Int8Array:
        assert self.requant is not None
        weight = self.weight.reshape(len(self.weight), -1)
        worst = np.abs(weight.astype(np.int32)).sum(axis=1).max() * qs[0].largest
        dtype = np.float32 if worst < FLOAT32_EXACT else np.float64
        x = xs[0].astype(dtype) - dtype(qs[0].zero_point)
        columns = im2col(pad(x, self.pads), self.kernel, self.stride)
        shape = (*columns.shape[:3], len(weight))
        acc = columns.reshape(-1, columns.shape[3]) @ weight.T.astype(dtype)
        return requantize(acc.reshape(shape), self.requant, self.bias)
