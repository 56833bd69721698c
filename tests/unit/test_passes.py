"""Each pass alone: what it changes, what it must leave, and that the numbers stay the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from onnx_models import assert_close

from codegen.errors import ThumbnetError
from codegen.ir import Bounds, FloatArray, Graph, Node, Pads, Tensor, validate, with_nodes
from codegen.ops import Add, Affine, AvgPool, Clip, Conv, Depthwise, MaxPool, Pad, Softmax
from codegen.passes import PIPELINE, simplify
from codegen.passes.fold_affine import fold_affine, merge_affine
from codegen.passes.fold_pad import fold_pad
from codegen.passes.fuse_clip import fuse_clip
from codegen.passes.graph import without_dead
from codegen.passes.lower import lower_affine, lower_clip
from codegen.simulate_float import run_float

RANDOM = np.random.default_rng(0)
PADS = Pads(1, 0, 1, 2)
RELU, RELU6 = Bounds(0.0), Bounds(0.0, 6.0)


def normal(*shape: int) -> FloatArray:
    return RANDOM.normal(0, 1, shape).astype(np.float32)


def conv(source: str, output: str, channels: int = 3, size: int = 3, **more: object) -> Conv:
    weight = normal(4, size, size, channels)
    return Conv(output, (source,), output, weight, normal(4), **more)  # type: ignore[arg-type]


def depthwise(source: str, output: str, channels: int = 3, m: int = 2, **more: object) -> Depthwise:
    weight = normal(3, 3, channels, m)
    bias = normal(channels * m)
    return Depthwise(output, (source,), output, weight, bias, **more)  # type: ignore[arg-type]


def affine(source: str, output: str, channels: int = 4, *, shift: bool = True) -> Affine:
    values = RANDOM.normal(0, 1, (2, channels))
    return Affine(output, (source,), output, values[0], values[1] * shift)


def clip(source: str, output: str, bounds: Bounds = RELU6) -> Clip:
    return Clip(output, (source,), output, bounds)


def add(a: str, b: str, output: str) -> Add:
    return Add(output, (a, b), output)


def pad(source: str, output: str, value: float = 0.0, pads: Pads = PADS) -> Pad:
    return Pad(output, (source,), output, pads, value)


def graph(*nodes: Node, output: str | None = None) -> Graph:
    start = Graph("g", {"x": Tensor("x", (8, 7, 3))}, (), "x", output or nodes[-1].output)
    return validate(with_nodes(start, list(nodes)), "test")


def assert_same(before: Graph, after: Graph, operators: Sequence[str]) -> Graph:
    """The output is the same, and so is each tensor that both have (or it is clipped)."""
    assert [node.op for node in after.nodes] == list(operators)
    validate(after, "test")
    images = RANDOM.normal(0, 2, (2, 8, 7, 3)).astype(np.float32)
    want, got = run_float(before, images), run_float(after, images)
    assert after.output_tensor == before.output_tensor
    for name in got:
        bounds = getattr(after.producer(name), "bounds", Bounds())
        assert_close(got[name], np.clip(want[name], bounds.lo, bounds.hi), name)
    assert_close(got[after.output], want[before.output], "output")
    return after


# fold_pad


@pytest.mark.parametrize(
    "layer",
    [
        conv("p", "y"),
        conv("p", "y", pads=Pads(0, 1, 0, 0)),
        depthwise("p", "y", stride=(2, 1)),
        AvgPool("y", ("p",), "y", (3, 3)),
        AvgPool("y", ("p",), "y", (3, 3), pads=Pads(0, 1, 0, 0), count_pads=True),
    ],
    ids=lambda layer: layer.op,
)
def test_pad_is_folded(layer: Node) -> None:
    before = graph(pad("x", "p"), layer)
    assert_same(before, fold_pad(before), [layer.op])


@pytest.mark.parametrize(
    "layer",
    [
        conv("p", "y", size=1),
        conv("p", "y", size=2),
        AvgPool("y", ("p",), "y", (3, 3), pads=Pads(0, 1, 0, 0)),
        MaxPool("y", ("p",), "y", (3, 3)),
        affine("p", "y", 3),
    ],
    ids=lambda layer: layer.op,
)
def test_pad_stays_where_folding_would_be_wrong(layer: Node) -> None:
    before = graph(pad("x", "p"), layer)
    assert fold_pad(before).nodes == before.nodes


def test_pad_of_another_value_stays() -> None:
    before = graph(pad("x", "p", 0.5), conv("p", "y"))
    assert fold_pad(before).nodes == before.nodes


def test_pad_that_is_the_output_stays() -> None:
    before = graph(pad("x", "p"), conv("p", "y"), output="p")
    assert fold_pad(before).nodes == before.nodes


def test_pad_is_folded_into_all_readers_or_none() -> None:
    both = graph(pad("x", "p"), conv("p", "a"), conv("p", "b"), add("a", "b", "y"))
    assert_same(both, fold_pad(both), ["conv", "conv", "add"])
    one = graph(pad("x", "p"), conv("p", "a"), MaxPool("b", ("p",), "b", (3, 3)), output="a")
    assert fold_pad(one).nodes == one.nodes


def test_pads_in_a_row_are_folded() -> None:
    nodes = pad("x", "p", pads=Pads(1, 0, 0, 0)), pad("p", "q", pads=Pads(0, 1, 1, 1))
    before = graph(*nodes, conv("q", "y"))
    after = assert_same(before, fold_pad(before), ["conv"])
    assert after.nodes[0].pads == Pads(1, 1, 1, 1)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "source",
    [
        (clip("x", "r", RELU),),
        (clip("x", "r", Bounds(0.5, 2.0)),),
        (clip("x", "q", RELU), MaxPool("r", ("q",), "r", (2, 2))),
        (clip("x", "q", RELU), AvgPool("r", ("q",), "r", (2, 2))),
        (clip("x", "q", RELU), clip("q", "r", Bounds(hi=1.0))),
        (clip("x", "q", RELU), pad("q", "r", 0.3)),
        (Softmax("r", ("x",), "r"),),
    ],
)
def test_pad_before_maxpool_is_folded_if_nothing_is_negative(source: tuple[Node, ...]) -> None:
    before = graph(*source, pad("r", "p"), MaxPool("y", ("p",), "y", (3, 3), (2, 2)))
    assert_same(before, fold_pad(before), [node.op for node in source] + ["maxpool"])


@pytest.mark.parametrize("bounds", [Bounds(), Bounds(-1.0, 6.0), Bounds(hi=3.0), Bounds(0.0, -1.0)])
def test_pad_before_maxpool_stays_if_something_may_be_negative(bounds: Bounds) -> None:
    before = graph(clip("x", "r", bounds), pad("r", "p"), MaxPool("y", ("p",), "y", (3, 3)))
    assert fold_pad(before).nodes == before.nodes


# Affine


def test_affines_in_a_row_are_merged() -> None:
    before = graph(affine("x", "a", 3), affine("a", "b", 3), affine("b", "y", 3))
    assert_same(before, merge_affine(before), ["affine"])


def test_affines_are_not_merged_over_a_tensor_with_other_readers() -> None:
    before = graph(affine("x", "a", 3), affine("a", "b", 3), add("a", "b", "y"))
    assert merge_affine(before).nodes == before.nodes


@pytest.mark.parametrize("layer", [conv("x", "c", pads=PADS), depthwise("x", "c", stride=(2, 2))])
def test_affine_is_folded_into_the_layer_before(layer: Conv | Depthwise) -> None:
    before = graph(layer, affine("c", "y", layer.bias.size))
    after = assert_same(before, fold_affine(before), [layer.op])
    assert after.nodes[0].weight.dtype == np.float32  # type: ignore[attr-defined]
    assert set(after.tensors) == {"x", "y"}


@pytest.mark.parametrize("layer", [conv("a", "y"), depthwise("a", "y")])
def test_affine_is_folded_into_the_layer_after(layer: Node) -> None:
    before = graph(affine("x", "a", 3), layer)
    assert_same(before, fold_affine(before), [layer.op])


def test_affine_is_folded_into_a_dense_layer() -> None:
    pool = AvgPool("m", ("x",), "m", (8, 7))
    before = graph(pool, affine("m", "a", 3), conv("a", "y", size=1))
    assert_same(before, fold_affine(before), ["avgpool", "conv"])


def test_scale_without_shift_is_folded_into_a_padded_layer() -> None:
    before = graph(affine("x", "a", 3, shift=False), depthwise("a", "y", pads=PADS))
    assert_same(before, fold_affine(before), ["depthwise"])


def test_shift_before_a_padded_layer_stays() -> None:
    before = graph(affine("x", "a", 3), conv("a", "y", pads=PADS))
    assert fold_affine(before).nodes == before.nodes


def test_affine_after_a_clipped_or_shared_layer_stays() -> None:
    clipped = graph(conv("x", "c", bounds=RELU), affine("c", "y"))
    assert fold_affine(clipped).nodes == clipped.nodes
    shared = graph(conv("x", "c"), affine("c", "a"), add("c", "a", "y"))
    assert fold_affine(shared).nodes == shared.nodes
    output = graph(conv("x", "c"), affine("c", "a"), output="c")
    assert fold_affine(output).nodes == output.nodes


def test_affine_with_two_readers_is_folded_into_both() -> None:
    before = graph(affine("x", "a", 3), conv("a", "b"), conv("a", "c"), add("b", "c", "y"))
    assert_same(before, fold_affine(before), ["conv", "conv", "add"])


def test_folding_is_done_in_double_precision() -> None:
    """A large shift that cancels would be lost in float32."""
    scale, shift = np.full(4, 1.0), np.full(4, 1e9)
    there, back = (
        Affine(n, (s,), n, scale, v) for n, s, v in (("a", "c", shift), ("y", "a", -shift))
    )
    before = graph(conv("x", "c"), there, back)
    after = simplify(before)
    assert np.array_equal(after.nodes[0].bias, before.nodes[0].bias)  # type: ignore[attr-defined]


# Clip


@pytest.mark.parametrize(
    "layer",
    [
        conv("x", "c"),
        depthwise("x", "c"),
        add("x", "x", "c"),
        AvgPool("c", ("x",), "c", (2, 2)),
        conv("x", "c", bounds=Bounds(-1.0, 3.0)),
        clip("x", "c", Bounds(-1.0, 3.0)),
    ],
    ids=lambda layer: layer.op,
)
def test_clip_is_fused(layer: Node) -> None:
    before = graph(layer, clip("c", "y"))
    after = assert_same(before, fuse_clip(before), [layer.op])
    assert set(after.tensors) == {"x", "y"}


def test_clips_in_a_row_are_fused() -> None:
    before = graph(conv("x", "c"), clip("c", "r", RELU), clip("r", "y", Bounds(-3.0, 1.0)))
    after = assert_same(before, fuse_clip(before), ["conv"])
    assert after.nodes[0].bounds == Bounds(0.0, 1.0)  # type: ignore[attr-defined]


@pytest.mark.parametrize("mover", [MaxPool("m", ("c",), "m", (2, 2)), pad("c", "m", -3.0)])
def test_clip_moves_in_front_of_maxpool_and_pad(mover: Node) -> None:
    before = graph(conv("x", "c"), mover, clip("m", "y"))
    after = assert_same(before, fuse_clip(before), ["conv", mover.op])
    assert set(after.tensors) == {"x", "c", "y"}


def test_clip_of_a_shared_tensor_stays() -> None:
    before = graph(conv("x", "c"), clip("c", "r"), add("c", "r", "y"))
    assert fuse_clip(before).nodes == before.nodes
    pooled = graph(
        conv("x", "c"), MaxPool("m", ("c",), "m", (1, 1)), clip("m", "r"), add("c", "r", "y")
    )
    assert fuse_clip(pooled).nodes == pooled.nodes


# Lowering and the whole


def test_what_is_left_becomes_depthwise() -> None:
    before = graph(affine("x", "a", 3), clip("a", "y"))
    assert_same(before, lower_clip(lower_affine(before)), ["depthwise", "depthwise"])
    assert_same(before, simplify(before), ["depthwise"])


def test_dead_nodes_go() -> None:
    before = graph(conv("x", "dead"), conv("dead", "deader", 4), conv("x", "y"), output="y")
    assert_same(before, without_dead(before), ["conv"])


def test_mobilenet_block() -> None:
    before = graph(
        affine("x", "norm", 3),
        conv("norm", "c1", pads=Pads(1, 1, 1, 1)),
        affine("c1", "b1"),
        clip("b1", "r1"),
        pad("r1", "p1", pads=Pads(0, 0, 1, 1)),
        depthwise("p1", "c2", 4, 1, stride=(2, 2)),
        affine("c2", "b2"),
        clip("b2", "r2"),
        conv("r2", "c3", 4, 1),
        affine("c3", "b3"),
        conv("b3", "c4", 4, 1),
        add("b3", "c4", "s"),
        clip("s", "r4", RELU),
        AvgPool("m", ("r4",), "m", (4, 3)),
        affine("m", "b4"),
        conv("b4", "d", 4, 1),
        Softmax("y", ("d",), "y"),
    )
    after = simplify(before)
    assert_same(before, after, [node.op for node in after.nodes])
    operators = " ".join(node.op for node in after.nodes)
    assert operators == "depthwise conv depthwise conv conv add avgpool conv softmax"
    assert list(after.tensors) == ["x", "norm", "r1", "r2", "b3", "c4", "r4", "m", "d", "y"]
    assert simplify(after).nodes == after.nodes


def test_the_graph_that_comes_in_is_not_changed() -> None:
    layer = conv("x", "c")
    weight = layer.weight.copy()
    before = graph(layer, affine("c", "a"), clip("a", "y"))
    simplify(before)
    assert before.nodes[0] is layer and np.array_equal(layer.weight, weight)
    assert layer.output == "c"


def test_overflow_is_an_error_that_names_the_layer() -> None:
    huge = Affine("a", ("c",), "y", np.full(4, 1e39), np.zeros(4))
    with pytest.raises(ThumbnetError, match="conv 'c' gets weights that float32 cannot hold"):
        simplify(graph(conv("x", "c"), huge))


def test_pipeline_names_are_unique() -> None:
    assert len({name for name, _ in PIPELINE}) == len(PIPELINE)
