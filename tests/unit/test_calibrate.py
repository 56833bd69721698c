"""Ranges of activations found on pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from codegen.calibration_images import calibration_images
from codegen.onnx_import import import_onnx
from codegen.passes import simplify
from codegen.preprocess import parse_preprocess, to_float
from codegen.quant.calibrate import calibrate, channel_ranges, moved_extremes
from codegen.quant.equalize import equalize
from codegen.zoo.defaults import default_calibration

TORCH_ZOO = Path(__file__).parents[1] / "data" / "torch_zoo"


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("name", ["mobilenet_v2", "googlenet", "alexnet"])
def test_extremes_after_equalisation_need_no_second_look(name: str, exact: bool) -> None:
    imported = import_onnx(TORCH_ZOO / f"{name}_dynamo.onnx")
    graph = simplify(replace(imported.graph, preprocess=parse_preprocess("torch")))
    shape, preprocess = graph.input_tensor.shape, graph.preprocess
    pixels, _ = calibration_images(default_calibration(), shape, preprocess, 12)
    images = to_float(pixels, preprocess)
    seen = channel_ranges(imported, graph, images)
    made = equalize(graph, seen, per_tensor=not exact, exact=exact)
    found = moved_extremes(made.graph, seen, made.maps)
    assert found == calibrate(imported, made.graph, images, moved=made.maps)
    assert found != calibrate(imported, made.graph, images)
