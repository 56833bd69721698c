"""Sliding windows over ``[N, H, W, C]`` arrays, shared by convolutions and pools."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from codegen.ir import Pads, Shape

Size = tuple[int, int]
Number = TypeVar("Number", bound=np.generic)


def output_size(shape: Shape, kernel: Size, stride: Size, pads: Pads) -> Size:
    """Rows and columns of the output: ``floor((in + pads - kernel) / stride) + 1``."""
    height = (shape[0] + pads.top + pads.bottom - kernel[0]) // stride[0] + 1
    width = (shape[1] + pads.left + pads.right - kernel[1]) // stride[1] + 1
    return height, width


def image_shape(x: NDArray[Any]) -> Shape:
    """``(H, W, C)`` of an array ``[N, H, W, C]``."""
    _, height, width, channels = x.shape
    return height, width, channels


def pad(x: NDArray[Number], pads: Pads, value: Any = 0) -> NDArray[Number]:
    """``x`` with rows and columns of ``value`` around each image."""
    if not pads.any:
        return x
    return np.pad(
        x,
        ((0, 0), (pads.top, pads.bottom), (pads.left, pads.right), (0, 0)),
        constant_values=value,
    )


def taps(
    x: NDArray[Number], kernel: Size, stride: Size
) -> Iterator[tuple[int, int, NDArray[Number]]]:
    """For each kernel position ``(ky, kx)`` the ``[N, Ho, Wo, C]`` values of ``x`` it meets."""
    height, width = output_size(image_shape(x), kernel, stride, Pads())
    for ky in range(kernel[0]):
        rows = slice(ky, ky + (height - 1) * stride[0] + 1, stride[0])
        for kx in range(kernel[1]):
            yield ky, kx, x[:, rows, kx : kx + (width - 1) * stride[1] + 1 : stride[1]]


def im2col(x: NDArray[Number], kernel: Size, stride: Size) -> NDArray[Number]:
    """The windows of ``x`` as rows: ``[N, Ho, Wo, KH * KW * C]``."""
    if kernel == (1, 1):
        return x[:, :: stride[0], :: stride[1]]
    return np.concatenate([values for _, _, values in taps(x, kernel, stride)], axis=3)


def window_counts(shape: Shape, kernel: Size, stride: Size, pads: Pads) -> NDArray[np.int32]:
    """How many positions of each window lie inside the image: int32 ``[Ho, Wo]``."""
    inside = pad(np.ones((1, shape[0], shape[1], 1), np.int32), pads)
    total = sum(values for _, _, values in taps(inside, kernel, stride))
    return np.asarray(total, np.int32)[0, :, :, 0]
