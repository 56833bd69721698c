"""THE requantization rule: its fast form, its multipliers, and its C in every form."""

from __future__ import annotations

import subprocess
from fractions import Fraction
from math import floor
from pathlib import Path

import numpy as np
import pytest
from helpers import has
from hypothesis import example, given, settings
from hypothesis import strategies as st

from codegen.boards import load_board, load_core
from codegen.build import build_target
from codegen.ir import Requant
from codegen.qemu import run_qemu
from codegen.quant.fixed import multipliers, requantize, requantize_exactly
from codegen.render import render_template

LIMIT = 2**31
SCALES = st.floats(2.0**-40, 2.0**12, allow_nan=False) | st.sampled_from(
    [2.0**-33, 2.0**-32, 2.0**-17, 0.25, 0.5, 1.0, 0.5 - 2.0**-20, 2.0**-1 - 2.0**-18, 255.0]
)


@st.composite
def layers(draw: st.DrawFn) -> tuple[Requant, np.ndarray, np.ndarray]:
    """A requantization, accumulators [1, 2, 3, C] near and far from the bound, and biases [C]."""
    scales = np.array(draw(st.lists(SCALES, min_size=1, max_size=5)))
    multiplier, shift = multipliers(scales, cut=draw(st.booleans()))
    channels = len(multiplier)
    room = (LIMIT >> shift) - 1
    near = st.integers(0, min(3, room)).flatmap(lambda d: st.sampled_from([room - d, d - room]))
    numbers = st.integers(-room, room) | st.integers(-min(300, room), min(300, room)) | near
    total = np.array([[draw(numbers) for _ in range(channels)] for _ in range(6)])
    limits = st.integers(-room, room)
    bias = np.array([draw(limits | st.sampled_from([0, room, -room])) for _ in range(channels)])
    lo = draw(st.integers(-128, 127))
    requant = Requant(
        multiplier, shift, draw(st.integers(-128, 127)), lo, draw(st.integers(lo, 127))
    )
    return requant, (total - bias).reshape(1, 2, 3, channels), bias


def by_the_letter(acc: int, multiplier: int, requant: Requant) -> int:
    """The contract in rational numbers: half up, one rounding."""
    exact = Fraction((acc * 2**requant.shift) * multiplier, 2**32)
    return min(max(requant.zero_point + floor(exact + Fraction(1, 2)), requant.lo), requant.hi)


@settings(max_examples=300, deadline=None)
@given(layers())
def test_fast_form_is_the_rule(layer: tuple[Requant, np.ndarray, np.ndarray]) -> None:
    requant, acc, bias = layer
    fast = requantize(acc.astype(np.float64), requant, bias.astype(np.int32))
    exact = requantize_exactly(acc.astype(np.int64) + bias, requant)
    assert fast.dtype == exact.dtype == np.int8
    assert np.array_equal(fast, exact)
    for index in np.ndindex(acc.shape):
        channel = index[3]
        total = int(acc[index] + bias[channel])
        assert exact[index] == by_the_letter(total, int(requant.multiplier[channel]), requant)


@pytest.mark.parametrize("shift", range(14))
def test_every_shift(shift: int) -> None:
    multiplier, found = multipliers(np.array([0.4 * 2.0**shift, 0.01]))
    assert found == shift
    requant = Requant(multiplier, shift, 3)
    room = (LIMIT >> shift) - 1
    acc = np.concatenate([np.arange(-300, 300), [-room, room], np.linspace(-room, room, 998)])
    acc = np.repeat(np.rint(acc).reshape(1, 40, 40, 1), 2, axis=3)
    fast = requantize(acc, requant)
    assert np.array_equal(fast, requantize_exactly(acc.astype(np.int64), requant))


def test_blocks_of_rows() -> None:
    """Maps larger than the block that is worked on at once, and rows longer than it."""
    rng = np.random.default_rng(0)
    for shape in ((3, 37, 41, 29), (2, 3, 1, 40_000), (1, 1, 1, 1)):
        multiplier, shift = multipliers(rng.uniform(1e-4, 0.4, shape[3]))
        requant = Requant(multiplier, shift, -5, -100, 90)
        acc = rng.integers(-40_000, 40_000, shape)
        bias = rng.integers(-9_000, 9_000, shape[3]).astype(np.int32)
        fast = requantize(acc.astype(np.float32), requant, bias)
        assert np.array_equal(fast, requantize_exactly(acc + bias.astype(np.int64), requant))


