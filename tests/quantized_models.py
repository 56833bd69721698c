"""Quantized ONNX files: made with ONNX Runtime's quantizer, and compared layer by layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from codegen.ir import FloatArray, Graph, Int8Array
from codegen.onnx_import import ImportedModel, import_onnx
from codegen.onnx_import.quantized import OFFSETS
from codegen.passes import simplify
from codegen.quant.quantize import quantize

_KINDS = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)


@dataclass(frozen=True)
class Scheme:
    """How ONNX Runtime quantizes: the choices that its users have."""

    form: QuantFormat = QuantFormat.QDQ
    per_channel: bool = False
    activations: QuantType = QuantType.QUInt8
    weights: QuantType = QuantType.QInt8
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        spread = "channel" if self.per_channel else "tensor"
        extra = "_".join(key for key, _ in self.options)
        words = (self.form.name, spread, self.activations.name, self.weights.name, extra)
        return "-".join(word for word in words if word)


class _Reader(CalibrationDataReader):
    def __init__(self, name: str, images: FloatArray) -> None:
        self._feeds = iter([{name: image[None]} for image in images])

    def get_next(self) -> Any:
        return next(self._feeds, None)


def quantize_with_onnxruntime(
    source: Path, scheme: Scheme, folder: Path, images: FloatArray
) -> Path:
    """The file that ONNX Runtime's static quantizer makes of a float one.

    Args:
        source: The float file.
        scheme: How.
        folder: Where to.
        images: float32 [N, ...] in the layout of the file's input.
    """
    prepared, target = folder / "prepared.onnx", folder / f"{scheme.name}.onnx"
    quant_pre_process(source, prepared, skip_symbolic_shape=True)
    name = onnx.load(source).graph.input[0].name
    quantize_static(
        prepared,
        target,
        _Reader(name, images),
        quant_format=scheme.form,
        per_channel=scheme.per_channel,
        activation_type=scheme.activations,
        weight_type=scheme.weights,
        extra_options=dict(scheme.options),
    )
    return target


def int8_graph(path: Path) -> tuple[ImportedModel, Graph]:
    """A quantized file as an int8 graph; no calibration."""
    imported = import_onnx(path)
    return imported, quantize(simplify(imported.graph), {})


class Reference:
    """A quantized file in onnxruntime; every tensor that has integers there can be looked at."""

    def __init__(self, imported: ImportedModel, graph: Graph, *, fused: bool = False) -> None:
        """Prepares the session.

        Args:
            imported: The file.
            graph: Its int8 graph.
            fused: onnxruntime's own integer kernels; else what the file says: real numbers between
                DequantizeLinear and QuantizeLinear.
        """
        self.imported, self.graph = imported, graph
        model = type(imported.model)()
        model.CopyFrom(imported.model)
        self.names = dict(self._integers(model))
        present = {value.name for value in model.graph.output}
        for name in self.names.values():
            if name not in present and name != imported.input_name:
                model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        if not fused:
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        self._session = onnxruntime.InferenceSession(model.SerializeToString(), options)

    def _integers(self, model: onnx.ModelProto) -> Iterator[tuple[str, str]]:
        """For each tensor of the graph an ONNX value that has its integers."""
        views = self.imported.views
        for node in model.graph.node:
            makes = node.op_type.startswith("QLinear") or node.op_type in (
                "QuantizeLinear",
                "QGemm",
            )
            name = node.output[0]
            if makes and name in views and views[name].tensor in self.graph.tensors:
                yield views[name].tensor, name
        if self.imported.input_kind != "float":
            yield self.graph.input, self.imported.input_name

    def trace(self, images: FloatArray) -> dict[str, Int8Array]:
        """The integers of all tensors, as int8 [N, H, W, C].

        Args:
            images: float32 or integers [N, ...] as the file takes them.
        """
        wanted = [name for name in self.names.values() if name != self.imported.input_name]
        parts: dict[str, list[Int8Array]] = {tensor: [] for tensor in self.names}
        for image in images:
            found = dict(
                zip(
                    wanted,
                    self._session.run(wanted, {self.imported.input_name: image[None]}),
                    strict=True,
                )
            )
            found[self.imported.input_name] = image[None]
            for tensor, name in self.names.items():
                values = self._as_int8(found[name])
                parts[tensor].append(self.imported.views[name].to_nhwc(values))
        return {tensor: np.concatenate(values) for tensor, values in parts.items()}

    def _as_int8(self, values: NDArray[Any]) -> Int8Array:
        return (values.astype(np.int16) - OFFSETS[values.dtype]).astype(np.int8)


@dataclass(frozen=True)
class LayerAgreement:
    """How far a layer is from onnxruntime when both are given the same integers."""

    name: str
    op: str
    largest: int
    share: float


def compare_layers(reference: Reference, images: FloatArray) -> list[LayerAgreement]:
    """Each layer fed with onnxruntime's own int8 input.

    Where onnxruntime has no integers of a tensor (it moves values, or was clipped before) those of
    the layers before are used.
    """
    graph, known = reference.graph, reference.trace(images)
    found = []
    for node in graph.nodes:
        qs = tuple(q for name in node.inputs if (q := graph.tensors[name].q))
        y = node.run_int(tuple(known[name] for name in node.inputs), qs)
        if node.output in known:
            off = np.abs(y.astype(np.int16) - known[node.output])
            found.append(
                LayerAgreement(node.name, node.op, int(off.max()), float((off > 0).mean()))
            )
        known.setdefault(node.output, y)
    return found
