"""The only package that knows ONNX files: ``import_onnx`` makes a float graph of one.

Reads top to bottom: ``load`` (file -> protobuf), ``unfold`` (operators on integers -> float ones
between QuantizeLinear and DequantizeLinear), ``interface`` (input and output), ``survey`` (which
nodes count, what is unsupported), then one handler a node (``registry``), each of which looks at
views (``view``) and adds nodes to the graph under construction (``builder``). The graph of a
quantized file is a float graph, too, whose tensors know their quantization (``quantized``).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError
from onnx import ModelProto

from codegen.errors import ThumbnetError
from codegen.ir import Graph, Preprocess, Tensor, validate
from codegen.onnx_import.builder import Builder
from codegen.onnx_import.constants import FOLDABLE, REARRANGING, fold
from codegen.onnx_import.interface import Input, find_input, find_output
from codegen.onnx_import.load import first_line, load_model, opset_of, tensor_values
from codegen.onnx_import.metadata import read_classes, read_preprocess
from codegen.onnx_import.model import ImportedModel
from codegen.onnx_import.node import OnnxNode
from codegen.onnx_import.quantized import OFFSETS
from codegen.onnx_import.registry import HANDLERS, ON_INTEGERS
from codegen.onnx_import.survey import (
    live_nodes,
    refuse_incomplete,
    refuse_unsupported,
)
from codegen.onnx_import.unfold import unfold
from codegen.onnx_import.view import View

__all__ = ["ImportedModel", "View", "import_onnx"]


def import_onnx(path: Path) -> ImportedModel:
    """Reads an ONNX model, float or quantized.

    Args:
        path: The file.

    Returns:
        The model; tensors of its graph are named as the ONNX values they come from.

    Raises:
        ThumbnetError: The file is no usable ONNX model, or the model is not supported; the message
            names the file, the node or tensor, and what to do.
    """
    path = Path(path)
    try:
        return _import(path)
    except (DecodeError, UnicodeDecodeError) as error:
        raise ThumbnetError(
            f"{path} is a damaged ONNX file ({first_line(error)}). Export or download it again."
        ) from error


def _import(path: Path) -> ImportedModel:
    model, notes = load_model(path)
    output = find_output(model.graph, path)
    nodes = live_nodes(unfold(model.graph, path), path, output)
    source = find_input(model.graph, path)
    known = {source.name, *(tensor.name for tensor in model.graph.initializer)}
    refuse_incomplete(nodes, known)
    refuse_unsupported(nodes, path, source.name)
    layout, builder = _built(model, nodes, source, output, path)
    view = _output_view(builder, output)
    if source.kind != "float" and builder.tensors[source.name].q is None:
        raise ThumbnetError(
            f"{path}: the input {source.name!r} has the type {source.kind}, but no "
            "DequantizeLinear gives it a scale. Export a model with a float input."
        )
    channels = builder.tensors[source.name].shape[2]
    preprocess = read_preprocess(model, path, channels)
    classes = read_classes(model, path, view.shape[2])
    graph = Graph(
        name=path.stem,
        tensors=builder.tensors,
        nodes=tuple(builder.nodes),
        input=source.name,
        output=view.tensor,
        preprocess=preprocess or Preprocess(),
        classes=classes,
    )
    return ImportedModel(
        graph=validate(graph, "import"),
        path=path,
        input_name=source.name,
        input_layout=layout,
        input_kind=source.kind,
        output_name=output,
        batch=source.batch,
        views=builder.views,
        preprocess=preprocess,
        classes=classes,
        notes=notes,
        model=model,
    )


def _built(
    model: ModelProto, nodes: list[OnnxNode], source: Input, output: str, path: Path
) -> tuple[str, Builder]:
    """Builds the graph with the layout of the input that lets it be built.

    ONNX does not say whether its input is NCHW or NHWC: the first node that looks at single
    dimensions decides. With the wrong guess it complains, and the other guess gets further.
    """
    read = {name for node in nodes for name in node.inputs}
    initializers = {
        tensor.name: tensor_values(tensor, path)
        for tensor in model.graph.initializer
        if tensor.name in read
    }
    failures: list[tuple[int, ThumbnetError]] = []
    for layout in source.layouts():
        builder = Builder(path, opset_of(model), source.batch == 1, dict(initializers))
        shape = source.shape(layout)
        builder.tensors[source.name] = Tensor(source.name, shape)
        builder.views[source.name] = View.of(source.name, shape, layout)
        if source.kind != "float":
            builder.integers[source.name] = OFFSETS[np.dtype(source.kind)]
        done = 0
        try:
            for done, node in enumerate(nodes):  # noqa: B007 (tells how far it got)
                _import_node(builder, node)
            return layout, builder
        except ThumbnetError as error:
            failures.append((done, error))
    raise max(failures, key=lambda failure: failure[0])[1]


def _import_node(builder: Builder, node: OnnxNode) -> None:
    activations = [name for name in node.inputs if name in builder.views]
    if not activations and node.op_type in FOLDABLE:
        inputs = [builder.constants[name] if name else None for name in node.inputs]
        results = fold(node, inputs, builder.opset)
        builder.constants.update(zip(node.outputs, results, strict=False))
        if node.op_type in REARRANGING and node.inputs[0] in builder.steps:
            steps = fold(node, [builder.steps[node.inputs[0]], *inputs[1:]], builder.opset)
            builder.steps[node.outputs[0]] = steps[0]
        return
    integers = [name for name in activations if name in builder.integers]
    if integers and node.op_type not in ON_INTEGERS:
        raise node.error(
            f"works on the integers of {integers[0]!r}; a DequantizeLinear is needed between. "
            "Quantize the model to QDQ or QOperator form, or export it with a float input"
        )
    try:
        HANDLERS[node.op_type](builder, node)
        if integers and node.op_type != "DequantizeLinear":
            builder.integers[node.outputs[0]] = builder.integers[integers[0]]
    except (ValueError, IndexError, TypeError, OverflowError, ZeroDivisionError) as error:
        # Handlers check what well-formed nodes can get wrong; the rest is a malformed node.
        raise node.malformed(error) from error


def _output_view(builder: Builder, output: str) -> View:
    """The view of the graph's output.

    Raises:
        ThumbnetError: It does not depend on the input, or it is a map with its axes mixed.
    """
    view = builder.views.get(output)
    if view is None or not builder.nodes:
        raise ThumbnetError(
            f"{builder.path}: no layer leads from the input to the output {output!r}, so there is "
            "nothing to compile."
        )
    if any(view.has_layout(layout) for layout in ("NC", "NCHW", "NHWC")):
        return view
    if view.shape[:2] == (1, 1):
        return view
    raise ThumbnetError(
        f"{builder.path}: the output {output!r} is a map of {view.shape[0]}x{view.shape[1]} pixels "
        f"with its dimensions arranged as {view.described}; [N, C], [N, C, H, W] and [N, H, W, C] "
        "are supported. Take the reshaping at the end out of the model."
    )
