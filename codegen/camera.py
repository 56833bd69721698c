"""Frames of a camera, resized row by row as they arrive: the tables, and what the C computes.

The position in the frame of pixel ``i`` of ``n`` is, with half-pixel centres,
``x = (i + 1/2 - n/2) * step + size/2 - 1/2``, held inside the frame. With ``step = size / n`` this
is ``(i + 1/2) * size / n - 1/2``, as ``half_pixel`` of ONNX's Resize and ``INTER_LINEAR`` of OpenCV
have it. Bilinear mixes the two pixels around ``x``; nearest takes the nearer one, of two that are
as near the latter. Neither averages where a frame is made smaller.

Positions are fractions and their weights are rounded once, to 1/2048, into tables: C and NumPy have
the same tables, and the same integers thereafter.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from codegen.errors import ThumbnetError
from codegen.images import CROP_SHARE
from codegen.ir import Preprocess, Shape
from codegen.preprocess import Pixels

WEIGHT_BITS = 11
"""Of a position between two pixels: OpenCV's INTER_RESIZE_COEF_BITS."""
ROW_BITS = 8
"""Fraction of a row that is resized in width only: 255 * 2**8 is the most that 16 bits hold."""
METHODS = ("bilinear", "nearest")
_SMALLEST, _LARGEST = 2, 8192
_LUMA = (19595, 38470, 7471)
"""Red, green and blue in grey, of 65536: ITU-R BT.601, in the integers that Pillow has."""

Values = NDArray[np.int64]


@dataclass(frozen=True)
class PixelFormat:
    """How a camera writes a pixel.

    Attributes:
        title: For people.
        bytes: Of a pixel.
        word: C expression of a pixel's bytes as one number.
        colours: C expressions of red, green and blue, 0 to 255, in the number ``word``.
        unpack: The same in NumPy: uint8 [..., bytes] becomes int64 red, green and blue.
    """

    title: str
    bytes: int
    word: str
    colours: tuple[str, str, str]
    unpack: Callable[[Pixels], tuple[Values, Values, Values]]


def _rgb888(pixels: Pixels) -> tuple[Values, Values, Values]:
    values = pixels.astype(np.int64)
    return values[..., 0], values[..., 1], values[..., 2]


def _rgb565(high: int) -> Callable[[Pixels], tuple[Values, Values, Values]]:
    """Five or six bits repeat themselves, so that the most becomes 255."""

    def unpack(pixels: Pixels) -> tuple[Values, Values, Values]:
        values = pixels.astype(np.int64)
        word = values[..., high] << 8 | values[..., 1 - high]
        red, green, blue = word >> 11, word >> 5 & 63, word & 31
        return red << 3 | red >> 2, green << 2 | green >> 4, blue << 3 | blue >> 2

    return unpack


def _gray8(pixels: Pixels) -> tuple[Values, Values, Values]:
    gray = pixels[..., 0].astype(np.int64)
    return gray, gray, gray


_COLOURS_565 = (
    "(word >> 8 & 0xf8u) | word >> 13",
    "(word >> 3 & 0xfcu) | (word >> 9 & 0x03u)",
    "(word << 3 & 0xf8u) | (word >> 2 & 0x07u)",
)
FORMATS: Mapping[str, PixelFormat] = {
    "rgb888": PixelFormat(
        "red, green and blue, a byte each",
        3,
        "(uint32_t)pixel[0] << 16 | (uint32_t)pixel[1] << 8 | pixel[2]",
        ("word >> 16", "word >> 8 & 0xffu", "word & 0xffu"),
        _rgb888,
    ),
    "rgb565be": PixelFormat(
        "16 bits, the upper byte first, as OmniVision's sensors send them",
        2,
        "(uint32_t)pixel[0] << 8 | pixel[1]",
        _COLOURS_565,
        _rgb565(0),
    ),
    "rgb565le": PixelFormat(
        "16 bits, the lower byte first",
        2,
        "(uint32_t)pixel[1] << 8 | pixel[0]",
        _COLOURS_565,
        _rgb565(1),
    ),
    "gray8": PixelFormat("a byte of grey", 1, "pixel[0]", ("word", "word", "word"), _gray8),
}
"""By the word that the user gives."""


