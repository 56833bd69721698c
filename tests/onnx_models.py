"""Small ONNX models made by hand, and the comparison of an imported model with onnxruntime."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from codegen.errors import ThumbnetError
from codegen.ir import FloatArray, Graph
from codegen.onnx_import import ImportedModel, import_onnx
from codegen.onnx_runtime import WRONG_OPTIMIZERS, FloatModel
from codegen.ops import OPS, MaxPool, Pad
from codegen.passes import simplify
from codegen.simulate_float import run_float

MODELS = (
    Path(os.environ.get("THUMBNET_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    / "models"
)
EXPORTED = Path(__file__).parent / "data" / "exporters"
TOLERANCE = 1e-4

INTEGER_ONLY = {op for op, cls in OPS.items() if not cls.float_only}


class Net:
    """An ONNX model that grows node by node; numbers come from a seed.

    ``op`` takes names of values and arrays (which become initializers) and gives the name of the
    result.
    """

    def __init__(self, shape: Iterable[Any] = (1, 3, 8, 8), opset: int = 13, seed: int = 0) -> None:
        self.opset = opset
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.functions: list[onnx.FunctionProto] = []
        self.domains: dict[str, int] = {}
        self.inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))]
        self.outputs: list[onnx.ValueInfoProto] = []
        self.metadata: dict[str, str] = {}

    def normal(self, *shape: int) -> FloatArray:
        return self.random.normal(0, 1, shape).astype(np.float32)

    def positive(self, *shape: int) -> FloatArray:
        return self.random.uniform(0.5, 2, shape).astype(np.float32)

    def constant(self, values: Any, name: str | None = None) -> str:
        name = name or f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def op(self, op_type: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> str:
        names = [
            value if isinstance(value, str) else self.constant(value) if value is not None else ""
            for value in inputs
        ]
        made = [f"{op_type.lower()}_{len(self.nodes)}{'_' * i}" for i in range(outputs)]
        self.nodes.append(
            helper.make_node(op_type, names, made, name=f"n{len(self.nodes)}", **attributes)
        )
        return made[0]

    def conv(self, x: str, channels: int, outputs: int, size: int = 3, **attributes: Any) -> str:
        group = attributes.get("group", 1)
        weight = self.normal(outputs, channels // group, size, size) / (size * channels**0.5)
        return self.op("Conv", x, weight, self.normal(outputs), **attributes)

    def model(self, output: str | None = None) -> onnx.ModelProto:
        output = output or self.nodes[-1].output[0]
        outputs = self.outputs or [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)]
        graph = helper.make_graph(self.nodes, "g", self.inputs, outputs, self.initializers)
        opsets = [helper.make_opsetid("", self.opset)]
        opsets += [helper.make_opsetid(domain, v) for domain, v in self.domains.items()]
        model = helper.make_model(
            graph, opset_imports=opsets, functions=self.functions, ir_version=10
        )
        helper.set_model_props(model, self.metadata)
        return model

    def save(self, folder: Path, output: str | None = None, name: str = "net.onnx") -> Path:
        path = folder / name
        path.write_bytes(self.model(output).SerializeToString())
        return path


def pictures(graph: Graph, count: int, seed: int = 1) -> FloatArray:
    """Random images for ``graph``: float32 [count, H, W, C] in -1..1."""
    random = np.random.default_rng(seed)
    return random.uniform(-1, 1, (count, *graph.input_tensor.shape)).astype(np.float32)


def session_output(path: Path, imported: ImportedModel, images: FloatArray) -> FloatArray:
    """What onnxruntime gives for the file as it is, image by image: [N, H, W, C]."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        path.read_bytes(), options, disabled_optimizers=WRONG_OPTIMIZERS
    )
    source = session.get_inputs()[0]
    results = []
    for image in images:
        fed = image if imported.input_layout == "NHWC" else image.transpose(2, 0, 1)
        kind = {"tensor(float16)": np.float16, "tensor(double)": np.float64}
        fed = fed.astype(kind.get(source.type, np.float32))
        result = session.run(None, {source.name: fed[None]})[0]
        height, width, channels = imported.graph.output_tensor.shape
        if result.shape == (1, channels, height, width):
            result = result.transpose(0, 2, 3, 1)
        results.append(result.reshape(height, width, channels))
    return np.array(results, np.float32)


def assert_close(got: FloatArray, want: FloatArray, what: str) -> float:
    """Asserts that two arrays agree within a share of their range, and gives that share."""
    assert got.shape == want.shape, f"{what}: {got.shape} instead of {want.shape}"
    assert got.dtype == np.float32, what
    error = float(np.abs(got - want).max() / max(np.ptp(want), np.abs(want).max(), 1e-3))
    assert error < TOLERANCE, f"{what} is off by {error} of its range"
    return error


def assert_like_onnxruntime(
    path: Path, count: int = 2, imported: ImportedModel | None = None
) -> tuple[ImportedModel, Graph]:
    """Compares all tensors of the imported and of the simplified graph with onnxruntime."""
    imported = imported or import_onnx(path)
    simple = simplify(imported.graph)
    assert {node.op for node in simple.nodes} <= INTEGER_ONLY
    assert simple.output_tensor == imported.graph.output_tensor
    images = pictures(imported.graph, count)
    names = list(imported.graph.tensors)
    parts = list(FloatModel(imported, names).activations(images))
    reference = {name: np.concatenate([part[name] for part in parts]) for name in names}
    output = session_output(path, imported, images)
    for graph in (imported.graph, simple):
        values = run_float(graph, images)
        assert_close(values[graph.output], output, "output")
        for name, value in values.items():
            want = reference[name]
            if any(isinstance(node, (MaxPool, Pad)) for node in graph.consumers(name)):
                # A clip may have moved in front of the one that reads it.
                bounds = getattr(graph.producer(name), "bounds", None)
                want = want if bounds is None else np.clip(want, bounds.lo, bounds.hi)
            assert_close(value, want, name)
    return imported, simple


def refusal(path: Path) -> str:
    """The message with which a file is refused; it names the file."""
    with pytest.raises(ThumbnetError) as caught:
        import_onnx(path)
    text = str(caught.value)
    assert str(path) in text and "internal error" not in text and "\n" not in text
    return text
