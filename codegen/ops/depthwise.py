"""Depthwise convolution: every input channel has its own filters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from codegen.ir import FloatArray, Int8Array, QParams
from codegen.ops.convolution import Convolution
from codegen.ops.window import Size, image_shape, pad
from codegen.quant.fixed import requantize


@dataclass(frozen=True, eq=False)
class Depthwise(Convolution):
    """Depthwise 2-D convolution, dilation 1; output channel ``c * m + j`` reads input channel c.

    Attributes:
        weight: [KH, KW, C, m], m the channel multiplier.
    """

    op: ClassVar[str] = "depthwise"

    @property
    def kernel(self) -> Size:
        """Rows and columns of the kernel."""
        return self.weight.shape[0], self.weight.shape[1]

    @property
    def multiplier(self) -> int:
        """Output channels an input channel."""
        return int(self.weight.shape[3])

    def _sums(self, x: NDArray[Any]) -> NDArray[Any]:
        """The sums over the windows of ``x`` [N, H, W, C], without bias: [N, Ho, Wo, C * m].

        Columns are regrouped by their phase in the stride, so that each tap is one contiguous
        stretch ``Wo * C`` long a row, whatever the number of channels.
        """
        height, width, channels = self.infer(image_shape(x))
        x = pad(x, self.pads)
        if self.multiplier > 1:
            x = np.repeat(x, self.multiplier, axis=3)
        rows, columns = self.stride
        phases = [
            np.ascontiguousarray(x[:, :, phase::columns]).reshape(*x.shape[:2], -1)
            for phase in range(min(columns, self.kernel[1]))
        ]
        weight = np.tile(self.weight.reshape(*self.kernel, 1, channels), (1, 1, width, 1))
        acc = np.zeros((len(x), height, width * channels), x.dtype)
        product = np.empty_like(acc)
        for ky in range(self.kernel[0]):
            window_rows = slice(ky, ky + (height - 1) * rows + 1, rows)
            for kx in range(self.kernel[1]):
                start = kx // columns * channels
                tap = phases[kx % columns][:, window_rows, start : start + width * channels]
                np.multiply(tap, weight[ky, kx].reshape(-1).astype(x.dtype), out=product)
                acc += product
        return acc.reshape(len(x), height, width, channels)

    def run_float(self, *xs: FloatArray) -> FloatArray:
        y = np.clip(self._sums(xs[0]) + self.bias, self.bounds.lo, self.bounds.hi)
        return np.asarray(y, np.float32)

    def run_int(self, xs: tuple[Int8Array, ...], qs: tuple[QParams, ...]) -> Int8Array:
        # int8 is exact in float32: quantization refuses kernels whose sums could reach 2**24.
        assert self.requant is not None
        exact = np.float32 if self.weight.dtype == np.int8 else np.float64
        x = xs[0].astype(exact) - exact(qs[0].zero_point)
        return requantize(self._sums(x), self.requant, self.bias)
