"""Each operator: the integer face is the contract to the letter, and near the float face.

The contract is ``integer_reference``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from activation_cases import ACTIVATION_CASES
from channel_cases import CHANNEL_CASES
from integer_reference import REFERENCES
from layer_case import SKEWED, Case, normal

from codegen.errors import ThumbnetError
from codegen.ir import Bounds, Graph, Node, Pads, QParams, Tensor, validate
from codegen.ops import (
    OPS,
    Activation,
    Add,
    AddRequant,
    Affine,
    AvgPool,
    Clip,
    Conv,
    Depthwise,
    GroupedConv,
    Lrn,
    MaxPool,
    Pad,
    Softmax,
)

RELU6 = Bounds(0.0, 6.0)
RANGES = {
    "-128": (0.0, 5.0),
    "127": (-5.0, 0.0),
    "odd": SKEWED,
    "0": (-3.0, 3.0),
}
"""Ranges of the input by the zero point that they give."""


# How far the integer face may lie from the float face, in steps of the output.


def weights_error(node: Any, weight: np.ndarray, largest: np.ndarray, q_in: QParams) -> np.ndarray:
    """Real error of each channel from rounding weights [C, n] and bias: half a step each."""
    by_weight = np.abs(weight).max(axis=1) / 127
    by_bias = np.abs(node.bias.astype(np.float64)) / (q_in.scale * 2**30)
    scale = np.maximum(by_weight, by_bias)
    return scale / 2 * (largest + q_in.scale)


def allowed_error(
    node: Any, xs: tuple[np.ndarray, ...], qs: tuple[QParams, ...], step: float
) -> Any:
    """Real error of the sums, before they are rounded to a ``step`` of the output."""
    if isinstance(node, Lrn):
        return step / 8  # entries of its table are for several sums
    if isinstance(node, (Conv, GroupedConv)):
        weight = node.weight.reshape(len(node.weight), -1).astype(np.float64)
        area = weight.shape[1]
        return weights_error(node, weight, np.float64(area * np.abs(xs[0]).max()), qs[0])
    if isinstance(node, Depthwise):
        weight = node.weight.reshape(-1, node.bias.size).T.astype(np.float64)
        area = weight.shape[1]
        return weights_error(node, weight, np.float64(area * np.abs(xs[0]).max()), qs[0])
    return 0.0


def conv(
    shape: tuple, outputs: int, kernel: tuple, case: dict | None = None, **options: Any
) -> Case:
    weight = normal(outputs, *kernel, shape[2]) / (kernel[0] * kernel[1] * shape[2]) ** 0.5
    node = Conv("layer", ("a",), "y", weight, normal(outputs, seed=1), **options)
    return Case(node, shape, **(case or {}))


def depthwise(
    shape: tuple, kernel: tuple, times: int = 1, case: dict | None = None, **options: Any
) -> Case:
    weight = normal(*kernel, shape[2], times) / (kernel[0] * kernel[1]) ** 0.5
    bias = normal(shape[2] * times, seed=1)
    return Case(Depthwise("layer", ("a",), "y", weight, bias, **options), shape, **(case or {}))


def pool(kind: Any, shape: tuple, kernel: tuple, case: dict | None = None, **options: Any) -> Case:
    return Case(kind("layer", ("a",), "y", kernel, **options), shape, **(case or {}))


def add(ranges: tuple, output: tuple, bounds: Bounds = Bounds(), names: str = "ab") -> Case:
    return Case(Add("layer", tuple(names), "y", bounds), (3, 5, 4), ranges, output)


def softmax(shape: tuple, largest: float) -> Case:
    return Case(Softmax("layer", ("a",), "y"), shape, ((-largest, largest / 2),))


EXTREME = np.where(np.arange(64 * 9).reshape(64, 3, 3, 1) % 5 < 3, 1, -1).astype(np.float32)

CASES: dict[str, dict[str, Case]] = {
    "conv": {
        "1x1": conv((4, 5, 7), 6, (1, 1)),
        "1 channel": conv((5, 5, 1), 1, (3, 3)),
        "5x5 same": conv((7, 6, 3), 5, (5, 5), pads=Pads(2, 2, 2, 2)),
        "stride 2, asymmetric": conv((7, 8, 3), 4, (3, 3), stride=(2, 2), pads=Pads(0, 0, 1, 1)),
        "stride 3 and 2": conv((9, 9, 2), 3, (3, 2), stride=(3, 2), pads=Pads(1, 0, 2, 1)),
        "1x1, stride 2": conv((5, 6, 4), 3, (1, 1), stride=(2, 2)),
        "whole map": conv((3, 4, 5), 11, (3, 4)),
        "padding all around": conv((1, 1, 2), 3, (3, 3), pads=Pads(1, 1, 1, 1)),
        "relu6": conv((6, 6, 3), 9, (3, 3), {"output": (0.0, 9.0)}, bounds=RELU6),
        "clip above zero": conv((4, 4, 3), 5, (3, 3), bounds=Bounds(0.25, 1.0)),
        **{
            f"zero point {z}": conv((5, 5, 3), 4, (3, 3), {"ranges": (r,)}, pads=Pads(1, 1, 1, 1))
            for z, r in RANGES.items()
        },
        "all weights at 127": Case(
            Conv("layer", ("a",), "y", EXTREME.reshape(1, 3, 3, 64), normal(1)),
            (4, 4, 64), ((0.0, 1.0),), (-300.0, 300.0),
        ),
        "scale above one half": conv((4, 4, 1), 3, (1, 1), {"output": (-0.02, 0.02)}),
        "output of one step": conv((4, 4, 2), 3, (1, 1), {"output": (-1e4, 1e4)}),
    },
    "depthwise": {
        "3x3": depthwise((6, 5, 7), (3, 3), pads=Pads(1, 1, 1, 1)),
        "1 channel": depthwise((6, 5, 1), (3, 3)),
        "5x5, stride 2": depthwise((9, 8, 3), (5, 5), stride=(2, 2), pads=Pads(1, 2, 2, 1)),
        "stride 3": depthwise((10, 7, 2), (3, 3), stride=(3, 3), pads=Pads(0, 1, 1, 0)),
        "stride above the kernel": depthwise((7, 7, 3), (1, 2), stride=(3, 3)),
        "multiplier 2": depthwise((5, 5, 3), (3, 3), 2, pads=Pads(1, 1, 1, 1)),
        "multiplier 3, stride 2": depthwise((5, 6, 2), (3, 3), 3, stride=(2, 2)),
        "whole map": depthwise((4, 6, 3), (4, 6)),
        "larger than the map": depthwise((2, 2, 3), (5, 5), pads=Pads(2, 2, 2, 2)),
        "relu6": depthwise((6, 6, 3), (3, 3), case={"output": (0.0, 9.0)}, bounds=RELU6),
        **{
            f"zero point {z}": depthwise(
                (5, 5, 3), (3, 3), case={"ranges": (r,)}, pads=Pads(1, 0, 1, 1)
            )
            for z, r in RANGES.items()
        },
        "all weights at 127": Case(
            Depthwise("layer", ("a",), "y", EXTREME.reshape(3, 3, 64, 1)[:, :, :5], normal(5)),
            (5, 5, 5), ((-1.0, 0.0),), (-9.0, 9.0),
        ),
        "scale above one half": depthwise((4, 4, 3), (1, 1), case={"output": (-0.02, 0.02)}),
    },
    "add": {
        "equal scales": add((SKEWED, SKEWED), (-3.0, 6.0)),
        "half of all sums are ties": add(((-1.0, 1.0), (-1.0, 1.0)), (-2.0, 2.0)),
        "far apart": add(((-0.01, 0.02), (-90.0, 70.0)), (-90.0, 70.0)),
        "narrow output": add(((-4.0, 5.0), (-90.0, 70.0)), (-0.5, 0.5)),
        "relu6": add(((0.0, 5.0), (-5.0, 0.0)), (0.0, 6.0), RELU6),
        "zero points at both ends": add(((0.0, 1.0), (-1.0, 0.0)), (-1.0, 1.0)),
        "of itself": add((SKEWED,), (-2.6, 5.8), names="aa"),
        "other way round": add((SKEWED, (0.0, 3.0)), (-1.0, 3.0), names="ba"),
    },
    "avgpool": {
        "2x2": pool(AvgPool, (6, 6, 3), (2, 2), stride=(2, 2)),
        "global": pool(AvgPool, (7, 5, 9), (7, 5)),
        "1 channel, overlapping": pool(AvgPool, (6, 7, 1), (3, 2)),
        "pads counted": pool(AvgPool, (5, 6, 3), (3, 3), pads=Pads(1, 1, 1, 1), count_pads=True),
        "pads counted, ceil mode": pool(
            AvgPool, (5, 6, 3), (3, 3), stride=(2, 2), pads=Pads(0, 1, 2, 1), count_pads=True,
            beyond=(1, 0),
        ),
        "pads counted, ceil mode, wide": pool(
            AvgPool, (6, 6, 2), (2, 4), stride=(1, 3), pads=Pads(1, 1, 1, 3), count_pads=True,
            beyond=(0, 2),
        ),
        "pads not counted": pool(AvgPool, (5, 6, 3), (3, 3), pads=Pads(1, 1, 1, 1)),
        "asymmetric, stride 3": pool(
            AvgPool, (8, 7, 2), (4, 3), stride=(3, 2), pads=Pads(0, 2, 3, 1)
        ),
        "relu6": pool(AvgPool, (4, 4, 2), (2, 2), {"output": (0.0, 1.0)}, bounds=RELU6),
        "scale above one half": pool(AvgPool, (4, 4, 2), (2, 1), {"output": (-0.1, 0.1)}),
        **{
            f"zero point {z}": pool(AvgPool, (5, 5, 3), (3, 3), {"ranges": (r,)}, pads=Pads(1, 1))
            for z, r in RANGES.items()
        },
    },
    "maxpool": {
        "2x2": pool(MaxPool, (6, 6, 3), (2, 2), stride=(2, 2)),
        "whole map": pool(MaxPool, (3, 5, 2), (3, 5)),
        "asymmetric, stride 3": pool(
            MaxPool, (8, 7, 2), (4, 3), stride=(3, 2), pads=Pads(0, 2, 3, 1)
        ),
        "zero point 127": pool(
            MaxPool, (5, 5, 1), (3, 3), {"ranges": ((-5.0, 0.0),)}, pads=Pads(1)
        ),
    },
    "pad": {
        "all sides": Case(Pad("layer", ("a",), "y", Pads(1, 2, 3, 4)), (3, 2, 5)),
        "one side": Case(Pad("layer", ("a",), "y", Pads(bottom=1)), (2, 3, 1)),
        "value": Case(Pad("layer", ("a",), "y", Pads(1, 1, 1, 1), 0.7), (3, 3, 2)),
        "value outside": Case(Pad("layer", ("a",), "y", Pads(1, 1, 1, 1), -99.0), (3, 3, 2)),
        "zero point -128": Case(
            Pad("layer", ("a",), "y", Pads(1, 1, 1, 1)), (3, 3, 2), ((0.0, 1.0),)
        ),
    },
    **ACTIVATION_CASES,
    **CHANNEL_CASES,
    "softmax": {
        "10 classes": softmax((1, 1, 10), 12.0),
        "1001 classes": softmax((1, 1, 1001), 20.0),
        "1 class": softmax((1, 1, 1), 3.0),
        "map": softmax((3, 4, 2), 8.0),
        "flat": softmax((1, 1, 7), 1e-3),
        "steep": softmax((1, 1, 5), 1e4),
    },
}  # fmt: skip
FLOAT_ONLY = {"activation", "affine", "clip"}


def test_no_operator_is_missing() -> None:
    assert CASES.keys() == REFERENCES.keys()
    assert CASES.keys() | FLOAT_ONLY == OPS.keys()
    assert {op for op, cls in OPS.items() if cls.float_only} == FLOAT_ONLY
    assert {case.node.op for op in CASES for case in CASES[op].values()} == CASES.keys()


def images_for(shape: tuple[int, int, int]) -> np.ndarray:
    """int8 [5, H, W, C]: all extremes, alternating, random."""
    rng = np.random.default_rng(3)
    alternating = np.where(np.indices(shape).sum(axis=0) % 2, -128, 127)
    return np.stack(
        [
            np.full(shape, -128),
            np.full(shape, 127),
            alternating,
            rng.integers(-128, 128, shape),
            rng.integers(-20, 20, shape),
        ]
    ).astype(np.int8)


def inputs_of(case: Case, images: np.ndarray) -> tuple[np.ndarray, ...]:
    """The images for the first tensor, and the same in another order for a second one."""
    others = images[::-1][:, : case.second[0], : case.second[1]] if case.second else images[::-1]
    values = {"a": images, "b": others}
    return tuple(values[name] for name in case.node.inputs)


ALL = [
    pytest.param(case, id=f"{op}: {name}")
    for op, cases in CASES.items()
    for name, case in cases.items()
]


@pytest.mark.parametrize("case", ALL)
def test_integer_face_is_the_contract(case: Case) -> None:
    _, graph = case.graphs()
    node = graph.nodes[-1]
    qs = tuple(graph.tensors[name].q for name in node.inputs)
    assert None not in qs
    images = images_for(case.shape)
    xs = inputs_of(case, images)
    found = node.run_int(xs, qs)
    assert found.dtype == np.int8
    assert found.shape == (len(images), *graph.output_tensor.shape)
    for index in range(len(images)):
        want = np.full(graph.output_tensor.shape, -999, np.int64)
        REFERENCES[node.op](node, tuple(x[index] for x in xs), qs, want)
        assert np.array_equal(found[index], want), f"image {index}"
        # Images are computed for themselves, whatever else is in the batch.
        alone = node.run_int(tuple(x[index : index + 1] for x in xs), qs)
        assert np.array_equal(alone[0], found[index])


def real(x: np.ndarray, q: QParams) -> np.ndarray:
    return q.scale * (x.astype(np.float64) - q.zero_point)


@pytest.mark.parametrize("case", ALL)
def test_integer_face_is_near_the_float_face(case: Case) -> None:
    """Within half a step of rounding, what rounding the weights can do, and a clip's half step."""
    float_graph, graph = case.graphs()
    node, float_node = graph.nodes[-1], float_graph.nodes[-1]
    qs = tuple(graph.tensors[name].q for name in node.inputs)
    q = graph.output_tensor.q
    assert q is not None
    assert None not in qs
    images = images_for(case.shape)
    xs = inputs_of(case, images)
    reals = tuple(real(x, p) for x, p in zip(xs, qs, strict=True))
    want = float_node.run_float(*(x.astype(np.float32) for x in reals)).astype(np.float64)
    want = np.clip(want, real(np.int8(-128), q), real(np.int8(127), q))
    found = real(node.run_int(xs, qs), q)
    bounds = getattr(float_node, "bounds", Bounds())
    # The relative error of M, at most 2**-16, moves 255 steps by less than 0.004 of one.
    steps = 0.504 + 0.5 * bounds.any
    limit = steps * q.scale + allowed_error(float_node, reals, qs, q.scale)
    error = np.abs(found - want)
    assert (error <= limit).all(), f"{(error / q.scale).max()} steps"
    if np.ptp(want) > 20 * q.scale:  # and it is no accident: the values do follow
        assert np.corrcoef(found.ravel(), want.ravel())[0, 1] > 0.99


