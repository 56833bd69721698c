"""Every network of the zoo at full width, for 224 pixels and 1000 classes: the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from codegen.errors import ThumbnetError
from codegen.flow import CompileOptions, compile_model
from codegen.verify import verify_model
from codegen.zoo.defaults import default_calibration
from codegen.zoo.make import ZooOptions, make_model
from codegen.zoo.registry import ARCHITECTURES


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
    target = "qemu:cortex-m4"
    if report.to_json()["flash"]["weights"] > 16 << 20:  # more than an emulated M4 has
        with pytest.raises(ThumbnetError, match=r"too many.*in QEMU: mps3_an547"):
            verify_model(out, (target,), None, 1)
        target = "qemu:mps3_an547"
    (core,) = verify_model(out, (target,), None, 1).targets
    assert core.difference is None
    assert core.layers == layers
