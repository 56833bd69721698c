"""The int8 network as a QDQ ONNX file: it says all that is computed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers import thumbnet_command
from quantized_models import Reference, compare_layers, int8_graph
from random_graphs import extreme_images, random_quantized
from tiny_graphs import pools, v1, v2
from wide_graphs import widened

from codegen import simulate
from codegen.errors import ThumbnetError
from codegen.graph_file import FILE_NAME, load_graph
from codegen.ir import FloatArray, Graph, Int8Array
from codegen.onnx_export import qdq_model, write_qdq
from codegen.preprocess import CHANNELS
from codegen.quant.channels import drop_channels

GRAPHS = {"v1": v1, "v2": v2, "pools": pools}
SEEDS = 60
EXPORTED = {"conv", "depthwise", "add", "avgpool", "maxpool", "pad", "softmax"}


def real(graph: Graph, images: Int8Array) -> FloatArray:
    """Integers of the input as the float32 [N, C, H, W] that the file takes."""
    q = graph.input_tensor.q
    assert q is not None
    values = (images.astype(np.float32) - np.float32(q.zero_point)) * np.float32(q.scale)
    return values.transpose(0, 3, 1, 2)


def assert_comes_back(graph: Graph, folder: Path, images: Int8Array) -> None:
    """The file is valid, and importing it gives a graph that computes the same bytes."""
    path = folder / "net_qdq.onnx"
    write_qdq(graph, path)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    imported, again = int8_graph(path)
    assert again.input_tensor.q == graph.input_tensor.q
    assert again.output_tensor.q == graph.output_tensor.q
    pictures = graph.input_tensor.shape[2] == CHANNELS[graph.preprocess.channels]
    assert imported.preprocess == (graph.preprocess if pictures else None)
    assert imported.classes == graph.classes
    want = simulate.trace(graph, images, graph.tensors)
    found = simulate.trace(again, images, again.tensors)
    # A Pad may have become part of the layer behind it.
    assert found.keys() <= want.keys() and len(found) > 0.6 * len(want)
    for name, values in found.items():
        assert np.array_equal(values, want[name]), name
    agreement = compare_layers(Reference(imported, again), real(graph, images))
    assert len(agreement) == len(again.nodes)
    assert max(layer.largest for layer in agreement) <= 1


def exportable(graph: Graph) -> bool:
    """False if a layer has no form in ONNX's quantized operators, which is said."""
    foreign = [node for node in graph.nodes if node.op not in EXPORTED]
    if foreign:
        with pytest.raises(ThumbnetError, match="cannot be written as QDQ"):
            qdq_model(graph)
    return not foreign


@pytest.mark.parametrize("name", GRAPHS)
def test_tiny_networks(name: str, tmp_path: Path) -> None:
    graph = GRAPHS[name]()
    assert_comes_back(graph, tmp_path, extreme_images(graph, 0))


@pytest.mark.parametrize("first", range(0, SEEDS, 10))
def test_random_networks(first: int, tmp_path: Path) -> None:
    for seed in range(first, first + 10):
        graph = drop_channels(random_quantized(seed)[1]).graph
        if not exportable(graph):
            continue
        assert_comes_back(graph, tmp_path, extreme_images(graph, seed))


def test_weights_of_nine_bits(tmp_path: Path) -> None:
    for seed in range(10):
        graph = widened(random_quantized(seed)[1], seed)
        if not exportable(graph):
            continue
        assert_comes_back(graph, tmp_path, extreme_images(graph, seed))


def test_same_graph_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_qdq(v1(), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_compile_writes_it_and_takes_it(tmp_path: Path) -> None:
    """``--emit-qdq``, and the file compiled again: the same network, without calibration."""
    first, second = tmp_path / "first", tmp_path / "second"
    done = thumbnet_command(
        "compile", "--emit-qdq", "--no-build", "--name", "net", "-o", first, "--json"
    )
    assert done.returncode == 0, done.stderr
    path = first / "net_qdq.onnx"
    done = thumbnet_command("compile", path, "--no-build", "-o", second, "--json")
    assert done.returncode == 0, done.stderr
    assert not json.loads(done.stdout)["warnings"]
    a, b = (load_graph(folder / FILE_NAME) for folder in (first, second))
    images = extreme_images(a, 0)
    assert np.array_equal(simulate.run(a, images), simulate.run(b, images))
    assert (a.preprocess, a.classes) == (b.preprocess, b.classes)


def test_no_file_unless_asked(tmp_path: Path) -> None:
    done = thumbnet_command("compile", "--no-build", "-o", tmp_path / "out")
    assert done.returncode == 0 and not list((tmp_path / "out").glob("*.onnx"))
