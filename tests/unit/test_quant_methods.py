"""Equalisation, bias correction and rounding: each against what it promises."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_quantize import conv_net

from codegen.errors import ThumbnetError
from codegen.ir import Bounds, Graph, Normal, QParams
from codegen.ops import Conv, Depthwise
from codegen.quant.analytic import clipped_mean, correct_analytically
from codegen.quant.covariance import Full, LowRank
from codegen.quant.equalize import ChannelRange, equalize
from codegen.quant.moments import Moments, few_windows, window_sums
from codegen.quant.quantize import choose_qparams, quantize
from codegen.quant.reconstruct import (
    WeightOptions,
    choose,
    chosen,
    nearest_weights,
    reconstruct,
)
from codegen.quant.rounding import ROUNDINGS, adaptive, nearest, objective
from codegen.quant.weights import LayerWeights, grid_scales, on_grid, rows, with_bias
from codegen.simulate import run
from codegen.simulate_float import run_float

RNG = np.random.default_rng(5)
IMAGES = RNG.normal(0, 1, (24, 16, 16, 3)).astype(np.float32)
OTHERS = RNG.normal(0, 1, (24, 16, 16, 3)).astype(np.float32)

PER_TENSOR = WeightOptions(per_tensor=True)


def uneven(bounds: Bounds) -> Graph:
    """A network whose channels differ by orders of magnitude, with high biases."""
    graph, rng = conv_net(), np.random.default_rng(3)
    nodes = []
    for node in graph.nodes:
        if isinstance(node, Conv | Depthwise):
            factor = np.exp(rng.normal(0, 1.2, node.bias.size)).astype(np.float32)
            shape = (-1, 1, 1, 1) if isinstance(node, Conv) else (1, 1, -1, 1)
            high = np.where(rng.random(node.bias.size) < 0.2, 4.0, 0.0)
            clip = bounds if node.bounds.any else node.bounds
            node = replace(
                node,
                weight=node.weight * factor.reshape(shape),
                bias=((node.bias + high) * factor).astype(np.float32),
                bounds=clip,
            )
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes))


def extremes(graph: Graph, images: np.ndarray) -> dict[str, ChannelRange]:
    values = run_float(graph, images)
    return {
        node.output: ChannelRange(
            values[node.output].min(axis=(0, 1, 2)).astype(float),
            values[node.output].max(axis=(0, 1, 2)).astype(float),
        )
        for node in graph.nodes
    }


def minmax(graph: Graph, images: np.ndarray) -> dict[str, tuple[float, float]]:
    return {n: (float(x.min()), float(x.max())) for n, x in run_float(graph, images).items()}


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max() / np.abs(a).max())


class TestEqualize:
    @pytest.mark.parametrize("per_tensor", [False, True])
    @pytest.mark.parametrize("bounds", [Bounds(0.0), Bounds(0.0, 6.0)])
    def test_full_keeps_the_function_on_the_pictures(
        self, bounds: Bounds, per_tensor: bool
    ) -> None:
        graph = uneven(bounds)
        made = equalize(graph, extremes(graph, IMAGES), per_tensor)
        before, after = run_float(graph, IMAGES), run_float(made.graph, IMAGES)
        assert difference(before[graph.output], after[graph.output]) < 1e-5
        assert any((m.factor != 1.0).any() for m in made.maps.values())
        for name, channels in made.maps.items():
            assert difference(after[name], channels.apply(before[name])) < 1e-4

    @pytest.mark.parametrize("bounds", [Bounds(0.0), Bounds(0.0, 6.0)])
    def test_exact_keeps_it_on_every_picture(self, bounds: Bounds) -> None:
        graph = uneven(bounds)
        made = equalize(graph, extremes(graph, IMAGES), exact=True)
        for images in (IMAGES, 5 * OTHERS):
            before, after = run_float(graph, images), run_float(made.graph, images)
            assert difference(before[graph.output], after[graph.output]) < 1e-5

    def test_clipped_channels_stay(self) -> None:
        graph = uneven(Bounds(0.0, 6.0))
        seen = extremes(graph, IMAGES)
        made = equalize(graph, seen)
        for node in graph.nodes:
            if getattr(node, "bounds", Bounds()).hi == 6.0:
                clipped = seen[node.output].hi >= 6.0
                assert (made.maps[node.output].factor[clipped] == 1.0).all()

    def test_weights_per_tensor_need_it(self) -> None:
        graph = uneven(Bounds(0.0))
        wanted = run_float(graph, IMAGES)[graph.output]
        errors = []
        for net in (graph, equalize(graph, extremes(graph, IMAGES), per_tensor=True).graph):
            ranges = minmax(net, IMAGES)
            weights = nearest_weights(net, choose_qparams(net, ranges), PER_TENSOR)
            got = int8_output(quantize(net, ranges, weights), IMAGES)
            errors.append(((got - wanted) ** 2).mean())
        assert errors[1] < 0.2 * errors[0]

    def test_a_dead_channel_stays(self) -> None:
        graph = uneven(Bounds(0.0))
        first = graph.nodes[0]
        assert isinstance(first, Conv)
        weight, bias = first.weight.copy(), first.bias.copy()
        weight[2], bias[2], weight[3], bias[3] = 0.0, 0.0, 1e-30, 1e-30
        graph = replace(graph, nodes=(replace(first, weight=weight, bias=bias), *graph.nodes[1:]))
        made = equalize(graph, extremes(graph, IMAGES))
        before, after = run_float(graph, IMAGES), run_float(made.graph, IMAGES)
        assert difference(before[graph.output], after[graph.output]) < 1e-5


def int8_output(graph: Graph, images: np.ndarray) -> np.ndarray:
    q, out = graph.input_tensor.q, graph.output_tensor.q
    assert q is not None and out is not None
    return (run(graph, to_int8(images, q)).astype(float) - out.zero_point) * out.scale


def to_int8(images: np.ndarray, q: QParams) -> np.ndarray:
    return np.clip(np.rint(images / q.scale) + q.zero_point, -128, 127).astype(np.int8)


def moments(node: Conv | Depthwise, x: np.ndarray, y: np.ndarray, q: QParams) -> Moments:
    return window_sums(node, x, y, q, y.std(axis=(0, 1, 2)), few_windows(node, y)).moments()


def layer_moments(node: Conv | Depthwise) -> Moments:
    """Correlated inputs, as activations are."""
    inputs = node.weight.shape[3] if isinstance(node, Conv) else node.weight.shape[2]
    mixed = RNG.normal(0, 1, (30, 6, 6, inputs)) @ RNG.normal(0, 1, (inputs, inputs))
    mixed = mixed.cumsum(axis=1).cumsum(axis=2)  # smooth, as pictures are
    q = QParams(float(np.abs(mixed).max()) / 127, 0)
    x = to_int8(mixed, q)
    y = replace(node, bounds=Bounds()).run_float(mixed.astype(np.float32))
    return moments(node, x, y, q)


def nearest_weights_of(node: Conv, q: QParams) -> LayerWeights:
    return choose(node, layer_moments(node), q.scale, 1.0, WeightOptions("nearest", False))


def some_layers() -> list[Conv | Depthwise]:
    def normal(*shape: int) -> np.ndarray:
        return RNG.normal(0, 1, shape).astype(np.float32)

    return [
        Conv("pw", ("x",), "y", normal(20, 1, 1, 90), normal(20)),
        Conv("conv", ("x",), "y", normal(6, 3, 3, 4), normal(6), bounds=Bounds(0.0)),
        Depthwise("dw", ("x",), "y", normal(3, 3, 7, 1), normal(7), bounds=Bounds(0.0, 6.0)),
        Depthwise("dw2", ("x",), "y", normal(3, 3, 5, 2), normal(10)),
    ]


class TestRounding:
    @pytest.mark.parametrize("node", some_layers(), ids=lambda node: node.name)
    @pytest.mark.parametrize("coarse", [1.0, 16.0])
    def test_never_worse_than_nearest(self, node: Conv | Depthwise, coarse: float) -> None:
        known, weight = layer_moments(node), rows(node)
        scale = coarse * np.abs(weight).max(axis=1) / 127
        errors = {
            name: objective(weight - rounding(weight, scale, known) * scale[:, None], known)
            for name, rounding in ROUNDINGS.items()
        }
        assert (errors["adaptive"] <= errors["nearest"] * (1 + 1e-9)).all()
        assert errors["adaptive"].sum() < 0.9 * errors["nearest"].sum()

    @pytest.mark.parametrize("pictures", [3, 7])
    def test_moments_are_those_of_the_windows(self, pictures: int) -> None:
        node = some_layers()[0]
        assert isinstance(node, Conv)
        x = RNG.integers(-128, 128, (pictures, 4, 4, 90)).astype(np.int8)
        y = RNG.normal(0, 1, (pictures, 4, 4, 20)).astype(np.float32)
        q = QParams(0.5, 3)
        known = moments(node, x, y, q)
        real, wanted = 0.5 * (x.astype(float).reshape(-1, 90) - 3), y.reshape(-1, 20)
        assert known.covariance.times(np.eye(90)) == pytest.approx(
            np.cov(real.T, bias=True), abs=0.05
        )
        both = np.cov(wanted.T, real.T, bias=True)[:20, 20:]
        assert known.cross == pytest.approx(both, abs=1e-3)
        assert known.windows == 16 * pictures

    @pytest.mark.parametrize("node", some_layers(), ids=lambda node: node.name)
    def test_of_large_maps_a_sample_of_windows_with_their_outputs(
        self, node: Conv | Depthwise, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("codegen.quant.moments.WINDOWS", 2000)
        inputs = node.weight.shape[3] if isinstance(node, Conv) else node.weight.shape[2]
        node = replace(node, stride=(2, 2), bounds=Bounds())
        x, q = RNG.integers(-128, 128, (7, 150, 98, inputs)).astype(np.int8), QParams(0.5, 3)
        y = node.run_float(q.real(x))
        known = moments(node, x, y, q)
        assert known.windows < 0.8 * y.size / y.shape[3]
        # The output is exactly the weights times the window, so their moments are too.
        assert known.cross == pytest.approx(known.covariance.times(rows(node)), rel=1e-3, abs=2.0)
        assert known.bias(rows(node)) == pytest.approx(node.bias, abs=0.01)

    @pytest.mark.parametrize("few", [False, True])
    def test_sums_of_some_pictures_and_of_others_are_those_of_all(self, few: bool) -> None:
        node, q = some_layers()[0], QParams(0.5, 3)
        x = RNG.integers(-128, 128, (9, 4, 4, 90)).astype(np.int8)
        y = RNG.normal(0, 1, (9, 4, 4, 20)).astype(np.float32)
        whole, *parts = (
            window_sums(node, x[part], y[part], q, np.ones(20), few)
            for part in (slice(None), slice(0, 2), slice(2, 9))
        )
        a, b = whole.moments(), (parts[0] + parts[1]).moments()
        weight = rows(node)
        assert b.covariance.times(weight) == pytest.approx(a.covariance.times(weight), rel=1e-3)
        assert b.cross == pytest.approx(a.cross, rel=1e-3, abs=1e-3)
        assert b.bias(weight) == pytest.approx(a.bias(weight), rel=1e-3, abs=1e-3)
        assert a.windows == b.windows == 144

    def test_few_windows_and_parts_of_a_layer_change_nothing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A fully connected layer by its windows, in parts, is the layer by its matrix, whole."""
        weight = RNG.normal(0, 1, (30, 2, 2, 50)).astype(np.float32)
        node = Conv("fc", ("x",), "y", weight, RNG.normal(0, 1, 30).astype(np.float32))
        x, q = RNG.integers(-128, 128, (40, 2, 2, 50)).astype(np.int8), QParams(0.5, 3)
        y = node.run_float(q.real(x))
        low = moments(node, x, y, q)
        assert isinstance(low.covariance, LowRank)
        full = replace(low, covariance=Full(low.covariance.times(np.eye(200))[None]))
        options, q_out = WeightOptions(), QParams(1.0, 0)
        wanted = choose(node, full, q.scale, q_out.scale, options)
        monkeypatch.setattr("codegen.quant.weights.PART", 7 * 200)
        monkeypatch.setattr("codegen.quant.reconstruct.ENOUGH", 1000)  # each part could differ
        made = chosen(node, x, y, q, q_out, options)
        assert np.array_equal(made.integers, wanted.integers)
        assert made.scale == pytest.approx(wanted.scale)
        assert made.bias == pytest.approx(wanted.bias)
        assert (made.integers != on_grid(rows(node), made.scale)).any()

    def test_pictures_are_not_learnt_by_heart(self) -> None:
        """Of few windows only what also holds on others is learnt, of many all of it."""
        weight = RNG.normal(0, 1, (30, 1, 1, 200)).astype(np.float32)
        node, q = Conv("pw", ("x",), "y", weight, np.zeros(30, np.float32)), QParams(0.1, 0)

        def pictures(count: int) -> tuple[np.ndarray, np.ndarray]:
            x = RNG.integers(-128, 128, (count, 4, 4, 200)).astype(np.int8)
            y = node.run_float(q.real(x))
            return x, y + RNG.normal(0, 20, y.shape).astype(np.float32)

        x, y = pictures(20)
        fresh = pictures(200)
        unseen = moments(node, *fresh, q)
        plain = objective(rows(node) - nearest_weights_of(node, q).real, unseen).sum()
        known = moments(node, x, y, q)
        greedy = choose(node, known, q.scale, 1.0, WeightOptions())
        careful = chosen(node, x, y, q, QParams(1.0, 0), WeightOptions())
        assert objective(rows(node) - greedy.real, unseen).sum() > 20 * plain
        assert objective(rows(node) - careful.real, unseen).sum() < 2 * plain

    def test_a_constant_input_divides_nothing_by_zero(self) -> None:
        for node in some_layers():
            inputs = node.weight.shape[3] if isinstance(node, Conv) else node.weight.shape[2]
            x = np.zeros((2, 6, 6, inputs), np.int8)
            q = QParams(1.0, 0)
            y = replace(node, bounds=Bounds()).run_float(x.astype(np.float32))
            with np.errstate(all="raise", under="ignore"):
                known = moments(node, x, y, q)
                made = choose(node, known, 1.0, 1.0, WeightOptions())
            assert np.abs(made.integers - nearest(rows(node), made.scale, known)).max() <= 1
            assert made.bias == pytest.approx(node.bias, abs=1e-5)

    def test_without_pictures_it_says_so(self) -> None:
        nothing = np.zeros((0, 4, 4, 90), np.int8), np.zeros((0, 4, 4, 20), np.float32)
        with pytest.raises(ThumbnetError, match=r"'pw' \(conv\).*without pictures"):
            window_sums(some_layers()[0], *nothing, QParams(1.0, 0), np.ones(20), False)

    def test_adaptive_stays_on_the_grid(self) -> None:
        node = some_layers()[1]
        scale = np.abs(rows(node)).max(axis=1) / 127
        assert np.abs(adaptive(rows(node), scale, layer_moments(node))).max() <= 127


