"""QOperator files in QDQ form: QLinearConv is DequantizeLinear, Conv, QuantizeLinear, and so on.

The rest of the importer then knows only QuantizeLinear and DequantizeLinear.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from onnx import GraphProto, NodeProto, helper

from codegen.onnx_import.node import OnnxNode

_MICROSOFT = "com.microsoft"


def unfold(graph: GraphProto, path: Path) -> GraphProto:
    """The same graph with operators on integers written as float operators between Q and DQ.

    Args:
        graph: The graph of an ONNX file; it is left as it is.
        path: The file, for messages.

    Raises:
        ThumbnetError: An operator on integers is malformed or has a layout that is unsupported.
    """
    if not any(_form(proto) for proto in graph.node):
        return graph
    result = GraphProto()
    result.CopyFrom(graph)
    del result.node[:]
    for index, proto in enumerate(graph.node):
        node, form = OnnxNode(proto, index, path), _form(proto)
        result.node.extend(_Unfolding(node).nodes(form) if form else [proto])
    return result


@dataclass(frozen=True)
class _Form:
    """How an operator on integers is laid out.

    Attributes:
        op_type: The float operator.
        operands: For each operand where it, its scale and its zero point are among the inputs.
        result: Where scale and zero point of the output are.
        bias: Where the int32 bias is; None if there is none.
        axis: Of the weights' scales, where there is one a channel.
        attributes: Those that the float operator has too.
        place: The bias's among the float operator's inputs.
    """

    op_type: str
    operands: tuple[int, ...]
    result: int
    bias: int | None = None
    axis: Callable[[OnnxNode], int] = lambda node: 0
    attributes: tuple[str, ...] = ()


_WINDOW = ("auto_pad", "kernel_shape", "pads", "strides", "dilations")

_FORMS: Mapping[str, _Form] = {
    "QLinearConv": _Form("Conv", (0, 3), 6, 8, attributes=(*_WINDOW, "group")),
    "QLinearMatMul": _Form("MatMul", (0, 3), 6, axis=lambda node: -1),
    "QGemm": _Form(
        "Gemm",
        (0, 3),
        7,
        6,
        axis=lambda node: 0 if node.integer("transB", 0) else 1,
        attributes=("alpha", "transA", "transB"),
    ),
    "QLinearAdd": _Form("Add", (0, 3), 6),
    "QLinearMul": _Form("Mul", (0, 3), 6),
    "QLinearAveragePool": _Form(
        "AveragePool", (0,), 3, attributes=(*_WINDOW, "ceil_mode", "count_include_pad")
    ),
    "QLinearGlobalAveragePool": _Form("GlobalAveragePool", (0,), 3),
    "QLinearSoftmax": _Form("Softmax", (0,), 3, attributes=("axis",)),
}
"""What ONNX and ONNX Runtime call them, whatever their domain."""

_SAME = frozenset(("QuantizeLinear", "DequantizeLinear"))
"""Operators that ONNX Runtime has under its own domain too."""


def _form(proto: NodeProto) -> _Form | None:
    if proto.op_type in _FORMS:
        return _FORMS[proto.op_type]
    renamed = proto.domain == _MICROSOFT and proto.op_type in _SAME
    return _Form(proto.op_type, (), 0) if renamed else None


class _Unfolding:
    """The nodes that one operator becomes; their values are named after its output."""

    def __init__(self, node: OnnxNode) -> None:
        self._node = node
        self._made: list[NodeProto] = []

    def nodes(self, form: _Form) -> list[NodeProto]:
        """What stands in its place."""
        node = self._node
        if node.op_type in _SAME:
            renamed = NodeProto()
            renamed.CopyFrom(node.proto)
            renamed.domain = ""
            return [renamed]
        if node.integer("channels_last", 0):
            raise node.error(
                "works on [N, H, W, C] (channels_last = 1), which onnxruntime writes when it "
                "optimizes a file; give the file as it was before that"
            )
        if not node.given(max(form.operands) + 1) or not node.outputs:
            raise node.error("lacks inputs or its output: the file is damaged")
        axis = form.axis(node)
        reals = [self._real(place, axis) for place in form.operands]
        if form.bias is not None and node.given(form.bias):
            reals.append(self._bias(form))
        quantized = node.given(form.result)
        output = node.outputs[0]
        real = f"{output}/real" if quantized else output
        kept = [a for a in node.proto.attribute if a.name in form.attributes]
        made = helper.make_node(form.op_type, reals, [real], node.name)
        made.attribute.extend(kept)
        self._made.append(made)
        if quantized:
            self._add("QuantizeLinear", [real, *node.inputs[form.result :][:2]], output)
        return self._made

    def _add(self, op_type: str, inputs: Iterable[str], output: str, **attributes: int) -> str:
        made = helper.make_node(op_type, list(inputs), [output], self._node.name)
        made.attribute.extend(helper.make_attribute(*item) for item in attributes.items())
        self._made.append(made)
        return output

    def _real(self, place: int, axis: int) -> str:
        """An operand as real numbers."""
        name = f"{self._node.outputs[0]}/operand{place}"
        given = self._node.inputs[place : place + 3]
        return self._add("DequantizeLinear", given, name, axis=axis)

    def _bias(self, form: _Form) -> str:
        """The bias, whose scale is the product of the operands' scales."""
        node, name = self._node, f"{self._node.outputs[0]}/bias"
        assert form.bias is not None
        scales = [node.inputs[place + 1] for place in form.operands]
        scale = self._add("Mul", scales, f"{name}/scale")
        if node.has("alpha"):
            made = helper.make_node(
                "Constant", [], [f"{name}/alpha"], value_float=node.number("alpha", 1.0)
            )
            self._made.append(made)
            scale = self._add("Mul", [scale, made.output[0]], f"{name}/scaled")
        return self._add("DequantizeLinear", [node.inputs[form.bias], scale], name, axis=0)
