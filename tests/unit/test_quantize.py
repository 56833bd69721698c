"""From ranges and float weights to scales, zero points and integers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_graphs import GraphMaker, ranges_on

from codegen import simulate
from codegen.errors import ThumbnetError
from codegen.ir import Bounds, Graph, Pads, Preprocess, QParams, Tensor, validate
from codegen.ops import Add, AvgPool, Conv, Depthwise, MaxPool, Pad, Softmax
from codegen.plan import make_plan
from codegen.quant.calibrate import input_range
from codegen.quant.quantize import choose_qparams, quantize
from codegen.quant.scales import activation_qparams, quantized_bounds, weight_scales
from codegen.simulate_float import run_float

RELU = Bounds(0.0)
NUMBERS = st.floats(-1e6, 1e6, allow_nan=False, allow_subnormal=False)


def ends(q: QParams) -> tuple[float, float]:
    return q.scale * (-128 - q.zero_point), q.scale * (127 - q.zero_point)


class TestActivation:
    @settings(max_examples=300, deadline=None)
    @given(NUMBERS, NUMBERS)
    def test_zero_and_both_ends_are_representable(self, a: float, b: float) -> None:
        lo, hi = min(a, b), max(a, b)
        q = activation_qparams((lo, hi), Bounds(), "t")
        assert q.scale > 0
        assert q.scale == np.float32(q.scale)
        assert -128 <= q.zero_point <= 127
        low, high = ends(q)
        lo, hi = min(lo, 0.0), max(hi, 0.0)
        if hi - lo < np.finfo(np.float32).tiny:
            assert q == QParams(1.0, -128)
            return
        # An end that is less than half a step from zero is zero.
        assert low <= lo * (1 - 1e-12) or (q.zero_point == -128 and -lo <= 0.5001 * q.scale)
        assert high >= hi * (1 - 1e-12) or (q.zero_point == 127 and hi <= 0.5001 * q.scale)
        # No wider than the rounding of the zero point can ask for.
        assert q.scale <= 1.5 * (hi - lo) / 255

    def test_after_relu_every_step_is_used(self) -> None:
        for seen in ((0.0, 5.1), (-3.0, 5.1)):
            q = activation_qparams(seen, RELU, "t")
            assert q == QParams(pytest.approx(5.1 / 255, rel=1e-6), -128)
        q = activation_qparams((-1.0, 80.0), Bounds(0.0, 6.0), "t")
        assert q.scale == pytest.approx(6.0 / 255, rel=1e-6)

    def test_negative_values_only(self) -> None:
        q = activation_qparams((-2.0, -1.0), Bounds(), "t")
        assert q == QParams(pytest.approx(2.0 / 255, rel=1e-6), 127)

    def test_symmetric_range_has_zero_point_zero(self) -> None:
        q = activation_qparams((-1.0, 1.0), Bounds(), "t")
        assert q == QParams(pytest.approx(1.0 / 127, rel=1e-6), 0)

    @pytest.mark.parametrize("name", ["unit", "signed", "raw", "torch"])
    def test_pixels_keep_apart(self, name: str) -> None:
        """Neighbouring pixel values collapse nowhere, or only as the zero point makes them."""
        from codegen.preprocess import PRESETS, pixel_table

        pre = PRESETS[name]
        q = activation_qparams(input_range(pre), Bounds(), "x")
        for channel in pixel_table(pre, q):
            assert (np.diff(channel.astype(int)) >= 0).all()
            # A symmetric range leaves one of 256 steps unused; others stretch differently.
            wide = (255.0 / np.array(pre.std)).min() / q.scale
            assert len(set(channel.tolist())) >= min(255, int(wide) - 1)

    @pytest.mark.parametrize("value", [0.0, 1e-40, -1e-40])
    def test_nothing_but_zero(self, value: float) -> None:
        assert activation_qparams((value, value), Bounds(), "t") == QParams(1.0, -128)

    def test_constant(self) -> None:
        q = activation_qparams((3.0, 3.0), Bounds(), "t")
        assert (q.scale * (127 - q.zero_point), q.zero_point) == (pytest.approx(3.0), -128)

    @pytest.mark.parametrize("seen", [(0.0, np.inf), (-np.inf, 0.0), (np.nan, 1.0)])
    def test_not_finite_is_refused_by_name(self, seen: tuple[float, float]) -> None:
        with pytest.raises(ThumbnetError, match=r"'conv/out;1' takes values that are not finite"):
            activation_qparams(seen, RELU, "conv/out;1")

    def test_bounds(self) -> None:
        q = QParams(0.1, -28)
        assert quantized_bounds(Bounds(), q) == (-128, 127)
        assert quantized_bounds(RELU, q) == (-28, 127)
        assert quantized_bounds(Bounds(-1.0, 6.0), q) == (-38, 32)
        assert quantized_bounds(Bounds(100.0, 200.0), q) == (127, 127)


class TestWeightScales:
    def test_largest_weight_is_127(self) -> None:
        weight = np.array([[0.5, -2.54, 0.0], [1e-3, 0.0, 0.0]])
        assert weight_scales(weight, np.zeros(2), 0.1) == pytest.approx([0.02, 1e-3 / 127])

    def test_dead_channel(self) -> None:
        assert weight_scales(np.zeros((1, 4)), np.zeros(1), 0.1).tolist() == [1.0]

    def test_bias_decides(self) -> None:
        """The bias in int32 steps stays at 2**30."""
        for weight, bias in ((1e-30, 1.0), (1.0, 1e12), (0.0, 3.0)):
            scale = weight_scales(np.array([[weight]]), np.array([bias]), 0.1)
            assert bias / (0.1 * scale[0]) == pytest.approx(2**30)


def layer(
    weight: np.ndarray, bias: np.ndarray, out: tuple[float, float], bounds: Bounds = Bounds()
) -> Graph:
    """A pointwise layer [O, I] between an input of 0..1 (zero point -128) and a given output."""
    outputs, inputs = weight.shape
    node = Conv(
        "head/conv;", ("x",), "y", weight.reshape(outputs, 1, 1, inputs).astype(np.float32),
        bias.astype(np.float32), bounds=bounds,
    )  # fmt: skip
    return quantize(graph_of(node, (1, 1, inputs)), {"x": (0.0, 1.0), "y": out})


def graph_of(node: Conv | Depthwise | AvgPool | Softmax, shape: tuple[int, int, int]) -> Graph:
    tensors = {"x": Tensor("x", shape), "y": Tensor("y", node.infer(shape))}
    pre = Preprocess((0.0,) * shape[2], (1.0,) * shape[2])
    return Graph("g", tensors, (node,), "x", "y", pre)


def real_outputs(graph: Graph, x: np.ndarray) -> np.ndarray:
    q = graph.output_tensor.q
    assert q is not None
    return (simulate.run(graph, x).astype(float) - q.zero_point) * q.scale


def pixel(*values: int) -> np.ndarray:
    return np.array(values, np.int8).reshape(1, 1, 1, -1)


class TestLayers:
    def test_weights_within_half_a_step(self) -> None:
        weight = np.random.default_rng(0).normal(0, 1, (6, 40)) * 10.0 ** np.arange(-3, 3)[:, None]
        graph = layer(weight, np.zeros(6), (-50.0, 50.0))
        node = graph.nodes[0]
        assert isinstance(node, Conv)
        assert node.weight.dtype == np.int8
        scale = np.abs(weight).max(axis=1, keepdims=True) / 127
        stored = node.weight.reshape(6, 40) * scale
        assert (np.abs(stored - weight) <= scale * (0.5 + 1e-4)).all()
        assert (np.abs(node.weight.reshape(6, 40)).max(axis=1) == 127).all()

    def test_bias_in_the_accumulator_s_steps(self) -> None:
        graph = layer(np.array([[1.27]]), np.array([-3.1]), (-4.0, 4.0))
        node = graph.nodes[0]
        assert isinstance(node, Conv)
        assert node.bias.dtype == np.int32
        assert node.bias.tolist() == [round(-3.1 / (0.01 / 255))]

    def test_dead_channel_with_bias_is_a_constant(self) -> None:
        """Exactly the value of the bias, whatever the input, with a shift or without."""
        for other in (0.5, 400.0):
            graph = layer(np.array([[0.0], [other]]), np.array([0.77, 0.0]), (-1.0, 1.0))
            for x in (-128, 0, 127):
                assert real_outputs(graph, pixel(x))[0, 0, 0, 0] == pytest.approx(0.77, abs=0.004)

    def test_tiny_weights_beside_a_bias(self) -> None:
        graph = layer(np.array([[1e-30], [0.5]]), np.array([1.0, 0.1]), (-2.0, 2.0))
        assert real_outputs(graph, pixel(127))[0, 0, 0].tolist() == pytest.approx(
            [1.0, 0.6], abs=0.017
        )

    def test_huge_bias(self) -> None:
        """Saturates like real arithmetic would, and does not wrap."""
        graph = layer(np.array([[1.0], [1.0]]), np.array([1e9, -1e9]), (-1.0, 1.0))
        assert simulate.run(graph, pixel(0)).ravel().tolist() == [127, -128]

    def test_huge_bias_of_a_dead_channel(self) -> None:
        graph = layer(np.zeros((2, 1)), np.array([1e9, -1e9]), (-1.0, 1.0))
        assert simulate.run(graph, pixel(0)).ravel().tolist() == [127, -128]

    def test_scale_too_small_for_a_multiplier(self) -> None:
        graph = layer(np.array([[1e-8], [1.0]]), np.zeros(2), (-1.0, 1.0))
        assert real_outputs(graph, pixel(127)).ravel().tolist() == pytest.approx([0, 1], abs=0.01)

    def test_scale_above_one_half(self) -> None:
        graph = layer(np.array([[1.0, -1.0]]), np.zeros(1), (-0.003, 0.003))
        node = graph.nodes[0]
        assert isinstance(node, Conv)
        assert node.requant is not None
        assert node.requant.shift > 0
        assert real_outputs(graph, pixel(5, 5)).ravel() == pytest.approx(0.0)
        # Steps of the output are finer than those of the input.
        assert simulate.run(graph, pixel(5, 4)).ravel().tolist() == [127]
        assert simulate.run(graph, pixel(4, 5)).ravel().tolist() == [-128]
        assert simulate.run(graph, pixel(127, -128)).ravel().tolist() == [127]

    def test_bounds_become_limits(self) -> None:
        graph = layer(np.array([[4.0]]), np.zeros(1), (-1.0, 9.0), Bounds(0.0, 6.0))
        node = graph.nodes[0]
        assert isinstance(node, Conv)
        assert node.requant is not None
        assert (node.requant.lo, node.requant.hi, node.bounds) == (-128, 127, Bounds())

    def test_overflow_is_refused_by_name(self) -> None:
        with pytest.raises(ThumbnetError, match=r"'head/conv;' \(conv\).* overflow 32 bits"):
            layer(np.ones((1, 70_000)), np.zeros(1), (0.0, 7e4))
        with pytest.raises(ThumbnetError, match=r"'head/conv;' \(conv\).* overflow 32 bits"):
            layer(np.ones((1, 10)), np.zeros(1), (0.0, 1e-6))

    def test_scale_of_an_average_is_refused_by_name(self) -> None:
        graph = graph_of(AvgPool("mean", ("x",), "y", (3, 3)), (3, 3, 1))
        with pytest.raises(ThumbnetError, match=r"'mean' \(avgpool\).* times its output's"):
            quantize(graph, {"x": (0.0, 1e9), "y": (0.0, 1.0)})

    def test_scale_of_an_addition_is_refused_by_name(self) -> None:
        node = Add("sum", ("x", "x"), "y")
        with pytest.raises(ThumbnetError, match=r"'sum' \(add\).* times its output's"):
            tensors = {name: Tensor(name, (3, 3, 1)) for name in "xy"}
            quantize(Graph("g", tensors, (node,), "x", "y"), {"x": (0.0, 1e9), "y": (0.0, 1.0)})

    def test_a_window_in_the_padding_is_refused(self) -> None:
        node = AvgPool("mean", ("x",), "y", (1, 1), pads=Pads(1, 1, 1, 1))
        with pytest.raises(ThumbnetError, match=r"'mean'.* wholly in the padding"):
            quantize(graph_of(node, (3, 3, 1)), {"x": (0.0, 1.0), "y": (0.0, 1.0)})

    def test_layers_that_move_values_share_a_scale(self) -> None:
        names = ("x", "p", "m", "y")
        nodes = (
            Pad("pad", ("x",), "p", Pads(1, 1, 1, 1), 0.3),
            MaxPool("pool", ("p",), "m", (2, 2)),
            Softmax("soft", ("m",), "y"),
        )
        shapes = ((4, 4, 3), (6, 6, 3), (5, 5, 3), (5, 5, 3))
        tensors = {n: Tensor(n, s) for n, s in zip(names, shapes, strict=True)}
        graph = Graph("g", tensors, nodes, "x", "y", Preprocess((0.0,) * 3, (1.0,) * 3))
        ranges = dict.fromkeys(names, (-9.0, 9.0)) | {"x": (-1.0, 1.5)}
        qs = choose_qparams(graph, ranges)
        assert qs["p"] == qs["m"] == qs["x"] == activation_qparams((-1.0, 1.5), Bounds(), "x")
        assert qs["y"] == QParams(1 / 256, -128)

    def test_softmax_table_cannot_overflow(self) -> None:
        for channels in (1, 2, 10, 512, 1001, 100_000):
            table = Softmax.make_table(0.05, channels).astype(object)
            assert 256 * table[0] + channels * table[0] // 2 < 2**32
            assert table[0] >= 2**13


def conv_net() -> Graph:
    """An inverted residual network with random weights and a classifier."""
    maker = GraphMaker(1)
    maker.rng = np.random.default_rng(1)
    rng = np.random.default_rng(2)
    maker.tensors = {"in": Tensor("in", (16, 16, 3))}

    def normal(*shape: int) -> np.ndarray:
        scale = (2 / np.prod(shape[1:])) ** 0.5
        return (rng.normal(0, 1, shape) * scale).astype(np.float32)

    def conv(x: str, outputs: int, size: int, stride: int, bounds: Bounds) -> str:
        title, out = maker._names()
        weight = normal(outputs, size, size, maker.tensors[x].shape[2])
        pads = Pads(*[size // 2] * 4)
        bias = rng.normal(0, 0.1, outputs).astype(np.float32)
        return maker._append(Conv(title, (x,), out, weight, bias, (stride,) * 2, pads, bounds))

    def depthwise(x: str) -> str:
        title, out = maker._names()
        channels = maker.tensors[x].shape[2]
        weight = (rng.normal(0, 1, (3, 3, channels, 1)) / 2).astype(np.float32)
        bias = rng.normal(0, 0.1, channels).astype(np.float32)
        pads = Pads(1, 1, 1, 1)
        return maker._append(
            Depthwise(title, (x,), out, weight, bias, (1, 1), pads, Bounds(0.0, 6.0))
        )

    name = conv("in", 8, 3, 2, Bounds(0.0, 6.0))
    for _ in range(3):
        block = conv(depthwise(conv(name, 24, 1, 1, Bounds(0.0, 6.0))), 8, 1, 1, Bounds())
        title, out = maker._names()
        name = maker._append(Add(title, (name, block), out))
    title, out = maker._names()
    name = maker._append(AvgPool(title, (name,), out, (8, 8)))
    return maker.graph(conv(name, 10, 1, 1, Bounds()))


def sqnr(want: np.ndarray, found: np.ndarray) -> float:
    """Signal to quantization noise in dB."""
    return float(10 * np.log10((want**2).sum() / ((want - found) ** 2).sum()))


def test_network_is_near_the_float_network() -> None:
    graph = conv_net()
    rng = np.random.default_rng(0)
    images = rng.normal(0, 1, (20, 16, 16, 3)).astype(np.float32)
    integer = quantize(graph, ranges_on(graph, images))
    q = integer.input_tensor.q
    assert q is not None
    x = np.clip(np.rint(images / q.scale) + q.zero_point, -128, 127).astype(np.int8)
    tensors = simulate.trace(integer, x)
    reals = run_float(graph, images)
    for name, values in tensors.items():
        p = integer.tensors[name].q
        assert p is not None
        ratio = sqnr(reals[name], (values.astype(float) - p.zero_point) * p.scale)
        assert ratio > 25.0, f"{name}: {ratio:.1f} dB"
    assert (
        tensors[integer.output].argmax(axis=3) == reals[graph.output].argmax(axis=3)
    ).mean() > 0.9
    # A defect shows: one zero point off by one costs more than the bound allows.
    wrong = {n: replace(t, q=QParams(t.q.scale, t.q.zero_point + (n == "in")))  # type: ignore[union-attr]
             for n, t in integer.tensors.items()}  # fmt: skip
    spoiled = validate(replace(integer, tensors=wrong), "test")
    assert sqnr(reals["t0"], real_of(spoiled, x, "t0")) < sqnr(
        reals["t0"], real_of(integer, x, "t0")
    )


def real_of(graph: Graph, x: np.ndarray, name: str) -> np.ndarray:
    q = graph.tensors[name].q
    assert q is not None
    return (simulate.trace(graph, x, {name})[name].astype(float) - q.zero_point) * q.scale


def test_wide_depthwise_weights_are_more_exact_and_keep_their_kernel() -> None:
    rng = np.random.default_rng(0)
    channels = 32
    conv = Conv("conv", ("in",), "c", rng.normal(0, 1, (channels, 1, 1, 3)).astype(np.float32),
                np.zeros(channels, np.float32), bounds=RELU)  # fmt: skip
    weight = rng.normal(0, 1, (3, 3, channels, 1)).astype(np.float32)
    weight[1, 1] *= 30.0  # one large weight leaves few steps to the others
    node = Depthwise(
        "dw", ("c",), "d", weight, np.ones(channels, np.float32), pads=Pads(1, 1, 1, 1)
    )
    tensors = {"in": Tensor("in", (8, 8, 3))}
    tensors |= {name: Tensor(name, (8, 8, channels)) for name in "cd"}
    graph = Graph("wide", tensors, (conv, node), "in", "d", Preprocess((0.0,) * 3, (1.0,) * 3))
    images = rng.normal(0, 1, (4, 8, 8, 3)).astype(np.float32)
    ranges = ranges_on(graph, images)
    error = {}
    for wide in (False, True):
        integer = quantize(graph, ranges, wide_depthwise=wide)
        plan = make_plan(integer, "cortex-m4")
        assert [step.stage.kernel.name for step in plan.steps] == ["im2col", "depthwise_alone"]
        layer = integer.nodes[1]
        assert isinstance(layer, Depthwise) and layer.requant
        assert layer.weight.dtype == (np.int16 if wide else np.int8)
        scale = layer.requant.multiplier * 2.0 ** (layer.requant.shift - 32)
        real = layer.weight[..., 0] * scale * integer.tensors["d"].q.scale  # type: ignore[union-attr]
        error[wide] = np.abs(real / integer.tensors["c"].q.scale - weight[..., 0]).max()  # type: ignore[union-attr]
    assert error[True] < error[False] / 20
