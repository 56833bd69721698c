"""From a float graph and pictures to the int8 graph: the whole of it, read from top to bottom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from codegen.ir import Graph
from codegen.onnx_import import ImportedModel
from codegen.preprocess import Pixels, to_float, to_int8
from codegen.progress import Progress, silent
from codegen.quant.analytic import correct_analytically
from codegen.quant.calibrate import calibrate, channel_ranges, moved_extremes
from codegen.quant.equalize import equalize
from codegen.quant.quantize import choose_qparams, quantize
from codegen.quant.ranges import Range
from codegen.quant.reconstruct import WeightOptions, dead_layers, nearest_weights, reconstruct
from codegen.quant.weights import LayerWeights

EQUALIZATIONS = ("auto", "exact", "full", "none")
CORRECTIONS = ("empirical", "analytic", "none")


@dataclass(frozen=True)
class QuantOptions:
    """How a network is quantized; ``docs/quantization.md`` says what each gives.

    Attributes:
        estimator: Of activation ranges, a key of ``codegen.quant.ranges.ESTIMATORS``.
        weights: ``per-channel`` or ``per-tensor`` scales.
        equalize: Cross-layer equalisation: one of ``EQUALIZATIONS``. ``exact`` changes the function
            for no picture, ``full`` for none of the calibration pictures; ``auto`` is ``full`` for
            weights per tensor, which are lost without it, and else ``exact``.
        bias_correction: One of ``CORRECTIONS``.
        rounding: A key of ``codegen.quant.rounding.ROUNDINGS``.
        wide_depthwise: Depthwise weights have 16 bits.
    """

    estimator: str = "minmax"
    weights: str = "per-channel"
    equalize: str = "auto"
    bias_correction: str = "empirical"
    rounding: str = "adaptive"
    wide_depthwise: bool = False


@dataclass(frozen=True, eq=False)
class Quantized:
    """The int8 graph, and what is worth saying about how it came about.

    Attributes:
        graph: The int8 graph.
        real: The float graph that it was made from, with the same tensors.
        pixels: uint8 [N, H, W, C], the calibration pictures; none for a file that needs none.
        warnings: For the user.
        document: What was used, for ``compile.json``.
    """

    graph: Graph
    real: Graph
    pixels: Pixels
    warnings: tuple[str, ...]
    document: dict[str, Any]


def quantize_model(
    imported: ImportedModel,
    graph: Graph,
    pixels: Pixels,
    options: QuantOptions,
    progress: Progress = silent,
) -> Quantized:
    """The int8 graph of a network.

    Args:
        imported: The model as onnxruntime runs it.
        graph: Its simplified float graph.
        pixels: uint8 [N, H, W, C], calibration pictures.
        options: How.
        progress: Told what is done.

    Raises:
        ThumbnetError: There are no pictures, or a layer cannot be held by the arithmetic.
    """
    if any(tensor.q for tensor in graph.tensors.values()):
        images = to_float(pixels, graph.preprocess)
        ranges = calibrate(imported, graph, images, options.estimator, progress)
        return keep_quantization(graph, pixels, ranges)
    images, per_tensor = to_float(pixels, graph.preprocess), options.weights == "per-tensor"
    warnings: list[str] = []

    wanted = options.equalize
    if wanted == "auto":
        wanted = "full" if per_tensor else "exact"
    if wanted == "none":
        ranges = calibrate(imported, graph, images, options.estimator, progress)
    else:
        seen = channel_ranges(imported, graph, images, progress)
        equalized = equalize(graph, seen, per_tensor, exact=wanted == "exact")
        graph, moved = equalized.graph, equalized.maps
        if options.estimator == "minmax":
            ranges = moved_extremes(graph, seen, moved)
        else:
            ranges = calibrate(imported, graph, images, options.estimator, progress, moved=moved)
    qs = choose_qparams(graph, ranges)
    warnings += _constant_tensors(graph, ranges)

    how = WeightOptions(
        options.rounding,
        options.bias_correction == "empirical",
        per_tensor,
        options.wide_depthwise,
    )
    if how.correct_bias or how.rounding != "nearest":
        inputs = to_int8(pixels, graph.preprocess, qs[graph.input])
        weights = reconstruct(graph, qs, inputs, images, how, progress)
    else:
        weights = nearest_weights(graph, qs, how)
    if options.bias_correction == "analytic":
        corrected = correct_analytically(graph, qs, weights)
        weights = corrected.weights
        warnings += corrected.warnings
    warnings += _dead_channels(graph, weights)

    document = {**vars(options), "equalize": wanted, "images": len(images)}
    integer = quantize(graph, ranges, weights)
    return Quantized(integer, graph, pixels, tuple(warnings), document)


def keep_quantization(
    graph: Graph, pixels: Pixels, ranges: Mapping[str, Range] | None = None
) -> Quantized:
    """The int8 graph of a file that is quantized already.

    Args:
        graph: Its simplified graph.
        pixels: uint8 [N, H, W, C], calibration pictures; may be none.
        ranges: Of the tensors that have no scale.

    Raises:
        ThumbnetError: A layer cannot be held by the arithmetic.
    """
    return Quantized(quantize(graph, ranges or {}), graph, pixels, (), {"kept": True})


def _constant_tensors(graph: Graph, ranges: dict[str, Range]) -> list[str]:
    names = [name for name, (lo, hi) in ranges.items() if lo == hi and name != graph.input]
    return [
        f"Tensor {name!r} has the same value, {ranges[name][0]:g}, everywhere on all calibration "
        "pictures: the network does not look at what is in front of it. Check the pictures, the "
        "preprocessing and the model."
        for name in names
    ]


def _dead_channels(graph: Graph, weights: dict[str, LayerWeights]) -> list[str]:
    dead = dead_layers(graph, weights)
    if not dead:
        return []
    listed = ", ".join(f"{name[-40:]!r} {count}" for name, count in list(dead.items())[:3])
    more = f" and {len(dead) - 3} more layers" if len(dead) > 3 else ""
    return [
        "Channels are dead, their weights zero or next to nothing beside their bias, and become "
        f"constants: {listed}{more}."
    ]