def test_ties_round_up() -> None:
    requant = Requant(np.array([2**30], np.int32), 0, 0)  # a quarter
    acc = np.array([-10, -6, -2, 2, 6, 10]).reshape(1, 1, 6, 1)  # -2.5, -1.5, ... 2.5
    want = [-2, -1, 0, 1, 2, 3]
    assert requantize(acc.astype(np.float64), requant).ravel().tolist() == want
    assert requantize_exactly(acc, requant).ravel().tolist() == want


class TestMultipliers:
    @settings(max_examples=300, deadline=None)
    @given(st.lists(SCALES, min_size=1, max_size=6))
    @example([0.5])
    @example([0.5 - 2.0**-30])
    def test_sixteen_bits_and_near(self, scales: list[float]) -> None:
        values, shift = multipliers(np.array(scales))
        assert values.dtype == np.int32
        for value, scale in zip(values.tolist(), scales, strict=True):
            assert 0 <= value < 2**31
            odd = value // (value & -value) if value else 0
            assert odd.bit_length() <= 16
            exact = Fraction(scale) * 2 ** (32 - shift)
            # Half a step where M is small, one part in 2**16 (of half) where it is cut.
            assert abs(value - exact) <= max(Fraction(1, 2), exact / 2**16)
        # The shift is the least that will do.
        assert shift == 0 or max(scales) * 2.0 ** (33 - shift) > 2**31 - 2**15

    def test_no_shift_below_one_half(self) -> None:
        assert multipliers(np.array([0.499]))[1] == 0
        assert multipliers(np.array([0.5]))[1] == 1
        assert multipliers(np.array([0.499999999]))[1] == 1  # rounds up to one half
        assert multipliers(np.array([0.3, 17.0, 1.0]))[1] == 6

    def test_cut_half_up(self) -> None:
        """17 bits that end in one lie half-way between two numbers of 16."""
        for number in (0x10001, 0x1FFFD, 0x15555):
            assert multipliers(np.array([number * 2.0**-32]))[0].tolist() == [number + 1]
        assert multipliers(np.array([0x1FFFF * 2.0**-32]))[0].tolist() == [0x20000]
        # What is cut may be just below one half.
        assert multipliers(np.array([0x10002FF * 2.0**-32]))[0].tolist() == [0x1000200]
        assert multipliers(np.array([0x1000300 * 2.0**-32]))[0].tolist() == [0x1000400]

    @settings(max_examples=300, deadline=None)
    @given(st.lists(SCALES, min_size=1, max_size=6))
    def test_what_a_file_gives_is_not_cut(self, scales: list[float]) -> None:
        values, shift = multipliers(np.array(scales), cut=False)
        for value, scale in zip(values.tolist(), scales, strict=True):
            assert 0 <= value < 2**31
            exact = Fraction(scale) * 2 ** (32 - shift)
            assert abs(value - exact) <= max(Fraction(1, 2), exact / 2**22)

    def test_what_was_cut_comes_back(self) -> None:
        """A multiplier of 16 bits survives that its scale is rounded to float32."""
        rng = np.random.default_rng(0)
        cut, shift = multipliers(rng.uniform(1e-7, 0.4, 2000))
        stored = (cut * 2.0 ** (shift - 32) / 0.037).astype(np.float32)
        again, _ = multipliers(stored.astype(np.float64) * 0.037, cut=False)
        assert np.array_equal(again, cut)

    def test_too_small_is_zero(self) -> None:
        assert multipliers(np.array([2.0**-34, 1e-30, 0.1]))[0].tolist()[:2] == [0, 0]
        assert multipliers(np.array([2.0**-32]))[0].tolist() == [1]


def arithmetic_header(folder: Path) -> None:
    text = render_template("thumbnet_arith.h.jinja", banner="test", format=1)
    (folder / "thumbnet_arith.h").write_text(text, encoding="ascii")


