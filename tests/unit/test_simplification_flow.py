"""What `compile` does with channels that carry nothing, and what it says about them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dying_channels import images_for
from helpers import SHARED_MODELS

from codegen import simulate, tables
from codegen.flow import CompileOptions, compile_model
from codegen.images import load_images, to_int8
from codegen.output import read_output
from codegen.preprocess import parse_preprocess
from codegen.tables.of_compile import _simplified as simplified


def test_compile_does_it_and_says_so(tmp_path: Path) -> None:
    """The default model both ways: fewer multiply-adds, the same outputs."""
    reports, outputs = {}, []
    for simplify in (True, False):
        out = tmp_path / str(simplify)
        options = CompileOptions(out=out, simplify=simplify, limit=5, build=False)
        reports[simplify] = compile_model(options).to_json()
        output = read_output(out)
        assert output.report["simplify"] is simplify
        assert output.graph.macs() == reports[simplify]["macs"]
        outputs.append(simulate.run(output.graph, images_for(output.graph)))
    assert np.array_equal(*outputs)
    smaller, whole = reports[True], reports[False]
    done = smaller["simplified"]
    assert whole["simplified"] is None
    assert done["macs"] == smaller["macs"] <= whole["macs"] == done["macs_before"]
    assert 0 <= done["removed"] < done["channels"]
    assert not any("simplified" in str(part) for part in tables.compiled(whole))
    assert any("simplified: " in str(part) for part in tables.compiled(smaller))


@pytest.mark.parametrize(
    ("removed", "macs", "text"),
    [
        (1964, (7489664, 3725027), "7.49 M multiply-adds become 3.73 M"),
        (1964, (50000, 3000), "simplified: 1,964 of 2,996 channels are constant or unused, 50,000"),
        (0, (50000, 50000), "simplified: none of 2,996 channels is constant or unused"),
    ],
)
def test_line_of_the_report(removed: int, macs: tuple[int, int], text: str) -> None:
    done = {"channels": 2996, "removed": removed, "macs_before": macs[0], "macs": macs[1]}
    assert text in simplified(done)


@pytest.mark.models
def test_visual_wake_words(tmp_path: Path) -> None:
    model = SHARED_MODELS / "vww_96_float_nhwc_op13.onnx"
    pictures = SHARED_MODELS.parent / "images" / "imagenet-sample-256.zip"
    for path in (model, pictures):
        if not path.exists():
            pytest.skip(f"{path} is missing (THUMBNET_SHARED names the folder above models)")
    options = CompileOptions(
        out=tmp_path / "out", model=model, calibrate=pictures, build=False, limit=20,
        preprocess=parse_preprocess("unit"),
    )  # fmt: skip
    small = compile_model(options).plan.graph
    whole = compile_model(replace(options, out=tmp_path / "whole", simplify=False)).plan.graph
    assert whole.macs() == 7_489_664
    assert small.macs() < 4_000_000
    q = whole.input_tensor.q
    assert q is not None
    pixels = load_images(pictures, whole.input_tensor.shape, whole.preprocess, 20).pixels
    images = to_int8(pixels, whole.preprocess, q)
    assert len(images) == 20
    assert np.array_equal(simulate.run(small, images), simulate.run(whole, images))
