"""The declared step from pixels to the network's input."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codegen.errors import ThumbnetError
from codegen.ir import Preprocess, QParams
from codegen.preprocess import (
    PRESETS,
    for_channels,
    parse_preprocess,
    pixel_table,
    to_float,
    to_int8,
)


def test_presets_say_what_they_promise() -> None:
    pixels = np.array([0, 51, 255], np.uint8).reshape(1, 1, 3, 1).repeat(3, axis=3)
    rows = {name: to_float(pixels, preset)[0, 0, :, 0] for name, preset in PRESETS.items()}
    assert rows["unit"] == pytest.approx([0, 0.2, 1])
    assert rows["signed"] == pytest.approx([-1, -0.6, 1])
    assert rows["raw"].tolist() == [0, 51, 255]
    # (pixel / 255 - 0.485) / 0.229, as torchvision's models are trained
    assert rows["torch"] == pytest.approx([-2.1179, -1.2445, 2.2489], abs=1e-4)
    assert PRESETS["torch"].resize == "crop"


@pytest.mark.parametrize(
    ("spec", "want"),
    [
        ("signed", Preprocess()),
        (" Unit ", PRESETS["unit"]),
        ("mean=0;std=255", PRESETS["unit"]),
        ("mean=1,2,3;std=4,5,6;channels=bgr;resize=crop",
         Preprocess((1.0, 2.0, 3.0), (4.0, 5.0, 6.0), "BGR", "crop")),
        ("signed;channels=BGR", Preprocess(channels="BGR")),
        ("torch;resize=stretch",
         Preprocess((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))),
        ("channels=GRAY", Preprocess((127.5,), (127.5,), "GRAY")),
        ("mean=33.3;std=78.6;channels=GRAY", Preprocess((33.3,), (78.6,), "GRAY")),
    ],
)  # fmt: skip
def test_texts(spec: str, want: Preprocess) -> None:
    assert parse_preprocess(spec) == want


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ("", "torch"),
        ("tf", "torch"),
        ("mean=1", "give both"),
        ("mean=1;std=0", "at least"),
        ("mean=1;std=nan", "numbers"),
        ("mean=inf;std=1", "numbers"),
        ("mean=1,2;std=1", "one or three"),
        ("mean=a;std=1", "could not convert"),
        ("mean=1;mean=2;std=1", "not understood"),
        ("signed;channels=HSV", "RGB or BGR or GRAY"),
        ("signed;resize=fit", "stretch or crop"),
        ("signed;gamma=2", "not understood"),
        ("resize=crop;signed", "not understood"),
    ],
)
def test_mistakes_are_named(spec: str, word: str) -> None:
    with pytest.raises(ThumbnetError, match=word) as caught:
        parse_preprocess(spec)
    assert repr(spec) in str(caught.value)


@given(st.text(st.sampled_from("meanstdchlrizgRGB=;,.0123456789- "), max_size=40))
def test_any_text_is_read_or_refused(spec: str) -> None:
    try:
        preprocess = parse_preprocess(spec)
    except ThumbnetError:
        return
    assert len(preprocess.mean) == len(preprocess.std)


def test_one_channel_takes_the_average() -> None:
    grey = for_channels(PRESETS["torch"], 1)
    assert grey.channels == "GRAY"
    assert grey.mean == pytest.approx((0.449 * 255,), abs=0.02)
    assert grey.std == pytest.approx((0.226 * 255,), abs=0.02)
    assert for_channels(PRESETS["signed"], 1) == Preprocess((127.5,), (127.5,), "GRAY")
    assert for_channels(PRESETS["torch"], 3) == PRESETS["torch"]


def test_numbers_that_fit_no_network_are_refused() -> None:
    with pytest.raises(ThumbnetError, match="GRAY"):
        for_channels(Preprocess((1.0,), (1.0,), "GRAY"), 3)
    with pytest.raises(ThumbnetError, match="2 of std"):
        for_channels(Preprocess((1.0,) * 3, (1.0,) * 2), 3)
    with pytest.raises(ThumbnetError, match="takes 3 channels"):
        to_int8(np.zeros((1, 2, 2, 3), np.uint8), Preprocess((1.0,), (1.0,)), QParams(1.0, 0))


numbers = st.floats(-1000, 1000, width=32)
scales = st.floats(2**-12, 16.0)


@given(
    st.tuples(numbers, numbers, numbers),
    st.tuples(*[st.floats(0.01, 500)] * 3),
    scales,
    st.integers(-128, 127),
)
@settings(max_examples=100, deadline=None)
def test_table_is_the_real_input_quantized(
    mean: tuple[float, ...], std: tuple[float, ...], scale: float, zero_point: int
) -> None:
    preprocess, q = Preprocess(mean, std), QParams(scale, zero_point)
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    real = to_float(pixels, preprocess)
    assert real.dtype == np.float32
    exact = (pixels.astype(np.float64) - np.array(mean)) / np.array(std)
    assert real == pytest.approx(exact, rel=1e-6, abs=1e-30)
    want = np.clip(np.rint(real.astype(np.float64) / scale) + zero_point, -128, 127)
    assert np.array_equal(to_int8(pixels, preprocess, q), want)
    table = pixel_table(preprocess, q)
    assert table.dtype == np.int8
    assert np.array_equal(table, want.reshape(256, 3).T)


def test_halves_round_to_even_and_ends_are_clipped() -> None:
    preprocess = Preprocess((0.0,), (1.0,), "GRAY")
    table = pixel_table(preprocess, QParams(2.0, 0))[0].tolist()
    want = [min(round(Fraction(pixel, 2)), 127) for pixel in range(256)]
    assert table == want
    assert table[:6] == [0, 0, 1, 2, 2, 2]
