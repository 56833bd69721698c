"""Calibration: the float network runs on pictures and each tensor's range is estimated."""

from __future__ import annotations

import numpy as np

from codegen.errors import ThumbnetError
from codegen.ir import FloatArray, Graph, Preprocess
from codegen.onnx_import import ImportedModel
from codegen.onnx_runtime import FloatModel
from codegen.progress import Progress, silent
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
) -> dict[str, Range]:
    """Ranges of the tensors of ``graph`` that have no scale, the input's from the preprocessing.

    Args:
        imported: The model as onnxruntime runs it.
        graph: Its simplified float graph.
        images: float32 [N, H, W, C], preprocessed.
        estimator: A key of ``codegen.quant.ranges.ESTIMATORS``.
        progress: Told the images done.
        threads: Threads for onnxruntime.

    Returns:
        Smallest and largest value to be represented, by tensor name.

    Raises:
        ThumbnetError: There are no images, or onnxruntime fails.
    """
    if len(images) == 0:
        raise ThumbnetError("There are no calibration images. Give some with --calibrate.")
    names = [name for name in unscaled(graph) if name != graph.input]
    estimators = {name: ESTIMATORS[estimator]() for name in names}
    model = FloatModel(imported, names, threads)
    done = 0
    for batch in model.activations(images, [graph.input, *names]):
        for name, estimated in estimators.items():
            estimated.observe(batch[name])
        done += len(batch[graph.input])
        progress("calibrating", done, len(images))
    ranges = {name: estimator.range() for name, estimator in estimators.items()}
    return {graph.input: input_range(graph.preprocess), **ranges}