class TestFloatOnly:
    x = normal(2, 3, 4, 5)

    def test_affine(self) -> None:
        scale, shift = normal(5, seed=1).astype(np.float64), normal(5, seed=2).astype(np.float64)
        node = Affine("a", ("x",), "y", scale, shift)
        want = [v * s + t for v, s, t in zip(self.x.reshape(-1, 5).T, scale, shift, strict=True)]
        got = node.run_float(self.x)
        assert got.dtype == np.float32
        assert np.allclose(got.reshape(-1, 5).T, want, atol=1e-6)
        assert (node.infer((3, 4, 5)), node.parameters) == ((3, 4, 5), 10)

    def test_clip(self) -> None:
        got = Clip("c", ("x",), "y", Bounds(-0.5, 0.25)).run_float(self.x)
        want = [min(max(v, -0.5), 0.25) for v in self.x.ravel().tolist()]
        assert got.ravel().tolist() == want

    @pytest.mark.parametrize("op", sorted(FLOAT_ONLY))
    def test_none_gets_into_an_int8_graph(self, op: str) -> None:
        ones = np.ones(2)
        node: Node = {
            "activation": Activation("n", ("x",), "y", "tanh"),
            "affine": Affine("n", ("x",), "y", ones, ones),
            "clip": Clip("n", ("x",), "y", RELU6),
        }[op]
        q = QParams(1.0, 0)
        tensors = {name: Tensor(name, (1, 1, 2), q) for name in ("x", "y")}
        with pytest.raises(ThumbnetError, match="has no integer face"):
            validate(Graph("g", tensors, (node,), "x", "y"), "test", integer=True)
        with pytest.raises(NotImplementedError):
            node.run_int((np.zeros((1, 1, 1, 2), np.int8),), (q,))


def test_average_of_counted_padding_differs() -> None:
    """The two ways of counting are not the same thing under two names."""
    x = np.full((1, 4, 4, 1), 8.0, np.float32)
    counts = (AvgPool("p", ("x",), "y", (3, 3), (1, 1), Pads(1, 1, 1, 1), c) for c in (True, False))
    counted, not_counted = (node.run_float(x) for node in counts)
    assert counted[0, 0, 0, 0] == pytest.approx(8 * 4 / 9)
    assert (not_counted == 8).all()


def test_add_uses_all_the_bits_there_are() -> None:
    _, graph = CASES["add"]["equal scales"].graphs()
    r = graph.nodes[-1].requant
    assert isinstance(r, AddRequant)
    largest = [graph.tensors[name].q.largest for name in "ab"]
    assert r.ka * largest[0] + r.kb * largest[1] + 2 ** (r.shift - 1) < 2**31
    twice = [round(graph.tensors[n].q.scale / graph.output_tensor.q.scale * 2.0 ** (r.shift + 1))
             for n in "ab"]  # fmt: skip
    assert twice[0] * largest[0] + twice[1] * largest[1] + 2**r.shift >= 2**31
