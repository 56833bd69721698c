"""From a path to a ``ModelProto`` that the importer can rely on, or a message that says why not."""

from __future__ import annotations

from collections.abc import Iterator
from os.path import isdir, isfile
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, inliner, numpy_helper
from onnx.external_data_helper import load_external_data_for_model, uses_external_data

from codegen.errors import ThumbnetError

OLDEST_OPSET = 7

FOREIGN_FILES: tuple[tuple[int, bytes, str], ...] = (
    (4, b"TFL3", "a TensorFlow Lite model: convert it to ONNX with tf2onnx (--tflite)"),
    (4, b"ORTM", "an ORT format model: use the ONNX file it was made from"),
    (0, b"\x89PNG", "a PNG picture"),
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, b"\x89HDF", "an HDF5 (Keras) file: export the model to ONNX with tf2onnx"),
    (0, b"PK\x03\x04", "a zip archive (a PyTorch or Keras file?): export the model to ONNX"),
    (0, b"\x1f\x8b", "a gzip archive: unpack it first"),
    (0, b"\x80\x02", "a Python pickle (an old PyTorch file?): export the model to ONNX"),
    (0, b"version https://git-lfs", "a Git LFS pointer, not the model: fetch it with `git lfs`"),
)

WIDE_TYPES = {
    TensorProto.FLOAT16: "float16",
    TensorProto.BFLOAT16: "bfloat16",
    TensorProto.DOUBLE: "float64",
}


def load_model(path: Path) -> tuple[ModelProto, tuple[str, ...]]:
    """Reads an ONNX file, with its external data, functions inlined, in float32.

    Args:
        path: The file.

    Returns:
        The model, and notes for the user on what was changed.

    Raises:
        ThumbnetError: The file cannot be read or is no usable ONNX model.
    """
    model = _parse(path, _read(path))
    _check_opset(model, path)
    _load_external_data(model, path)
    if model.functions:
        try:
            model = inliner.inline_local_functions(model)
        except Exception as error:  # C++ code behind it: any exception means a broken file
            raise ThumbnetError(
                f"{path}: the functions in the model cannot be inlined ({first_line(error)}). "
                "Export the model again, without local functions."
            ) from error
    return model, _to_float32(model, path)


def first_line(error: Exception) -> str:
    """The first line of an exception's text: what fits into a sentence."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _read(path: Path) -> bytes:
    if isdir(path):
        raise ThumbnetError(f"{path} is a folder. Give the ONNX file itself.")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ThumbnetError(f"{path} does not exist. Check the path of the ONNX file.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ThumbnetError(
            f"{path} cannot be read ({reason}). Check the path and its permissions."
        ) from None
    if not data:
        raise ThumbnetError(f"{path} is empty. Export or download the ONNX file again.")
    return data


def _parse(path: Path, data: bytes) -> ModelProto:
    for offset, magic, what in FOREIGN_FILES:
        if data[offset : offset + len(magic)] == magic:
            raise ThumbnetError(f"{path} is no ONNX file but {what}.")
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise ThumbnetError(
            f"{path} is no ONNX file, or it is truncated or damaged. Export or download it again."
        ) from None
    if not model.HasField("graph") or not model.opset_import:
        raise ThumbnetError(
            f"{path} is no ONNX file, or it is truncated or damaged: it has no graph or no opset. "
            "Export or download it again."
        )
    for node in model.graph.node:
        # The protobuf library gives bytes where the text is no UTF-8.
        if not all(isinstance(text, str) for text in (*node.input, *node.output, node.name)):
            raise ThumbnetError(f"{path} is a damaged ONNX file. Export or download it again.")
    if not model.graph.node:
        raise ThumbnetError(f"{path}: the graph has no nodes, so there is nothing to compile.")
    return model


def opset_of(model: ModelProto) -> int:
    """The version of the operators of ai.onnx that the model uses; 0 if it names none."""
    return max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)


def _check_opset(model: ModelProto, path: Path) -> None:
    opset, newest = opset_of(model), onnx.defs.onnx_opset_version()
    if opset == 0:
        raise ThumbnetError(
            f"{path} uses no operators of the domain ai.onnx. Export the model without "
            "runtime-specific operators."
        )
    if opset < OLDEST_OPSET:
        raise ThumbnetError(
            f"{path} uses opset {opset}; {OLDEST_OPSET} is the oldest supported. Export the model "
            "again with opset 13, or convert it with onnx.version_converter."
        )
    if opset > newest:
        raise ThumbnetError(
            f"{path} uses opset {opset}, newer than the installed onnx {onnx.__version__} knows "
            f"({newest}). Export with --opset {newest} or lower, or upgrade the package onnx."
        )


def _load_external_data(model: ModelProto, path: Path) -> None:
    outside = [t for t in model.graph.initializer if uses_external_data(t)]
    for tensor in outside:
        names = [entry.value for entry in tensor.external_data if entry.key == "location"]
        if not names or not isfile(path.parent / names[0]):
            raise ThumbnetError(
                f"{path}: the values of tensor {tensor.name!r} are in the file "
                f"{names[0] if names else '(not named)'!r}, which is missing. Put it next to the "
                "ONNX file, or export with all weights in one file."
            )
    if outside:
        try:
            load_external_data_for_model(model, str(path.parent))
        except Exception as error:  # onnx gives ValidationError, OSError, ValueError, ...
            raise ThumbnetError(
                f"{path}: the external data of the model cannot be loaded ({first_line(error)}). "
                "Export with all weights in one file."
            ) from error


def _attributes(graph: GraphProto) -> Iterator[AttributeProto]:
    for node in graph.node:
        yield from node.attribute


def _to_float32(model: ModelProto, path: Path) -> tuple[str, ...]:
    """Makes a half or double precision model a float32 one, in place; says so in the notes."""
    graph = model.graph
    constants = [a.t for a in _attributes(graph) if a.type == AttributeProto.TENSOR]
    found = set()
    for tensor in (*graph.initializer, *constants):
        if tensor.data_type in WIDE_TYPES:
            found.add(WIDE_TYPES[tensor.data_type])
            values = tensor_values(tensor, path).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type in WIDE_TYPES:
            found.add(WIDE_TYPES[value.type.tensor_type.elem_type])
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i in WIDE_TYPES:
                attribute.i = TensorProto.FLOAT
    kinds = " and ".join(sorted(found))
    return (f"{kinds} values of the model were converted to float32",) if found else ()


def tensor_values(tensor: TensorProto, path: Path) -> np.ndarray[tuple[int, ...], np.dtype]:
    """The values of a constant of the file.

    Raises:
        ThumbnetError: The constant is damaged.
    """
    try:
        return numpy_helper.to_array(tensor)
    except Exception as error:  # ValueError, TypeError, KeyError, ... by the kind of damage
        raise ThumbnetError(
            f"{path}: the values of tensor {tensor.name!r} are damaged ({first_line(error)}). "
            "Export or download the file again."
        ) from error
