"""Calibration: the float network runs on pictures, and what its tensors hold is looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from codegen.errors import ThumbnetError
from codegen.ir import NO_BOUNDS, FloatArray, Graph, Preprocess
from codegen.onnx_import import ImportedModel
from codegen.onnx_runtime import FloatModel
from codegen.progress import Progress, silent
from codegen.quant.equalize import ChannelMap, ChannelRange, Vector
from codegen.quant.quantize import unscaled
from codegen.quant.ranges import ESTIMATORS, Range


def input_range(preprocess: Preprocess) -> Range:
    """The values that pixels from 0 to 255 can take, over all channels."""
    mean, std = np.array(preprocess.mean), np.array(preprocess.std)
    ends = np.concatenate([-mean / std, (255.0 - mean) / std])
    return float(ends.min()), float(ends.max())


def calibrate(
    imported: ImportedModel,
    graph: Graph,
    images: FloatArray,
    estimator: str = "minmax",
    progress: Progress = silent,
    threads: int = 2,
    moved: Mapping[str, ChannelMap] | None = None,
) -> dict[str, Range]:
    """Ranges of the tensors of ``graph`` that have no scale, the input's from the preprocessing.

    Args:
        imported: The model as onnxruntime runs it.
        graph: Its simplified float graph.
        images: float32 [N, H, W, C], preprocessed.
        estimator: A key of ``codegen.quant.ranges.ESTIMATORS``.
        progress: Told the images done.
        threads: Threads for onnxruntime.
        moved: What equalisation did to the tensors of ``graph``, by name.

    Returns:
        Smallest and largest value to be represented, by tensor name.

    Raises:
        ThumbnetError: There are no images, or onnxruntime fails.
    """
    estimators = {name: ESTIMATORS[estimator]() for name in unscaled(graph) if name != graph.input}
    for batch in _activations(imported, graph, list(estimators), images, progress, threads):
        for name, values in batch.items():
            channels = (moved or {}).get(name)
            estimators[name].observe(channels.apply(values) if channels else values)
    ranges = {name: estimator.range() for name, estimator in estimators.items()}
    return {graph.input: input_range(graph.preprocess), **ranges}


def channel_ranges(
    imported: ImportedModel,
    graph: Graph,
    images: FloatArray,
    progress: Progress = silent,
    threads: int = 2,
) -> dict[str, ChannelRange]:
    """Smallest and largest value of each channel of the tensors that nodes of ``graph`` write.

    Args:
        imported: As for ``calibrate``.
        graph: As for ``calibrate``.
        images: As for ``calibrate``.
        progress: As for ``calibrate``.
        threads: As for ``calibrate``.

    Raises:
        ThumbnetError: As ``calibrate``.
    """
    lo: dict[str, FloatArray] = {}
    hi: dict[str, FloatArray] = {}
    bounds = {node.output: getattr(node, "bounds", NO_BOUNDS) for node in graph.nodes}
    for batch in _activations(imported, graph, list(bounds), images, progress, threads):
        for name, values in batch.items():
            pixels = values.reshape(-1, values.shape[3])
            low, high = pixels.min(axis=0), pixels.max(axis=0)
            lo[name] = np.minimum(lo.get(name, low), low)
            hi[name] = np.maximum(hi.get(name, high), high)

    def clipped(name: str, ends: FloatArray) -> Vector:
        return np.clip(ends.astype(np.float64), bounds[name].lo, bounds[name].hi)

    return {name: ChannelRange(clipped(name, lo[name]), clipped(name, hi[name])) for name in lo}


def moved_extremes(
    graph: Graph, seen: Mapping[str, ChannelRange], moved: Mapping[str, ChannelMap]
) -> dict[str, Range]:
    """What ``calibrate`` finds with the estimator ``minmax``, without looking again.

    Args:
        graph: The graph after equalisation.
        seen: What ``channel_ranges`` saw before.
        moved: What equalisation did to the tensors.
    """
    ranges = {graph.input: input_range(graph.preprocess)}
    for name in unscaled(graph):
        if name != graph.input:
            ends = np.stack([seen[name].lo, seen[name].hi]).astype(np.float32)
            low, high = moved[name].apply(ends)
            ranges[name] = float(low.min()), float(high.max())
    return ranges


def _activations(
    imported: ImportedModel,
    graph: Graph,
    names: list[str],
    images: FloatArray,
    progress: Progress,
    threads: int,
) -> Iterator[dict[str, FloatArray]]:
    if len(images) == 0:
        raise ThumbnetError("There are no calibration images. Give some with --calibrate.")
    done = 0
    model = FloatModel(imported, names, threads)
    for batch in model.activations(images, [graph.input, *names]):
        done += len(batch.pop(graph.input))
        yield batch
        progress("calibrating", done, len(images))
