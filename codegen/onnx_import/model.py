"""What the importer gives: the graph, and how it relates to the ONNX file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from onnx import ModelProto

from codegen.ir import Graph, Preprocess
from codegen.onnx_import.view import View


@dataclass(frozen=True, eq=False)
class ImportedModel:
    """A float graph and its source.

    Tensors of a quantized file know their quantization.

    Attributes:
        graph: The float graph; its tensors are named as the ONNX values they come from.
        path: The ONNX file.
        input_name: Name of the ONNX input, also of the graph's.
        input_layout: ``NHWC`` or ``NCHW``: the order of the dimensions of the ONNX input.
        input_kind: ``float``, ``uint8`` or ``int8``: the type of the ONNX input.
        output_name: Name of the ONNX output. The graph's output may have another name, when the
            ONNX output only reshapes it.
        batch: 1 if the file fixes the batch, None if it is symbolic.
        views: How each ONNX value that depends on the input shows a tensor of the graph.
        preprocess: From the file's metadata; None if it says nothing.
        classes: Names of the outputs, from the file's metadata; empty if it says nothing.
        notes: What was changed on reading, for the user.
        model: The ONNX model as imported: functions inlined, in float32.
    """

    graph: Graph
    path: Path
    input_name: str
    input_layout: str
    input_kind: str
    output_name: str
    batch: int | None
    views: Mapping[str, View]
    preprocess: Preprocess | None
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    model: ModelProto

    @property
    def input_view(self) -> View:
        """How the ONNX input shows the graph's input."""
        return self.views[self.input_name]

    @property
    def output_view(self) -> View:
        """How the ONNX output shows the graph's output."""
        return self.views[self.output_name]
