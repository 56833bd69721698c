"""Weights of a network: random ones that keep every layer alive, and those of a Keras file.

Arrays are those of Keras: of a convolution the kernel [KH, KW, I / groups, O] ([KH, KW, C, 1] if it
is depthwise) and a bias [O], or the kernel alone and, under the name NAME_bn, scale, offset, mean
and variance; of a fully connected layer the matrix [I, O] and the bias.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from codegen.images import load_images, to_float
from codegen.ir import FloatArray, Preprocess
from codegen.zoo.defaults import default_calibration
from codegen.zoo.network import (
    Add,
    Concat,
    Conv,
    Dense,
    GlobalAverage,
    Input,
    Layer,
    Lrn,
    Multiply,
    Network,
    Pool,
    Softmax,
    pads,
)

Weights = Mapping[str, tuple[FloatArray, ...]]
"""The arrays of each Keras layer, by its name."""

EPSILON = 1e-3
"""What BatchNormalization adds to the variance."""
_PICTURES = 2
_LOGIT_DEVIATION = 2.0
_FEW = 16
"""Values a channel below which its own mean and deviation say little."""


def array_shapes(network: Network) -> dict[str, tuple[tuple[int, ...], ...]]:
    """Shapes of the arrays of each Keras layer that has weights, in the order of the network."""
    shapes: dict[str, tuple[tuple[int, ...], ...]] = {}
    for layer in network.layers:
        channels = (layer.shape[2],)
        if isinstance(layer, Conv):
            shapes[layer.name] = (layer.kernel_shape, *(() if layer.normalize else (channels,)))
            if layer.normalize:
                shapes[f"{layer.name}_bn"] = (channels,) * 4
        elif isinstance(layer, Dense):
            shapes[layer.name] = ((layer.source, *channels), channels)
    return shapes


def folded(layer: Conv, weights: Weights) -> tuple[FloatArray, FloatArray]:
    """Kernel and bias of a convolution, with its normalization folded into them."""
    kernel, *bias = weights[layer.name]
    if not layer.normalize:
        return kernel, bias[0]
    scale, offset, mean, variance = weights[f"{layer.name}_bn"]
    factor = scale / np.sqrt(variance + np.float32(EPSILON))
    shape = (-1, 1) if layer.depthwise else (-1,)
    return kernel * factor.reshape(shape), offset - mean * factor


def random_weights(network: Network, seed: int = 0) -> dict[str, tuple[FloatArray, ...]]:
    """Weights with which every layer carries a signal, the same for the same seed.

    Normal numbers, then each channel is normalized over photographs that run through the network
    layer by layer (LSUV, Mishkin and Matas 2015, arXiv:1511.06422, with the mean set as well), so
    that neither depth nor a missing BatchNormalization kills it: before its activation a channel
    has deviation 1 and a small mean of its own.

    Args:
        network: The network.
        seed: Of the numbers.
    """
    random = np.random.default_rng(seed)
    weights: dict[str, tuple[FloatArray, ...]] = {}
    values: dict[str, FloatArray] = {}
    last = {name: layer.name for layer in network.layers for name in layer.inputs}
    for layer in network.layers:
        if isinstance(layer, Conv):
            values[layer.name] = _start_conv(layer, values[layer.inputs[0]], weights, random)
        elif isinstance(layer, Dense):
            values[layer.name] = _start_dense(layer, values[layer.inputs[0]], weights, random)
        elif isinstance(layer, Input):
            values[layer.name] = _pictures(layer)
        else:
            values[layer.name] = _forward(layer, [values[name] for name in layer.inputs])
        for name in layer.inputs:
            if last[name] == layer.name:
                values.pop(name, None)
    return weights


def _pictures(layer: Input) -> FloatArray:
    loaded = load_images(default_calibration(), layer.shape, Preprocess(), _PICTURES)
    return to_float(loaded.pixels, Preprocess())


def _start_conv(
    layer: Conv,
    x: FloatArray,
    weights: dict[str, tuple[FloatArray, ...]],
    random: np.random.Generator,
) -> FloatArray:
    shape, channels = layer.kernel_shape, layer.shape[2]
    taps = shape[0] * shape[1] * (1 if layer.depthwise else shape[2])
    kernel = random.standard_normal(shape, np.float32) * np.float32((2 / taps) ** 0.5)
    y = _convolve(layer, x, kernel)
    mean, deviation = _statistics(y)
    offset = random.normal(0.25, 0.25, channels).astype(np.float32)
    if layer.normalize:
        ones = np.ones(channels, np.float32)
        weights[layer.name] = (kernel,)
        weights[f"{layer.name}_bn"] = (ones, offset, mean, deviation**2 - np.float32(EPSILON))
    else:
        factor = 1 / deviation.reshape((-1, 1) if layer.depthwise else -1)
        weights[layer.name] = (kernel * factor, offset - mean / deviation)
    return _activate((y - mean) / deviation + offset, layer.activation)


def _start_dense(
    layer: Dense,
    x: FloatArray,
    weights: dict[str, tuple[FloatArray, ...]],
    random: np.random.Generator,
) -> FloatArray:
    shape = (layer.source, layer.shape[2])
    matrix = random.standard_normal(shape, np.float32) * np.float32((2 / layer.source) ** 0.5)
    y = x.reshape(len(x), 1, 1, -1) @ matrix
    mean, deviation = _statistics(y)
    if not layer.activation:
        deviation = deviation / np.float32(_LOGIT_DEVIATION)
    offset = random.normal(0.25, 0.25, shape[1]).astype(np.float32)
    matrix /= deviation
    weights[layer.name] = (matrix, offset - mean / deviation)
    return _activate((y - mean) / deviation + offset, layer.activation)


def _statistics(y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean and deviation [C] of each channel, or where that has few values of all together."""
    if y.size // y.shape[3] >= _FEW:
        mean, deviation = y.mean(axis=(0, 1, 2)), y.std(axis=(0, 1, 2))
    else:
        mean, deviation = (np.full(y.shape[3], value) for value in (y.mean(), y.std()))
    return mean.astype(np.float32), np.maximum(deviation, 0.1 * y.std() + 0.04).astype(np.float32)


