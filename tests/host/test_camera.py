"""Frames of a camera, row by row: the C against its NumPy twin, the twin against other resizers."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import has, thumbnet_command
from PIL import Image
from skimage import data
from tiny_graphs import TINY

from codegen import simulate
from codegen.boards import load_board, load_core
from codegen.build import build_target
from codegen.camera import Camera, camera_model, parse_camera, resize_frame
from codegen.emit import write_model
from codegen.errors import ThumbnetError
from codegen.ir import Graph, Preprocess
from codegen.plan import make_plan
from codegen.preprocess import Pixels, for_channels, to_int8
from codegen.qemu import run_qemu

WARNINGS = ("-std=c99", "-O1", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror")
SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
SIZES = ((16, 16), (37, 21), (320, 240), (9, 5), (2, 2), (16, 61), (5, 33))
"""Width and height of frames for an input of 16x16: equal, odd, larger, smaller, both."""


def frames(camera: Camera, count: int = 2) -> Pixels:
    """What the camera sends: uint8 [N, height, row_bytes]. A photograph, then noise."""
    photo = Image.fromarray(data.astronaut()).resize((camera.width, camera.height))
    noise = np.random.default_rng(7).integers(0, 256, (camera.height, camera.width, 3))
    pictures = [np.asarray(photo), *[noise.astype(np.uint8)] * (count - 1)]
    return np.stack([encoded(picture, camera.format) for picture in pictures])


def encoded(rgb: Pixels, form: str) -> Pixels:
    """Rows of a picture uint8 [H, W, 3] as a camera sends them."""
    if form == "rgb888":
        pixels = rgb
    elif form == "gray8":
        pixels = rgb[..., :1]
    else:
        red, green, blue = np.moveaxis(rgb.astype(np.uint16), -1, 0)
        words = (red >> 3) << 11 | (green >> 2) << 5 | blue >> 3
        order = ">u2" if form == "rgb565be" else "<u2"
        pixels = np.ascontiguousarray(words.astype(order)).view(np.uint8)
    return np.ascontiguousarray(pixels).reshape(len(rgb), -1)


def network(channels: str = "RGB", resize: str = "stretch") -> Graph:
    graph = TINY["v1"]()
    return replace(graph, preprocess=replace(graph.preprocess, channels=channels, resize=resize))


def seen(graph: Graph, camera: Camera, frame: Pixels) -> Pixels:
    return resize_frame(frame, camera, graph.input_tensor.shape, graph.preprocess)


def results(graph: Graph, camera: Camera, sent: Pixels) -> np.ndarray:
    """What the network says of frames, by the twin and the simulator: int8 [N, bytes]."""
    pixels = np.stack([seen(graph, camera, frame) for frame in sent])
    input_ = to_int8(pixels, graph.preprocess, graph.q(graph.input))
    return simulate.run(graph, input_).reshape(len(sent), -1)


_MAIN = """
#include <stdio.h>
#include "net_camera.h"
static int32_t arena[NET_ARENA_BYTES / 4];
static struct net_camera camera;
static int8_t scores[NET_OUTPUT_BYTES];
int main(void)
{
    /* On the stack: the sanitizer watches its ends. */
    uint8_t row[NET_CAMERA_ROW_BYTES];
    for (;;) {
        net_camera_begin(&camera, arena);
        for (int y = 0; y < NET_CAMERA_HEIGHT; ++y) {
            if (fread(row, 1, sizeof row, stdin) != sizeof row) { return y != 0; }
            net_camera_row(&camera, arena, row);
        }
        net_camera_row(&camera, arena, row); /* one too many */
        if (camera.next != NET_INPUT_HEIGHT) { return 2; }
        net_finish(arena, scores);
        fwrite(camera.pixels, 1, sizeof camera.pixels, stdout); /* the last row of the input */
        fwrite(scores, 1, sizeof scores, stdout);
    }
}
"""


@has("gcc")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", ["bilinear", "nearest"])
@pytest.mark.parametrize(
    ("form", "channels"),
    [("rgb888", "RGB"), ("rgb565be", "BGR"), ("rgb565le", "RGB"), ("gray8", "RGB")],
)
def test_the_c_computes_what_the_twin_says(
    form: str, channels: str, method: str, size: tuple[int, int], tmp_path: Path
) -> None:
    graph, camera = network(channels), Camera(*size, form, method)
    write_model(make_plan(graph, "cortex-m4"), "net", tmp_path, camera)
    (tmp_path / "main.c").write_text(_MAIN)
    sources = ("main.c", "net.c", "net_camera.c", "net_weights.c")
    command = ("gcc", *WARNINGS, *SANITIZE, *sources, "-o", "main")
    subprocess.run(command, cwd=tmp_path, check=True)
    sent = frames(camera)
    done = subprocess.run([str(tmp_path / "main")], input=sent.tobytes(), capture_output=True)
    assert done.returncode == 0, done.stderr
    found = np.frombuffer(done.stdout, np.int8).reshape(len(sent), -1)
    last = np.stack([seen(graph, camera, frame)[-1] for frame in sent])
    values = to_int8(last[:, None], graph.preprocess, graph.q(graph.input)).reshape(len(sent), -1)
    assert np.array_equal(found[:, : values.shape[1]], values)
    assert np.array_equal(found[:, values.shape[1] :], results(graph, camera, sent))


_MODEL = """
#define MODEL_NAME "net"
#define MODEL_ARENA_BYTES NET_ARENA_BYTES
#define MODEL_INPUT_BYTES (NET_CAMERA_ROW_BYTES * NET_CAMERA_HEIGHT)
#define MODEL_INPUT_ROWS NET_CAMERA_HEIGHT
#define MODEL_ROW_BYTES NET_CAMERA_ROW_BYTES
#define MODEL_OUTPUT_BYTES NET_OUTPUT_BYTES
#include "net_camera.h"
static struct net_camera camera;
static inline void model_begin(void *arena) { net_camera_begin(&camera, arena); }
static inline void model_push_row(void *arena, const int8_t *row)
{
    net_camera_row(&camera, arena, (const uint8_t *)row);
}
static inline void model_finish(void *arena, int8_t *output) { net_finish(arena, output); }
/* As on a 32-bit processor: */
typedef int state_is_as_reported[sizeof(struct net_camera) == %d ? 1 : -1];
"""


@has("g++")
def test_the_header_is_usable_from_cpp(tmp_path: Path) -> None:
    camera = Camera(40, 30, "rgb565be")
    write_model(make_plan(network(), "cortex-m4"), "net", tmp_path, camera)
    command = ("g++", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-x", "c++", "net_camera.h")
    subprocess.run(command, cwd=tmp_path, check=True)


@pytest.mark.qemu
@has("arm-none-eabi-gcc")
@has("qemu-system-arm")
@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m0"])
@pytest.mark.parametrize("spec", ["50x37:rgb565be:bilinear", "33x40:rgb888:nearest"])
def test_an_emulated_core_computes_the_same(spec: str, core: str, tmp_path: Path) -> None:
    """The runner's images are frames here, which it gives row by row."""
    graph, camera, out = network(), parse_camera(spec), tmp_path / "out"
    out.mkdir()
    write_model(make_plan(graph, core), "net", out, camera)
    model = camera_model(camera, graph.input_tensor.shape, graph.preprocess)
    (out / "thumbnet_model.h").write_text(_MODEL % model.state_bytes)
    chosen = load_core(core)
    board = load_board(chosen.qemu_board)
    elf = build_target(out, "net", board, chosen, tmp_path / "build", check=False, werror=True)
    sent = frames(camera)
    flat = sent.reshape(len(sent), -1).view(np.int8)
    result = run_qemu(elf, board, flat, tmp_path / "run", 60.0)
    assert np.array_equal(result.output, results(graph, camera, sent))