def scale_cases(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Accumulators and multipliers, int32, and what the rule makes of them, int32."""
    rng = np.random.default_rng(0)
    ends = [0, 1, -1, 2, -2, 0x7FFF, 0x8000, 0xFFFF, 0x10000, -0x10000, 2**31 - 1, -(2**31)]
    acc = np.concatenate([ends, rng.integers(-(2**31), 2**31, count), rng.integers(-999, 999, 500)])
    some, _ = multipliers(2.0 ** rng.uniform(-34, -1.001, 300))
    factors = np.concatenate([[0, 1, 2, 0xFFFF, 0x10000, 0x7FFF8000, 0x40000000], some])
    pairs = np.stack([np.repeat(ends, len(factors)), np.tile(factors, len(ends))], axis=1)
    mixed = np.stack([acc, rng.choice(factors, len(acc))], axis=1)
    pairs = np.concatenate([pairs, mixed]).astype(np.int64)
    want = (pairs[:, 0] * pairs[:, 1] + 2**31) >> 32
    return pairs.astype("<i4"), want.astype("<i4")


_HOST = """
#include <stdio.h>
#include "thumbnet_arith.h"
int main(void)
{
    int32_t pair[2];
    while (fread(pair, sizeof pair, 1, stdin) == 1) {
        const int32_t scaled = thumbnet_scale(pair[0], pair[1]);
        fwrite(&scaled, sizeof scaled, 1, stdout);
    }
    return 0;
}
"""


@has("gcc")
@pytest.mark.parametrize("flags", [[], ["-DTHUMBNET_MUL32"]], ids=["64 bits", "32 bits"])
def test_scale_on_the_host(flags: list[str], tmp_path: Path) -> None:
    arithmetic_header(tmp_path)
    (tmp_path / "scale.c").write_text(_HOST)
    sanitize = ["-fsanitize=undefined", "-fno-sanitize-recover=all"]
    command = ["gcc", "-O2", "-std=c99", *flags, *sanitize, "scale.c", "-o", "scale"]
    subprocess.run(command, cwd=tmp_path, check=True)
    pairs, want = scale_cases(50_000)
    ended = subprocess.run(
        [str(tmp_path / "scale")], input=pairs.tobytes(), capture_output=True, check=True
    )
    assert np.array_equal(np.frombuffer(ended.stdout, "<i4"), want)


_TARGET = """
#include "thumbnet_arith.h"
#define MODEL_NAME "scale"
#define MODEL_ARENA_BYTES 16
#define MODEL_INPUT_BYTES {bytes_in}
#define MODEL_INPUT_ROWS {count}
#define MODEL_ROW_BYTES 8
#define MODEL_OUTPUT_BYTES {bytes_out}
static int32_t results[{count}];
static int32_t rows;
static void model_begin(void *arena)
{{
    (void)arena;
    rows = 0;
}}
static void model_push_row(void *arena, const int8_t *row)
{{
    int32_t pair[2];
    (void)arena;
    for (int32_t i = 0; i < 8; ++i) {{
        ((int8_t *)pair)[i] = row[i];
    }}
    results[rows++] = thumbnet_scale(pair[0], pair[1]);
}}
static void model_finish(void *arena, int8_t *output)
{{
    (void)arena;
    for (int32_t i = 0; i < {bytes_out}; ++i) {{
        output[i] = ((const int8_t *)results)[i];
    }}
}}
"""


@pytest.mark.qemu
@has("arm-none-eabi-gcc")
@has("qemu-system-arm")
@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m33"])
def test_scale_on_a_core(core: str, tmp_path: Path) -> None:
    """M0+: halves of 16 bits; M3: SMULL; M4 and M33: SMMULR."""
    pairs, want = scale_cases(4_000)
    arithmetic_header(tmp_path)
    count = len(pairs)
    text = _TARGET.format(count=count, bytes_in=8 * count, bytes_out=4 * count)
    (tmp_path / "thumbnet_model.h").write_text(text)
    (tmp_path / "empty.c").write_text("extern int nothing;\n")
    board = load_board(load_core(core).qemu_board)
    elf = build_target(tmp_path, "scale", board, load_core(core), tmp_path / "b", False)
    inputs = np.frombuffer(pairs.tobytes(), np.int8).reshape(1, -1)
    result = run_qemu(elf, board, inputs, tmp_path / "run", 60.0)
    assert np.array_equal(np.frombuffer(result.output.tobytes(), "<i4"), want)
