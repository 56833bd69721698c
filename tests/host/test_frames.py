"""Frames of the serial protocol: the firmware's C and the desktop's Python on the same bytes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from codegen.device.frames import PAYLOAD, Decoder, Frame
from codegen.resources import resource
from codegen.toolchain import find_tool
from tests.helpers import has

pytestmark = has("gcc")
Find = Callable[[bytes], list[Frame]]


def find_in_python(data: bytes) -> list[Frame]:
    return list(Decoder().feed(data))


@pytest.fixture(scope="module")
def find_in_c(tmp_path_factory: pytest.TempPathFactory) -> Find:
    """frame.c, built with sanitizers that end it at the first byte written out of place."""
    program = tmp_path_factory.mktemp("frames") / "frames"
    serial = resource("firmware", "serial")
    flags = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror", f"-I{serial}"]
    sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    sources = [str(Path(__file__).parent / "frame_host.c"), str(serial / "frame.c")]
    subprocess.run([find_tool("gcc"), *flags, *sanitize, *sources, "-o", str(program)], check=True)

    def find(data: bytes) -> list[Frame]:
        done = subprocess.run([str(program)], input=data, capture_output=True, check=True)
        lines = [line.split(" ") for line in done.stdout.decode().splitlines()]
        return [Frame(int(seq), int(code), bytes.fromhex(data)) for seq, code, data in lines]

    return find


def random_frames(rng: np.random.Generator, count: int) -> list[Frame]:
    lengths = [0, PAYLOAD, *rng.integers(0, PAYLOAD + 1, count - 2)]
    return [
        Frame(index & 0xFF, int(rng.integers(256)), rng.bytes(int(length)))
        for index, length in enumerate(lengths)
    ]


def test_both_sides_find_every_frame_one_after_the_other(find_in_c: Find) -> None:
    frames = random_frames(np.random.default_rng(1), 50)
    line = b"".join(frame.encode() for frame in frames)
    assert find_in_c(line) == frames
    assert find_in_python(line) == frames


def test_both_sides_find_frames_between_garbage_that_looks_like_none(find_in_c: Find) -> None:
    rng = np.random.default_rng(2)
    frames = random_frames(rng, 30)
    noise = [bytes(b for b in rng.bytes(40) if b != ord("T")) + b"T" for _ in frames]
    line = b"".join(n + frame.encode() for n, frame in zip(noise, frames, strict=True))
    assert find_in_c(line) == frames
    assert find_in_python(line) == frames


def test_python_finds_the_frame_behind_one_that_never_ends() -> None:
    frame = Frame(7, 3, b"picture")
    begun = Frame(6, 3, bytes(100)).encode()[:60]
    decoder = Decoder()
    assert list(decoder.feed(begun)) == []
    decoder.silence()
    assert list(decoder.feed(frame.encode())) == [frame]
    assert decoder.noise.endswith(begun)


def test_one_wrong_bit_anywhere_is_found(find_in_c: Find) -> None:
    encoded = Frame(9, 2, b"0123456789").encode()
    for position in range(len(encoded) * 8):
        wrong = bytearray(encoded)
        wrong[position // 8] ^= 1 << position % 8
        assert find_in_python(bytes(wrong)) == [], position
    damaged = b"".join(
        bytes([*encoded[:at], encoded[at] ^ 0x10, *encoded[at + 1 :]])
        for at in range(7, len(encoded))
    )
    assert find_in_c(damaged + encoded) == [Frame(9, 2, b"0123456789")]


def test_a_decoder_counts_frames_with_a_wrong_crc() -> None:
    decoder = Decoder()
    encoded = Frame(1, 1, b"abc").encode()
    assert list(decoder.feed(encoded[:-1] + bytes([encoded[-1] ^ 1]))) == []
    assert decoder.damaged == 1


def test_random_bytes_are_no_frames_and_hurt_nobody(find_in_c: Find) -> None:
    rng = np.random.default_rng(3)
    headers = b"".join(b"TN" + rng.bytes(8) for _ in range(20_000))
    for line in (rng.bytes(200_000), headers):
        assert find_in_c(line) == []
        assert find_in_python(line) == []