def twin(rgb: Pixels, shape: tuple[int, int], method: str, **rules: str) -> Pixels:
    preprocess = for_channels(Preprocess(**rules), 1 if rules.get("channels") == "GRAY" else 3)
    camera = Camera(rgb.shape[1], rgb.shape[0], "rgb888", method)
    return resize_frame(encoded(rgb, "rgb888"), camera, (*shape, 3), preprocess)


def float_bilinear(rgb: Pixels, shape: tuple[int, int]) -> np.ndarray:
    """Without antialiasing, half-pixel centres, in float64, unrounded: float64 [H, W, C]."""
    values = rgb.astype(np.float64)
    for axis, n in enumerate(shape):
        size = rgb.shape[axis]
        x = np.clip((np.arange(n) + 0.5) * size / n - 0.5, 0, size - 1)
        below = np.minimum(np.floor(x).astype(int), size - 2)
        weight = (x - below).reshape([-1 if i == axis else 1 for i in range(3)])
        left, right = values.take(below, axis), values.take(below + 1, axis)
        values = left * (1 - weight) + right * weight
    return values


SHAPES = ((96, 96), (16, 16), (7, 300), (211, 97), (240, 320))


@pytest.mark.parametrize("shape", SHAPES)
def test_bilinear_is_within_a_level_of_float(shape: tuple[int, int]) -> None:
    noise = np.random.default_rng(3).integers(0, 2, (240, 320, 3)).astype(np.uint8) * 255
    photo = np.asarray(Image.fromarray(data.astronaut()).resize((320, 240)))
    for picture in (noise, photo):
        found = twin(picture, shape, "bilinear")
        # Half a level is rounding; the rest is what weights of 11 bits and rows of 8 cost.
        assert np.abs(found - float_bilinear(picture, shape)).max() <= 0.64