class TestBias:
    def test_mean_output_is_that_of_the_float_layer(self) -> None:
        node = some_layers()[0]
        known = layer_moments(node)
        weight = rows(node)
        coarse = nearest(weight, np.abs(weight).max(axis=1) / 7, known)
        real = coarse * (np.abs(weight).max(axis=1) / 7)[:, None]
        mean = (real * known.mean).sum(axis=1) + known.bias(real)
        assert mean == pytest.approx(known.target, abs=1e-4)

    def test_a_bias_that_does_not_fit_gets_coarser_steps(self) -> None:
        node = some_layers()[0]
        scale = grid_scales(rows(node), node.bias, 1e-9, per_tensor=False)
        made = choose(node, layer_moments(node), 1e-9, 1.0, WeightOptions("nearest", False))
        moved = with_bias(made, np.full(20, 1e3), 1e-9)
        assert (np.abs(moved.bias / (1e-9 * moved.scale)) <= 2**30 * (1 + 1e-9)).all()
        assert (moved.scale >= scale).all()

    def test_a_dead_channel_keeps_its_constant(self) -> None:
        node = some_layers()[0]
        weight, bias = node.weight.copy(), node.bias.copy()
        weight[0], weight[1], bias[:2] = 0.0, 1e-30, 2.5
        node = replace(node, weight=weight, bias=bias)
        made = choose(node, layer_moments(node), 0.01, 1.0, WeightOptions())
        assert not made.integers[:2].any()
        assert made.bias[:2].tolist() == [2.5, 2.5]
        assert made.integers[2:].any(axis=1).all()

    @pytest.mark.parametrize("bounds", [Bounds(), Bounds(0.0), Bounds(0.0, 6.0), Bounds(-1.0, 1.0)])
    def test_mean_of_a_clipped_normal_distribution(self, bounds: Bounds) -> None:
        mean, std = np.array([-3.0, 0.2, 5.0, 2.0]), np.array([1.0, 2.0, 3.0, 0.0])
        drawn = np.random.default_rng(0).normal(0, 1, (400_000, 1)) * std + mean
        want = np.clip(drawn, bounds.lo, bounds.hi).mean(axis=0)
        assert clipped_mean(Normal(mean, std), bounds) == pytest.approx(want, abs=0.02)

    def test_analytic_takes_the_mean_error_back(self) -> None:
        graph = conv_net()
        reals = run_float(graph, IMAGES)
        first = graph.nodes[0]
        assert isinstance(first, Conv)
        raw = replace(first, bounds=Bounds()).run_float(IMAGES)
        known = Normal(raw.mean(axis=(0, 1, 2)), raw.std(axis=(0, 1, 2)))
        nodes = (replace(first, statistics=known), *graph.nodes[1:])
        graph = replace(graph, nodes=nodes)
        qs = choose_qparams(graph, minmax(graph, IMAGES))
        plain = nearest_weights(graph, qs, PER_TENSOR)
        made = correct_analytically(graph, qs, plain)
        x = reals[first.output].mean(axis=(0, 1, 2))
        readers = [n for n in graph.nodes if isinstance(n, Conv) and n.inputs[0] == first.output]
        assert readers
        for node in readers:

            def error(weights, node=node):  # type: ignore[no-untyped-def]
                w = weights[node.output]
                return np.abs((w.real - rows(node)) @ x + w.bias - node.bias).max()

            assert error(made.weights) < 0.3 * error(plain)
        assert "no BatchNormalization" in made.warnings[0]


class TestNetwork:
    def test_all_of_it_is_nearer_to_the_float_network(self) -> None:
        graph = uneven(Bounds(0.0))
        qs = choose_qparams(graph, minmax(graph, IMAGES))
        wanted = run_float(graph, OTHERS)[graph.output]
        errors = {}
        for name, options in (
            ("naive", None),
            ("corrected", WeightOptions("nearest")),
            ("adaptive", WeightOptions()),
        ):
            weights = None
            if options:
                x = to_int8(IMAGES, qs[graph.input])
                weights = reconstruct(graph, qs, x, IMAGES, options)
            got = int8_output(quantize(graph, minmax(graph, IMAGES), weights), OTHERS)
            errors[name] = float(((got - wanted) ** 2).mean())
        assert errors["adaptive"] < errors["naive"]
        assert errors["corrected"] < 1.1 * errors["naive"]
