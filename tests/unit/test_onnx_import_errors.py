"""Operators and graphs that are refused, and that the message names the place and what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx_models import Net, refusal

from codegen.errors import ThumbnetError
from codegen.onnx_import import import_onnx
from codegen.passes import simplify


def i64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_all_unsupported_operators_are_listed(tmp_path: Path) -> None:
    net = Net()
    y = net.op("Sin", net.conv("x", 3, 4))
    y = net.op("LpNormalization", net.op("Sin", net.op("Relu", y)))
    net.nodes[1].name = ""
    text = refusal(net.save(tmp_path))
    assert "Sin (node 1, 'n3'); LpNormalization ('n4')" in text
    assert "GlobalAveragePool" in text  # what is supported is said


def test_control_flow(tmp_path: Path) -> None:
    net = Net()
    y = net.conv("x", 3, 4)
    branch = helper.make_graph(
        [helper.make_node("Relu", [y], ["r"])], "b", [],
        [helper.make_tensor_value_info("r", TensorProto.FLOAT, None)],
    )  # fmt: skip
    net.op("If", np.array(True), then_branch=branch, else_branch=branch)
    net.op("Add", net.nodes[-1].output[0], y)
    text = refusal(net.save(tmp_path))
    assert "If ('n1')" in text and "without control flow" in text


@pytest.mark.parametrize(
    ("op", "words"),
    [
        ("ConvTranspose", "Maps cannot be made larger"),
        ("Resize", "Maps cannot be made larger"),
        ("Upsample", "Maps cannot be made larger"),
        ("If", "without control flow"),
        ("Loop", "without control flow"),
        ("LSTM", "Supported are Add"),
        ("NoSuchOperator", "Supported are Add"),
    ],
)
def test_refused_by_name(tmp_path: Path, op: str, words: str) -> None:
    net = Net()
    net.op(op, net.conv("x", 3, 4))
    text = refusal(net.save(tmp_path))
    assert f"{op} ('n1')" in text and words in text


def test_other_domains(tmp_path: Path) -> None:
    net = Net()
    net.domains["com.microsoft"] = 1
    net.op("FusedConv", "x", net.normal(4, 3, 3, 3), domain="com.microsoft")
    assert "com.microsoft.FusedConv ('n0')" in refusal(net.save(tmp_path))


def test_missing_initializer(tmp_path: Path) -> None:
    net = Net()
    net.op("Conv", "x", "weights_that_are_not_there")
    text = refusal(net.save(tmp_path))
    assert "Conv 'n0' reads 'weights_that_are_not_there'" in text and "incomplete" in text


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_not_finite(tmp_path: Path, value: float) -> None:
    net = Net()
    weight = net.normal(4, 3, 3, 3)
    weight[1, 2, 0, 1] = value
    net.op("Conv", "x", net.constant(weight, "kernel"))
    text = refusal(net.save(tmp_path))
    assert "Conv 'n0' has NaN or infinite values in its weight 'kernel'" in text


def test_absurdly_large_constant(tmp_path: Path) -> None:
    net = Net()
    net.op("Add", "x", net.op("ConstantOfShape", i64(1 << 20, 1 << 20)))
    assert "n0' makes a constant of 1099511627776 elements" in refusal(net.save(tmp_path))


def test_malformed_constant(tmp_path: Path) -> None:
    net = Net()
    net.op("Add", "x", net.op("Reshape", i64(1, 2), i64(3, 5)))
    assert "Reshape 'n0' is malformed" in refusal(net.save(tmp_path))


REFUSED: dict[str, tuple[Callable[[Net], str], str]] = {
    "dilation": (
        lambda n: n.op("MaxPool", "x", kernel_shape=[3, 3], dilations=[2, 2]),
        "dilations [2, 2]",
    ),
    "groups": (lambda n: n.op("Conv", "x", n.normal(4, 2, 3, 3), group=2), "group 2"),
    "conv_1d": (
        lambda n: n.op("Conv", n.op("Reshape", "x", i64(1, 3, 64)), n.normal(4, 3, 3)),
        "1-D convolution",
    ),
    "conv_channels": (lambda n: n.op("Conv", "x", n.normal(4, 5, 3, 3)), "'c0' of shape [4, 5"),
    "conv_kernel_shape": (lambda n: n.conv("x", 3, 4, kernel_shape=[2, 2]), "kernel_shape"),
    "conv_strides": (lambda n: n.conv("x", 3, 4, strides=[0, 1]), "strides [0, 1]"),
    "conv_pads": (lambda n: n.conv("x", 3, 4, pads=[0, -1, 0, 0]), "pads [0, -1, 0, 0]"),
    "conv_auto_pad": (lambda n: n.conv("x", 3, 4, auto_pad="SOME"), "auto_pad 'SOME'"),
    "conv_bias": (lambda n: n.op("Conv", "x", n.normal(4, 3, 3, 3), n.normal(5)), "for 4 channels"),
    "conv_too_large": (lambda n: n.conv("x", 3, 4, 9), "window larger than its padded input 'x'"),
    "conv_weight_activation": (
        lambda n: n.op("Conv", "x", n.op("Relu", "x")),
        "takes its weight from 'relu_0'",
    ),
    "attribute_type": (lambda n: n.conv("x", 3, 4, strides="two"), "'strides' of a wrong type"),
    "batch_norm_training": (
        lambda n: n.op("BatchNormalization", "x", *[n.positive(3)] * 4, training_mode=1),
        "evaluation mode",
    ),
    "batch_norm_statistics": (
        lambda n: n.op("BatchNormalization", "x", *[n.positive(3)] * 4, outputs=3),
        "evaluation mode",
    ),
    "batch_norm_variance": (
        lambda n: n.op("BatchNormalization", "x", *[-n.positive(3)] * 4),
        "negative variance",
    ),
    "batch_norm_length": (
        lambda n: n.op("BatchNormalization", "x", *[n.positive(4)] * 4),
        "3 channels",
    ),
    "batch_norm_nhwc": (
        lambda n: n.op(
            "BatchNormalization",
            n.op("Transpose", n.conv("x", 3, 4), perm=[0, 2, 3, 1]),
            *[n.positive(6)] * 4,
        ),
        "not the channels",
    ),
    "spatial_constant": (
        lambda n: n.op("Add", "x", n.constant(n.normal(3, 8, 8), "offsets")),
        "'offsets' of shape [3, 8, 8], which varies over the map",
    ),
    "constant_shape": (lambda n: n.op("Mul", "x", n.normal(5)), "does not fit the shape"),
    "divide_by_zero": (lambda n: n.op("Div", "x", np.float32(0)), "division by 0"),
    "divide_constant": (lambda n: n.op("Div", np.float32(1), "x"), "divides the constant"),
    "add_broadcast": (
        lambda n: n.op("Add", "x", n.op("GlobalAveragePool", "x")),
        "'globalaveragepool_0' [N, C, 1, 1] of shape [1, 3, 1, 1]",
    ),
    "pad_mode": (
        lambda n: n.op("Pad", "x", i64(0, 0, 1, 1, 0, 0, 1, 1), mode="reflect"),
        "mode 'reflect'",
    ),
    "pad_channels": (
        lambda n: n.op("Pad", n.conv("x", 3, 4), i64(0, 1, 0, 0, 0, 0, 0, 0)),
        "pads the batch or the channels",
    ),
    "pad_negative": (lambda n: n.op("Pad", "x", i64(0, 0, -1, 0, 0, 0, 0, 0)), "negative pads"),
    "pad_count": (lambda n: n.op("Pad", "x", i64(0, 0, 1, 0)), "4 pads for 4 dimensions"),
    "pool_pads": (
        lambda n: n.op("MaxPool", "x", kernel_shape=[2, 2], pads=[2, 0, 0, 0]),
        "pads as large as its kernel",
    ),
    "pool_1d": (lambda n: n.op("MaxPool", "x", kernel_shape=[2]), "kernel_shape [2]"),
    "pool_indices": (
        lambda n: n.op(
            "Add",
            n.op("MaxPool", "x", kernel_shape=[2, 2], outputs=2),
            n.op("Cast", "maxpool_0_", to=1),
        ),
        "second output 'maxpool_0_'",
    ),
    "pool_nhwc": (
        lambda n: n.op(
            "MaxPool",
            n.op("Transpose", n.conv("x", 3, 4), perm=[0, 2, 3, 1]),
            kernel_shape=[2, 2],
        ),
        "has the dimensions [N, H, W, C]",
    ),
    "reduce_channels": (lambda n: n.op("ReduceMean", n.conv("x", 3, 4), axes=[1]), "[N, C, H, W]"),
    "reduce_all": (lambda n: n.op("ReduceMean", "x"), "all dimensions"),
    "reduce_axis": (lambda n: n.op("ReduceMean", "x", axes=[4]), "axes [4]"),
    "gemm_trans_a": (
        lambda n: n.op("Gemm", n.op("Flatten", "x"), n.normal(192, 2), transA=1),
        "transA",
    ),
    "gemm_size": (
        lambda n: n.op("Gemm", n.op("Flatten", "x"), n.normal(64, 2)),
        "for 64 inputs, but 'flatten_0' has 192",
    ),
    "gemm_bias": (
        lambda n: n.op("Gemm", n.op("Flatten", "x"), n.normal(192, 2), n.normal(3)),
        "for 2 outputs",
    ),
    "matmul_rows": (
        lambda n: n.op("MatMul", n.conv("x", 3, 4), n.normal(6, 5)),
        "last of the dimensions [N, C, H, W]",
    ),
    "matmul_left": (lambda n: n.op("MatMul", n.normal(8, 8), "x"), "from the left"),
    "matmul_activations": (lambda n: n.op("MatMul", "x", "x"), "takes its weight from 'x'"),
    "reshape_split": (
        lambda n: n.op("Reshape", n.conv("x", 3, 4), i64(1, 2, 2, 36)),
        "to [1, 2, 2, 36]",
    ),
    "reshape_size": (lambda n: n.op("Reshape", "x", i64(1, 7)), "to [1, 7]"),
    "reshape_open": (lambda n: n.op("Reshape", "x", i64(-1, -1)), "two sizes open"),
    "reshape_computed": (
        lambda n: n.op("Reshape", "x", n.op("Cast", "x", to=7)),
        "type that is not float",
    ),
    "squeeze_size": (lambda n: n.op("Squeeze", "x", i64(1)), "not all of size 1"),
    "transpose_perm": (lambda n: n.op("Transpose", "x", perm=[0, 1, 1, 2]), "no permutation"),
    "softmax_spatial": (
        lambda n: n.op("Softmax", n.conv("x", 3, 4), axis=3),
        "only a Softmax over the channels",
    ),
    "softmax_axis": (lambda n: n.op("Softmax", "x", axis=4), "axis 4"),
    "log_softmax": (lambda n: n.op("LogSoftmax", "x"), "LogSoftmax ('n0')"),
    "clip_computed": (
        lambda n: n.op("Clip", "x", n.op("ReduceMax", "x", keepdims=0, axes=[2, 3])),
        "lower bound from 'reducemax_0'",
    ),
    "clip_nan": (lambda n: n.op("Clip", "x", np.float32(np.nan)), "bounds nan"),
    "relu_constant": (lambda n: n.op("Relu", n.normal(3)), "Relu ('n0')"),
    "no_input": (lambda n: n.op("Conv", "x"), "lacks input 1, its weight"),
    "written_twice": (
        lambda n: (n.op("Relu", "x"), n.nodes.append(n.nodes[0]), n.op("Relu", "relu_0"))[2],
        "exists already",
    ),
    "wrong_order": (
        lambda n: (n.op("Relu", "relu_1"), n.op("Relu", "x"))[0],
        "no result of a node before it",
    ),
    "output_mixed": (
        lambda n: n.op("Flatten", n.conv("x", 3, 4)),
        "output 'flatten_1' is a map of 6x6 pixels with its dimensions arranged as [N, C*H*W]",
    ),
    "too_large": (
        lambda n: n.conv("x", 3, 4, 1, pads=[1 << 20] * 4),
        "too large",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(tmp_path: Path, name: str) -> None:
    build, words = REFUSED[name]
    net = Net(opset=17)
    output = build(net)
    text = refusal(net.save(tmp_path, output))
    assert words in text
    assert "'n" in text or "output" in text  # the node, or that it is the graph's output


def test_spatial_batch_normalization_of_opset_7(tmp_path: Path) -> None:
    net = Net(opset=7)
    net.op("BatchNormalization", "x", *[net.positive(3)] * 4, spatial=0)
    assert "spatial = 0" in refusal(net.save(tmp_path))


def test_softmax_before_opset_13_over_a_whole_map(tmp_path: Path) -> None:
    net = Net(opset=11)
    net.op("Softmax", net.conv("x", 3, 4))
    assert "Softmax 'n1' normalizes over dimension 1" in refusal(net.save(tmp_path))


def test_node_without_a_name(tmp_path: Path) -> None:
    net = Net()
    net.op("MaxPool", "x", kernel_shape=[3, 3], dilations=[2, 2])
    net.nodes[0].name = ""
    assert "MaxPool (node 0, without a name)" in refusal(net.save(tmp_path))


def test_folding_that_overflows(tmp_path: Path) -> None:
    net = Net()
    y = net.op("Mul", net.conv("x", 3, 4), np.full((4, 1, 1), 3e38, np.float32))
    net.op("Mul", y, np.float32(1e30))
    with pytest.raises(ThumbnetError, match="'n0' gets weights that float32 cannot hold"):
        simplify(import_onnx(net.save(tmp_path)).graph)
