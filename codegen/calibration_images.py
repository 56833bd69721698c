"""What calibration pictures say about themselves before ranges are taken from them.

Ranges that come from the wrong pictures make a network that runs and is useless, so whatever is
odd about the pictures is said, by name; what makes calibration pointless is an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from codegen.errors import ThumbnetError
from codegen.images import Images, some

FEWEST = 8
"""Fewer pictures than this are warned of."""

_GREY_SHARE = 0.5
"""Collections of photographs hold grey ones too; where they are the most, something is wrong."""


def calibration_warnings(images: Images, source: Path) -> tuple[str, ...]:
    """What is odd about pictures that a network is to be calibrated with.

    Args:
        images: The pictures.
        source: Where they come from, for the messages.

    Returns:
        One sentence for each oddity, with the names of the first pictures that have it.

    Raises:
        ThumbnetError: Every picture is of one colour: there is nothing to take ranges from.
    """
    flat = _named(images, _one_colour(images))
    if len(flat) == len(images.names):
        raise ThumbnetError(
            f"{source}: every calibration picture is of one colour ({some(flat)}); ranges taken "
            "from them would make a useless network. Give about 100 typical pictures"
        )
    return tuple(_oddities(images, source, flat))


def _oddities(images: Images, source: Path, flat: tuple[str, ...]) -> Iterator[str]:
    count = len(images.names)
    if count < FEWEST:
        yield (
            f"{source}: only {_pictures(count)} to calibrate with ({some(images.names)}): the "
            "ranges may be far off. Give about 100."
        )
    if flat:
        yield f"{source}: {len(flat)} of {count} pictures are of one colour: {some(flat)}."
    grey = _named(images, _grey(images))
    if len(grey) >= _GREY_SHARE * count:
        yield (
            f"{source}: {len(grey)} of {count} pictures are grey, and the network takes colours: "
            f"{some(grey)}. Ranges will be too small for coloured pictures."
        )
    if images.transparent:
        yield (
            f"{source}: {len(images.transparent)} of {count} pictures are transparent and are "
            f"laid over black: {some(images.transparent)}."
        )
    if images.enlarged:
        height, width = images.pixels.shape[1:3]
        yield (
            f"{source}: {len(images.enlarged)} of {count} pictures are smaller than the network's "
            f"input of {height}x{width} and are enlarged, which blurs them: "
            f"{some(images.enlarged)}."
        )


def _pictures(count: int) -> str:
    return "1 picture" if count == 1 else f"{count} pictures"


def _named(images: Images, which: NDArray[np.bool_]) -> tuple[str, ...]:
    return tuple(name for name, chosen in zip(images.names, which, strict=True) if chosen)


def _one_colour(images: Images) -> NDArray[np.bool_]:
    first = images.pixels[:, :1, :1]
    return np.asarray((images.pixels == first).all(axis=(1, 2, 3)))


def _grey(images: Images) -> NDArray[np.bool_]:
    """Pictures whose channels are all the same; none where there is one channel only."""
    pixels = images.pixels
    same = (pixels == pixels[..., :1]).all(axis=(1, 2, 3))
    return np.asarray(same & (pixels.shape[3] > 1))
