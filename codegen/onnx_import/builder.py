"""The graph under construction: what is known of each ONNX value while nodes are imported."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.ir import Node, Tensor
from codegen.onnx_import.node import OnnxNode
from codegen.onnx_import.view import View

LARGEST_TENSOR = 1 << 28
"""Elements; beyond it the file is damaged, or the model has no place on a microcontroller."""


@dataclass
class Builder:
    """Everything that a handler reads and writes.

    Attributes:
        path: The file, for messages.
        opset: Version of the operators of ai.onnx.
        fixed_batch: True if the batch dimension of the input is the number 1.
        constants: Known values by ONNX name.
        views: Values that depend on the input, by ONNX name.
        tensors: Tensors of the new graph.
        nodes: Nodes of the new graph.
        steps: For constants that were dequantized the scale of each value, by ONNX name.
        integers: Values that are integers, between QuantizeLinear and DequantizeLinear, by ONNX
            name, and what is subtracted of them to make them int8.
    """

    path: Path
    opset: int
    fixed_batch: bool
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)
    views: dict[str, View] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    steps: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    integers: dict[str, int] = field(default_factory=dict)

    def view(self, node: OnnxNode, index: int = 0) -> View:
        """Input ``index`` of ``node``, which must depend on the graph's input.

        Raises:
            ThumbnetError: It is missing or a constant.
        """
        if not node.given(index):
            raise node.error(f"lacks input {index}")
        name = node.inputs[index]
        if name not in self.views:
            raise node.error(f"has the constant {name!r} where an activation is expected")
        return self.views[name]

    def map_view(self, node: OnnxNode) -> View:
        """Input 0 of ``node`` as an NCHW map.

        Raises:
            ThumbnetError: It is no map, or its dimensions are ordered otherwise.
        """
        view = self.view(node)
        if len(view.dims) != 4:
            kind = f"{len(view.dims) - 2}-D data" if len(view.dims) > 2 else "a vector"
            raise node.error(
                f"works on {kind}, {node.inputs[0]!r} of shape {list(view.onnx_shape)}; "
                "only 2-D maps [N, C, H, W] are supported"
            )
        if not view.has_layout("NCHW"):
            raise node.error(
                f"expects [N, C, H, W] but {node.inputs[0]!r} has the dimensions {view.described}"
            )
        return view

    def constant(self, node: OnnxNode, index: int, what: str) -> NDArray[Any]:
        """Input ``index`` of ``node``, which must be a constant.

        Args:
            node: The node.
            index: Position of the input.
            what: Its role, for the message.

        Raises:
            ThumbnetError: It is left out or computed from the graph's input.
        """
        if not node.given(index):
            raise node.error(f"lacks input {index}, its {what}")
        name = node.inputs[index]
        if name not in self.constants:
            raise node.error(
                f"takes its {what} from {name!r}, which is computed from the model's input; "
                "only constants are supported there"
            )
        return self.constants[name]

    def numbers(self, node: OnnxNode, index: int, what: str) -> NDArray[np.float64]:
        """A constant input of finite real numbers, in float64.

        Raises:
            ThumbnetError: It is no constant, not numeric, or has a value that is not finite.
        """
        values = self.constant(node, index, what)
        if values.dtype.kind not in "fiu":
            raise node.error(f"has {what} {node.inputs[index]!r} of type {values.dtype}")
        if not np.isfinite(values).all():
            raise node.error(
                f"has NaN or infinite values in its {what} {node.inputs[index]!r}; "
                "train or export the model again"
            )
        return values.astype(np.float64)

    def whole_numbers(self, node: OnnxNode, index: int, what: str) -> tuple[int, ...]:
        """A constant input that is a list of whole numbers, such as a shape or axes."""
        values = self.constant(node, index, what)
        if values.dtype.kind not in "iu":
            raise node.error(f"has {what} {node.inputs[index]!r} of type {values.dtype}")
        return tuple(int(value) for value in values.reshape(-1))

    def axes(self, node: OnnxNode, rank: int, *, input_index: int) -> tuple[int, ...] | None:
        """The axes of a node, given as an attribute or an input; None if left out.

        Args:
            node: The node.
            rank: What negative axes count from.
            input_index: Which input holds them in newer opsets.

        Raises:
            ThumbnetError: An axis is out of range or named twice.
        """
        if node.given(input_index):
            axes = self.whole_numbers(node, input_index, "axes")
        elif node.has("axes"):
            axes = node.integers("axes", ())
        else:
            return None
        counted = tuple(axis + rank if axis < 0 else axis for axis in axes)
        if any(not 0 <= axis < rank for axis in counted) or len(set(counted)) < len(counted):
            raise node.error(f"has axes {list(axes)}, which {rank} dimensions do not have")
        return counted

    def set_view(self, node: OnnxNode, view: View) -> None:
        """Makes the output of ``node`` another view of a tensor that exists."""
        self.views[node.outputs[0]] = view

    def emit(self, node: OnnxNode, made: Node, dims: Iterable[str]) -> None:
        """Adds a node to the graph; its output is shown by the ONNX value as ``dims``.

        Raises:
            ThumbnetError: The shapes do not fit, or the result would be empty or absurdly large.
        """
        try:
            shape = made.infer(*(self.tensors[name].shape for name in made.inputs))
        except ValueError as error:
            raise node.malformed(error) from error
        tensor = Tensor(made.output, shape)
        if min(shape) <= 0:
            raise node.error(
                f"has a window larger than its padded input {node.inputs[0]!r}: its output "
                f"{made.output!r} would be empty"
            )
        if tensor.size > LARGEST_TENSOR:
            raise node.error(f"makes {made.output!r} of shape {shape}, which is too large")
        self.tensors[tensor.name] = tensor
        self.nodes.append(made)
        self.set_view(node, View.of(tensor.name, shape, dims))


def as_float32(node: OnnxNode, values: NDArray[Any], what: str) -> NDArray[np.float32]:
    """``values`` in float32.

    Raises:
        ThumbnetError: One of them is too large for it.
    """
    with np.errstate(over="ignore"):
        result = np.ascontiguousarray(values, np.float32)
    if not np.isfinite(result).all():
        raise node.error(f"has values in its {what} that float32 cannot hold")
    return result
