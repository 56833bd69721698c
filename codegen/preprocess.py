"""From pixels to the network's input: one declared thing, stored with the model.

``x = (pixel - mean) / std`` for each channel, in the channel order that is named. A pixel has 256
values, so the quantized input is a table look-up and the same bytes everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from codegen.errors import ThumbnetError
from codegen.ir import INT8_MAX, INT8_MIN, FloatArray, Int8Array, Preprocess, QParams

Pixels = NDArray[np.uint8]
T = TypeVar("T", bound=np.generic)

PRESETS = {
    "unit": Preprocess((0.0,) * 3, (255.0,) * 3),
    "signed": Preprocess((127.5,) * 3, (127.5,) * 3),
    "raw": Preprocess((0.0,) * 3, (1.0,) * 3),
    "torch": Preprocess((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), resize="crop"),
}
CHANNELS = {"RGB": 3, "BGR": 3, "GRAY": 1}
_RESIZES = ("stretch", "crop")
LARGEST, SMALLEST = 1e6, 1e-6


def parse_preprocess(spec: str) -> Preprocess:
    """Reads the text of a preprocessing: a preset, values, or a preset and then other values.

    Examples: ``unit``, ``torch``, ``mean=0;std=255;channels=BGR``, ``signed;resize=crop``. One
    value of mean or std stands for all channels; unsaid values are those of ``signed``.

    Raises:
        ThumbnetError: The text has an unknown word or a wrong value.
    """
    parts = [part.strip() for part in spec.split(";") if part.strip()]
    base = PRESETS.get(parts[0].lower()) if parts else None
    pairs = [part.partition("=")[::2] for part in (parts[1:] if base else parts)]
    values = {key.strip().lower(): value.strip() for key, value in pairs}
    if not parts or len(values) < len(pairs) or not values.keys() <= _KEYS.keys():
        raise ThumbnetError(
            f"preprocessing {spec!r} is not understood; write {', '.join(PRESETS)} or for example "
            "'mean=127.5,127.5,127.5;std=127.5,127.5,127.5;channels=RGB;resize=stretch'"
        )
    if base is None and ("mean" in values) != ("std" in values):
        raise ThumbnetError(f"preprocessing {spec!r}: mean and std belong together, give both")
    try:
        changes = {key: _KEYS[key](value) for key, value in values.items()}
    except ValueError as error:
        raise ThumbnetError(f"preprocessing {spec!r}: {error}") from None
    preprocess = replace(base or PRESETS["signed"], **changes)
    return for_channels(preprocess, CHANNELS[preprocess.channels])


def for_channels(preprocess: Preprocess, channels: int) -> Preprocess:
    """The preprocessing for a network with so many input channels.

    A network with one channel gets ``GRAY`` and the average of the colours' means and standard
    deviations; one value is repeated for each channel.

    Raises:
        ThumbnetError: The number of values fits neither.
    """
    order = preprocess.channels
    if channels == 1:
        order = "GRAY"
    elif order == "GRAY":
        raise ThumbnetError(
            f"the preprocessing says GRAY, but the network takes {channels} channels; "
            "give channels=RGB or channels=BGR"
        )

    def fit(values: tuple[float, ...]) -> tuple[float, ...]:
        if channels == 1 and len(values) == 3:
            return (math.fsum(values) / 3,)
        return values * channels if len(values) == 1 else values

    fitted = replace(preprocess, mean=fit(preprocess.mean), std=fit(preprocess.std), channels=order)
    _constants(fitted, channels)
    return fitted


def of_integers(preprocess: Preprocess, q: QParams, offset: int) -> Preprocess:
    """The preprocessing to real numbers from one to the integers that a model takes.

    Args:
        preprocess: How a pixel becomes one of the model's own integers: raw if the model takes the
            bytes of a picture.
        q: Quantization of the model's input, in int8.
        offset: What is subtracted of the model's integers to make them int8.
    """
    zero = q.zero_point + offset
    mean = tuple(m + zero * s for m, s in zip(preprocess.mean, preprocess.std, strict=True))
    return replace(preprocess, mean=mean, std=tuple(s / q.scale for s in preprocess.std))


def to_float(pixels: Pixels, preprocess: Preprocess) -> FloatArray:
    """The real input of the network: ``(pixel - mean) / std``.

    Args:
        pixels: uint8 [N, H, W, C] in the channel order of the preprocessing.
        preprocess: The declared preprocessing.

    Returns:
        float32 [N, H, W, C].
    """
    return _look_up(_float_table(preprocess, pixels.shape[-1]), pixels)


def pixel_table(preprocess: Preprocess, q: QParams) -> Int8Array:
    """The quantized input for each pixel value of each channel.

    Returns:
        int8 [C, 256]: ``x / scale`` rounded half to even, plus the zero point, clipped, where
        ``x`` is what ``to_float`` gives. In float32, as QuantizeLinear does: where pixels lie
        half-way between steps the last bit decides.
    """
    x = _float_table(preprocess, len(preprocess.mean))
    table = np.rint(x / np.float32(q.scale)) + q.zero_point
    return np.asarray(np.clip(table, INT8_MIN, INT8_MAX), np.int8)


def to_int8(pixels: Pixels, preprocess: Preprocess, q: QParams) -> Int8Array:
    """The quantized input of the network, by ``pixel_table``.

    Args:
        pixels: uint8 [N, H, W, C] in the channel order of the preprocessing.
        preprocess: The declared preprocessing.
        q: Quantization of the network's input.

    Returns:
        int8 [N, H, W, C].
    """
    _constants(preprocess, pixels.shape[-1])
    return _look_up(pixel_table(preprocess, q), pixels)


def _constants(
    preprocess: Preprocess, channels: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    mean, std = np.array(preprocess.mean, np.float64), np.array(preprocess.std, np.float64)
    if mean.shape != (channels,) or std.shape != (channels,):
        raise ThumbnetError(
            f"the preprocessing has {mean.size} values of mean and {std.size} of std, but the "
            f"network takes {channels} channels; give one of each a channel"
        )
    return mean, std


def _float_table(preprocess: Preprocess, channels: int) -> FloatArray:
    mean, std = _constants(preprocess, channels)
    real = (np.arange(256) - mean[:, None]) / std[:, None]
    return real.astype(np.float32)


def _look_up(table: NDArray[T], pixels: Pixels) -> NDArray[T]:
    result: NDArray[T] = table[np.arange(len(table)), pixels]
    return result


def _numbers(text: str) -> tuple[float, ...]:
    numbers = tuple(float(part) for part in text.split(","))
    if len(numbers) not in (1, 3) or not all(abs(n) <= LARGEST for n in numbers):
        raise ValueError(f"{text!r} must be one or three numbers of at most {LARGEST:g}")
    return numbers


def _nonzero(text: str) -> tuple[float, ...]:
    numbers = _numbers(text)
    if min(map(abs, numbers)) < SMALLEST:
        raise ValueError(f"std {text!r} must be at least {SMALLEST:g}")
    return numbers


def _one_of(*words: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        word = next((word for word in words if word.lower() == text.lower()), None)
        if word is None:
            raise ValueError(f"{text!r} must be {' or '.join(words)}")
        return word

    return check


_KEYS: dict[str, Callable[[str], Any]] = {
    "mean": _numbers,
    "std": _nonzero,
    "channels": _one_of(*CHANNELS),
    "resize": _one_of(*_RESIZES),
}
