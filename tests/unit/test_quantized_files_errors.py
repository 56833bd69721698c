"""Quantized ONNX files that are wrong, damaged, or hold what is not understood."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from onnx_models import Net, refusal
from onnxruntime.quantization import QuantFormat
from quantized_models import (
    Scheme,
    int8_graph,
    quantize_with_onnxruntime,
)

from codegen.errors import ThumbnetError
from codegen.onnx_import import import_onnx
from tests.unit.test_quantized_files import quantized, small, typed


def test_refused_by_name(tmp_path: Path) -> None:
    def text(build: Callable[[Net], Any]) -> str:
        net = Net(opset=21)
        build(net)
        return refusal(net.save(tmp_path))

    scale, zero = np.float32(0.1), np.uint8(0)
    per_channel = text(
        lambda n: n.op("QuantizeLinear", "x", np.full(3, scale), np.zeros(3, np.uint8), axis=1)
    )
    assert "QuantizeLinear 'n0' has 3 scales for an activation" in per_channel
    wide = text(lambda n: n.op("QuantizeLinear", "x", scale, np.uint16(0)))
    assert "zero point of type uint16" in wide and "8 bits" in wide
    nothing = text(lambda n: n.op("QuantizeLinear", "x", np.float32(0), zero))
    assert "'n0' has a scale in 'c0' that is not positive" in nothing
    infinite = text(lambda n: n.op("QuantizeLinear", "x", np.float32(np.inf), zero))
    assert "NaN or infinite" in infinite

    def other_scale(net: Net) -> None:
        y = net.op("QuantizeLinear", "x", scale, zero)
        net.op("DequantizeLinear", y, np.float32(0.2), zero)

    assert "written with 0.1 and 0" in text(other_scale)

    def other_type(net: Net) -> None:
        net.op("DequantizeLinear", net.op("QuantizeLinear", "x", scale, zero), scale, np.int8(0))

    assert "zero point of another type" in text(other_type)

    def on_integers(net: Net) -> None:
        net.op("Relu", net.op("QuantizeLinear", "x", scale, zero))

    assert "Relu 'n1' works on the integers of 'quantizelinear_0'" in text(on_integers)

    def mixed_scales(net: Net) -> None:
        integers = np.ones((4, 3, 3, 3), np.int8)
        scales = np.array([0.1, 0.2, 0.3], np.float32)
        w = net.op("DequantizeLinear", integers, scales, np.zeros(3, np.int8), axis=1)
        net.op("Conv", quantized(net, "x", 0.1, zero), w)

    assert "several scales for the weights" in text(mixed_scales)

    def wrong_count(net: Net) -> None:
        w = net.op("DequantizeLinear", np.ones((4, 3, 3, 3), np.int8), np.full(5, scale), axis=0)
        net.op("Conv", quantized(net, "x", 0.1, zero), w)

    assert "5 scales along axis 0" in text(wrong_count)

    def blocks(net: Net) -> None:
        w = net.op(
            "DequantizeLinear",
            np.ones((4, 3, 3, 3), np.int8),
            np.ones((2, 3, 3, 3), np.float32),
            axis=0,
            block_size=2,
        )
        net.op("Conv", quantized(net, "x", 0.1, zero), w)

    assert "one scale a block" in text(blocks)

    def dynamic(net: Net) -> None:
        net.op("DynamicQuantizeLinear", "x", outputs=3)

    assert "quantize statically, or give the float model" in text(dynamic)

    def typed_only(net: Net) -> None:
        typed(net, TensorProto.UINT8)
        net.op("Identity", "x")
        net.op("MaxPool", "x", kernel_shape=[2, 2])

    assert "no DequantizeLinear gives it a scale" in text(typed_only)


def test_operators_that_are_not_there(tmp_path: Path) -> None:
    net = Net()
    net.domains["com.microsoft"] = 1
    scale, zero = np.float32(0.1), np.uint8(0)
    x = net.op("QuantizeLinear", "x", scale, zero)
    net.op("QLinearSigmoid", x, scale, zero, scale, zero, domain="com.microsoft")
    assert "com.microsoft.QLinearSigmoid ('n1')" in refusal(net.save(tmp_path))
    net = Net()
    net.domains["com.microsoft"] = 1
    x = net.op("QuantizeLinear", "x", scale, zero)
    net.op(
        "QLinearGlobalAveragePool",
        *(x, scale, zero, scale, zero),
        domain="com.microsoft",
        channels_last=1,
    )
    assert "QLinearGlobalAveragePool 'n1' works on [N, H, W, C]" in refusal(net.save(tmp_path))
    net = Net()
    net.op("QLinearConv", net.op("QuantizeLinear", "x", scale, zero), scale)
    assert "QLinearConv 'n1' lacks inputs" in refusal(net.save(tmp_path))


def test_the_file_is_not_changed_for_onnxruntime(tmp_path: Path) -> None:
    """The reference of ``evaluate`` is the file as it is, not what the importer makes of it."""
    net = Net((1, 3, 16, 16), opset=17)
    path = net.save(tmp_path, small(net))
    images = net.random.uniform(-1, 1, (4, 3, 16, 16)).astype(np.float32)
    file = quantize_with_onnxruntime(path, Scheme(QuantFormat.QOperator), tmp_path, images)
    kinds = [node.op_type for node in import_onnx(file).model.graph.node]
    assert kinds == [node.op_type for node in onnx.load(file).graph.node]
    assert "QLinearConv" in kinds


@pytest.mark.parametrize("form", [QuantFormat.QDQ, QuantFormat.QOperator])
def test_damaged_files_never_give_a_traceback(form: QuantFormat, tmp_path: Path) -> None:
    """Inputs exchanged, left out or of other types: imported, or refused in words."""
    net = Net((1, 3, 16, 16), opset=17)
    path = net.save(tmp_path, small(net))
    images = net.random.uniform(-1, 1, (4, 3, 16, 16)).astype(np.float32)
    file = quantize_with_onnxruntime(path, Scheme(form, per_channel=True), tmp_path, images)
    refused, rng = 0, np.random.default_rng(0)
    for _ in range(120):
        model = onnx.load(file)
        _damage(model.graph, rng)
        file.with_name("damaged.onnx").write_bytes(model.SerializeToString())
        try:
            int8_graph(file.with_name("damaged.onnx"))
        except ThumbnetError as error:
            refused += "internal error" not in str(error)
            assert "internal error" not in str(error)
    assert refused > 40


def _damage(graph: onnx.GraphProto, rng: np.random.Generator) -> None:
    node = graph.node[rng.integers(len(graph.node))]
    index = int(rng.integers(len(node.input)))
    constant = graph.initializer[rng.integers(len(graph.initializer))]
    kind = rng.integers(6)
    if kind == 0:
        node.input[index] = constant.name
    elif kind == 1:
        node.input[index] = ""
    elif kind == 2:
        del node.input[index:]
    elif kind == 3:
        del node.attribute[:]
    else:
        values = onnx.numpy_helper.to_array(constant)
        changed = values.astype(rng.choice(["int8", "uint8", "int32", "float32", "int64"]))
        if kind == 5:
            changed = changed.reshape(-1)[: max(1, changed.size // 2)]
        constant.CopyFrom(onnx.numpy_helper.from_array(changed, constant.name))
