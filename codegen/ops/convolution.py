"""What all convolutions have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.ir import NO_BOUNDS, Bounds, Node, Normal, Pads, QParams, Requant, Shape
from codegen.ops.window import Size, output_size
from codegen.quant.fixed import FLOAT32_EXACT, absolute_sums


@dataclass(frozen=True, eq=False)
class Convolution(Node):
    """Sums of products over windows, with a bias for each output channel.

    Attributes:
        weight: float32, int8, or int16 by choice or where int8 is too narrow; of a shape that
            depends on the operator.
        bias: One value an output channel, float32 or int32.
        stride: Rows, columns.
        pads: Filled with real zero.
        bounds: Clip of the result in real numbers; in an integer graph part of ``requant``.
        requant: None in a float graph.
        weight_scale: float64 [O], in a float graph: the scales that a quantized file gives the
            weights of each output channel; None leaves them to quantization.
        statistics: Of the result before the clip, where batch normalization was folded in; None
            in an integer graph.
    """

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
        """Rows and columns of the window."""
        raise NotImplementedError

    def sum_type(self, q: QParams) -> type[np.float32] | type[np.float64]:
        """The type in which the sums of ``weight [O, ...]`` and inputs of ``q`` are exact."""
        largest = int(absolute_sums(self.weight.reshape(len(self.weight), -1)).max()) * q.largest
        return np.float32 if largest < FLOAT32_EXACT else np.float64

    def infer(self, *shapes: Shape) -> Shape:
        return (*output_size(shapes[0], self.kernel, self.stride, self.pads), self.bias.size)

    def macs(self, *shapes: Shape) -> int:
        height, width, _ = self.infer(*shapes)
        return height * width * self.weight.size

    @property
    def parameters(self) -> int:
        return self.weight.size + self.bias.size
