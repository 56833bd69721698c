"""The quantized graph as a file: nothing is lost, nothing damaged gets through."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from random_graphs import random_quantized

from codegen import simulate
from codegen.errors import ThumbnetError
from codegen.graph_file import FILE_NAME, FORMAT, load_graph, save_graph
from codegen.ir import Graph, Preprocess
from codegen.ops import OPS
from codegen.output import read_output

NAMES = 'a/b;c "d" \\ é \u4e2d */ ??/'


def some_graph(seed: int = 3) -> Graph:
    """An int8 graph with every other field set to something unusual."""
    graph = random_quantized(seed)[1]
    channels = graph.input_tensor.shape[2]
    nodes = tuple(replace(node, name=f"{NAMES}{i}") for i, node in enumerate(graph.nodes))
    pre = Preprocess((0.1 + 0.2,) * channels, (1 / 3,) * channels, "BGR", "crop")
    return replace(graph, nodes=nodes, preprocess=pre, classes=("cat", NAMES, ""))


def assert_same(a: Any, b: Any, where: str = "graph") -> None:
    """Equal in type and every field, floats to the last bit."""
    if isinstance(a, np.ndarray):
        assert isinstance(b, np.ndarray), where
        assert (a.dtype, a.shape) == (b.dtype, b.shape), where
        assert np.array_equal(a, b), where
    elif is_dataclass(a):
        assert type(a) is type(b), where
        for field in fields(a):
            assert_same(getattr(a, field.name), getattr(b, field.name), f"{where}.{field.name}")
    elif isinstance(a, dict):
        assert list(a) == list(b), where
        for key in a:
            assert_same(a[key], b[key], f"{where}[{key!r}]")
    elif isinstance(a, tuple):
        assert isinstance(b, tuple), where
        assert len(a) == len(b), where
        for index, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{where}[{index}]")
    else:
        assert type(a) is type(b), f"{where}: {type(a)} and {type(b)}"
        assert a == b, where


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / FILE_NAME
    save_graph(some_graph(), path)
    return path


@pytest.mark.parametrize("seed", range(12))
def test_round_trip(seed: int, tmp_path: Path) -> None:
    graph = some_graph(seed)
    save_graph(graph, tmp_path / "g.npz")
    loaded = load_graph(tmp_path / "g.npz")
    assert_same(graph, loaded)
    x = np.random.default_rng(0).integers(-128, 128, (2, *graph.input_tensor.shape)).astype(np.int8)
    assert np.array_equal(simulate.run(graph, x), simulate.run(loaded, x))


def test_every_operator_is_met() -> None:
    met = {node.op for seed in range(48) for node in some_graph(seed).nodes}
    assert met == {op for op, cls in OPS.items() if not cls.float_only}


def test_float_graphs_too(tmp_path: Path) -> None:
    graph = random_quantized(3)[0]
    save_graph(graph, tmp_path / "g.npz")
    assert_same(graph, load_graph(tmp_path / "g.npz"))


def test_same_graph_same_bytes(saved: Path, tmp_path: Path) -> None:
    save_graph(some_graph(), tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == saved.read_bytes()
    save_graph(load_graph(saved), tmp_path / "third.npz")
    assert (tmp_path / "third.npz").read_bytes() == saved.read_bytes()


def test_nothing_is_pickled(saved: Path) -> None:
    with np.load(saved, allow_pickle=False) as arrays:
        assert all(arrays[name].dtype.kind in "iu" for name in arrays.files)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(ThumbnetError, match=r"is no output folder of thumbnet: .*graph\.npz is"):
        load_graph(tmp_path / FILE_NAME)
    with pytest.raises(ThumbnetError, match="is no folder"):
        read_output(tmp_path / "nothing")


@pytest.mark.parametrize(
    "text", [b"", b"PK\x03\x04", b"not a zip at all" * 20, b"\x93NUMPY\x01\x00"]
)
def test_no_archive(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "g.npz").write_bytes(text)
    with pytest.raises(ThumbnetError, match=r"is damaged .*Run `thumbnet compile` again"):
        load_graph(tmp_path / "g.npz")


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ThumbnetError, match="is damaged"):
        load_graph(tmp_path)


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    np.savez(tmp_path / "g.npz", graph=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ThumbnetError, match="is damaged"):
        load_graph(tmp_path / "g.npz")


def changed(path: Path, document: Any) -> Path:
    """A copy of the file with another document in it."""
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    with np.load(path) as arrays:
        others = {name: arrays[name] for name in arrays.files if name != "graph"}
    target = path.with_name("changed.npz")
    np.savez_compressed(target, graph=np.frombuffer(text, np.uint8), **others)
    return target


def document_of(path: Path) -> Any:
    with np.load(path) as arrays:
        return json.loads(arrays["graph"].tobytes())


def test_another_version(saved: Path) -> None:
    document = document_of(saved) | {"format": FORMAT + 1}
    with pytest.raises(
        ThumbnetError, match=f"has format {FORMAT + 1}, this version reads {FORMAT}"
    ):
        load_graph(changed(saved, document))


def _without(key: str) -> Any:
    return lambda d: d["graph"].pop(key)


def _node(**fields: Any) -> Any:
    return lambda d: d["graph"]["nodes"][0].update(fields)


MISTAKES = {
    "no document": lambda d: d.clear(),
    "no format": lambda d: d.pop("format"),
    "no graph": lambda d: d.pop("graph"),
    "a graph that is none": lambda d: d.update(graph=7),
    "a graph that is a list": lambda d: d.update(graph=[]),
    "another class": lambda d: d.update(graph={"is": "QParams", "scale": 1.0, "zero_point": 0}),
    "no nodes": _without("nodes"),
    "no input": _without("input"),
    "no tensors": _without("tensors"),
    "tensors are numbers": lambda d: d["graph"].update(tensors=[1, 2]),
    "nodes are numbers": lambda d: d["graph"].update(nodes=[1, 2]),
    "a node without inputs": _node(inputs=[]),
    "inputs are a number": _node(inputs=3),
    "unknown field": _node(colour="red"),
    "unknown operator": _node(**{"is": "Transformer"}),
    "no class": lambda d: d["graph"]["nodes"][0].pop("is"),
    "another input": lambda d: d["graph"].update(input="nowhere"),
    "another output": lambda d: d["graph"].update(output="nowhere"),
    "a shape of text": lambda d: d["graph"]["tensors"][1].update(shape=["a", "b", "c"]),
    "no array of that name": _node(weight={"array": "a999"}),
    "the weights are missing": lambda d: d["graph"]["nodes"][0].pop("weight"),
    "the weights are text": _node(weight="heavy"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_documents_with_mistakes(mistake: str, saved: Path) -> None:
    document = document_of(saved)
    assert document["graph"]["nodes"][0]["is"] == "Conv"
    MISTAKES[mistake](document)
    with pytest.raises(ThumbnetError):
        load_graph(changed(saved, document))


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[]", b"null", b"1e999", b"[" * 100_000])
def test_no_document(text: bytes, saved: Path) -> None:
    with pytest.raises(ThumbnetError):
        load_graph(changed(saved, text))


def load_or_refuse(path: Path) -> bool:
    """True if it loads; anything but ThumbnetError gets through."""
    try:
        load_graph(path)
    except ThumbnetError as error:
        assert str(error)
        return False
    return True


def test_every_truncation(saved: Path, tmp_path: Path) -> None:
    data = saved.read_bytes()
    path = tmp_path / "g.npz"
    for length in {*range(0, len(data), max(1, len(data) // 150)), len(data) - 1}:
        path.write_bytes(data[:length])
        assert not load_or_refuse(path), f"{length} of {len(data)} bytes"


@pytest.mark.parametrize("seed", range(4))
def test_flipped_bits(seed: int, tmp_path: Path) -> None:
    save_graph(some_graph(seed), tmp_path / "whole.npz")
    data = bytearray((tmp_path / "whole.npz").read_bytes())
    rng = np.random.default_rng(seed)
    path = tmp_path / "g.npz"
    # Headers and directory entries are few among the bytes: every second flip hits one of them.
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        starts = [info.header_offset for info in archive.infolist()]
    special = [start + byte for start in starts for byte in range(50)]
    special += list(range(max(0, len(data) - 600), len(data)))
    special = [byte for byte in special if byte < len(data)]
    refused = 0
    for trial in range(200):
        broken = bytearray(data)
        for _ in range(rng.integers(1, 3)):
            where = rng.choice(special) if trial % 2 else rng.integers(len(data))
            broken[where] ^= 1 << rng.integers(8)
        path.write_bytes(broken)
        refused += not load_or_refuse(path)
    assert refused > 50


def test_flipped_bits_of_the_document(saved: Path) -> None:
    """The same behind the archive's checksums, as another program might write it."""
    with np.load(saved) as arrays:
        text = arrays["graph"].tobytes()
    rng = np.random.default_rng(0)
    for _ in range(150):
        broken = bytearray(text)
        broken[rng.integers(len(broken))] ^= 1 << rng.integers(7)
        load_or_refuse(changed(saved, bytes(broken)))
