"""What quantization costs: the error of every tensor, and of each layer quantized alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from codegen import simulate
from codegen.ir import FloatArray, Graph, Int8Array, Node, QParams
from codegen.ops import Depthwise, Softmax
from codegen.preprocess import Pixels, to_float, to_int8
from codegen.progress import Progress, silent
from codegen.quant.quantize import integer_node
from codegen.quant.weights import wide_nearest
from codegen.simulate_float import run_float

_BUDGET = 2e9
_FEWEST, _MOST = 2, 16
"""Multiply-adds that are spent on a report, and pictures at least and at most."""
WORTHWHILE = 1.5
"""Decibels at the output from which wide depthwise weights are offered."""


@dataclass(frozen=True)
class LayerError:
    """The error of one int8 tensor against the float network's.

    Attributes:
        layer: Name of the layer that writes it.
        op: The layer's operator.
        sqnr: Signal to quantization noise in dB; infinite where there is no error.
        mean: Mean absolute error, in real numbers.
        largest: Largest absolute error.
    """

    layer: str
    op: str
    sqnr: float
    mean: float
    largest: float


class _Sums:
    """Signal and error of a tensor, summed over pictures."""

    def __init__(self) -> None:
        self.signal = self.noise = self.absolute = self.largest = 0.0
        self.count = 0

    def add(self, real: FloatArray, found: FloatArray) -> None:
        error = found.astype(np.float64) - real
        self.signal += float((real.astype(np.float64) ** 2).sum())
        self.noise += float((error**2).sum())
        self.absolute += float(np.abs(error).sum())
        self.largest = max(self.largest, float(np.abs(error).max()))
        self.count += error.size

    @property
    def sqnr(self) -> float:
        if self.noise == 0.0:
            return float("inf")
        return 10.0 * float(np.log10(max(self.signal, 1e-300) / self.noise))


def report_pixels(graph: Graph, pixels: Pixels) -> Pixels:
    """As many of the pictures as a report looks at: fewer for large networks."""
    count = int(np.clip(_BUDGET // max(1, 2 * graph.macs()), _FEWEST, _MOST))
    chosen = np.unique(np.linspace(0, len(pixels) - 1, min(count, len(pixels))).astype(np.intp))
    return pixels[chosen]


def layer_errors(
    real: Graph, integers: Sequence[Graph], pixels: Pixels, progress: Progress = silent
) -> tuple[tuple[LayerError, ...], ...]:
    """Of every layer's output, all layers before it being int8 too, for each of some int8 graphs.

    Args:
        real: The float graph.
        integers: Its int8 graphs, with the same tensors and the same quantization of the input.
        pixels: uint8 [N, H, W, C].
        progress: Told the pictures done.
    """
    sums = [{node.output: _Sums() for node in real.nodes} for _ in integers]
    for index, (image, x) in enumerate(_inputs(integers[0], pixels), start=1):
        wanted = run_float(real, image)
        for integer, totals in zip(integers, sums, strict=True):
            found = simulate.trace(integer, x)
            for name, total in totals.items():
                total.add(wanted[name], integer.q(name).real(found[name]))
        progress("measuring errors", index, len(pixels))
    return tuple(
        tuple(_layer_error(node, totals[node.output]) for node in real.nodes) for totals in sums
    )


def sensitivity(
    real: Graph, integer: Graph, pixels: Pixels, progress: Progress = silent
) -> tuple[tuple[str, float], ...]:
    """For each layer the SQNR of the network's output if that layer alone is int8, the worst first.

    A layer alone: its input, weights and output are int8, all others float. Before a last softmax,
    whose output says next to nothing of a picture that the network is sure of.

    Args:
        real: The float graph.
        integer: Its int8 graph, with the same tensors.
        pixels: uint8 [N, H, W, C].
        progress: Told the layers done.
    """
    last = real.nodes[-1]
    judged = last.inputs[0] if isinstance(last, Softmax) else real.output
    sums = [_Sums() for _ in real.nodes]
    images = list(_inputs(integer, pixels))
    for done, (image, _) in enumerate(images):
        values = run_float(real, image)
        for index, node in enumerate(integer.nodes):
            qs = tuple(integer.q(name) for name in node.inputs)
            known = {real.input: image, **values}
            xs = tuple(_quantized(known[name], q) for name, q in zip(node.inputs, qs, strict=True))
            changed = {node.output: integer.q(node.output).real(node.run_int(xs, qs))}
            _run_rest(real, index + 1, known, changed)
            name = real.output if node.output == real.output else judged
            sums[index].add(values[name], changed.get(name, values[name]))
            progress(
                "quantizing layers alone", done * len(sums) + index + 1, len(images) * len(sums)
            )
    found = [(node.name, total.sqnr) for node, total in zip(real.nodes, sums, strict=True)]
    return tuple(sorted(found, key=lambda layer: layer[1]))


def with_wide_depthwise(real: Graph, integer: Graph) -> Graph:
    """The int8 graph with depthwise weights of 16 bits, rounded to the nearest step.

    Args:
        real: The float graph.
        integer: Its int8 graph, with the same tensors.
    """
    qs = {name: integer.q(name) for name in integer.tensors}
    weights = {
        node.output: wide_nearest(node, qs[node.inputs[0]].scale, qs[node.output].scale)
        for node in real.nodes
        if isinstance(node, Depthwise)
    }
    nodes = tuple(
        integer_node(real, before, qs, weights) if before.output in weights else node
        for before, node in zip(real.nodes, integer.nodes, strict=True)
    )
    return replace(integer, nodes=nodes)


def _layer_error(node: Node, sums: _Sums) -> LayerError:
    mean = sums.absolute / max(1, sums.count)
    return LayerError(node.name, node.op, sums.sqnr, mean, sums.largest)


def _inputs(graph: Graph, pixels: Pixels) -> Iterator[tuple[FloatArray, Int8Array]]:
    """The pictures one by one, as the float and as the int8 network sees them."""
    for index in range(len(pixels)):
        picture = pixels[index : index + 1]
        image = to_float(picture, graph.preprocess)
        yield image, to_int8(picture, graph.preprocess, graph.q(graph.input))


def _run_rest(
    real: Graph, start: int, known: Mapping[str, FloatArray], changed: dict[str, FloatArray]
) -> None:
    """Adds the tensors of the float network that change with those in ``changed``."""
    for node in real.nodes[start:]:
        if any(name in changed for name in node.inputs):
            changed[node.output] = node.run_float(
                *(changed.get(name, known[name]) for name in node.inputs)
            )


def _quantized(values: FloatArray, q: QParams) -> Int8Array:
    return np.asarray(np.clip(np.rint(values / q.scale) + q.zero_point, -128, 127), np.int8)
