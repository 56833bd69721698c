"""Depthwise convolution of the dsp family: planar rows in, pairs out; code and constants.

The function is generated for its shape, ``void name(const int8_t *const *rows, int16_t *x, const
int32_t *constants)``; see templates/kernels/dsp/depthwise.S.jinja and its portable twin. The
constants are a record a channel: the bias, words of two weights, the multiplier.

- `window`: what a row reads, and which weights share a word;
- `code`: the instructions and their cycles;
- `body` and `strips`: the form for every shape, strips of neighbouring outputs;
- `walk`: the form for wide rows of 3x3 windows at stride 1.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from codegen.ir import QParams, Requant
from codegen.kernels.dsp.depthwise.code import Epilogue, merit
from codegen.kernels.dsp.depthwise.strips import Strips, make_strips
from codegen.kernels.dsp.depthwise.walk import Walk, make_walk, walks
from codegen.kernels.dsp.depthwise.window import Window
from codegen.kernels.layout import Planar
from codegen.ops import Depthwise

CODE_BYTES = 1600
"""Code that a function takes at most where there is a choice."""
_LARGEST_KERNEL = 7
_TURNS = (0, 2, 4)
"""Steps of a walk's loop that are tried."""
_ZERO = 128
"""What is added to an int8 value to keep it as a byte."""


@dataclass(frozen=True)
class DepthwiseFunction:
    """Everything that the templates write into a function.

    Attributes:
        window: Its shape.
        epilogue: Its requantization.
        code: Its assembly, in one of two forms.
    """

    window: Window
    epilogue: Epilogue
    code: Strips | Walk

    @property
    def record(self) -> int:
        """Words of constants a channel."""
        return self.window.record

    @property
    def words(self) -> NDArray[np.int64]:
        """The word of the record that holds a weight: int64 [kh, kw]."""
        return self._places[..., 0]

    @property
    def upper(self) -> NDArray[np.int64]:
        """1 where a weight is the upper half of its word: int64 [kh, kw]."""
        return self._places[..., 1]

    @property
    def _places(self) -> NDArray[np.int64]:
        places = np.empty((*self.window.kernel, 2), np.int64)
        for i, word in enumerate(self.window.layout, start=1):
            for half, place in enumerate(word):
                if place is not None:
                    places[place] = i, half
        return places


def refuses(node: Depthwise, input_zero: int) -> str | None:
    """Why the function cannot compute a layer, or None if it can.

    Args:
        node: The quantized layer.
        input_zero: Zero point of the input, int8.
    """
    if node.requant is None:
        return "not quantized"
    if node.multiplier != 1:
        return "more than one output channel for an input channel"
    if max(node.kernel) > _LARGEST_KERNEL:
        return f"kernel larger than {_LARGEST_KERNEL}x{_LARGEST_KERNEL}"
    if node.stride[1] > 2:
        return "stride above 2"
    weight = node.weight.astype(np.int64).reshape(-1, node.bias.size)
    bias = _bias(node, input_zero)
    # As bytes the inputs are 0..255; sums start from the bias.
    worst = np.abs(bias) + 255 * np.abs(weight).sum(axis=0)
    if int(worst.max()) << node.requant.shift >= 1 << 31:
        return "a sum may outgrow 32 bits"
    return None


def skips_padding(node: Depthwise, input_q: QParams, in_width: int, out_width: int) -> bool:
    """True if padding left and right is left out instead of read: its bytes would be zero.

    Args:
        node: The layer.
        input_q: The input's quantization.
        in_width: Pixels of an input row.
        out_width: Pixels of an output row.
    """
    last = (out_width - 1) * node.stride[1] - node.pads.left
    every_window_meets_image = node.pads.left < node.kernel[1] and last < in_width
    return input_q.zero_point == -_ZERO and every_window_meets_image


def depthwise_function(
    node: Depthwise,
    planar: Planar,
    input_q: QParams,
    out_width: int,
    odd: bool = False,
    limit: int = CODE_BYTES,
) -> DepthwiseFunction:
    """The function for a layer.

    Args:
        node: The quantized layer; not one that `refuses`.
        planar: The input's rows.
        input_q: The input's quantization.
        out_width: Pixels of an output row.
        odd: The first output is the second one of a pair of pixels.
        limit: Bytes of code, where there is a choice.
    """
    assert node.requant is not None
    _, width, channels = planar.shape
    window = Window(
        kernel=node.kernel,
        stride=node.stride[1],
        pad_left=node.pads.left,
        in_width=width,
        out_width=out_width,
        channels=channels,
        plane=planar.plane,
        skips_padding=skips_padding(node, input_q, width, out_width),
        odd=odd,
    )
    return fastest(window, _epilogue(node.requant), limit)


@functools.lru_cache(maxsize=256)
def fastest(window: Window, epilogue: Epilogue, limit: int = CODE_BYTES) -> DepthwiseFunction:
    """The best function for a shape: few cycles, and no more code than they are worth."""
    packed = replace(window, packs_rows=True)
    found: list[tuple[Window, Strips | Walk]] = [(window, make_strips(window, epilogue, limit))]
    if walks(window):
        found += [(packed, make_walk(packed, epilogue, turn)) for turn in _TURNS]
    window, code = min(found, key=lambda f: merit(f[1].cycles, f[1].code_bytes, limit))
    return DepthwiseFunction(window, epilogue, code)


def constant_bytes(node: Depthwise) -> int:
    """Bytes of a layer's constants, about: a bias, a multiplier and words of two weights."""
    words = 2 + node.kernel[0] * (1 + node.kernel[1] // 2)
    return 4 * words * node.bias.size


def packed_constants(window: Window, node: Depthwise, input_zero: int) -> NDArray[np.int32]:
    """Constants of a function.

    Args:
        window: Its shape.
        node: The layer.
        input_zero: Zero point of the input, int8; folded into the bias.

    Returns:
        int32 [C, record]: bias; the words of two weights of `Window.layout`; multiplier.
    """
    assert node.requant is not None
    weight = node.weight.astype(np.int64)[..., 0]
    record = np.empty((weight.shape[2], window.record), np.int64)
    record[:, 0] = _bias(node, input_zero)
    for i, (low, high) in enumerate(window.layout, start=1):
        record[:, i] = weight[low] & 0xFFFF
        if high is not None:
            record[:, i] |= weight[high] << 16
    record[:, -1] = node.requant.multiplier
    return record.astype(np.int32)


def _bias(node: Depthwise, input_zero: int) -> NDArray[np.int64]:
    """The bias for inputs as bytes."""
    weight = node.weight.astype(np.int64).reshape(-1, node.bias.size)
    return np.asarray(node.bias.astype(np.int64) - (input_zero + _ZERO) * weight.sum(axis=0))


def _epilogue(requant: Requant) -> Epilogue:
    return Epilogue(
        requant.shift, requant.zero_point + _ZERO, requant.lo + _ZERO, requant.hi + _ZERO
    )
