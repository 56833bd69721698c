"""The weights of one layer on their grid: integers, scales and the bias that goes with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.ops import Conv, Convolution, Depthwise
from codegen.quant.scales import (
    BIAS_LIMIT,
    WEIGHT_MAX,
    WIDE_MAX,
    largest_sizes,
    weight_scales,
    wide_scales,
)

Layer = Conv | Depthwise
Matrix = NDArray[np.float64]

PART = 1 << 24
"""Weights of a layer that are handled at once where much memory is taken for each."""


@dataclass(frozen=True, eq=False)
class LayerWeights:
    """What a layer computes with: ``integers * scale`` and ``bias`` by output channel.

    Attributes:
        integers: int16 [C, n].
        scale: float64 [C], positive.
        bias: float64 [C], real; it fits the accumulator's steps.
        limit: The largest magnitude that an integer may have.
    """

    integers: NDArray[np.int16]
    scale: NDArray[np.float64]
    bias: NDArray[np.float64]
    limit: int = WEIGHT_MAX

    @property
    def real(self) -> Matrix:
        """The weights as real numbers: float64 [C, n]."""
        return np.asarray(self.integers * self.scale[:, None], np.float64)


def rows(node: Convolution) -> Matrix:
    """The float weights by output channel: [C, n], taps in the order of ``from_rows``."""
    weight = node.weight.astype(np.float64)
    if isinstance(node, Depthwise):
        return np.asarray(weight.reshape(-1, node.bias.size).T)
    return np.asarray(weight.reshape(len(weight), -1))


def from_rows(node: Convolution, weight: NDArray[Any]) -> NDArray[Any]:
    """[C, n] as an array of the shape that the layer's weights have."""
    if isinstance(node, Depthwise):
        return np.ascontiguousarray(weight.T).reshape(node.weight.shape)
    return weight.reshape(node.weight.shape)


def some_outputs(node: Layer, outputs: slice) -> Layer:
    """A convolution that makes some of the output channels; any layer, if all are asked for."""
    if outputs == slice(None):
        return node
    return replace(node, weight=node.weight[outputs], bias=node.bias[outputs])


def parts(node: Layer) -> Iterator[slice]:
    """The output channels of a layer in stretches of about ``PART`` weights."""
    outputs = node.bias.size
    count = max(1, PART * outputs // node.weight.size)
    for start in range(0, outputs, count):
        yield slice(start, min(start + count, outputs))


def joined(made: Sequence[LayerWeights]) -> LayerWeights:
    """The weights of a layer from those of its parts."""
    return LayerWeights(
        np.concatenate([part.integers for part in made]),
        np.concatenate([part.scale for part in made]),
        np.concatenate([part.bias for part in made]),
        made[0].limit,
    )


def on_grid(
    weight: Matrix, scale: NDArray[np.float64], limit: int = WEIGHT_MAX
) -> NDArray[np.int16]:
    """Each weight at the nearest step: int16 [C, n] from float64 [C, n] and scales [C]."""
    steps = weight / scale[:, None]
    np.rint(steps, out=steps)
    return np.clip(steps, -limit, limit, out=steps).astype(np.int16)


def grid_scales(
    weight: Matrix, bias: NDArray[Any], input_scale: float, per_tensor: bool
) -> NDArray[np.float64]:
    """Scales from the largest weight, of each channel or of all: see ``weight_scales``.

    Per tensor a bias that needs a larger scale still gets one for its channel alone: such a channel
    is dead, and must not decide for the others.
    """
    scales = weight_scales(weight, bias, input_scale)
    largest = float(largest_sizes(weight).max()) / WEIGHT_MAX
    return np.maximum(scales, largest) if per_tensor and largest > 0.0 else scales


def nearest(node: Convolution, input_scale: float, per_tensor: bool = False) -> LayerWeights:
    """Weights of a layer, each rounded to the nearest step."""
    weight, bias = rows(node), node.bias.astype(np.float64)
    scale = grid_scales(weight, bias, input_scale, per_tensor)
    return LayerWeights(on_grid(weight, scale), scale, bias)


def wide_nearest(node: Depthwise, input_scale: float, output_scale: float) -> LayerWeights:
    """Weights of a depthwise layer in 16 bits, each rounded to the nearest step."""
    weight, bias = rows(node), node.bias.astype(np.float64)
    narrow = weight_scales(weight, bias, input_scale)
    scale = wide_scales(narrow, weight, bias, input_scale, output_scale)
    return LayerWeights(on_grid(weight, scale, WIDE_MAX), scale, bias, WIDE_MAX)


def with_bias(weights: LayerWeights, bias: NDArray[np.float64], input_scale: float) -> LayerWeights:
    """Other biases; a channel whose steps cannot hold the new one gets coarser steps."""
    needed = np.abs(bias) / (input_scale * BIAS_LIMIT)
    scale = np.maximum(weights.scale, needed)
    coarser = scale > weights.scale
    again = on_grid(weights.real, scale, weights.limit)
    integers = np.where(coarser[:, None], again, weights.integers)
    return replace(weights, integers=integers, scale=scale, bias=bias)


def dead_channels(node: Layer, weights: LayerWeights) -> int:
    """How many channels are constants: all weights are zero, or next to nothing beside the bias."""
    return int((~weights.integers.any(axis=1)).sum())
