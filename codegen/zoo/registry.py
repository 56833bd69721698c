"""The networks of the zoo by name, and what may be asked of them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from codegen.errors import ThumbnetError
from codegen.zoo import mobilenets, peers
from codegen.zoo.network import Network

LARGEST_ALPHA = 2.0
PAPER_RESOLUTION = 224
STEP = 32
"""Resolutions are multiples of this: the strides of most networks here multiply to it."""


@dataclass(frozen=True)
class Architecture:
    """A network of the zoo.

    Attributes:
        build: Makes it from alpha, resolution and classes.
        smallest: Smallest resolution that leaves something for its last layers.
    """

    build: Callable[[float, int, int], Network]
    smallest: int = 32


ARCHITECTURES: Mapping[str, Architecture] = {
    "mobilenet_v1": Architecture(mobilenets.mobilenet_v1),
    "mobilenet_v2": Architecture(mobilenets.mobilenet_v2),
    "mobilenet_v3_small": Architecture(mobilenets.mobilenet_v3_small),
    "mobilenet_v3_large": Architecture(mobilenets.mobilenet_v3_large),
    "mobilenet_v3_small_minimalistic": Architecture(mobilenets.mobilenet_v3_small_minimalistic),
    "mobilenet_v3_large_minimalistic": Architecture(mobilenets.mobilenet_v3_large_minimalistic),
    "googlenet": Architecture(peers.googlenet),
    "vgg16": Architecture(peers.vgg16),
    "squeezenet_1_0": Architecture(peers.squeezenet_1_0),
    "squeezenet_1_1": Architecture(peers.squeezenet_1_1),
    "alexnet": Architecture(peers.alexnet, smallest=64),
}


def find_architecture(name: str) -> Architecture:
    """The architecture of that name; ``-`` and ``.`` stand for ``_``, and case does not matter.

    Raises:
        ThumbnetError: There is none; the nearest name is suggested.
    """
    known = name.lower().replace("-", "_").replace(".", "_")
    if known in ARCHITECTURES:
        return ARCHITECTURES[known]
    nearest = difflib.get_close_matches(known, ARCHITECTURES, n=1, cutoff=0.4)
    hint = f"did you mean {nearest[0]}? " if nearest else ""
    raise ThumbnetError(f"unknown network {name}: {hint}the zoo has {', '.join(ARCHITECTURES)}")


def build_network(
    name: str, alpha: float = 1.0, resolution: int = PAPER_RESOLUTION, classes: int = 1000
) -> Network:
    """A network of the zoo.

    Args:
        name: A key of ``ARCHITECTURES``.
        alpha: Width multiplier, above 0 and at most 2.
        resolution: Rows and columns of the picture.
        classes: Number of classes.

    Raises:
        ThumbnetError: The name is unknown or a number is out of range.
    """
    architecture = find_architecture(name)
    if not 0 < alpha <= LARGEST_ALPHA:
        raise ThumbnetError(
            f"alpha must be above 0 and at most {LARGEST_ALPHA:g}, not {alpha:g}; usual are 0.25, "
            "0.5, 0.75 and 1"
        )
    if classes < 2:
        raise ThumbnetError(f"classes must be at least 2, not {classes}")
    _check_resolution(name, architecture, resolution)
    try:
        return architecture.build(alpha, resolution, classes)
    except ValueError as error:
        raise ThumbnetError(
            f"{name} cannot be built with alpha {alpha:g} and resolution {resolution}: {error}; "
            "use a larger alpha or resolution"
        ) from error


def _check_resolution(name: str, architecture: Architecture, resolution: int) -> None:
    if resolution < architecture.smallest:
        raise ThumbnetError(
            f"the resolution of {name} must be at least {architecture.smallest} pixels, "
            f"not {resolution}"
        )
    if resolution % STEP:
        lower = resolution // STEP * STEP
        around = [r for r in (lower, lower + STEP) if r >= architecture.smallest]
        raise ThumbnetError(
            f"the strides of {name} need a resolution that is a multiple of {STEP}, "
            f"not {resolution}; near are {' and '.join(map(str, around))}"
        )
