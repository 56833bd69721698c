"""Activations, products and concatenations in the forms of exporters, against onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx_models import Net, assert_like_onnxruntime, refusal

Build = Callable[[Net], str]


def f32(value: float) -> np.ndarray:
    return np.array(value, np.float32)


def relu6(net: Net, x: str) -> str:
    return net.op("Clip", x, f32(0), f32(6))


def hard_sigmoid(net: Net, x: str) -> str:
    """``relu6(x + 3) / 6``"""
    return net.op("Div", relu6(net, net.op("Add", x, f32(3))), f32(6))


def gated(net: Net, gate: Callable[[Net, str], str], swapped: bool = False) -> str:
    """Squeeze and excite."""
    x = net.conv("x", 3, 8)
    y = net.conv(net.op("GlobalAveragePool", x), 8, 4, 1)
    y = gate(net, net.conv(net.op("Relu", y), 4, 8, 1))
    return net.op("Mul", *((y, x) if swapped else (x, y)))


def doubled(net: Net, function: Callable[[str], str]) -> str:
    """``x * function(x)``"""
    x = net.conv("x", 3, 4)
    return net.op("Mul", x, function(x))


SE = "conv avgpool conv conv lookup mul"
FORMS: dict[str, tuple[Build, str]] = {
    "sigmoid": (lambda n: n.op("Sigmoid", n.conv("x", 3, 4)), "conv lookup"),
    "hard_sigmoid": (lambda n: n.op("HardSigmoid", "x", alpha=0.3, beta=0.4), "lookup"),
    "hard_sigmoid_defaults": (lambda n: n.op("HardSigmoid", "x"), "lookup"),
    "hard_swish": (lambda n: n.op("HardSwish", n.conv("x", 3, 4)), "conv lookup"),
    "leaky_relu": (lambda n: n.op("LeakyRelu", n.conv("x", 3, 4), alpha=0.2), "conv lookup"),
    "elu": (lambda n: n.op("Elu", n.conv("x", 3, 4)), "conv lookup"),
    "tanh": (lambda n: n.op("Tanh", n.conv("x", 3, 4)), "conv lookup"),
    "swish": (lambda n: doubled(n, lambda x: n.op("Sigmoid", x)), "conv lookup"),
    "x_hard_sigmoid": (
        lambda n: doubled(n, lambda x: n.op("HardSigmoid", x, alpha=1 / 6)),
        "conv lookup",
    ),
    "hard_swish_in_pieces": (lambda n: doubled(n, lambda x: hard_sigmoid(n, x)), "conv lookup"),
    "hard_swish_divided_last": (
        lambda n: n.op("Mul", doubled(n, lambda x: relu6(n, n.op("Add", x, f32(3)))), f32(1 / 6)),
        "conv lookup",
    ),
    "hard_swish_min_max": (
        lambda n: doubled(
            n,
            lambda x: n.op(
                "Mul",
                n.op("Min", n.op("Max", n.op("Add", x, f32(3)), f32(0)), f32(6)),
                f32(1 / 6),
            ),
        ),
        "conv lookup",
    ),
    "hard_swish_after_batch_norm": (
        lambda n: n.op(
            "HardSwish",
            n.op("BatchNormalization", n.conv("x", 3, 4), *(n.positive(4) for _ in range(4))),
        ),
        "conv lookup",
    ),
    "square": (lambda n: n.op("Mul", "x", "x"), "lookup"),
    "clipped": (lambda n: n.op("Relu", n.op("Tanh", n.conv("x", 3, 4))), "conv lookup"),
    "two_functions": (
        lambda n: n.op("Mul", n.op("Tanh", "x"), n.op("Sigmoid", "x")),
        "lookup",
    ),
    "read_twice": (
        lambda n: n.op("Add", n.op("Sigmoid", n.conv("x", 3, 4)), n.nodes[0].output[0]),
        "conv lookup add",
    ),
    "product": (
        lambda n: n.op("Relu", n.op("Mul", n.conv("x", 3, 4), n.conv("x", 3, 4))),
        "conv conv mul",
    ),
    "scaled_by_channel": (
        lambda n: doubled(n, lambda x: n.op("Relu", n.op("Mul", x, n.normal(4, 1, 1)))),
        "conv depthwise mul",
    ),
    "se_sigmoid": (lambda n: gated(n, lambda n, x: n.op("Sigmoid", x)), SE),
    "se_swapped": (lambda n: gated(n, lambda n, x: n.op("HardSigmoid", x), True), SE),
    "se_hard_sigmoid_in_pieces": (lambda n: gated(n, hard_sigmoid), SE),
    "se_nhwc": (
        lambda n: n.op(
            "Mul",
            n.op("Transpose", n.conv("x", 3, 4), perm=[0, 2, 3, 1]),
            n.op(
                "Transpose",
                n.op("Sigmoid", n.op("GlobalAveragePool", n.nodes[0].output[0])),
                perm=[0, 2, 3, 1],
            ),
        ),
        "conv avgpool lookup mul",
    ),
    "groups": (
        lambda n: n.op("Relu", n.conv(n.conv("x", 3, 4), 4, 6, group=2, pads=[1, 1, 1, 1])),
        "conv grouped",
    ),
    "groups_scaled": (
        lambda n: n.op("Mul", n.conv(n.conv("x", 3, 4), 4, 6, group=2), n.normal(6, 1, 1)),
        "conv grouped",
    ),
    "groups_of_scaled": (
        lambda n: n.conv(
            n.op("Mul", n.op("Relu", n.conv("x", 3, 4)), n.normal(4, 1, 1)), 4, 6, group=2
        ),
        "conv depthwise grouped",
    ),
    "groups_padded": (
        lambda n: n.conv(n.op("Pad", n.conv("x", 3, 4), np.array([0, 0, 1, 1] * 2)), 4, 6, group=2),
        "conv grouped",
    ),
    "dilated": (lambda n: n.conv("x", 3, 4, dilations=[2, 2], pads=[2, 1, 2, 2]), "grouped"),
    "dilated_depthwise": (lambda n: n.conv("x", 3, 6, group=3, dilations=[1, 3]), "grouped"),
    "lrn": (
        lambda n: n.op("LRN", n.conv("x", 3, 7), size=5, alpha=0.3, beta=0.6, bias=2.0),
        "conv lrn",
    ),
    "lrn_defaults": (
        lambda n: n.op("LRN", n.conv("x", 3, 6, pads=[1, 1, 1, 1]), size=3),
        "conv lrn",
    ),
    "prelu_torch": (
        lambda n: n.op("PRelu", n.conv("x", 3, 4), n.normal(4, 1, 1)),
        "conv prelu",
    ),
    "prelu_one_slope": (lambda n: n.op("PRelu", n.conv("x", 3, 4), n.normal(1)), "conv lookup"),
    "maxpool_ceil": (
        lambda n: n.op("MaxPool", "x", kernel_shape=[3, 2], strides=[2, 3], ceil_mode=1),
        "maxpool",
    ),
    "maxpool_ceil_padded": (
        lambda n: n.op(
            "MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 0], ceil_mode=1
        ),
        "maxpool",
    ),
    "maxpool_ceil_last_window_in_the_padding": (
        lambda n: n.op(
            "MaxPool", "x", kernel_shape=[2, 2], strides=[3, 3], pads=[0, 0, 1, 1], ceil_mode=1
        ),
        "maxpool",
    ),
    "avgpool_ceil": (
        lambda n: n.op("AveragePool", "x", kernel_shape=[3, 3], strides=[2, 3], ceil_mode=1),
        "avgpool",
    ),
    "avgpool_ceil_padded": (
        lambda n: n.op(
            "AveragePool", "x", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 0, 1, 0], ceil_mode=1
        ),
        "avgpool",
    ),
    "avgpool_count_pads_and_clip": (
        lambda n: n.op(
            "Clip",
            n.op("AveragePool", "x", kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1),
            f32(-0.3),
            f32(0.2),
        ),
        "avgpool",
    ),
    "concat": (
        lambda n: n.op("Concat", n.conv("x", 3, 4), n.conv("x", 3, 1), axis=1),
        "conv conv concat",
    ),
    "concat_one_channel": (
        lambda n: n.op("Concat", n.conv("x", 3, 1), n.conv("x", 3, 4), axis=-3),
        "conv conv concat",
    ),
    "concat_nhwc": (
        lambda n: n.op(
            "Concat",
            *(n.op("Transpose", n.conv("x", 3, c), perm=[0, 2, 3, 1]) for c in (2, 5, 1)),
            axis=-1,
        ),
        "conv conv conv concat",
    ),
    "concat_vectors": (
        lambda n: n.op(
            "Concat", *(n.op("Flatten", n.op(o, "x")) for o in POOLS), "flatten_1", axis=1
        ),
        "avgpool maxpool concat",
    ),
    "concat_of_one": (lambda n: n.op("Relu", n.op("Concat", "x", axis=1)), "depthwise"),
}
POOLS = ("GlobalAveragePool", "GlobalMaxPool")


@pytest.mark.parametrize("name", FORMS)
def test_form(tmp_path: Path, name: str) -> None:
    build, operators = FORMS[name]
    net = Net(opset=17)
    _, simple = assert_like_onnxruntime(net.save(tmp_path, build(net)))
    assert " ".join(node.op for node in simple.nodes) == operators


REFUSED: dict[str, tuple[Build, str]] = {
    "product_of_other_shape": (
        lambda n: n.op("Mul", "x", n.op("ReduceMean", "x", axes=[1], keepdims=1)),
        "only activations of one shape and layout, or a map and one factor a channel",
    ),
    "product_with_rows": (
        lambda n: n.op("Mul", "x", n.op("ReduceMean", "x", axes=[3], keepdims=1)),
        "only activations of one shape and layout, or a map and one factor a channel",
    ),
    "lrn_size": (lambda n: n.op("LRN", "x", size=0), "size 0"),
    "lrn_bias": (lambda n: n.op("LRN", "x", size=3, bias=0.0), "may divide by 0"),
    "prelu_map": (lambda n: n.op("PRelu", "x", n.normal(3, 8, 8)), "varies over the map"),
    "prelu_computed": (lambda n: n.op("PRelu", "x", n.op("Relu", "x")), "combines two"),
    "prelu_of_constant": (lambda n: n.op("PRelu", n.normal(3, 1, 1), "x"), "is no constant"),
    "concat_rows": (lambda n: n.op("Concat", "x", "x", axis=2), "only channels can be joined"),
    "concat_axis": (lambda n: n.op("Concat", "x", "x", axis=4), "axis 4"),
    "concat_sizes": (
        lambda n: n.op("Concat", "x", n.conv("x", 3, 4), axis=1),
        "'conv_0' [N, C, H, W] of shape [1, 4, 6, 6], which do not fit",
    ),
    "concat_constant": (
        lambda n: n.op("Concat", "x", n.normal(1, 3, 8, 8), axis=1),
        "has the constant",
    ),
    "quotient": (lambda n: n.op("Div", "x", n.op("Relu", "x")), "combines two activations"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(tmp_path: Path, name: str) -> None:
    build, words = REFUSED[name]
    net = Net(opset=17)
    assert words in refusal(net.save(tmp_path, build(net)))
