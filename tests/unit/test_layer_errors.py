"""What quantization costs, layer by layer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import thumbnet_command
from random_graphs import ranges_on

from codegen.ir import Bounds, Graph, Pads, Preprocess, Tensor, validate
from codegen.ops import AvgPool, Conv, Depthwise
from codegen.quant.layer_errors import layer_errors, report_pixels, sensitivity, with_wide_depthwise
from codegen.quant.quantize import quantize


def network() -> tuple[Graph, Graph, np.ndarray]:
    """A float graph, its int8 graph and pictures; one depthwise filter has an outlier."""
    rng = np.random.default_rng(0)
    channels, tensors, nodes = 16, {"in": Tensor("in", (12, 12, 3))}, []
    relu = Bounds(0.0, 6.0)

    def add(node: Conv | Depthwise | AvgPool) -> str:
        nodes.append(node)
        shape = node.infer(tensors[node.inputs[0]].shape)
        tensors[node.output] = Tensor(node.output, shape)
        return node.output

    def weights(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.3, shape).astype(np.float32)

    zeros = np.zeros(channels, np.float32)
    x = add(Conv("first", ("in",), "a", weights(channels, 1, 1, 3), zeros, bounds=relu))
    taps = weights(3, 3, channels, 1) * 0.1
    taps[0, 0] = 1.0
    pads = Pads(1, 1, 1, 1)
    x = add(Depthwise("middle", (x,), "b", taps, zeros, pads=pads, bounds=relu))
    x = add(Conv("last", (x,), "c", weights(channels, 1, 1, channels), zeros))
    x = add(AvgPool("pool", (x,), "d", (12, 12)))
    pre = Preprocess((127.5,) * 3, (127.5,) * 3)
    graph = validate(Graph("net", tensors, tuple(nodes), "in", x, pre), "test")
    pixels = rng.integers(0, 256, (6, 12, 12, 3), np.uint8)
    images = (pixels.astype(np.float32) - 127.5) / 127.5
    return graph, quantize(graph, {**ranges_on(graph, images), "in": (-1.0, 1.0)}), pixels


def test_errors_are_those_of_the_int8_tensors() -> None:
    graph, integer, pixels = network()
    (errors,) = layer_errors(graph, (integer,), pixels)
    assert [error.layer for error in errors] == ["first", "middle", "last", "pool"]
    for error in errors:
        assert 20.0 < error.sqnr < 60.0
        assert 0.0 < error.mean < error.largest
    # A zero point that is off by one is an error of one step in that tensor.
    q = integer.tensors["c"].q
    assert q is not None
    shifted = {
        **integer.tensors,
        "c": replace(integer.tensors["c"], q=replace(q, zero_point=q.zero_point + 1)),
    }
    (worse,) = layer_errors(graph, (replace(integer, tensors=shifted),), pixels)
    assert worse[0] == errors[0]
    assert worse[2].mean == pytest.approx(q.scale, rel=0.2)
    assert worse[2].sqnr < errors[2].sqnr - 3.0


def test_the_worst_layer_alone_is_the_one_whose_weights_are_spoiled() -> None:
    graph, integer, pixels = network()
    spoiled = [
        replace(node, weight=node.weight // 16 * 16) if node.name == "last" else node
        for node in integer.nodes
    ]
    alone = sensitivity(graph, replace(integer, nodes=tuple(spoiled)), pixels)
    assert next(name for name, _ in alone) == "last"
    assert {name for name, _ in alone} == {"first", "middle", "last", "pool"}
    before = dict(sensitivity(graph, integer, pixels))
    assert all(before[name] == sqnr for name, sqnr in alone if name != "last")


def test_wide_depthwise_weights_pay_where_a_filter_has_an_outlier() -> None:
    graph, integer, pixels = network()
    now, wide = layer_errors(graph, (integer, with_wide_depthwise(graph, integer)), pixels)
    assert (now,) == layer_errors(graph, (integer,), pixels)
    assert wide[-1].sqnr > now[-1].sqnr + 0.5


def test_large_networks_get_few_pictures() -> None:
    graph, _, pixels = network()
    assert len(report_pixels(graph, pixels)) == 6
    many = np.zeros((100, 12, 12, 3), np.uint8)
    assert len(report_pixels(graph, many)) == 16
    assert len(report_pixels(graph, many[:0])) == 0


def test_the_command_lists_them(tmp_path: Path) -> None:
    words = ["compile", "-o", "out", "--no-build", "--errors", "--sensitivity", "--images", "8"]
    ended = thumbnet_command(*words, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "SQNR dB" in ended.stdout
    assert "int8 in one layer" in ended.stdout
    report = json.loads((tmp_path / "out" / "compile.json").read_text())
    names = {layer["name"] for layer in report["layers"]}
    assert {error["layer"] for error in report["errors"]} == names
    assert {layer["layer"] for layer in report["sensitivity"]} == names
    assert all(error["sqnr"] is None or error["sqnr"] > 5.0 for error in report["errors"])
