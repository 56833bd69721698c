"""Each operator in each form it takes in ONNX, against onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx_models import Net, assert_like_onnxruntime, refusal

NEWEST = onnx.defs.onnx_opset_version()
OPSETS = (7, 9, 11, 13, 17, 18, 21, NEWEST)


def i64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def f32(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def clip(net: Net, x: str, lo: float, hi: float) -> str:
    if net.opset < 11:
        return net.op("Clip", x, min=lo, max=hi)
    return net.op("Clip", x, np.float32(lo), np.float32(hi))


def squeeze(net: Net, x: str, *axes: int) -> str:
    return net.op("Squeeze", x, axes=axes) if net.opset < 13 else net.op("Squeeze", x, i64(*axes))


def unsqueeze(net: Net, x: str, *axes: int) -> str:
    if net.opset < 13:
        return net.op("Unsqueeze", x, axes=axes)
    return net.op("Unsqueeze", x, i64(*axes))


def pad(net: Net, x: str, *pads: int, value: float = 0.0) -> str:
    if net.opset < 11:
        return net.op("Pad", x, pads=pads, value=value)
    return net.op("Pad", x, i64(*pads), np.float32(value))


def mean(net: Net, x: str, *axes: int, keepdims: int = 1, op: str = "ReduceMean") -> str:
    if net.opset < 18:
        return net.op(op, x, axes=axes, keepdims=keepdims)
    return net.op(op, x, i64(*axes), keepdims=keepdims)


def batch_norm(net: Net, x: str, channels: int, **attributes: Any) -> str:
    """Some of its numbers negative, none small."""
    values = [net.normal(channels), net.normal(channels), net.normal(channels)]
    return net.op("BatchNormalization", x, *values, net.positive(channels), **attributes)


@pytest.mark.parametrize("opset", OPSETS)
def test_mobilenet_in_every_opset(tmp_path: Path, opset: int) -> None:
    """Everything whose form changed between opsets, in one network."""
    net = Net(("N", 3, 17, 13), opset)
    y = net.op("Mul", net.op("Sub", "x", f32(0.1, 0.2, 0.3).reshape(3, 1, 1)), np.float32(2.0))
    y = batch_norm(net, net.conv(y, 3, 8, strides=[2, 2], pads=[1, 1, 1, 1]), 8)
    y = clip(net, y, 0.0, 6.0)
    y = pad(net, y, 0, 0, 0, 1, 0, 0, 1, 0)
    y = net.op("Relu", batch_norm(net, net.conv(y, 8, 8, group=8, strides=[2, 2]), 8))
    y = net.op("MaxPool", y, kernel_shape=[2, 2])
    z = net.op("Dropout", net.conv(y, 8, 8, 1), outputs=1)
    y = net.op("Add", y, z)
    y = net.op("AveragePool", y, kernel_shape=[2, 2], pads=[0, 1, 1, 0])
    y = mean(net, y, 2, 3, keepdims=0)
    y = unsqueeze(net, unsqueeze(net, y, 2), 3)
    y = squeeze(net, net.conv(y, 8, 5, 1), 3, 2)
    net.op("Softmax", y, axis=1)
    imported, simple = assert_like_onnxruntime(net.save(tmp_path))
    assert imported.input_layout == "NCHW" and imported.batch is None
    operators = " ".join(node.op for node in simple.nodes)
    assert operators == "depthwise conv depthwise maxpool conv add avgpool avgpool conv softmax"


CASES: dict[str, Callable[[Net], str]] = {
    # Convolutions
    "conv_no_bias": lambda n: n.op("Conv", "x", n.normal(4, 3, 3, 3)),
    "conv_asymmetric": lambda n: n.conv("x", 3, 4, 2, strides=[3, 2], pads=[1, 0, 2, 3]),
    "conv_rectangular": lambda n: n.op(
        "Conv", "x", n.normal(4, 3, 1, 5), pads=[0, 2, 0, 2], kernel_shape=[1, 5]
    ),
    "conv_same_upper": lambda n: n.conv("x", 3, 4, strides=[2, 2], auto_pad="SAME_UPPER"),
    "conv_same_lower": lambda n: n.conv("x", 3, 4, 4, strides=[3, 1], auto_pad="SAME_LOWER"),
    "conv_valid": lambda n: n.conv("x", 3, 4, strides=[2, 3], auto_pad="VALID"),
    "conv_pointless_dilation": lambda n: n.conv("x", 3, 4, 1, dilations=[2, 2], strides=[2, 2]),
    "conv_pads_beyond_kernel": lambda n: n.conv("x", 3, 4, 1, pads=[1, 2, 0, 1]),
    "depthwise_multiplier": lambda n: n.conv("x", 3, 9, group=3, pads=[1, 1, 1, 1]),
    "depthwise_one_channel": lambda n: n.conv(n.conv("x", 3, 1), 1, 4, group=1),
    "conv_computed_weight": lambda n: n.op(
        "Conv", "x", n.op("Transpose", n.normal(3, 3, 3, 4), perm=[3, 2, 0, 1])
    ),
    # Dense layers
    "gemm_map": lambda n: n.op("Gemm", n.op("Flatten", "x"), n.normal(192, 5), n.normal(5)),
    "gemm_trans_b": lambda n: n.op(
        "Gemm",
        n.op("Flatten", "x"),
        n.normal(5, 192),
        n.normal(1, 5),
        transB=1,
        alpha=0.5,
        beta=2.0,
    ),
    "gemm_scalar_c": lambda n: n.op("Gemm", n.op("Flatten", "x"), n.normal(192, 5), n.normal()),
    "gemm_no_c": lambda n: n.op("Gemm", n.op("Flatten", "x"), n.normal(192, 5)),
    "gemm_permuted_map": lambda n: n.op(
        "Gemm",
        n.op("Flatten", n.op("Transpose", n.conv("x", 3, 4), perm=[0, 3, 1, 2])),
        n.normal(144, 5),
    ),
    "matmul_vector": lambda n: n.op(
        "MatMul", n.op("Flatten", n.op("GlobalAveragePool", "x")), n.normal(3, 5)
    ),
    "matmul_pixels": lambda n: n.op(
        "Add",
        n.op("MatMul", n.op("Transpose", n.conv("x", 3, 4), perm=[0, 2, 3, 1]), n.normal(4, 5)),
        n.normal(5),
    ),
    "matmul_tokens": lambda n: mean(
        n,
        n.op(
            "MatMul",
            n.op("Transpose", n.op("Reshape", n.conv("x", 3, 4), i64(1, 4, -1)), perm=[0, 2, 1]),
            n.normal(4, 5),
        ),
        1,
        keepdims=0,
    ),
    # Affine
    "batch_norm_epsilon": lambda n: batch_norm(n, n.conv("x", 3, 4), 4, epsilon=0.3),
    "batch_norm_first": lambda n: n.conv(batch_norm(n, "x", 3), 3, 4),
    "batch_norm_first_padded": lambda n: n.conv(batch_norm(n, "x", 3), 3, 4, pads=[1, 1, 1, 1]),
    "batch_norm_vector": lambda n: n.op(
        "Gemm",
        batch_norm(n, n.op("Flatten", n.op("GlobalAveragePool", "x")), 3),
        n.normal(3, 5),
    ),
    "scale_padded": lambda n: n.conv(
        n.op("Mul", "x", n.normal(1, 3, 1, 1)), 3, 6, group=3, pads=[1, 1, 1, 1]
    ),
    "arithmetic": lambda n: n.op(
        "Div",
        n.op("Sub", n.normal(4, 1, 1), n.op("Add", n.normal(1, 4, 1, 1), n.conv("x", 3, 4))),
        n.positive(4, 1, 1),
    ),
    "scalars": lambda n: n.op("Sub", n.op("Div", n.conv("x", 3, 4), np.float32(3)), f32(2.0)),
    "scale_as_large_as_the_map": lambda n: n.op("Mul", "x", np.full((1, 3, 8, 8), 0.5, np.float32)),
    "shift_flattened": lambda n: n.op(
        "Gemm", n.op("Add", n.op("Flatten", "x"), f32(0.5)), n.normal(192, 5)
    ),
    "shared_affine": lambda n: n.op(
        "Add",
        n.conv(n.op("Mul", "x", n.normal(3, 1, 1)), 3, 4),
        n.conv(n.nodes[0].output[0], 3, 4),
    ),
    # Clips and additions
    "relu_input": lambda n: n.op("Relu", "x"),
    "clip_one_sided": lambda n: n.op("Clip", n.conv("x", 3, 4), None, np.float32(0.3)),
    "clip_lower_only": lambda n: n.op("Clip", n.conv("x", 3, 4), np.float32(0.1)),
    "clip_nothing": lambda n: n.op("Clip", n.conv("x", 3, 4)),
    "clip_float_limits": lambda n: n.op(
        "Clip", n.conv("x", 3, 4), np.float32(-3.4028235e38), np.float32(3.4028235e38)
    ),
    "clip_chain": lambda n: clip(n, n.op("Relu", n.conv("x", 3, 4)), -1.0, 0.5),
    "clip_min_max": lambda n: n.op("Max", n.op("Min", n.conv("x", 3, 4), f32(0.5)), f32(-0.5)),
    "clip_crossed": lambda n: clip(n, n.conv("x", 3, 4), 1.0, 0.5),
    "relu_shared": lambda n: n.op("Add", n.op("Relu", n.conv("x", 3, 4)), n.nodes[0].output[0]),
    "add_itself": lambda n: n.op("Relu", n.op("Add", "x", "x")),
    "sum": lambda n: n.op("Sum", n.conv("x", 3, 3, 1), "x"),
    "affine_then_clip": lambda n: n.op("Relu", batch_norm(n, n.op("Add", "x", "x"), 3)),
    "clip_after_pools": lambda n: n.op(
        "Relu", n.op("MaxPool", pad(n, n.conv("x", 3, 4), *(0, 0, 1, 1) * 2), kernel_shape=[3, 3])
    ),
    # Pools
    "avgpool_pads": lambda n: n.op(
        "AveragePool", "x", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 2, 1]
    ),
    "avgpool_count_pads": lambda n: n.op(
        "AveragePool", "x", kernel_shape=[3, 3], pads=[1, 0, 2, 1], count_include_pad=1
    ),
    "avgpool_same": lambda n: n.op(
        "AveragePool", "x", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"
    ),
    "avgpool_ceil_exact": lambda n: n.op(
        "AveragePool", "x", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1
    ),
    "maxpool": lambda n: n.op(
        "MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 0, 0], storage_order=1
    ),
    "maxpool_same_lower": lambda n: n.op(
        "MaxPool", "x", kernel_shape=[2, 2], auto_pad="SAME_LOWER"
    ),
    "maxpool_unused_indices": lambda n: n.op("MaxPool", "x", kernel_shape=[2, 2], outputs=2),
    "global_pools": lambda n: n.op(
        "Add", n.op("GlobalMaxPool", "x"), n.op("GlobalAveragePool", "x")
    ),
    "reduce_mean_negative": lambda n: mean(n, "x", -1, -2),
    "reduce_mean_nhwc": lambda n: mean(
        n, n.op("Transpose", n.conv("x", 3, 4), perm=[0, 2, 3, 1]), 1, 2, keepdims=0
    ),
    "reduce_mean_flattened": lambda n: mean(
        n, n.op("Reshape", n.conv("x", 3, 4), i64(0, 0, -1)), 2, keepdims=0
    ),
    "reduce_mean_rows": lambda n: mean(n, mean(n, "x", 3), 2),
    "reduce_max": lambda n: mean(n, "x", 2, 3, op="ReduceMax"),
    # Padding
    "pad_relu_maxpool": lambda n: n.op(
        "MaxPool", pad(n, n.op("Relu", n.conv("x", 3, 4)), *(0, 0, 1, 1) * 2), kernel_shape=[3, 3]
    ),
    "pad_signed_maxpool": lambda n: n.op(
        "MaxPool", pad(n, n.conv("x", 3, 4), *(0, 0, 1, 1) * 2), kernel_shape=[3, 3]
    ),
    "pad_avgpool": lambda n: n.op(
        "AveragePool", pad(n, "x", 0, 0, 1, 0, 0, 0, 1, 1), kernel_shape=[3, 3]
    ),
    "pad_avgpool_padded": lambda n: n.op(
        "AveragePool",
        pad(n, "x", 0, 0, 1, 0, 0, 0, 1, 1),
        kernel_shape=[3, 3],
        pads=[1, 1, 1, 1],
    ),
    "pad_value": lambda n: n.conv(pad(n, "x", 0, 0, 1, 0, 0, 0, 1, 1, value=0.7), 3, 4),
    "pad_pad": lambda n: n.conv(
        pad(n, pad(n, "x", 0, 0, 1, 0, 0, 0, 0, 1), 0, 0, 0, 1, 0, 0, 1, 0), 3, 4, pads=[0, 0, 1, 0]
    ),
    "pad_nothing": lambda n: n.conv(pad(n, "x", *(0,) * 8), 3, 4),
    "pad_large": lambda n: n.conv(pad(n, "x", 0, 0, 3, 3, 0, 0, 3, 3), 3, 4, 2),
    "pad_two_readers": lambda n: n.op(
        "Add",
        n.conv(pad(n, "x", 0, 0, 1, 1, 0, 0, 1, 1), 3, 4),
        n.conv(n.nodes[0].output[0], 3, 4),
    ),
    "pad_nhwc": lambda n: n.op(
        "Transpose",
        pad(n, n.op("Transpose", n.conv("x", 3, 4), perm=[0, 2, 3, 1]), 0, 1, 2, 0, 0, 0, 1, 0),
        perm=[0, 3, 1, 2],
    ),
    # Shapes
    "flatten_negative": lambda n: n.op(
        "Gemm", n.op("Flatten", n.conv("x", 3, 4), axis=-3), n.normal(144, 5)
    ),
    "reshape_undone": lambda n: n.conv(
        n.op("Reshape", n.op("Reshape", n.conv("x", 3, 4), i64(0, -1)), i64(1, 4, 6, 6)), 4, 2
    ),
    "reshape_from_shape": lambda n: n.op(
        "MatMul",
        n.op(
            "Reshape",
            n.conv("x", 3, 4),
            n.op("Concat", n.op("Gather", n.op("Shape", "x"), i64(0)), i64(-1), axis=0),
        ),
        n.normal(144, 5),
    ),
    "squeeze_all": lambda n: n.op(
        "Add", n.op("Squeeze", n.conv(n.op("GlobalAveragePool", "x"), 3, 5, 1)), n.normal(5)
    ),
    "identity_cast": lambda n: n.op("Cast", n.op("Identity", n.conv("x", 3, 4)), to=1),
    "softmax_map": lambda n: n.op("Softmax", n.conv("x", 3, 4), axis=1 if n.opset >= 13 else 0),
    "softmax_last": lambda n: n.op(
        "Softmax", n.op("Transpose", n.conv("x", 3, 4), perm=[0, 2, 3, 1]), axis=-1
    ),
    "output_map_nhwc": lambda n: n.op("Transpose", n.conv("x", 3, 4), perm=[0, 2, 3, 1]),
    "constants": lambda n: n.op("Clip", n.conv("x", 3, 4), n.op("Constant", value_float=-0.5)),
}


@pytest.mark.parametrize("name", CASES)
def test_form(tmp_path: Path, name: str) -> None:
    net = Net(opset=17)
    assert_like_onnxruntime(net.save(tmp_path, CASES[name](net)))


OLD = ("pad_value", "pad_two_readers", "clip_chain", "reduce_mean_rows", "batch_norm_epsilon")


@pytest.mark.parametrize("opset", (7, 9, NEWEST))
@pytest.mark.parametrize("name", OLD)
def test_form_in_other_opsets(tmp_path: Path, name: str, opset: int) -> None:
    net = Net(opset=opset)
    assert_like_onnxruntime(net.save(tmp_path, CASES[name](net)))


def test_softmax_before_opset_13_runs_over_all_that_follows(tmp_path: Path) -> None:
    net = Net(opset=11)
    net.op("Softmax", n_to_one(net), axis=1)
    assert_like_onnxruntime(net.save(tmp_path))


def n_to_one(net: Net) -> str:
    return net.conv(net.op("GlobalAveragePool", "x"), 3, 5, 1)


@pytest.mark.parametrize("opset", (18, NEWEST))
def test_pad_with_axes(tmp_path: Path, opset: int) -> None:
    net = Net(opset=opset)
    y = net.op("Pad", "x", i64(1, 0, 2, 1), None, i64(-1, 2))
    net.conv(y, 3, 4)
    imported, simple = assert_like_onnxruntime(net.save(tmp_path))
    assert imported.graph.tensors["pad_0"].shape == (9, 11, 3)
    assert [node.op for node in simple.nodes] == ["conv"]


def test_reshape_allowzero(tmp_path: Path) -> None:
    net = Net(opset=17)
    net.op("Gemm", net.op("Reshape", "x", i64(1, -1), allowzero=1), net.normal(192, 5))
    assert_like_onnxruntime(net.save(tmp_path))


def test_constant_forms(tmp_path: Path) -> None:
    net = Net(opset=17)
    shape = net.op("Constant", value_ints=[1, -1])
    y = net.op("Mul", net.conv("x", 3, 4), net.op("Constant", value_floats=[0.5]))
    y = net.op("Reshape", net.op("GlobalAveragePool", y), shape)
    axis = net.op("Constant", value_int=2)
    y = net.op("Unsqueeze", y, net.op("Unsqueeze", axis, i64(0)))
    net.op("Relu", y)
    assert_like_onnxruntime(net.save(tmp_path))


def test_computed_constants(tmp_path: Path) -> None:
    """A batch normalization spelled out in arithmetic on constants."""
    net = Net(opset=9)
    deviation = net.op("Sqrt", net.op("Add", net.positive(4), np.float32(1e-3)))
    scale = net.op("Unsqueeze", net.op("Div", net.normal(4), deviation), axes=[1, 2])
    zeros = net.op("ConstantOfShape", i64(4, 1, 1))
    y = net.op("Add", net.op("Mul", net.conv("x", 3, 4), scale), zeros)
    net.op("Expand", scale, i64(4, 1, 1))
    _, simple = assert_like_onnxruntime(net.save(tmp_path, y))
    assert [node.op for node in simple.nodes] == ["conv"]


def test_cast_like(tmp_path: Path) -> None:
    net = Net(opset=17)
    y = net.conv("x", 3, 4)
    y = net.op("Mul", y, net.op("CastLike", i64(2), y))
    net.op("CastLike", y, "x")
    assert_like_onnxruntime(net.save(tmp_path))


@pytest.mark.parametrize(
    ("shape", "perm", "layout", "channels"),
    [
        ((1, 3, 8, 8), None, "NCHW", 3),
        ((1, 8, 8, 3), (0, 3, 1, 2), "NHWC", 3),
        ((1, 8, 6, 1), (0, 3, 1, 2), "NHWC", 1),
        ((1, 1, 8, 6), None, "NCHW", 1),
        ((1, 8, 3, 3), None, "NCHW", 8),
        ((1, 3, 3, 8), (0, 3, 1, 2), "NHWC", 8),
        ((1, 3, 8, 3), None, "NCHW", 3),
        ((1, 3, 8, 3), (0, 3, 1, 2), "NHWC", 3),
        ((1, 16, 5, 7), (0, 3, 1, 2), "NHWC", 7),
    ],
)
def test_layout_of_the_input_is_found(
    tmp_path: Path,
    shape: tuple[int, ...],
    perm: tuple[int, ...] | None,
    layout: str,
    channels: int,
) -> None:
    net = Net(shape)
    y = net.op("Mul", "x", np.float32(0.5))
    y = net.op("Transpose", y, perm=perm) if perm else y
    net.conv(y, channels, 4)
    imported, _ = assert_like_onnxruntime(net.save(tmp_path))
    assert imported.input_layout == layout
    assert imported.graph.input_tensor.shape[2] == channels


def test_layout_is_found_behind_constants_of_one_layout(tmp_path: Path) -> None:
    net = Net((1, 3, 3, 3))
    y = net.op("Sub", "x", f32(0.1, 0.2, 0.3))
    net.conv(net.op("Transpose", y, perm=[0, 3, 1, 2]), 3, 4, 2)
    imported, _ = assert_like_onnxruntime(net.save(tmp_path))
    assert imported.input_layout == "NHWC"


def test_symbolic_batch_with_a_batch_fixed_inside(tmp_path: Path) -> None:
    """Runs image by image in onnxruntime when a batch does not go through."""
    net = Net(("N", 3, 8, 8))
    y = net.op("Reshape", net.op("GlobalAveragePool", "x"), i64(1, 3))
    net.op("Gemm", y, net.normal(3, 5))
    assert_like_onnxruntime(net.save(tmp_path), count=3)


def test_dead_nodes_do_not_matter(tmp_path: Path) -> None:
    net = Net()
    y = net.op("Relu", net.conv("x", 3, 4))
    net.op("NonZero", y)
    imported, _ = assert_like_onnxruntime(net.save(tmp_path, y))
    assert [node.op for node in imported.graph.nodes] == ["conv", "clip"]


def test_names_are_those_of_the_file(tmp_path: Path) -> None:
    net = Net()
    y = net.conv("x", 3, 4)
    y = net.op("Flatten", net.op("GlobalAveragePool", net.op("Relu", y)))
    imported, simple = assert_like_onnxruntime(net.save(tmp_path))
    assert list(imported.graph.tensors) == ["x", "conv_0", "relu_1", "globalaveragepool_2"]
    assert list(simple.tensors) == ["x", "relu_1", "globalaveragepool_2"]
    assert [node.name for node in imported.graph.nodes] == ["n0", "n1", "n2"]
    assert imported.output_name == "flatten_3" and imported.graph.output == "globalaveragepool_2"
    assert imported.graph.name == "net"


class TestGather:
    @pytest.mark.parametrize("indices", [1, -1, [2, 0], [1]])
    @pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
    def test_channels(self, tmp_path: Path, indices: object, layout: str) -> None:
        net = Net((1, 3, 6, 6) if layout == "NCHW" else (1, 6, 6, 3))
        axis = 1 if layout == "NCHW" else 3
        y = net.op("Gather", "x", np.array(indices, np.int64), axis=axis)
        if not isinstance(indices, list):
            y = net.op("Unsqueeze", y, np.array([axis], np.int64))
        net.op("Relu", net.op("Mul", y, np.float32(2)))
        imported, _ = assert_like_onnxruntime(net.save(tmp_path))
        assert imported.graph.output_tensor.shape[2] == np.size(indices)

    @pytest.mark.parametrize(
        ("axis", "indices", "words"),
        [(2, 0, "only channels can be taken"), (1, 3, r"channels 3 of 3"), (5, 0, "has axis 5")],
    )
    def test_refused(self, tmp_path: Path, axis: int, indices: int, words: str) -> None:
        net = Net((1, 3, 6, 7))
        net.op("Relu", net.op("Gather", net.conv("x", 3, 3), np.array(indices), axis=axis))
        assert words in refusal(net.save(tmp_path))
