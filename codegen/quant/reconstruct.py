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
from codegen.quant.moments import CHUNK, Moments, Sums, few_windows, window_sums
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
    some_outputs,
    wide_nearest,
    with_bias,
)

MEMORY, WORK = 1 << 30, 300_000_000_000
"""Bytes of activations held at once, and multiply-adds of all pictures that are looked at: in large
networks that is not all there are, in VGG16 19."""

ON_GRID = 0.01
"""Steps that a weight may be off its grid and still lie on it."""

EVERY, ENOUGH = 4, 8
"""One picture in so many judges what was learnt from the others, if there are enough."""


JUDGED = 64
"""At most so many output channels of a convolution compare methods: the others are like them."""

Method = Callable[[Layer, Moments], LayerWeights]
"""From a float layer and its moments to its weights."""


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
    few, held_out = few_windows(node, wanted), np.arange(len(x)) % EVERY == 1

    def part(outputs: slice) -> LayerWeights:
        layer, y = some_outputs(node, outputs), wanted[..., outputs]
        deviation = y.std(axis=(0, 1, 2))

        def seen(which: Any) -> Sums:
            return window_sums(layer, x[which], y[which], q_in, deviation, few)

        if len(x) < ENOUGH:
            sums, trial = seen(slice(None)), None
        else:
            trial = Trial(seen(~held_out), seen(held_out))
            sums = trial.learnt + trial.judged
        return choose(layer, sums.moments(), q_in.scale, q_out.scale, options, trial)

    if options.per_tensor or not few:
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
    """What a layer meets on some pictures to learn from, and on others to judge by."""

    learnt: Sums
    judged: Sums

    def best(self, node: Layer, methods: Sequence[Method], per_tensor: bool) -> Method:
        """The method whose weights, made from the ones, err least on the others."""
        learnt, judged = self.learnt.moments(), self.judged.moments()
        if isinstance(node, Conv) and not per_tensor:
            some = slice(None, None, -(-node.bias.size // JUDGED))
            node, learnt, judged = some_outputs(node, some), learnt.of(some), judged.of(some)

        def error(method: Method) -> float:
            real = method(node, learnt).real
            return float((real * (judged.covariance.times(real) - 2.0 * judged.cross)).sum())

        return min(methods, key=error)


def methods(input_scale: float, options: WeightOptions) -> tuple[Method, Method, Method]:
    """Ways to follow the pictures: not at all, in how weights are rounded, in their values too."""

    def rounded(node: Layer, weight: Matrix, known: Moments) -> LayerWeights:
        bias = node.bias.astype(np.float64)
        scale = grid_scales(weight, bias, input_scale, options.per_tensor)
        return LayerWeights(ROUNDINGS[options.rounding](weight, scale, known), scale, bias)

    return (
        lambda node, _: nearest(node, input_scale, options.per_tensor),
        lambda node, known: rounded(node, rows(node), known),
        lambda node, known: rounded(node, regressed(rows(node), known), known),
    )


def choose(
    node: Layer,
    known: Moments,
    input_scale: float,
    output_scale: float,
    options: WeightOptions,
    trial: Trial | None = None,
) -> LayerWeights:
    """Scales, integers and bias of one layer.

    Weights may follow the pictures more or less (see ``methods``). A layer with many inputs and few
    windows would learn its pictures by heart.

    Args:
        node: The float layer.
        known: Its moments.
        input_scale: Of its input.
        output_scale: Of its output.
        options: How.
        trial: Decides how far to follow the pictures; None to do so in everything.
    """
    plain = _plain(node, input_scale, output_scale, options)
    result = plain
    # Weights that lie on their grid, as quantization-aware training leaves them, stay there.
    off_grid = largest_sizes(rows(node) - plain.real) > ON_GRID * plain.scale
    if options.rounding != "nearest" and plain.limit == WEIGHT_MAX and off_grid.any():
        ways = methods(input_scale, options)
        way = trial.best(node, ways, options.per_tensor) if trial else ways[-1]
        result = way(node, known)
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
    """Pictures of which the largest two neighbouring tensors take ``MEMORY``, and no more work."""
    largest = max(
        sum(graph.tensors[name].size for name in (*node.inputs, node.output))
        for node in graph.nodes
    )
    return max(8, min(MEMORY // (5 * largest), WORK // max(1, graph.macs())))


def _run(function: Any, xs: list[Any], shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """``function`` of the inputs, some pictures at a time."""
    result = np.empty((len(xs[0]), *shape), dtype)
    for start in range(0, len(result), CHUNK):
        part = slice(start, start + CHUNK)
        result[part] = function(*(x[part] for x in xs))
    return result