@dataclass(frozen=True)
class Camera:
    """A camera's frames.

    Attributes:
        width: Pixels of a row.
        height: Rows.
        format: A key of ``FORMATS``.
        method: One of ``METHODS``.
    """

    width: int
    height: int
    format: str
    method: str = "bilinear"

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of the frame."""
        return self.width * FORMATS[self.format].bytes

    @property
    def spec(self) -> str:
        """The text that ``parse_camera`` reads."""
        return f"{self.width}x{self.height}:{self.format}:{self.method}"


def parse_camera(spec: str) -> Camera:
    """Reads ``WIDTHxHEIGHT:FORMAT`` or ``WIDTHxHEIGHT:FORMAT:METHOD``.

    Raises:
        ThumbnetError: The text is something else.
    """
    size, _, rest = spec.lower().partition(":")
    width, _, height = size.partition("x")
    form, _, method = rest.partition(":")
    method = method or METHODS[0]
    columns, rows = (int(n) if re.fullmatch("[0-9]{1,9}", n) else 0 for n in (width, height))
    if not all(_SMALLEST <= n <= _LARGEST for n in (columns, rows)):
        wrong = f"the size is two numbers from {_SMALLEST} to {_LARGEST}"
    elif form not in FORMATS:
        wrong = f"the format is {', '.join(FORMATS)}"
    elif method not in METHODS:
        wrong = f"the method is {' or '.join(METHODS)}"
    else:
        return Camera(columns, rows, form, method)
    raise ThumbnetError(
        f"camera {spec!r} is not understood: {wrong}. Write it as 320x240:rgb565be:bilinear"
    )


@dataclass(frozen=True, eq=False)
class Axis:
    """Where the pixels of one axis come from.

    Attributes:
        first: Pixel of the frame for each pixel of the input: int64 [N]. Bilinear mixes it with
            the one behind it, which exists.
        weight: Of that one behind, in 1/2048: int64 [N], 0 to 2048.
    """

    first: NDArray[np.int64]
    weight: NDArray[np.int64]


def camera_axes(camera: Camera, shape: Shape, preprocess: Preprocess) -> tuple[Axis, Axis]:
    """Tables for rows and columns.

    The whole frame is taken; with ``resize=crop`` the central part that a picture of the frame's
    size would be cropped to (see ``codegen.ir.Preprocess``), up to the rounding of its size.

    Args:
        camera: The camera.
        shape: ``(H, W, C)`` of the network's input.
        preprocess: Its resize rule is applied.
    """
    sizes, counts = (camera.height, camera.width), shape[:2]
    steps = [Fraction(size, n) for size, n in zip(sizes, counts, strict=True)]
    if preprocess.resize == "crop":
        around = [round(n / CROP_SHARE) for n in counts]
        steps = [min(Fraction(size, n) for size, n in zip(sizes, around, strict=True))] * 2
    rows, columns = (
        _axis(size, count, step, camera.method)
        for size, count, step in zip(sizes, counts, steps, strict=True)
    )
    return rows, columns


def _axis(size: int, count: int, step: Fraction, method: str) -> Axis:
    first, weight = [], []
    for i in range(count):
        x = (i + Fraction(1 - count, 2)) * step + Fraction(size - 1, 2)
        x = min(max(x, Fraction(0)), Fraction(size - 1))
        if method == "nearest":
            first.append(min(math.floor(x + Fraction(1, 2)), size - 1))
            weight.append(0)
        else:
            first.append(min(math.floor(x), size - 2))
            weight.append(math.floor((x - first[-1]) * 2**WEIGHT_BITS + Fraction(1, 2)))
    return Axis(np.array(first), np.array(weight))


def resize_frame(
    frame: Pixels, camera: Camera, shape: Shape, preprocess: Preprocess
) -> NDArray[np.uint8]:
    """The network's pixels of a frame, to the bit as the generated C computes them.

    Args:
        frame: uint8 [height, row_bytes], as the camera sends it.
        camera: The camera.
        shape: ``(H, W, C)`` of the network's input.
        preprocess: Its resize rule and channel order are applied; its numbers are not.

    Returns:
        uint8 [H, W, C].
    """
    form = FORMATS[camera.format]
    colours = form.unpack(frame.reshape(camera.height, camera.width, form.bytes))
    values = np.stack([_value(name, colours) for name in channel_names(preprocess)], axis=-1)
    rows, columns = camera_axes(camera, shape, preprocess)
    if camera.method == "nearest":
        return np.asarray(values[rows.first][:, columns.first], np.uint8)
    one, shift = 2**WEIGHT_BITS, WEIGHT_BITS - ROW_BITS
    weight = columns.weight[:, None]
    wide = values[:, columns.first] * (one - weight) + values[:, columns.first + 1] * weight
    wide = (wide + (1 << shift >> 1)) >> shift
    weight, shift = rows.weight[:, None, None], WEIGHT_BITS + ROW_BITS
    mixed = wide[rows.first] * (one - weight) + wide[rows.first + 1] * weight
    return np.asarray((mixed + (1 << shift >> 1)) >> shift, np.uint8)


def channel_names(preprocess: Preprocess) -> tuple[str, ...]:
    """What the network's channels are, in their order."""
    return {
        "RGB": ("red", "green", "blue"),
        "BGR": ("blue", "green", "red"),
        "GRAY": ("gray",),
    }[preprocess.channels]


