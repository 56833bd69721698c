"""Convolution over all input channels; the fully connected layer is the case of a whole map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from codegen.ir import (
    NO_BOUNDS,
    Bounds,
    FloatArray,
    Int8Array,
    Node,
    Normal,
    Pads,
    QParams,
    Requant,
    Shape,
)
from codegen.ops.window import Size, im2col, output_size, pad
from codegen.quant.fixed import FLOAT32_EXACT, requantize


@dataclass(frozen=True, eq=False)
class Conv(Node):
    """2-D convolution, dilation 1, groups 1.

    Attributes:
        weight: [O, KH, KW, I], float32, int8, or int16 where int8 is too narrow.
        bias: [O], float32 or int32.
        stride: Rows, columns.
        pads: Filled with real zero.
        bounds: Clip of the result in real numbers; in an integer graph part of ``requant``.
        requant: None in a float graph.
        weight_scale: float64 [O], in a float graph: the scales that a quantized file gives the
            weights of each output channel; None leaves them to quantization.
        statistics: Of the result before the clip, where batch normalization was folded in; None
            in an integer graph.
    """

    op: ClassVar[str] = "conv"

    weight: NDArray[Any]
    bias: NDArray[Any]
    stride: Size = (1, 1)
    pads: Pads = Pads()
    bounds: Bounds = NO_BOUNDS
    requant: Requant | None = None
    weight_scale: NDArray[np.float64] | None = None
    statistics: Normal | None = None

    @property
    def kernel(self) -> Size:
        """Rows and columns of the kernel."""
        return self.weight.shape[1], self.weight.shape[2]

    @property
    def pointwise(self) -> bool:
        """True for 1x1, stride 1: a matrix product over the pixels."""
        return self.kernel == (1, 1) and self.stride == (1, 1) and not self.pads.any

    def infer(self, *shapes: Shape) -> Shape:
        return (*output_size(shapes[0], self.kernel, self.stride, self.pads), len(self.weight))

    def macs(self, *shapes: Shape) -> int:
        height, width, _ = self.infer(*shapes)
        return height * width * self.weight.size

    @property
    def parameters(self) -> int:
        return self.weight.size + self.bias.size

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
