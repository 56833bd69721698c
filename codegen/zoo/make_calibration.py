"""Makes the calibration pictures of the default model from photographs free to publish.

    python -m codegen.zoo.make_calibration -o codegen/zoo/default/calibration.npz

The photographs are those inside the scikit-image wheel that are in the public domain or under
CC0; nothing is downloaded. Each picture is a random square cut, mirrored at random, made lighter
or darker at random, reduced to 32x32 as the pictures of CIFAR-10 were, and enlarged again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]

# Name in skimage.data, licence and author, as the documentation of scikit-image gives them.
SOURCES = {
    "chelsea": "CC0, photograph by Stefan van der Walt",
    "astronaut": "public domain, photograph by NASA",
    "coffee": "CC0, photograph by Rachel Michetti",
    "rocket": "public domain, photograph by SpaceX",
    "camera": "CC0, photograph by Lav Varshney",
    "grass": "CC0, photograph by linolafett (DeviantArt)",
}
COUNT = 128
SIDE = 64
SMALLEST_CUT = 0.15  # of the photograph's shorter side
DETAIL = 32  # pixels a side that a picture is reduced to before it is enlarged


def load_photographs() -> list[Images]:
    """The photographs of `SOURCES` as uint8 [H, W, 3].

    Raises:
        ImportError: scikit-image is not installed.
    """
    try:
        from skimage import data
    except ImportError as error:
        raise ImportError(
            "the calibration pictures are cut from photographs in scikit-image: "
            "pip install 'thumbnet[demo]'"
        ) from error
    photographs = []
    for name in SOURCES:
        pixels = np.asarray(getattr(data, name)())
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[:, :, np.newaxis], 3, axis=2)
        photographs.append(np.ascontiguousarray(pixels[:, :, :3], dtype=np.uint8))
    return photographs


def cut_pictures(photographs: list[Images], count: int, side: int, seed: int) -> Images:
    """Cuts `count` pictures uint8 [count, side, side, 3], taking the photographs in turn."""
    random = np.random.default_rng(seed)
    return np.stack(
        [_cut_one(photographs[i % len(photographs)], side, random) for i in range(count)]
    )


def _cut_one(photograph: Images, side: int, random: np.random.Generator) -> Images:
    from PIL import Image

    height, width = photograph.shape[:2]
    shorter = min(height, width)
    # Logarithmic, so that small cuts are not crowded out by large ones.
    cut = int(shorter * SMALLEST_CUT ** random.random())
    top = int(random.integers(0, height - cut + 1))
    left = int(random.integers(0, width - cut + 1))
    pixels = photograph[top : top + cut, left : left + cut]
    if random.random() < 0.5:
        pixels = pixels[:, ::-1]
    gain = np.exp(random.uniform(-0.7, 0.7))
    offset = random.uniform(-50, 50)
    changed = np.clip((pixels - 127.5) * gain + 127.5 + offset, 0, 255).astype(np.uint8)
    bilinear = Image.Resampling.BILINEAR
    reduced = Image.fromarray(changed).resize((DETAIL, DETAIL), bilinear)
    return np.asarray(reduced.resize((side, side), bilinear))


def save(path: Path, images: Images) -> None:
    """Writes arrays ``images``, ``source`` uint8 [N] and ``licences`` (one text a source)."""
    source = (np.arange(len(images)) % len(SOURCES)).astype(np.uint8)
    licences = np.array([f"{name} (scikit-image): {text}" for name, text in SOURCES.items()])
    unfinished = path.with_suffix(".unfinished.npz")
    np.savez_compressed(unfinished, images=images, source=source, licences=licences)
    unfinished.replace(path)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m codegen.zoo.make_calibration",
        description="Make calibration pictures from free photographs.",
    )
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path, required=True, help="NPZ file to write")
    options = parser.parse_args(arguments)
    try:
        images = cut_pictures(load_photographs(), options.count, SIDE, options.seed)
        save(options.output, images)
    except (ImportError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{options.output}: {len(images)} pictures, {options.output.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
