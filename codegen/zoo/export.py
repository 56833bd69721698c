"""Export of a Keras model to ONNX through tf2onnx."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from codegen.errors import ThumbnetError
from codegen.output import whole_file
from codegen.zoo.keras_model import legacy_keras

OPSET = 13

# What the constant inputs of an operator are called, by their position.
ROLES = {
    "Conv": {1: "weights", 2: "bias"},
    "MatMul": {1: "weights"},
    "Add": {1: "bias"},
    "Clip": {1: "low", 2: "high"},
    "Squeeze": {1: "axes"},
}

# Operators that only bring a layer's input or output into shape.
HELPERS = {"Transpose", "Squeeze", "Unsqueeze", "Reshape", "Pad"}


def export_onnx(model: Any, path: Path | str, metadata: Mapping[str, str]) -> None:
    """Writes a Keras model as ONNX (opset 13, input NHWC, BatchNormalization folded).

    The input is called ``input`` and has a symbolic batch size ``batch``; nodes are called after
    the Keras layers they come from. The same weights and the same versions give the same file.

    Args:
        model: a ``tf_keras`` model with one input and one output.
        path: file to write; it is replaced as a whole.
        metadata: entries of the model's ``metadata_props``.

    Raises:
        ThumbnetError: TensorFlow, tf_keras or tf2onnx is not installed.
    """
    legacy_keras()
    try:
        import onnx
        import tensorflow as tf
        import tf2onnx
    except ImportError as error:
        raise ThumbnetError(
            f"the export needs tf2onnx ({error}); install the extra: pip install 'thumbnet[train]'"
        ) from error

    for layer in model.layers:
        if getattr(layer, "groups", 1) > 1:
            # Keras compiles these apart, for CPUs have no kernel; tf2onnx wants the plain operator.
            layer._jit_compiled_convolution_op = layer.convolution_op
    height, width, channels = model.input_shape[1:]
    signature = (tf.TensorSpec((None, height, width, channels), tf.float32, name="input"),)
    proto, _ = tf2onnx.convert.from_keras(model, input_signature=signature, opset=OPSET)
    del proto.opset_import[:]
    proto.opset_import.append(onnx.helper.make_opsetid("", OPSET))
    proto.producer_name = "thumbnet.zoo"
    proto.producer_version = "1"
    proto.domain = ""
    proto.doc_string = ""
    proto.graph.name = model.name
    proto.graph.doc_string = ""
    _rename(proto.graph)
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.helper.set_model_props(proto, dict(sorted(metadata.items())))
    onnx.checker.check_model(proto, full_check=True)
    with whole_file(Path(path)) as unfinished:
        unfinished.write_bytes(proto.SerializeToString(deterministic=True))


def _rename(graph: Any) -> None:
    """Replaces the running numbers in tf2onnx's names, which differ from run to run.

    A node and what it computes get the name of their Keras layer, a constant that of its first
    user and its role there; constants are sorted by their first use.
    """
    fixed = {value.name for value in (*graph.input, *graph.output)}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    names: dict[str, str] = {}
    taken: set[str] = set()
    for node in graph.node:
        node.name = _unused(_layer_of(node), node.op_type, taken)
        for position, value in enumerate(node.input):
            if value in constants and value not in names:
                role = ROLES.get(node.op_type, {}).get(position, f"constant_{position}")
                names[value] = f"{node.name}/{role}"
        for value in node.output:
            free = f"{node.name}/output" if node.name in fixed else node.name
            names[value] = value if value in fixed else free
    for node in graph.node:
        node.input[:] = [names.get(value, value) for value in node.input]
        node.output[:] = [names[value] for value in node.output]
    used = [constants[old] for old in names if old in constants]
    for tensor, new in zip(used, [names[tensor.name] for tensor in used], strict=True):
        tensor.name = new
    ordered = [tensor.SerializeToString(deterministic=True) for tensor in used]
    del graph.initializer[:]
    for data in ordered:
        graph.initializer.add().ParseFromString(data)
    del graph.value_info[:]


def _layer_of(node: Any) -> str:
    """``conv_dw_1`` of a node called ``mobilenet_v1/conv_dw_1/depthwise``."""
    parts = str(node.name).split("/")
    return parts[1] if len(parts) > 2 else parts[-1]


def _unused(layer: str, operator: str, taken: set[str]) -> str:
    """The layer's name, or where that is taken or stands for another operator, both names."""
    helper = operator in HELPERS or layer in taken
    name = f"{layer}/{operator.lower()}" if helper else layer
    taken.add(name)
    return name