def _convolve(layer: Conv, x: FloatArray, kernel: FloatArray) -> FloatArray:
    """The convolution without bias, as a sum over the positions of the kernel."""
    around = pads(x.shape[1:], layer.kernel, layer.stride, layer.padding)
    x = np.pad(x, ((0, 0), (around.top, around.bottom), (around.left, around.right), (0, 0)))
    height, width, channels = layer.shape
    y = np.zeros((len(x), height, width, channels), np.float32)
    for row in range(layer.kernel):
        for column in range(layer.kernel):
            tap = _taps(x, row, column, layer.stride, height, width)
            if layer.depthwise:
                y += tap * kernel[row, column, :, 0]
            else:
                y += _grouped(tap, kernel[row, column], layer.groups)
    return y


def _taps(
    x: FloatArray, row: int, column: int, stride: int, height: int, width: int
) -> NDArray[np.float32]:
    """What one position of a window sees while it moves: [N, height, width, C]."""
    rows = slice(row, row + stride * (height - 1) + 1, stride)
    columns = slice(column, column + stride * (width - 1) + 1, stride)
    return x[:, rows, columns]


def _grouped(x: FloatArray, matrix: FloatArray, groups: int) -> FloatArray:
    inputs = np.split(x, groups, axis=3)
    outputs = np.split(matrix, groups, axis=1)
    parts = [a @ b for a, b in zip(inputs, outputs, strict=True)]
    return np.concatenate(parts, axis=3) if groups > 1 else parts[0]


def _forward(layer: Layer, xs: list[FloatArray]) -> FloatArray:
    """The layers without weights."""
    if isinstance(layer, Pool):
        return _pool(layer, xs[0])
    if isinstance(layer, GlobalAverage):
        return np.asarray(xs[0].mean(axis=(1, 2), keepdims=True), np.float32)
    if isinstance(layer, Lrn):
        half = layer.size // 2
        squares = np.pad(xs[0] ** 2, ((0, 0), (0, 0), (0, 0), (half, half)))
        windows = np.lib.stride_tricks.sliding_window_view(squares, layer.size, axis=3)
        factor = layer.bias + layer.alpha / layer.size * windows.sum(axis=-1)
        return np.asarray(xs[0] * factor**-layer.beta, np.float32)
    if isinstance(layer, Concat):
        return np.concatenate(xs, axis=3)
    if isinstance(layer, Add):
        return np.asarray(xs[0] + xs[1], np.float32)
    if isinstance(layer, Multiply):
        return np.asarray(xs[0] * xs[1], np.float32)
    assert isinstance(layer, Softmax), layer
    e = np.exp(xs[0] - xs[0].max(axis=3, keepdims=True))
    return np.asarray(e / e.sum(axis=3, keepdims=True), np.float32)


def _pool(layer: Pool, x: FloatArray) -> FloatArray:
    around = pads(x.shape[1:], layer.kernel, layer.stride, layer.padding)
    outside = ((0, 0), (around.top, around.bottom), (around.left, around.right), (0, 0))
    x = np.pad(x, outside, constant_values=-np.inf)
    height, width, _ = layer.shape
    places = [(row, column) for row in range(layer.kernel) for column in range(layer.kernel)]
    taps = (_taps(x, row, column, layer.stride, height, width) for row, column in places)
    y = next(taps)
    for tap in taps:
        y = np.maximum(y, tap)
    return y


def _activate(x: FloatArray, activation: str) -> FloatArray:
    if activation == "relu":
        return np.asarray(np.maximum(x, 0), np.float32)
    if activation == "relu6":
        return np.asarray(np.clip(x, 0, 6), np.float32)
    if activation == "hard_sigmoid":
        return np.asarray(np.clip(x / 6 + np.float32(0.5), 0, 1), np.float32)
    if activation == "hard_swish":
        return x * _activate(x, "hard_sigmoid")
    assert activation == "", activation
    return x
