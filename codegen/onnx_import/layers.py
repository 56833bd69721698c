"""Conv, Gemm and MatMul: everything with trained weights. Dense layers become convolutions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.onnx_import.builder import Builder, as_float32
from codegen.onnx_import.node import OnnxNode
from codegen.onnx_import.view import View
from codegen.onnx_import.window import dilation_of, pads_of, pair, spread
from codegen.ops import Conv, Convolution, Depthwise, GroupedConv

_SAME_SCALE = 1e-5
"""Relative difference of two scales that are one, rounded differently."""


def conv(builder: Builder, node: OnnxNode) -> None:
    """Conv, in groups and dilated or not."""
    weight = builder.numbers(node, 1, "weight")
    if weight.ndim != 4:
        raise node.error(
            f"is a {weight.ndim - 2}-D convolution (weight {node.inputs[1]!r} of shape "
            f"{list(weight.shape)}); only 2-D ones are supported"
        )
    view = builder.map_view(node)
    outputs, inputs_of_group, *kernel_size = weight.shape
    kernel = pair(node, kernel_size, "kernel_shape")
    if node.integers("kernel_shape", kernel) != kernel:
        raise node.error(f"has a kernel_shape other than that of its weight, {list(kernel)}")
    dilation = dilation_of(node, kernel)
    stride = pair(node, node.integers("strides", (1, 1)), "strides")
    pads = pads_of(node, view.shape, spread(kernel, dilation), stride)
    groups, channels = node.integer("group", 1), view.shape[2]
    if groups < 1 or inputs_of_group * groups != channels or outputs % groups:
        raise node.error(
            f"has weight {node.inputs[1]!r} of shape {list(weight.shape)} and group {groups}, "
            f"which does not fit the {channels} channels of {node.inputs[0]!r}"
        )
    bias = builder.numbers(node, 2, "bias") if node.given(2) else np.zeros(outputs)
    if bias.shape != (outputs,):
        raise node.error(
            f"has bias {node.inputs[2]!r} of shape {list(bias.shape)} for {outputs} channels"
        )
    scale = _scale_of_outputs(node, builder.steps.get(node.inputs[1]))
    bias = _exact_bias(builder, node, view, bias, scale)
    made: Convolution
    if dilation != (1, 1) or groups not in (1, channels):
        made = GroupedConv(
            node.name,
            (view.tensor,),
            node.outputs[0],
            as_float32(node, weight.transpose(0, 2, 3, 1), "weight"),
            bias,
            groups=groups,
            dilation=dilation,
        )
    elif groups == 1:
        taps = as_float32(node, weight.transpose(0, 2, 3, 1), "weight")
        made = Conv(node.name, (view.tensor,), node.outputs[0], taps, bias)
    else:
        by_channel = weight.reshape(channels, outputs // channels, *kernel)
        taps = as_float32(node, by_channel.transpose(2, 3, 0, 1), "weight")
        made = Depthwise(node.name, (view.tensor,), node.outputs[0], taps, bias)
    made = replace(made, stride=stride, pads=pads, weight_scale=scale)
    builder.emit(node, made, "NCHW")


def _scale_of_outputs(
    node: OnnxNode, steps: NDArray[np.float64] | None
) -> NDArray[np.float64] | None:
    """One scale an output channel from one a weight, [O, ...]; None if they are not quantized.

    Raises:
        ThumbnetError: An output channel has weights of several scales.
    """
    if steps is None:
        return None
    of_channel = steps.reshape(len(steps), -1)
    if (of_channel != of_channel[:, :1]).any():
        raise node.error(
            f"has several scales for the weights {node.inputs[1]!r} of one output channel; one a "
            "tensor or one an output channel is supported. Quantize the model again"
        )
    return np.ascontiguousarray(of_channel[:, 0])


def _exact_bias(
    builder: Builder,
    node: OnnxNode,
    view: View,
    bias: NDArray[np.float64],
    scale: NDArray[np.float64] | None,
) -> NDArray[Any]:
    """The bias, in float32 unless the weights are quantized.

    A quantized bias has, up to rounding to float32, the scale of the sums: its integers are kept.
    """
    if scale is None:
        return as_float32(node, bias, "bias")
    steps = builder.steps.get(node.inputs[2]) if node.given(2) else None
    q = builder.tensors[view.tensor].q
    if steps is None or q is None:
        return bias
    steps, wanted = np.broadcast_to(steps.reshape(-1), bias.shape), q.scale * scale
    same = np.abs(steps - wanted) <= _SAME_SCALE * wanted
    return np.where(same, np.rint(bias / steps) * wanted, bias)


def gemm(builder: Builder, node: OnnxNode) -> None:
    """Gemm of an activation and a constant matrix: ``alpha * x @ B + beta * C``."""
    view = builder.view(node)
    matrix = builder.numbers(node, 1, "weight")
    if node.integer("transA", 0):
        raise node.error("has transA = 1, which mixes the images of a batch; it is not supported")
    if len(view.dims) != 2 or matrix.ndim != 2:
        raise node.error(f"needs matrices, but {node.inputs[0]!r} has shape {view.onnx_shape}")
    steps = builder.steps.get(node.inputs[1])
    if node.integer("transB", 0):
        matrix, steps = matrix.T, None if steps is None else steps.T
    bias = np.zeros(matrix.shape[1])
    if node.given(2):
        given = builder.numbers(node, 2, "bias")
        try:
            row = np.broadcast_to(given, (1, matrix.shape[1]))
        except ValueError:
            raise node.error(
                f"has bias {node.inputs[2]!r} of shape {list(given.shape)} for "
                f"{matrix.shape[1]} outputs"
            ) from None
        bias = node.number("beta", 1.0) * row[0]
    alpha = node.number("alpha", 1.0)
    if alpha != 1.0:  # hundreds of megabytes are not copied for nothing
        matrix, steps = alpha * matrix, None if steps is None else abs(alpha) * steps
    _dense(builder, node, view, matrix, bias, steps)


def matmul(builder: Builder, node: OnnxNode) -> None:
    """MatMul of an activation with a constant matrix on its right."""
    if node.inputs[0] in builder.constants:
        raise node.error(
            f"multiplies by the constant {node.inputs[0]!r} from the left; only a constant matrix "
            "on the right (a dense layer) is supported"
        )
    matrix = builder.numbers(node, 1, "weight")
    steps = builder.steps.get(node.inputs[1])
    while matrix.ndim > 2 and matrix.shape[0] == 1:
        matrix, steps = matrix[0], None if steps is None else steps[0]
    if matrix.ndim != 2:
        raise node.error(f"needs a matrix, but {node.inputs[1]!r} has shape {list(matrix.shape)}")
    _dense(builder, node, builder.view(node), matrix, np.zeros(matrix.shape[1]), steps)


def _dense(
    builder: Builder,
    node: OnnxNode,
    view: View,
    matrix: NDArray[np.float64],
    bias: NDArray[np.float64],
    steps: NDArray[np.float64] | None,
) -> None:
    """The product of the last dimension of ``view`` with ``matrix`` [inputs, outputs].

    ``steps`` are the scales of the matrix if it was quantized.
    """
    *outer, last = view.dims
    inputs, outputs = matrix.shape
    if inputs != view.onnx_shape[-1]:
        raise node.error(
            f"has weight {node.inputs[1]!r} for {inputs} inputs, but {node.inputs[0]!r} has "
            f"{view.onnx_shape[-1]} (dimensions {view.described})"
        )
    left = set("".join(outer)) - {"N"}
    if "N" in last or (left and last != ("C" if view.shape[2] > 1 else "")) or "C" in left:
        raise node.error(
            f"sums over the last of the dimensions {view.described}; only all of a map or its "
            "channels can be summed over. If the map was meant to be [N, H, W, C], transpose it"
        )
    # The columns of the matrix are laid out as the input is: as if they were images.
    whole = View.of(view.tensor, view.shape, ("N", last))
    weight = matrix.T.reshape(outputs, 1, 1, inputs) if left else whole.to_nhwc(matrix.T)
    scale = _scale_of_outputs(node, None if steps is None else steps.T)
    made = Conv(
        node.name,
        (view.tensor,),
        node.outputs[0],
        as_float32(node, weight, "weight"),
        _exact_bias(builder, node, view, bias, scale),
        weight_scale=scale,
    )
    builder.emit(node, made, (*outer, "C"))
