"""Odd calibration pictures through the real command: what is said of each, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import thumbnet_command
from PIL import Image

from codegen.zoo.defaults import default_model

SIZE = 64  # of the default model's input


def colours(seed: int, size: int = SIZE, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, channels), np.uint8)


def grey(seed: int) -> np.ndarray:
    return np.repeat(colours(seed, channels=1), 3, axis=2)


def transparent(seed: int) -> np.ndarray:
    pixels = np.concatenate([colours(seed), np.full((SIZE, SIZE, 1), 255, np.uint8)], axis=2)
    pixels[:9, :, 3] = 0
    return pixels


def folder(root: Path, odd: dict[str, np.ndarray], good: int = 8) -> Path:
    photos = root / "photos"
    photos.mkdir()
    for name, pixels in odd.items():
        Image.fromarray(pixels).save(photos / name)
    for seed in range(good):
        Image.fromarray(colours(seed)).save(photos / f"good{seed}.png")
    return photos


def compiled(photos: Path) -> tuple[int, dict[str, Any], str]:
    """Status, JSON document and messages of the real command."""
    ended = thumbnet_command(
        *("compile", default_model(), "--calibrate", photos, "-o", photos.parent / "out"),
        *("--no-build", "--json", "--wide-depthwise"),  # so that these are not recommended
    )
    assert "Traceback" not in ended.stderr
    return ended.returncode, json.loads(ended.stdout), ended.stderr


@pytest.mark.parametrize(
    ("odd", "good", "words"),
    [
        ({"black.png": np.zeros((SIZE, SIZE, 3), np.uint8)}, 8, ["1 of 9", "one colour"]),
        ({"small.png": colours(1, 20)}, 8, ["1 of 9", "smaller", f"{SIZE}x{SIZE}"]),
        ({f"grey{i}.png": grey(i) for i in range(9)}, 0, ["9 of 9", "grey", "colours"]),
        ({"few.png": colours(1)}, 2, ["only 3 pictures"]),
        ({"alpha.png": transparent(1)}, 8, ["1 of 9", "transparent", "black"]),
    ],
)
def test_what_is_odd_is_a_warning_with_its_name(
    tmp_path: Path, odd: dict[str, np.ndarray], good: int, words: list[str]
) -> None:
    photos = folder(tmp_path, odd, good)
    status, document, _ = compiled(photos)
    assert status == 0
    (warning,) = document["warnings"]
    for word in (str(photos), next(iter(odd)), *words):
        assert word in warning


def test_good_pictures_of_any_larger_size_are_no_reason_to_warn(tmp_path: Path) -> None:
    opaque = np.concatenate([colours(1), np.full((SIZE, SIZE, 1), 255, np.uint8)], axis=2)
    photos = folder(tmp_path, {"large.png": colours(1, 100), "alpha.png": opaque, "g.png": grey(2)})
    status, document, messages = compiled(photos)
    assert (status, document["warnings"], messages) == (0, [], "")


@pytest.mark.parametrize("fill", [0, 128])
def test_nothing_but_one_colour_is_an_error(tmp_path: Path, fill: int) -> None:
    plain = np.full((SIZE, SIZE, 3), fill, np.uint8)
    photos = folder(tmp_path, {f"{i}.png": plain for i in range(9)}, 0)
    status, document, messages = compiled(photos)
    assert status == 1
    assert document["error"] in messages
    for word in ("every calibration picture is of one colour", "0.png", str(photos)):
        assert word in document["error"]
    assert not (tmp_path / "out").exists()


def test_unreadable_among_readable_is_an_error(tmp_path: Path) -> None:
    photos = folder(tmp_path, {})
    (photos / "torn.png").write_bytes((photos / "good0.png").read_bytes()[:500])
    status, document, _ = compiled(photos)
    assert status == 1
    for word in ("1 of 9", "torn.png", "Remove or replace"):
        assert word in document["error"]
    assert not (tmp_path / "out").exists()


def test_an_npz_of_grey_pictures_for_a_colour_network_is_an_error(tmp_path: Path) -> None:
    np.savez(tmp_path / "grey.npz", images=np.zeros((9, SIZE, SIZE, 1), np.uint8))
    status, document, _ = compiled(tmp_path / "grey.npz")
    assert status == 1
    assert "grey.npz" in document["error"]
    assert f"[9, {SIZE}, {SIZE}, 1]" in document["error"]
