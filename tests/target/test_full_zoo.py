"""Every network of the zoo at full width, for 224 pixels and 1000 classes: the same bytes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from codegen.errors import ThumbnetError
from codegen.flow import CompileOptions, compile_model
from codegen.verify import verify_model
from codegen.zoo.defaults import default_calibration
from codegen.zoo.make import ZooOptions, make_model
from codegen.zoo.registry import ARCHITECTURES

TOO_LARGE = re.compile(r"(need|needs) [\d,]+ bytes, .*(left|has)")


@pytest.mark.full
@pytest.mark.qemu
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_network_of_full_width(name: str, tmp_path: Path) -> None:
    model, out = tmp_path / f"{name}.onnx", tmp_path / name
    make_model(ZooOptions(name, model))
    report = compile_model(CompileOptions(out, model, default_calibration(), limit=4))
    layers = len(report.plan.graph.nodes)
    (host,) = verify_model(out, ("host",), None, 2).targets
    assert host.difference is None
    assert (host.images, host.layers) == (2, layers)
    try:
        (core,) = verify_model(out, ("qemu:cortex-m4",), None, 1).targets
    except ThumbnetError as error:
        assert TOO_LARGE.search(str(error)), error
        assert report.to_json()["flash"]["weights"] > 16 << 20  # the largest emulated memory
    else:
        assert core.difference is None
        assert core.layers == layers
