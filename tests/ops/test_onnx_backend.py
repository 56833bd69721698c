"""The float faces against the node tests of the onnx package itself: its models and its data."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from codegen.errors import ThumbnetError
from codegen.ir import Graph, Tensor
from codegen.onnx_import.builder import Builder
from codegen.onnx_import.node import OnnxNode
from codegen.onnx_import.registry import HANDLERS
from codegen.onnx_import.view import View
from codegen.passes import simplify
from codegen.simulate_float import run_float

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from onnx.backend.test.case.node import collect_testcases

    NODE_TESTS = {case.name.removeprefix("test_"): case for case in collect_testcases("")}

OPERATORS = (
    "Add", "AveragePool", "BatchNormalization", "Clip", "Concat", "Conv", "Div", "Elu", "Flatten",
    "Gemm", "GlobalAveragePool", "GlobalMaxPool", "HardSigmoid", "HardSwish", "LRN", "LeakyRelu",
    "MaxPool", "Mul", "PRelu", "Relu", "Sigmoid", "Softmax", "Sub", "Sum", "Swish", "Tanh",
)  # fmt: skip
"""What these tests are taken for."""

LAYOUTS = {1: ("C",), 2: ("N", "C"), 3: ("H", "W", "C"), 4: ("N", "C", "H", "W")}
"""The dimensions of an activation of so many; operators on single values do not mind."""

ELSEWHERE = (
    "1d", "3d", "uint", "int8", "int16", "int32",  # other numbers of dimensions and types
    "expanded", "training", "argmax", "axis_0", "2d_axis_negative_2", "large_number",
    "3d_axis_1", "3d_axis_negative_2", "3d_axis_negative_3",  # concatenations that are not of C
    "all_attributes", "transposeA", "sum_example", "sum_one_input", "softmax_axis_1",
)  # fmt: skip
"""Parts of names of tests that are not of maps or vectors of real numbers and their channels."""

REFUSED = {
    "averagepool_2d_dilations": "is dilated",
    "div": "varies over the map",
    "gemm_default_matrix_bias": "has bias 'c' of shape [3, 4]",
    "maxpool_2d_dilations": "is dilated",
    "prelu_example": "varies over the map",
    "sub": "varies over the map",
}
"""Tests of what is refused, and words of the message."""


def chosen() -> Iterator[str]:
    for name, case in NODE_TESTS.items():
        nodes = case.model.graph.node
        known = len(nodes) == 1 and nodes[0].op_type in OPERATORS and not nodes[0].domain
        if known and name not in REFUSED and not any(part in name for part in ELSEWHERE):
            yield name


def activations_of(node: Any, arrays: dict[str, np.ndarray]) -> list[str]:
    """The inputs that are no weights: all of a sum or product, else the first."""
    every = node.op_type in ("Add", "Concat", "Mul", "Sum")
    names = [name for name in node.input if name]
    same = [name for name in names if arrays[name].ndim == arrays[names[0]].ndim]
    return same if every else names[:1]


def imported(name: str) -> tuple[Graph, dict[str, np.ndarray], np.ndarray]:
    """A node test as a graph with its activations and the result, all [N, H, W, C].

    Other than in a network an operator may have several inputs here.
    """
    model = NODE_TESTS[name].model
    inputs, outputs = NODE_TESTS[name].data_sets[0]
    values = {
        value.name: to_array(array) if isinstance(array, TensorProto) else np.asarray(array)
        for value, array in zip(model.graph.input, inputs, strict=True)
    }
    node = OnnxNode(model.graph.node[0], 0, Path(name))
    builder = Builder(Path(name), model.opset_import[0].version, True)
    feeds = {}
    for source in activations_of(node.proto, values):
        array = values.pop(source)
        dims = LAYOUTS[array.ndim]
        sizes = dict(zip("".join(dims), array.shape, strict=True))
        shape = (sizes.get("H", 1), sizes.get("W", 1), sizes["C"])
        builder.tensors[source] = Tensor(source, shape)
        builder.views[source] = View.of(source, shape, dims)
        feeds[source] = full(builder.views[source], array)
    builder.constants.update(values)
    HANDLERS[node.op_type](builder, node)
    view = builder.views[node.outputs[0]]
    first = next(iter(feeds))
    graph = Graph(name, builder.tensors, tuple(builder.nodes), first, view.tensor)
    return graph, feeds, full(view, np.asarray(outputs[0]))


def to_array(value: Any) -> np.ndarray:
    return np.asarray(numpy_helper.to_array(value))


def full(view: View, array: np.ndarray) -> np.ndarray:
    """An array without a batch gets one."""
    return view.to_nhwc(array if "N" in "".join(view.dims) else array[None])


@pytest.mark.parametrize("name", sorted(chosen()))
def test_float_face(name: str) -> None:
    graph, feeds, want = imported(name)
    got = dict(feeds)
    for node in graph.nodes:
        got[node.output] = node.run_float(*(got[source] for source in node.inputs))
    assert got[graph.output].shape == want.shape
    assert np.allclose(got[graph.output], want, rtol=1e-3, atol=1e-6)
    if len(feeds) == 1 and graph.nodes:  # and so it is after the passes
        simple = run_float(simplify(graph), feeds[graph.input])
        assert np.allclose(simple[graph.output], want, rtol=1e-3, atol=1e-5)


def test_every_operator_is_met() -> None:
    met = {NODE_TESTS[name].model.graph.node[0].op_type for name in chosen()}
    assert met == {op for op in OPERATORS if onnx.defs.has(op)}  # an older onnx lacks the newest


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    with pytest.raises(ThumbnetError, match=re.escape(REFUSED[name])):
        imported(name)
