"""Convolution in groups or with a dilated kernel: what neither Conv nor Depthwise is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from codegen.ir import FloatArray, Int8Array, QParams, Shape
from codegen.ops.convolution import Convolution
from codegen.ops.window import Size, pad, taps
from codegen.quant.fixed import requantize


@dataclass(frozen=True, eq=False)
class GroupedConv(Convolution):
    """2-D convolution whose outputs come in groups, each of which reads a group of the inputs.

    Attributes:
        weight: [O, KH, KW, I / groups].
        groups: Number of groups; the first ``O / groups`` outputs read the first
            ``I / groups`` inputs, and so on.
        dilation: Rows and columns from one tap to the next.
    """

    op: ClassVar[str] = "grouped"

    groups: int = 1
    dilation: Size = (1, 1)

    @property
    def taps(self) -> Size:
        """Rows and columns of taps."""
        return self.weight.shape[1], self.weight.shape[2]

    @property
    def kernel(self) -> Size:
        """Rows and columns from the first tap to the last."""
        rows, columns = self.taps
        return (rows - 1) * self.dilation[0] + 1, (columns - 1) * self.dilation[1] + 1

    def infer(self, *shapes: Shape) -> Shape:
        outputs, _, _, inputs = self.weight.shape
        if inputs * self.groups != shapes[0][2] or outputs % self.groups:
            raise ValueError(f"{self.groups} groups of {inputs} channels in {shapes[0]}")
        return super().infer(*shapes)

    def _sums(self, x: NDArray[Any]) -> NDArray[Any]:
        """The sums over the windows of ``x`` [N, H, W, I], without bias: [N, Ho, Wo, O].

        A matrix product for each group.
        """
        values = [
            v
            for ky, kx, v in taps(pad(x, self.pads), self.kernel, self.stride)
            if ky % self.dilation[0] == 0 and kx % self.dilation[1] == 0
        ]
        n, height, width, _ = values[0].shape
        split = [v.reshape(n * height * width, self.groups, -1) for v in values]
        columns = np.concatenate(split, axis=2).transpose(1, 0, 2)
        weight = self.weight.reshape(self.groups, len(self.bias) // self.groups, -1)
        sums = columns @ weight.transpose(0, 2, 1).astype(x.dtype)
        return np.asarray(sums.transpose(1, 0, 2).reshape(n, height, width, -1))

    def run_float(self, *xs: FloatArray) -> FloatArray:
        y = np.clip(self._sums(xs[0]) + self.bias, self.bounds.lo, self.bounds.hi)
        return np.asarray(y, np.float32)

    def run_int(self, xs: tuple[Int8Array, ...], qs: tuple[QParams, ...]) -> Int8Array:
        assert self.requant is not None
        dtype = self.sum_type(qs[0])
        x = xs[0].astype(dtype) - dtype(qs[0].zero_point)
        return requantize(self._sums(x), self.requant, self.bias)
