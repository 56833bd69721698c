"""Bias correction without pictures: what a layer meets on average is told by batch normalization.

Nagel et al. 2019, arXiv 1906.04721, section 4.2.2 and appendix C: quantized weights move the mean
output of a channel by ``(W' - W) E[x]``, which the bias takes back. Where a layer's input is a
batch normalization and a clip, ``E[x]`` is the mean of a clipped normal distribution. Padding is
left out of account.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codegen.ir import Bounds, Graph, Normal
from codegen.ops import Add, AvgPool, Conv, Depthwise
from codegen.quant.quantize import QMap, WeightMap
from codegen.quant.weights import Layer, LayerWeights, Matrix, rows, with_bias

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Corrected:
    """The weights with other biases, and what the user should know."""

    weights: dict[str, LayerWeights]
    warnings: list[str]


def correct_analytically(graph: Graph, qs: QMap, weights: WeightMap) -> Corrected:
    """Takes back the mean error of the weights, layer by layer, where it is known.

    Args:
        graph: The float graph.
        qs: Quantization of its tensors.
        weights: Of its convolutions, by the tensor they write.
    """
    means = expected_values(graph)
    corrected, unknown = dict(weights), []
    layers = [node for node in graph.nodes if isinstance(node, Conv | Depthwise)]
    for node in layers:
        mean, made = means.get(node.inputs[0]), weights[node.output]
        if mean is None:
            unknown.append(node.name)
        elif made.integers.any():
            error = made.real - rows(node)
            moved = (error * _windows(node, mean)).sum(axis=1)
            # The bias of a dead channel is its value; it has no weights to be made up for.
            bias = np.where(made.integers.any(axis=1), made.bias - moved, made.bias)
            corrected[node.output] = with_bias(made, bias, qs[node.inputs[0]].scale)
    if not unknown:
        return Corrected(corrected, [])
    return Corrected(
        corrected,
        [
            f"The biases of {len(unknown)} of {len(layers)} layers are not corrected, the first "
            f"of them {unknown[0]!r}: the model has no BatchNormalization in front of them "
            "(exporters fold it into the weights). Use --bias-correction empirical."
        ],
    )


def expected_values(graph: Graph) -> dict[str, Vector]:
    """The mean of each channel of those tensors of which it is known: float64 [C] by name."""
    means: dict[str, Vector] = {}
    for node in graph.nodes:
        if isinstance(node, Conv | Depthwise) and node.statistics:
            means[node.output] = clipped_mean(node.statistics, node.bounds)
        elif isinstance(node, Add | AvgPool) and not node.bounds.any:
            inputs: Mapping[str, Vector] = {n: means[n] for n in node.inputs if n in means}
            if len(inputs) == len(node.inputs):
                means[node.output] = np.asarray(sum(inputs.values()))
    return means


def clipped_mean(normal: Normal, bounds: Bounds) -> Vector:
    """Mean of a normal distribution clipped to ``bounds``: float64 [C].

    ``E = lo P(x < lo) + hi P(x > hi) + mean P(inside) + std (phi(lo) - phi(hi))``; a channel with
    standard deviation 0 is its mean, clipped.
    """
    std = np.where(normal.std > 0.0, normal.std, 1.0)
    lo, hi = ((end - normal.mean) / std for end in (bounds.lo, bounds.hi))
    below, above = _cumulative(lo), 1.0 - _cumulative(hi)
    mean = normal.mean * (1.0 - below - above) + std * (_density(lo) - _density(hi))
    for end, share in ((bounds.lo, below), (bounds.hi, above)):
        if np.isfinite(end):
            mean = mean + end * share
    constant = np.clip(normal.mean, bounds.lo, bounds.hi)
    return np.asarray(np.where(normal.std > 0.0, mean, constant))


def _cumulative(x: Vector) -> Vector:
    return np.array([0.5 * (1.0 + math.erf(value / math.sqrt(2.0))) for value in x])


def _density(x: Vector) -> Vector:
    return np.asarray(np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi))


def _windows(node: Layer, mean: Vector) -> Matrix:
    """The mean window that each output channel meets: [1, n] or [C, n]."""
    taps = node.kernel[0] * node.kernel[1]
    if isinstance(node, Conv):
        return np.tile(mean, taps)[None]
    return np.repeat(mean, node.multiplier)[:, None].repeat(taps, axis=1)
