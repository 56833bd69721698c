"""Functions of single values, and products of activations."""

from __future__ import annotations

from collections.abc import Callable

from codegen.onnx_import.builder import Builder
from codegen.onnx_import.node import OnnxNode
from codegen.onnx_import.view import View
from codegen.ops import Activation, Mul


def activation(**defaults: float) -> Callable[[Builder, OnnxNode], None]:
    """A handler for an operator of one input whose attributes have these defaults."""

    def handler(builder: Builder, node: OnnxNode) -> None:
        view = builder.view(node)
        parameters = {name: node.number(name, value) for name, value in defaults.items()}
        made = Activation(
            node.name, (view.tensor,), node.outputs[0], node.op_type.lower(), **parameters
        )
        builder.emit(node, made, view.dims)

    return handler


def product(builder: Builder, node: OnnxNode) -> None:
    """Mul of two activations: of one shape, or of a map and one factor a channel.

    Raises:
        ThumbnetError: The shapes are others.
    """
    a, b = builder.view(node, 0), builder.view(node, 1)
    if (a.shape, a.images) == (b.shape, b.images):
        builder.emit(node, Mul(node.name, (a.tensor, b.tensor), node.outputs[0]), a.dims)
        return
    for whole, factors in ((a, b), (b, a)):
        if _by_channel(whole, factors):
            made = Mul(node.name, (whole.tensor, factors.tensor), node.outputs[0], by_channel=True)
            builder.emit(node, made, whole.dims)
            return
    raise node.error(
        f"multiplies {node.inputs[0]!r} {a.described} of shape {list(a.onnx_shape)} and "
        f"{node.inputs[1]!r} {b.described} of shape {list(b.onnx_shape)}; only activations of one "
        "shape and layout, or a map and one factor a channel, can be multiplied"
    )


def _by_channel(whole: View, factors: View) -> bool:
    """True if ``factors`` spreads over the pixels of ``whole``, one value a channel."""
    if factors.shape != (1, 1, whole.shape[2]) or len(factors.dims) > len(whole.dims):
        return False
    aligned = ("",) * (len(whole.dims) - len(factors.dims)) + factors.images
    return all(dim in ("", other) for dim, other in zip(aligned, whole.images, strict=True))