def test_enlarging_agrees_with_pillow() -> None:
    """Made larger, Pillow's bilinear has no antialiasing either; its borders are the same."""
    photo = np.asarray(Image.fromarray(data.astronaut()).resize((64, 48)))
    size = (161, 97)
    bilinear = np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.BILINEAR))
    difference = bilinear.astype(int) - twin(photo, size[::-1], "bilinear")
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("shape", [(96, 96), (17, 15), (7, 300), (211, 97), (240, 320)])
def test_nearest_is_pillow_s(shape: tuple[int, int]) -> None:
    photo = np.asarray(Image.fromarray(data.astronaut()).resize((320, 240)))
    nearest = np.asarray(Image.fromarray(photo).resize(shape[::-1], Image.Resampling.NEAREST))
    # Of two pixels that are as near Pillow takes either, as its sums of doubles come out.
    rows, columns = (
        (2 * np.arange(n) + 1) * size % (2 * n) != 0
        for n, size in zip(shape, photo.shape[:2], strict=True)
    )
    assert min(rows.mean(), columns.mean()) > 0.6
    found = twin(photo, shape, "nearest")
    assert np.array_equal(found[rows][:, columns], nearest[rows][:, columns])


@pytest.mark.parametrize("method", ["bilinear", "nearest"])
def test_a_frame_of_the_input_s_size_is_taken_as_it_is(method: str) -> None:
    photo = np.asarray(Image.fromarray(data.astronaut()).resize((31, 17)))
    assert np.array_equal(twin(photo, (17, 31), method), photo)
    assert np.array_equal(twin(photo, (17, 31), method, channels="BGR"), photo[..., ::-1])
    gray = np.asarray(Image.fromarray(photo).convert("L"))
    assert np.array_equal(twin(photo, (17, 31), method, channels="GRAY")[..., 0], gray)


def test_crop_takes_the_middle_in_one_scale() -> None:
    """Of 240 rows 0.875 are seen, and as many columns around the middle."""
    rows, columns = np.mgrid[:240, :320]
    places = np.stack([rows, columns % 256, columns // 256], axis=-1).astype(np.uint8)
    found = twin(places, (70, 70), "nearest", resize="crop").astype(int)
    seen_rows, seen_columns = found[..., 0], found[..., 1] + 256 * found[..., 2]
    assert (seen_rows[0, 0], seen_rows[-1, 0]) == (16, 223)
    assert (seen_columns[0, 0], seen_columns[0, -1]) == (56, 263)
    assert set(np.diff(seen_rows[:, 0])) == set(np.diff(seen_columns[0])) == {3}


def test_white_stays_white_and_black_black() -> None:
    for value in (0, 255):
        for form in ("rgb888", "rgb565be", "rgb565le", "gray8"):
            camera = Camera(23, 19, form)
            frame = encoded(np.full((19, 23, 3), value, np.uint8), form)
            for channels in ("RGB", "GRAY"):
                preprocess = Preprocess(channels=channels)
                assert (resize_frame(frame, camera, (8, 8, 3), preprocess) == value).all()


def test_specs_are_read_or_refused_in_words() -> None:
    assert parse_camera("320x240:rgb565be") == Camera(320, 240, "rgb565be", "bilinear")
    camera = parse_camera("5X7:RGB888:nearest")
    assert parse_camera(camera.spec) == camera == Camera(5, 7, "rgb888", "nearest")
    for spec, why in {
        "": "size",
        "320:rgb888": "size",
        "1x240:rgb888": "size is two numbers from 2",
        "-320x240:rgb888": "size",
        "320x9999:rgb888": "size",
        "320x240": "format is rgb888, rgb565be",
        "320x240:rgb565": "format",
        "320x240:rgb888:cubic": "method is bilinear or nearest",
        "320x240:rgb888:nearest:": "method",
    }.items():
        with pytest.raises(ThumbnetError, match=why):
            parse_camera(spec)


@pytest.mark.slow
@has("arm-none-eabi-gcc")
def test_compile_writes_it_and_counts_its_memory(tmp_path: Path) -> None:
    import json

    words = ("compile", "--images", "8", "--name", "net", "--json")
    plain = thumbnet_command(*words, "-o", tmp_path / "plain")
    camera = thumbnet_command(*words, "--camera", "160x120:rgb565be", "-o", tmp_path / "camera")
    without, with_ = (json.loads(done.stdout) for done in (plain, camera))
    assert with_["camera"] == "160x120:rgb565be:bilinear"
    header = (tmp_path / "camera" / "net_camera.h").read_text()
    assert re.search(r"NET_CAMERA_ROW_BYTES 320$", header, re.MULTILINE)
    # Two rows of 16 bits and one of 8, 64 pixels of 3 channels each, and two counters.
    assert with_["ram"]["static"] - without["ram"]["static"] == 5 * 64 * 3 + 8
    assert with_["ram"]["arena"] == without["ram"]["arena"]
    assert with_["ram"]["stack"] > without["ram"]["stack"]
    assert 512 < with_["flash"]["total"] - without["flash"]["total"] < 1500
    refused = thumbnet_command("compile", "--camera", "qvga", "-o", tmp_path / "lost")
    assert refused.returncode == 1
    assert "camera 'qvga' is not understood" in refused.stderr
