"""Values that do not depend on the input: initializers, and whatever is computed from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TypeProto, helper
from onnx.reference import ReferenceEvaluator

from codegen.onnx_import.node import OnnxNode

Array = NDArray[Any]

LARGEST = 1 << 26
"""Elements of the largest constant that is folded: a bound on memory, far above any weight."""


def _expanded(inputs: list[Array]) -> int:
    return prod(np.broadcast_shapes(inputs[0].shape, tuple(int(n) for n in inputs[1])))


def _range(inputs: list[Array]) -> int:
    start, limit, delta = (float(value) for value in inputs)
    return max(0, int((limit - start) / delta) + 1)


def _gathered(inputs: list[Array]) -> int:
    return inputs[0].size * max(inputs[1].size, 1)


SIZES: Mapping[str, Callable[[list[Array]], int]] = {
    "ConstantOfShape": lambda inputs: prod(int(n) for n in inputs[0]),
    "Expand": _expanded,
    "Gather": _gathered,
    "Range": _range,
    "Tile": lambda inputs: inputs[0].size * prod(int(n) for n in inputs[1]),
}
"""Elements of the result, for the operators whose result can be far larger than their inputs."""

# fmt: off
FOLDABLE = frozenset((
    "Abs", "Add", "And", "Cast", "CastLike", "Ceil", "Concat", "Constant", "ConstantOfShape",
    "Div", "Equal", "Exp", "Expand", "Flatten", "Floor", "Gather", "Greater", "Identity", "Less",
    "Log", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Pow", "Range", "Reciprocal",
    "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum", "Reshape", "Round", "Shape", "Size",
    "Slice", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Tile", "Transpose", "Unsqueeze", "Where",
))
# fmt: on

REARRANGING = frozenset(("Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"))
"""Operators whose result holds the values of their first input in another order or shape."""


def _alone(node: OnnxNode, opset: int) -> ModelProto:
    """A model of one node."""
    given = [helper.make_value_info(name, TypeProto()) for name in node.inputs if name]
    made = [helper.make_value_info(name, TypeProto()) for name in node.outputs if name]
    graph = helper.make_graph([node.proto], "constant", given, made)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def fold(node: OnnxNode, inputs: list[Array | None], opset: int) -> list[Array]:
    """Computes a node all of whose inputs are constants.

    Args:
        node: The node, of a type in ``FOLDABLE``.
        inputs: Its inputs, None for one left out.
        opset: Version of the operators.

    Returns:
        Its outputs.

    Raises:
        ThumbnetError: The node is malformed or its result would be absurdly large.
    """
    try:
        given = [value for value in inputs if value is not None]
        broadcast = np.broadcast_shapes(*(value.shape for value in given)) if len(given) > 1 else ()
    except ValueError:
        broadcast = ()
    try:
        size = SIZES[node.op_type](given) if node.op_type in SIZES else prod(broadcast)
        if size > LARGEST:
            raise node.error(f"makes a constant of {size} elements, which is too large")
        feeds = {
            name: value
            for name, value in zip(node.inputs, inputs, strict=True)
            if value is not None
        }
        evaluator = ReferenceEvaluator(_alone(node, opset))
        # The scale of weights that are damaged may overflow here; they are refused where used.
        with np.errstate(all="ignore"):
            return [np.asarray(value) for value in evaluator.run(None, feeds)]
    except node.Error:
        raise
    except Exception as error:  # whatever NumPy says of a malformed node
        raise node.malformed(error) from error
