"""Views: the same elements in another arrangement, as NumPy arranges them."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen.onnx_import.view import View

shapes = st.tuples(*[st.sampled_from([1, 1, 2, 3])] * 3)


@st.composite
def views(draw: st.DrawFn) -> View:
    """Any order of the axes, cut into dimensions at any places, with dimensions of size 1."""
    axes = draw(st.permutations("NHWC"))
    dims = [axes[0]]
    for axis in axes[1:]:
        if draw(st.booleans()):
            dims[-1] += axis
        else:
            dims.append(axis)
    for _ in range(draw(st.integers(0, 2))):
        dims.insert(draw(st.integers(0, len(dims))), "")
    return View.of("t", draw(shapes), dims)


@given(view=views(), count=st.integers(1, 3))
def test_there_and_back(view: View, count: int) -> None:
    images = np.random.default_rng(0).normal(size=(count, *view.shape))
    shown = view.from_nhwc(images)
    assert shown.size == images.size
    if count == 1:
        assert shown.shape == view.onnx_shape
    assert np.array_equal(view.to_nhwc(shown), images)


@given(view=views(), data=st.data())
def test_permuting_is_transposing(view: View, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(view.dims))))
    image = np.random.default_rng(0).normal(size=(1, *view.shape))
    shown = view.from_nhwc(image)
    assert np.array_equal(view.permuted(order).from_nhwc(image), shown.transpose(order))


@given(view=views(), data=st.data())
def test_regrouping_is_reshaping(view: View, data: st.DataObject) -> None:
    sizes = [view.size(axis) for axis in "".join(view.dims)]
    target = [1] * data.draw(st.integers(0, 2))
    while sizes:
        count = data.draw(st.integers(1, len(sizes)))
        target.append(prod(sizes[:count]))
        sizes = sizes[count:]
        target += [1] * data.draw(st.integers(0, 1))
    image = np.random.default_rng(0).normal(size=(1, *view.shape))
    shown = view.from_nhwc(image)
    regrouped = view.regrouped(target)
    assert regrouped.onnx_shape == tuple(target)
    assert np.array_equal(regrouped.from_nhwc(image), shown.reshape(target))


@pytest.mark.parametrize("target", [(1, 2, 2, 9), (36,), (1, 4, 9, 2), (1, 4), (1, 4, 3, 0), ()])
def test_splitting_an_axis_is_no_regrouping(target: tuple[int, ...]) -> None:
    view = View.of("t", (3, 3, 4), "NCHW")
    if target == (36,):
        assert view.regrouped(target).dims == ("NCHW",)
        return
    with pytest.raises(ValueError, match="does not regroup"):
        view.regrouped(target)


def test_the_batch_stays_where_it_stood() -> None:
    view = View.of("t", (1, 1, 5), "NCHW")
    assert view.regrouped((1, 5)).dims == ("N", "C")
    assert view.regrouped((1, 1, 1, 5)).dims == ("N", "", "", "C")
    assert view.regrouped((5,)).dims == ("NC",)
    assert view.permuted((1, 0, 2, 3)).regrouped((5, 1)).dims == ("C", "N")


def test_layouts() -> None:
    assert View.of("t", (2, 3, 4), "NHWC").has_layout("NHWC")
    assert not View.of("t", (2, 3, 4), "NHWC").has_layout("NCHW")
    assert View.of("t", (2, 3, 1), ("N", "H", "W", "")).has_layout("NHWC")
    assert View.of("t", (1, 1, 4), ("N", "C")).has_layout("NC")
    assert View.of("t", (2, 3, 4), ("N", "CHW")).described == "[N, C*H*W]"
