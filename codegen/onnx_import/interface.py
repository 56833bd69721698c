"""The one input and the one output of an ONNX graph."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from onnx import GraphProto, TensorProto, ValueInfoProto

from codegen.errors import ThumbnetError
from codegen.ir import Shape

KINDS = {TensorProto.FLOAT: "float", TensorProto.UINT8: "uint8", TensorProto.INT8: "int8"}
"""Types of an input."""


@dataclass(frozen=True)
class Input:
    """The input of the graph.

    Attributes:
        name: Its ONNX name.
        dims: The three dimensions after the batch.
        batch: 1 if the file fixes the batch, None if it is symbolic.
        kind: Its type: ``float``, ``uint8`` or ``int8``.
    """

    name: str
    dims: tuple[int, int, int]
    batch: int | None
    kind: str = "float"

    def shape(self, layout: str) -> Shape:
        """``(H, W, C)`` if the dimensions are ordered as ``layout``."""
        first, second, third = self.dims
        return (second, third, first) if layout == "NCHW" else (first, second, third)

    def layouts(self) -> tuple[str, str]:
        """Both layouts, first the one that the number of channels suggests."""
        if self.dims[2] in (1, 3) and self.dims[0] not in (1, 3):
            return "NHWC", "NCHW"
        return "NCHW", "NHWC"


def find_input(graph: GraphProto, path: Path) -> Input:
    """The input of ``graph`` that is no initializer.

    Raises:
        ThumbnetError: There is not exactly one, or it is no picture of a fixed size in a
            type that is supported.
    """
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1:
        raise ThumbnetError(
            f"{path} has {_listed('input', inputs)}; models with exactly one input are supported. "
            "Export the model with one picture as its only input."
        )
    value = inputs[0]
    kind = value.type.tensor_type.elem_type
    if not value.type.HasField("tensor_type") or kind not in KINDS:
        known = kind in TensorProto.DataType.values()
        name = TensorProto.DataType.Name(kind).lower() if known else str(kind)
        raise ThumbnetError(
            f"{path}: the input {value.name!r} has the type {name}; float, uint8 and int8 are "
            "supported. Export a float model, or one quantized to 8 bits."
        )
    return Input(value.name, *_input_shape(value, path), KINDS[kind])


def _input_shape(value: ValueInfoProto, path: Path) -> tuple[tuple[int, int, int], int | None]:
    dims = value.type.tensor_type.shape.dim
    sizes = [d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in dims]
    if len(sizes) != 4:
        shown = "no shape" if not dims else f"{len(sizes)} dimensions"
        raise ThumbnetError(
            f"{path}: the input {value.name!r} has {shown}; a picture of 4 dimensions "
            "([N, C, H, W] or [N, H, W, C]) is needed."
        )
    batch, first, second, third = sizes
    if first is None or second is None or third is None:
        index = sizes.index(None, 1)
        raise ThumbnetError(
            f"{path}: dynamic shape: dimension {index} of the input {value.name!r} is "
            f"{dims[index].dim_param or 'unknown'!r} instead of a number. Export the model with "
            "fixed height, width and channels; only the batch may be symbolic."
        )
    if batch not in (None, 1):
        raise ThumbnetError(
            f"{path}: the input {value.name!r} has a fixed batch of {batch}. Export the model with "
            "batch 1 or a symbolic batch."
        )
    if first * second * third > 1 << 28:
        raise ThumbnetError(f"{path}: the input {value.name!r} of {sizes[1:]} is too large.")
    return (first, second, third), batch


def find_output(graph: GraphProto, path: Path) -> str:
    """Name of the only output.

    Raises:
        ThumbnetError: There is not exactly one.
    """
    if len(graph.output) != 1:
        raise ThumbnetError(
            f"{path} has {_listed('output', list(graph.output))}; models with exactly one output "
            "are supported. Export the model with one output."
        )
    return str(graph.output[0].name)


def _listed(what: str, values: list[ValueInfoProto]) -> str:
    names = ", ".join(repr(value.name) for value in values[:8])
    more = ", ..." if len(values) > 8 else ""
    return f"{len(values)} {what}s ({names}{more})" if values else f"no {what}"
