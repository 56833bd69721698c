"""Channels that carry nothing are dropped, and every byte that remains is what it was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from dying_channels import ZERO, Net, assert_exact, dropped, dying
from hypothesis import given, settings
from hypothesis import strategies as st
from random_graphs import extreme_images, random_quantized

from codegen import simulate
from codegen.ir import Pads, Requant
from codegen.ops import OPS, Conv, MaxPool, Pad, Softmax
from codegen.quant import channels, intervals
from codegen.quant.channels import drop_channels
from codegen.quant.fixed import largest_sum

SAME = Pads(1, 1, 1, 1)


class TestConstants:
    def test_through_a_pointwise_layer(self) -> None:
        net = Net()
        net.conv("x", "a", constant={1: 17, 3: ZERO})
        net.conv("a", "y")
        assert dropped(net) == {"a": [1, 3]}
        last, smaller = net.nodes[1], drop_channels(net.graph()).graph.nodes[1]
        assert isinstance(last, Conv) and isinstance(smaller, Conv)
        column = last.weight[:, 0, 0, 1].astype(int)
        assert smaller.bias.tolist() == (last.bias + (17 - ZERO) * column).tolist()
        assert np.array_equal(smaller.weight, last.weight[..., [0, 2]])

    @pytest.mark.parametrize(
        ("value", "pads", "gone"),
        [
            (17, Pads(), {"a": [1]}),
            (17, SAME, {}),
            (17, Pads(bottom=1), {}),
            (ZERO, SAME, {"a": [1]}),
        ],
    )
    def test_through_3x3(self, value: int, pads: Pads, gone: dict[str, list[int]]) -> None:
        net = Net()
        net.conv("x", "a", constant={1: value})
        net.conv("a", "y", size=3, pads=pads)
        assert dropped(net) == gone

    def test_padding_that_no_window_meets(self) -> None:
        net = Net(size=(7, 7))
        net.conv("x", "a", constant={1: 17})
        net.conv("a", "y", size=3, stride=(4, 4), pads=Pads(bottom=1, right=1))
        assert dropped(net) == {"a": [1]}

    def test_weights_that_are_zero_do_not_mind_padding(self) -> None:
        net = Net()
        net.conv("x", "a", constant={1: 17})
        net.conv("a", "y", size=3, pads=SAME, unread=(1,))
        assert dropped(net) == {"a": [1]}

    @pytest.mark.parametrize(
        ("bias", "ends", "value"),
        [(-(2**22), {}, -128), (-(2**22), {"lo": ZERO}, ZERO), (2**22, {"hi": 90}, 90)],
    )
    def test_clamped_for_every_input(self, bias: int, ends: dict[str, int], value: int) -> None:
        """Sums that are always below the clamp, or above it."""
        net = Net()
        net.conv("x", "a", **ends)
        net.nodes[0].bias[2] = bias  # type: ignore[attr-defined]
        net.conv("a", "y")
        assert dropped(net) == {"a": [2]}
        found = intervals.intervals(net.graph())["a"]
        assert found.lo[2] == found.hi[2] == value

    def test_nearly_always_clamped_stays(self) -> None:
        """One step above the clamp for a single input."""
        net = Net(channels=1)
        net.conv("x", "a", 2, lo=ZERO)
        layer = net.nodes[0]
        assert isinstance(layer, Conv)
        layer.weight[:] = 1
        layer.bias[:] = 64 - (127 - ZERO) - np.array([0, 1])  # 64 / 128 rounds up to a step
        net.conv("a", "y")
        assert dropped(net) == {"a": [1]}

    def test_multiplier_zero(self) -> None:
        net = Net()
        net.conv("x", "a")
        net.conv("a", "y")
        net.nodes[0].requant.multiplier[3] = 0  # type: ignore[attr-defined]
        assert dropped(net) == {"a": [3]}

    def test_what_only_a_constant_read_goes_too(self) -> None:
        """Needs one round for ``b`` and a further one for ``a``, and for ``a`` through a pool."""
        net = Net()
        net.conv("x", "a")
        net.append(MaxPool("p", ("a",), "p", (2, 2)))
        net.conv("p", "b", unread=(2,))
        net.conv("b", "c")
        layer, last = net.nodes[2], net.nodes[3]
        assert isinstance(layer, Conv) and isinstance(last, Conv)
        layer.weight[:, 0, 0, 0] = [50, 0, 0, 0]  # channel 0 of ``p`` serves channel 0 of ``b``
        last.weight[..., 0] = 0
        net.conv("c", "y")
        assert dropped(net) == {"a": [0, 2], "p": [0, 2], "b": [0]}

    def test_a_constant_made_by_constants(self) -> None:
        net = Net()
        net.conv("x", "a", constant={0: 5, 1: 9})
        net.conv("a", "b")
        net.nodes[1].weight[2, 0, 0, 2:] = 0  # type: ignore[attr-defined]
        net.conv("b", "y")
        assert dropped(net) == {"a": [0, 1], "b": [2]}


class TestDepthwise:
    @pytest.mark.parametrize(
        ("value", "pads", "gone"),
        [
            (ZERO, SAME, {"a": [1], "b": [1]}),
            (17, SAME, {}),
            (17, Pads(), {"a": [1], "b": [1]}),
        ],
    )
    def test_constant_input(self, value: int, pads: Pads, gone: dict[str, list[int]]) -> None:
        net = Net()
        net.conv("x", "a", constant={1: value})
        net.depthwise("a", "b", pads=pads)
        net.nodes[1].weight[:, :, 1] = 1  # type: ignore[attr-defined]
        net.nodes[1].bias[1] = 0  # type: ignore[attr-defined]
        net.conv("b", "y")
        assert dropped(net) == gone

    def test_constant_output_of_any_input(self) -> None:
        net = Net()
        net.conv("x", "a")
        net.depthwise("a", "b", pads=SAME, constant={2: 40})
        net.conv("b", "y")
        assert dropped(net) == {"a": [2], "b": [2]}

    def test_clamped_wherever_the_padding_is(self) -> None:
        net = Net()
        net.conv("x", "a", constant={1: 17})
        net.depthwise("a", "b", pads=SAME, lo=ZERO)
        net.nodes[1].bias[1] = -(2**22)  # type: ignore[attr-defined]
        net.conv("b", "y")
        assert dropped(net) == {"a": [1], "b": [1]}

    def test_several_outputs_a_channel_go_together(self) -> None:
        net = Net()
        net.conv("x", "a")
        net.depthwise("a", "b", multiplier=2, constant={2: 40, 3: 50, 4: 60})
        net.conv("b", "y")
        assert dropped(net) == {"a": [1], "b": [2, 3]}

    def test_of_the_input(self) -> None:
        net = Net()
        net.depthwise("x", "a", constant={2: 40})
        net.conv("a", "y")
        assert dropped(net) == {}


class TestResiduals:
    @pytest.mark.parametrize(
        ("other", "gone"), [({1: 20}, {"a": [1], "b": [1], "c": [1]}), ({}, {})]
    )
    def test_both_inputs_or_none(self, other: dict[int, int], gone: dict[str, list[int]]) -> None:
        net = Net()
        net.conv("x", "a", constant={1: 30})
        net.conv("x", "b", constant=other)
        net.add("a", "b", "c")
        net.conv("c", "y")
        assert dropped(net) == gone

    def test_a_tensor_and_itself(self) -> None:
        net = Net()
        net.conv("x", "a", constant={1: 30})
        net.add("a", "a", "c")
        net.conv("c", "y")
        assert dropped(net) == {"a": [1], "c": [1]}

    def test_unused_sum_whose_input_is_used_elsewhere(self) -> None:
        net = Net()
        net.conv("x", "a")
        net.conv("a", "b", unread=(2,))
        net.add("a", "b", "c")
        net.conv("c", "d", unread=(1, 2))
        net.conv("a", "e", unread=(2,))
        net.add("d", "e", "y")
        assert dropped(net) == {"a": [2], "b": [2], "c": [2]}

    def test_constant_branch_needs_nothing_before_it(self) -> None:
        """The sum needs the channels of ``c``, but they are constants: ``b`` is read no more."""
        net = Net()
        net.conv("x", "a")
        net.conv("a", "b", 6)
        net.conv("b", "c", constant={0: 1, 1: 2, 2: 3, 3: 4})
        net.add("a", "c", "y")
        assert dropped(net) == {"b": [1, 2, 3, 4, 5]}
        net = Net()
        net.conv("x", "a")
        net.conv("a", "b", 6)
        net.conv("b", "c")
        net.nodes[2].bias[1:] = 2**22  # type: ignore[attr-defined]
        net.nodes[2].weight[0, :, :, 1:] = 0  # type: ignore[attr-defined]
        net.add("a", "c", "y")
        assert dropped(net) == {"b": [1, 2, 3, 4, 5]}


class TestUnused:
    @pytest.mark.parametrize("between", ["", "avgpool", "maxpool", "pad", "depthwise"])
    def test_through_layers_that_keep_channels_apart(self, between: str) -> None:
        net = Net()
        net.conv("x", "a")
        if between == "avgpool":
            net.avgpool("a", "b", (3, 3), SAME)
        elif between == "maxpool":
            net.append(MaxPool("b", ("a",), "b", (3, 3), (2, 2), SAME))
        elif between == "pad":
            net.append(Pad("b", ("a",), "b", SAME, 0.5))
        elif between == "depthwise":
            net.depthwise("a", "b", pads=SAME)
        source = "b" if between else "a"
        net.conv(source, "y", size=2, unread=(0, 3))
        assert dropped(net) == {name: [0, 3] for name in sorted({"a", source})}

    @pytest.mark.parametrize(("fill", "gone"), [(0.0, {"a": [1], "b": [1]}), (0.5, {})])
    def test_constant_through_pad(self, fill: float, gone: dict[str, list[int]]) -> None:
        net = Net()
        net.conv("x", "a", constant={1: ZERO})
        net.append(Pad("b", ("a",), "b", SAME, fill))
        net.conv("b", "y")
        assert dropped(net) == gone

    @pytest.mark.parametrize(("value", "gone"), [(ZERO, {"a": [1], "b": [1]}), (90, {})])
    def test_constant_through_the_mean_of_different_counts(
        self, value: int, gone: dict[str, list[int]]
    ) -> None:
        net = Net()
        net.conv("x", "a", constant={1: value})
        net.avgpool("a", "b", (3, 3), SAME)
        net.conv("b", "y")
        assert dropped(net) == gone

    def test_constant_through_pools(self) -> None:
        net = Net()
        net.conv("x", "a", constant={1: 33})
        net.append(MaxPool("b", ("a",), "b", (2, 2)))
        net.avgpool("b", "c", (5, 4))
        net.conv("c", "y")
        assert dropped(net) == {"a": [1], "b": [1], "c": [1]}

    def test_a_maximum_of_padding_alone(self) -> None:
        net = Net(size=(2, 2))
        net.conv("x", "a", constant={1: 33})
        net.append(MaxPool("b", ("a",), "b", (1, 1), pads=SAME))
        net.conv("b", "y")
        assert dropped(net) == {}

    def test_two_readers(self) -> None:
        net = Net()
        net.conv("x", "a")
        net.conv("a", "b", unread=(0, 1))
        net.conv("a", "c", unread=(1, 2))
        net.add("b", "c", "y")
        assert dropped(net) == {"a": [1]}


class TestWhatStays:
    def test_the_output(self) -> None:
        net = Net()
        net.conv("x", "y", constant={0: 1, 1: 2, 2: 3, 3: 4})
        assert dropped(net) == {}

    def test_an_output_in_the_middle(self) -> None:
        net = Net()
        net.conv("x", "a", constant={1: 7})
        net.conv("a", "b")
        assert dropped(net, output="a") == {"b": [1, 2, 3]}

    def test_the_input(self) -> None:
        net = Net()
        net.conv("x", "y", unread=(0, 1, 2, 3))
        assert dropped(net) == {}

    def test_softmax_sees_every_channel(self) -> None:
        net = Net()
        net.conv("x", "a", constant={1: 7})
        net.append(Softmax("s", ("a",), "s", Softmax.make_table(0.1, 4)))
        net.conv("s", "y")
        assert dropped(net) == {}

    def test_one_channel_is_left(self) -> None:
        net = Net()
        net.conv("x", "a", constant={channel: 3 * channel for channel in range(4)})
        net.depthwise("a", "b")
        net.conv("b", "c", 5, unread=(0, 1, 2, 3))
        net.conv("c", "y", size=2)
        assert dropped(net) == {"a": [1, 2, 3], "b": [1, 2, 3], "c": [1, 2, 3, 4]}

    def test_nothing_to_do_is_the_same_graph(self) -> None:
        net = Net()
        net.conv("x", "a")
        net.conv("a", "y")
        graph = net.graph()
        assert drop_channels(graph).graph is graph
        assert (drop_channels(graph).channels, drop_channels(graph).removed) == (8, 0)


class TestSums:
    def test_at_the_limit_of_the_accumulator(self) -> None:
        """Folding the largest constant keeps the proof that no sum overflows."""
        net = Net(channels=2)
        net.conv("x", "a", 9, constant={channel: 127 for channel in range(8)})
        net.conv("a", "y", 2)
        last = net.nodes[1]
        assert isinstance(last, Conv)
        last.weight[:] = np.array([127, -127]).reshape(2, 1, 1, 1)
        last.bias[:] = np.array([1, -1]) * (2**19 - 1 - 256 * 127 * 9)
        epilogue = Requant(np.full(2, 50, np.int32), 12, ZERO)
        net.nodes[1] = replace(last, requant=epilogue)
        assert largest_sum(last.weight.reshape(2, -1), last.bias, 12) == 2**31 - 2**12
        assert dropped(net) == {"a": list(range(8))}

    def test_the_ends_of_a_convolution_are_reached(self) -> None:
        net = Net(size=(3, 3))
        net.conv("x", "y", 3, size=3, pads=SAME)
        layer, graph = net.nodes[0], net.graph()
        assert isinstance(layer, Conv)
        layer.requant.multiplier[:] = 2**17  # type: ignore[union-attr]
        found = intervals.intervals(graph)["y"]
        for channel in range(3):
            for end, sign in ((found.lo, -1), (found.hi, 1)):
                image = np.where(sign * layer.weight[channel] > 0, 127, -128).astype(np.int8)
                y = simulate.run(graph, image[None])[0, :, :, channel]
                assert -128 < end[channel] < 127
                assert y[1, 1] == end[channel]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31))
def test_no_value_leaves_its_interval(seed: int) -> None:
    graph = dying(random_quantized(seed)[1], seed)
    found = intervals.intervals(graph)
    images = extreme_images(graph, seed)
    for name, values in simulate.trace(graph, images).items():
        assert (found[name].lo <= values).all(), name
        assert (found[name].hi >= values).all(), name


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**31))
def test_random_graphs(seed: int) -> None:
    before = dying(random_quantized(seed)[1], seed)
    done = drop_channels(before)
    assert_exact(before, done)
    assert drop_channels(done.graph).removed == 0


def test_channels_of_random_graphs_do_die() -> None:
    done = [drop_channels(dying(random_quantized(seed)[1], seed)) for seed in range(60)]
    assert sum(one.removed > 0 for one in done) > 20
    assert sum(one.removed for one in done) > 0.1 * sum(one.channels for one in done)


def test_every_operator_has_rules() -> None:
    integer = {op for op, cls in OPS.items() if not cls.float_only}
    assert set(intervals._RULES) == set(channels._SMALLER) == integer
