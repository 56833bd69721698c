"""Weights chosen with the pictures at hand: float and int8 network walk side by side.

Layer by layer in execution order, so that each layer sees the inputs that the int8 layers before it
really give, and aims at the output of the float network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.ir import NO_BOUNDS, FloatArray, Graph, Int8Array, Node, QParams
from codegen.ops import Conv, Depthwise
from codegen.progress import Progress, silent
from codegen.quant.moments import CHUNK, Moments, few_windows, moments
from codegen.quant.quantize import QMap, integer_node
from codegen.quant.rounding import ROUNDINGS, regressed
from codegen.quant.scales import WEIGHT_MAX, largest_sizes
from codegen.quant.weights import (
    Layer,
    LayerWeights,
    Matrix,
    dead_channels,
    grid_scales,
    joined,
    nearest,
    parts,
    rows,
    wide_nearest,
    with_bias,
)

MEMORY = 1 << 30
"""Bytes of activations that are held at once; of larger networks fewer pictures are looked at."""

ON_GRID = 0.01
"""Steps that a weight may be off its grid and still lie on it."""

EVERY, ENOUGH = 4, 8
"""One picture in so many judges what was learnt from the others, if there are enough."""


Method = Callable[[Moments], LayerWeights]
"""From the moments of a layer to its weights."""


@dataclass(frozen=True)
class WeightOptions:
    """How weights are chosen.

    Attributes:
        rounding: A key of ``codegen.quant.rounding.ROUNDINGS``.
        correct_bias: The mean output of each channel is made that of the float network.
        per_tensor: One scale a layer.
        wide_depthwise: Depthwise weights of 16 bits, which round to the nearest step.
    """

    rounding: str = "adaptive"
    correct_bias: bool = True
    per_tensor: bool = False
    wide_depthwise: bool = False


def reconstruct(
    graph: Graph,
    qs: QMap,
    pixels: Int8Array,
    images: FloatArray,
    options: WeightOptions,
    progress: Progress = silent,
) -> dict[str, LayerWeights]:
    """Weights of all convolutions.

    Args:
        graph: The float graph.
        qs: Quantization of its tensors.
        pixels: int8 [N, H, W, C], its input in int8.
        images: float32 [N, H, W, C], the same in real numbers.
        options: How.
        progress: Told the nodes done.

    Returns:
        By the name of the tensor that the layer writes.

    Raises:
        ThumbnetError: A layer cannot be held by the arithmetic, or there are no pictures.
    """
    some = np.linspace(0, len(images) - 1, min(len(images), _affordable(graph)))
    taken = np.unique(some.astype(np.intp)) if len(images) else np.zeros(0, np.intp)
    integers, reals = {graph.input: pixels[taken]}, {graph.input: images[taken]}
    last_use = {name: i for i, node in enumerate(graph.nodes) for name in node.inputs}
    weights: dict[str, LayerWeights] = {}
    for index, node in enumerate(graph.nodes):
        xs, ys = [integers[name] for name in node.inputs], [reals[name] for name in node.inputs]
        wanted = _run(_unclipped(node).run_float, ys, graph.tensors[node.output].shape, np.float32)
        if isinstance(node, Conv | Depthwise):
            q_in, q_out = qs[node.inputs[0]], qs[node.output]
            weights[node.output] = chosen(node, xs[0], wanted, q_in, q_out, options)
            np.clip(wanted, node.bounds.lo, node.bounds.hi, out=wanted)
        made, q_xs = integer_node(graph, node, qs, weights), tuple(qs[name] for name in node.inputs)
        for name in node.inputs:
            if last_use[name] == index:
                integers.pop(name, None)
                reals.pop(name, None)
        integers[node.output] = _run(
            lambda *x, made=made, q_xs=q_xs: made.run_int(x, q_xs),
            xs,
            graph.tensors[node.output].shape,
            np.int8,
        )
        reals[node.output] = wanted
        progress("choosing weights", index + 1, len(graph.nodes))
    return weights


def chosen(
    node: Layer,
    x: Int8Array,
    wanted: FloatArray,
    q_in: QParams,
    q_out: QParams,
    options: WeightOptions,
) -> LayerWeights:
    """Weights of one layer from its int8 input and the output it should give.

    Output channels have nothing to do with one another but the covariance of the input and, per
    tensor, the scale. Where the covariance costs next to nothing a large layer is taken in parts:
    all of it would take gigabytes.

    Args:
        node: The float layer.
        x: int8 [N, H, W, C], its input in the int8 network.
        wanted: float32 [N, Ho, Wo, Co], its output in the float network before the clip.
        q_in: Quantization of its input.
        q_out: Quantization of its output.
        options: How.
    """

    def part(outputs: slice) -> LayerWeights:
        layer, y = node, wanted[..., outputs]
        if y.shape != wanted.shape:
            layer = replace(node, weight=node.weight[outputs], bias=node.bias[outputs])
        deviation = y.std(axis=(0, 1, 2))
        known = moments(layer, x, y, q_in, deviation)

        def trial() -> Trial:
            held_out = np.arange(len(x)) % EVERY == 1
            return Trial(
                moments(layer, x[~held_out], y[~held_out], q_in, deviation),
                moments(layer, x[held_out], y[held_out], q_in, deviation),
            )

        judge = trial if len(x) >= ENOUGH else None
        return choose(layer, known, q_in.scale, q_out.scale, options, judge)

    if options.per_tensor or not few_windows(node, wanted):
        return part(slice(None))
    return joined([part(outputs) for outputs in parts(node)])


def nearest_weights(graph: Graph, qs: QMap, options: WeightOptions) -> dict[str, LayerWeights]:
    """Weights of all convolutions, each rounded by itself; no pictures are needed."""
    return {
        node.output: _plain(node, qs[node.inputs[0]].scale, qs[node.output].scale, options)
        for node in graph.nodes
        if isinstance(node, Conv | Depthwise)
    }


def _plain(
    node: Layer, input_scale: float, output_scale: float, options: WeightOptions
) -> LayerWeights:
    if options.wide_depthwise and isinstance(node, Depthwise):
        return wide_nearest(node, input_scale, output_scale)
    return nearest(node, input_scale, options.per_tensor)


@dataclass(frozen=True, eq=False)
class Trial:
    """Moments of a layer from some pictures to learn from, and from others to judge by."""

    learnt: Moments
    judged: Moments

    def best(self, methods: Sequence[Method]) -> Method:
        """The method whose weights, made from the ones, err least on the others."""

        def error(method: Method) -> float:
            real, judged = method(self.learnt).real, self.judged
            return float((real * (judged.covariance.times(real) - 2.0 * judged.cross)).sum())

        return min(methods, key=error)


def choose(
    node: Layer,
    known: Moments,
    input_scale: float,
    output_scale: float,
    options: WeightOptions,
    trial: Callable[[], Trial] | None = None,
) -> LayerWeights:
    """Scales, integers and bias of one layer.

    Weights may follow the pictures more or less: not at all, in how they are rounded, or in their
    values too. A layer with many inputs and few windows learns its pictures by heart that way.

    Args:
        node: The float layer.
        known: Its moments.
        input_scale: Of its input.
        output_scale: Of its output.
        options: How.
        trial: Makes what decides how far to follow the pictures; None to do so in everything.
    """
    plain = _plain(node, input_scale, output_scale, options)
    result = plain
    # Weights that lie on their grid, as quantization-aware training leaves them, stay there.
    weight = rows(node)
    off_grid = largest_sizes(weight - plain.real) > ON_GRID * plain.scale
    if options.rounding != "nearest" and plain.limit == WEIGHT_MAX and off_grid.any():

        def rounded(weight: Matrix, known: Moments) -> LayerWeights:
            scale = grid_scales(weight, plain.bias, input_scale, options.per_tensor)
            integers = ROUNDINGS[options.rounding](weight, scale, known)
            return LayerWeights(integers, scale, plain.bias)

        def followed(known: Moments) -> LayerWeights:
            return rounded(regressed(weight, known), known)

        methods: tuple[Method, ...] = (lambda _: plain, lambda m: rounded(weight, m), followed)
        result = (trial().best(methods) if trial else followed)(known)
    if options.correct_bias:
        result = with_bias(result, known.bias(result.real), input_scale)
    # A channel that was next to nothing beside its bias stays the constant that it was.
    dead = np.asarray(~plain.integers.any(axis=1))
    return LayerWeights(
        np.where(dead[:, None], plain.integers, result.integers),
        np.where(dead, plain.scale, result.scale),
        np.where(dead, plain.bias, result.bias),
        plain.limit,
    )


def dead_layers(graph: Graph, weights: dict[str, LayerWeights]) -> dict[str, int]:
    """Names of the layers that have dead channels, and how many."""
    counts = {
        node.name: dead_channels(node, weights[node.output])
        for node in graph.nodes
        if isinstance(node, Conv | Depthwise)
    }
    return {name: count for name, count in counts.items() if count}


def _unclipped(node: Node) -> Node:
    return replace(node, bounds=NO_BOUNDS) if isinstance(node, Conv | Depthwise) else node


def _affordable(graph: Graph) -> int:
    """Pictures of which the largest two neighbouring tensors stay below ``MEMORY``."""
    largest = max(
        sum(graph.tensors[name].size for name in (*node.inputs, node.output))
        for node in graph.nodes
    )
    return max(8, MEMORY // (5 * largest))


def _run(function: Any, xs: list[Any], shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """``function`` of the inputs, some pictures at a time."""
    result = np.empty((len(xs[0]), *shape), dtype)
    for start in range(0, len(result), CHUNK):
        part = slice(start, start + CHUNK)
        result[part] = function(*(x[part] for x in xs))
    return result
