"""What calibration pictures say about themselves before ranges are taken from them.

Ranges that come from the wrong pictures make a network that runs and is useless, so whatever is
odd about the pictures is said, by name; what makes calibration pointless is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from codegen.errors import ThumbnetError
from codegen.images import decode, is_smaller, is_transparent, open_pictures, some
from codegen.ir import Preprocess, Shape
from codegen.preprocess import Pixels

Names = tuple[str, ...]

FEWEST = 8
"""Fewer pictures than this are warned of."""

_GREY_SHARE = 0.5
"""Collections of photographs hold grey ones too; where they are the most, something is wrong."""


def calibration_images(
    source: Path, shape: Shape, preprocess: Preprocess, limit: int
) -> tuple[Pixels, tuple[str, ...]]:
    """Pictures that a network is to be calibrated with, and what is odd about them.

    Args:
        source: A folder, .zip, .npz or one picture file.
        shape: ``(H, W, C)`` of the network's input.
        preprocess: Its resize rule and channel order are applied; its numbers are not.
        limit: At most so many pictures.

    Returns:
        uint8 [N, H, W, C], and one sentence for each oddity, with the names of the first pictures
        that have it.

    Raises:
        ThumbnetError: As ``open_pictures``, a picture cannot be read, or every one is of one
            colour: there is nothing to take ranges from.
    """
    with open_pictures(source, shape, preprocess, limit) as pictures:
        names = pictures.names
        encoded = pictures.encoded(range(len(names)))
        pixels = decode(pictures.where, names, encoded, shape, preprocess)
        transparent = _named(names, map(is_transparent, encoded))
        enlarged = _named(names, (is_smaller(picture, shape) for picture in encoded))
    flat = _named(names, _one_colour(pixels))
    if len(flat) == len(names):
        raise ThumbnetError(
            f"{source}: every calibration picture is of one colour ({some(flat)}); ranges taken "
            "from them would make a useless network. Give about 100 typical pictures"
        )
    grey = _named(names, _grey(pixels))
    return pixels, tuple(_oddities(source, names, shape, flat, grey, transparent, enlarged))


def _oddities(
    source: Path,
    names: Names,
    shape: Shape,
    flat: Names,
    grey: Names,
    transparent: Names,
    enlarged: Names,
) -> Iterator[str]:
    count = len(names)
    if count < FEWEST:
        yield (
            f"{source}: only {_pictures(count)} to calibrate with ({some(names)}): the "
            "ranges may be far off. Give about 100."
        )
    if flat:
        yield f"{source}: {len(flat)} of {count} pictures are of one colour: {some(flat)}."
    if len(grey) >= _GREY_SHARE * count:
        yield (
            f"{source}: {len(grey)} of {count} pictures are grey, and the network takes colours: "
            f"{some(grey)}. Ranges will be too small for coloured pictures."
        )
    if transparent:
        yield (
            f"{source}: {len(transparent)} of {count} pictures are transparent and are "
            f"laid over black: {some(transparent)}."
        )
    if enlarged:
        height, width, _ = shape
        yield (
            f"{source}: {len(enlarged)} of {count} pictures are smaller than the network's "
            f"input of {height}x{width} and are enlarged, which blurs them: "
            f"{some(enlarged)}."
        )


def _pictures(count: int) -> str:
    return "1 picture" if count == 1 else f"{count} pictures"


def _named(names: Names, which: Iterable[bool]) -> Names:
    return tuple(name for name, chosen in zip(names, which, strict=True) if chosen)


def _one_colour(pixels: Pixels) -> NDArray[np.bool_]:
    first = pixels[:, :1, :1]
    return np.asarray((pixels == first).all(axis=(1, 2, 3)))


def _grey(pixels: Pixels) -> NDArray[np.bool_]:
    """Pictures whose channels are all the same; none where there is one channel only."""
    same = (pixels == pixels[..., :1]).all(axis=(1, 2, 3))
    return np.asarray(same & (pixels.shape[3] > 1))