def _value(name: str, colours: tuple[Values, Values, Values]) -> Values:
    red, green, blue = colours
    gray = np.asarray((_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue + 32768) >> 16)
    return {"red": red, "green": green, "blue": blue, "gray": gray}[name]


@dataclass(frozen=True)
class CameraModel:
    """What the templates place.

    Attributes:
        camera: The camera.
        format: Its pixels.
        values: C expressions of the network's channels, of ``red``, ``green`` and ``blue``.
        rows: For each row of the input, its place in the frame as C text.
        columns: The same for columns.
        row_values: Values of a row of the input.
        state_bytes: Size of the state on a 32-bit processor.
    """

    camera: Camera
    format: PixelFormat
    values: tuple[str, ...]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    row_values: int
    state_bytes: int


def camera_model(camera: Camera, shape: Shape, preprocess: Preprocess) -> CameraModel:
    """Everything the templates need for ``camera``; arguments as for ``camera_axes``."""
    gray = f"({_LUMA[0]}u * red + {_LUMA[1]}u * green + {_LUMA[2]}u * blue + 32768u) >> 16"
    rows, columns = (_places(axis) for axis in camera_axes(camera, shape, preprocess))
    return CameraModel(
        camera=camera,
        format=FORMATS[camera.format],
        values=tuple(gray if n == "gray" else n for n in channel_names(preprocess)),
        rows=rows,
        columns=columns,
        row_values=shape[1] * shape[2],
        state_bytes=state_bytes(camera, shape),
    )


def state_bytes(camera: Camera, shape: Shape) -> int:
    """Size of the state on a 32-bit processor, for a network's input of ``(H, W, C)``."""
    values = shape[1] * shape[2]
    resized = 2 * 2 * values if camera.method == "bilinear" else 0
    return -(-(resized + values) // 4) * 4 + 8


def _places(axis: Axis) -> tuple[str, ...]:
    pairs = zip(axis.first.tolist(), axis.weight.tolist(), strict=True)
    texts = [f"{{{first}, {weight}}}" for first, weight in pairs]
    return tuple(", ".join(texts[i : i + 8]) + "," for i in range(0, len(texts), 8))
