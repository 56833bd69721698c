"""Convolution over all input channels; the fully connected layer is the case of a whole map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from codegen.ir import FloatArray, Int8Array, QParams
from codegen.ops.convolution import Convolution
from codegen.ops.window import Size, im2col, pad
from codegen.quant.fixed import requantize

_PART = 1 << 22
"""Weights that are held as floats at once: those of a large layer would take a gigabyte."""


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
        y = columns.reshape(-1, columns.shape[3]) @ weight.T + self.bias
        y = np.clip(y, self.bounds.lo, self.bounds.hi)
        return np.asarray(y.reshape(*columns.shape[:3], -1), np.float32)

    def run_int(self, xs: tuple[Int8Array, ...], qs: tuple[QParams, ...]) -> Int8Array:
        assert self.requant is not None
        dtype = self.sum_type(qs[0])
        x = xs[0].astype(dtype) - dtype(qs[0].zero_point)
        columns = im2col(pad(x, self.pads), self.kernel, self.stride)
        shape = (*columns.shape[:3], len(self.weight))
        weight, columns = self.weight.reshape(shape[3], -1), columns.reshape(-1, columns.shape[3])
        acc = np.empty((len(columns), shape[3]), dtype)
        step = max(1, _PART // weight.shape[1])
        for start in range(0, len(weight), step):
            part = slice(start, start + step)
            np.matmul(columns, weight[part].T.astype(dtype), out=acc[:, part])
        return requantize(acc.reshape(shape), self.requant, self.bias)
