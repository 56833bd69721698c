"""Trains or fine-tunes a network of the zoo on pictures of your own and exports it to ONNX.

    python -m codegen.zoo.train --data PHOTOS --alpha 0.25 --resolution 96 -o model.onnx

PHOTOS is a folder with one folder of pictures per class, or an .npz with ``images`` (uint8
[N, H, W, 3]) and ``labels``. A part is held out; when the network gets no better on it, training
ends, and the best weights so far are exported. ``--weights`` starts from a Keras file: from what
``--save-weights`` wrote, or from published ones, whose last layer is made anew where the number of
classes is another. The paper's point holds: a thin network is trained, not cut from a wide one.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from codegen.errors import ThumbnetError
from codegen.image_files import LABELS_FILE
from codegen.images import LabelOptions, load_images
from codegen.ir import Preprocess
from codegen.output import whole_file
from codegen.zoo.export import export_onnx
from codegen.zoo.keras_weights import read_keras_weights
from codegen.zoo.metadata import image_metadata
from codegen.zoo.training import Dataset, Recipe, train

_FINE_TUNING_SHARE = 0.1
"""Of the learning rate, where weights are given."""


@dataclass(frozen=True)
class Pictures:
    """What is learnt, what is held out, and the names of the classes (empty if unknown)."""

    training: Dataset
    held_out: Dataset
    classes: int
    names: tuple[str, ...]


def load_pictures(data: Path, resolution: int, held_out: float, seed: int) -> Pictures:
    """Reads labelled pictures, resized to the input size, and splits them at random.

    Args:
        data: Folder with one folder per class, or .npz with ``images`` and ``labels``.
        resolution: Rows and columns of the network's input.
        held_out: Share of the pictures that is not trained on, at least one.
        seed: Of the split.

    Raises:
        ThumbnetError: There are no pictures or labels, or fewer than two classes.
    """
    shape = (resolution, resolution, 3)
    loaded = load_images(data, shape, Preprocess(), labels=LabelOptions())
    if loaded.labels is None:
        raise ThumbnetError(
            f"{data} has no labels: put the pictures into one folder per class, or give an .npz "
            "with 'images' and 'labels'."
        )
    labels = loaded.labels.astype(np.int32)
    names = _class_names(data)
    classes = int(labels.max()) + 1
    if classes < 2 or labels.min() < 0:
        raise ThumbnetError(
            f"{data} has the classes {labels.min()} to {labels.max()}; at least two are needed, "
            "numbered from 0."
        )
    order = np.random.default_rng(seed).permutation(len(labels))
    first = max(1, round(held_out * len(order)))
    held, rest = (Dataset(loaded.pixels[i], labels[i]) for i in (order[:first], order[first:]))
    return Pictures(rest, held, classes, names if len(names) == classes else ())


def _class_names(data: Path) -> tuple[str, ...]:
    """Names of the folders in the order of the class numbers, if folders are what gives them."""
    if not data.is_dir() or (data / LABELS_FILE).exists():
        return ()
    folders = (path.name for path in data.iterdir() if path.is_dir())
    return tuple(sorted(name for name in folders if not name.startswith(".")))


def say(text: str) -> None:
    """A line of progress on stderr."""
    print(text, file=sys.stderr, flush=True)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    defaults = Recipe()
    parser = argparse.ArgumentParser(
        prog="python -m codegen.zoo.train",
        description="Train a network of the zoo on pictures of your own and export it to ONNX.",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder per class, or .npz")
    parser.add_argument("--network", default=defaults.network_name, help="see `thumbnet zoo -h`")
    parser.add_argument("--alpha", type=float, default=defaults.alpha)
    parser.add_argument("--resolution", type=int, default=defaults.resolution)
    parser.add_argument("--weights", type=Path, help="Keras file (.h5) to start from")
    parser.add_argument("--epochs", type=int, default=defaults.epochs, help="at most")
    parser.add_argument("--patience", type=int, default=10, help="epochs without progress")
    parser.add_argument("--held-out", type=float, default=0.1, help="share of the pictures")
    parser.add_argument("--batch", type=int, default=defaults.batch)
    parser.add_argument("--rate", type=float, help="learning rate; a tenth with --weights")
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--checkpoint", type=Path, help=".npz to write to and to resume from")
    parser.add_argument("--save-weights", type=Path, help="Keras file (.h5) to write as well")
    parser.add_argument("-o", "--output", type=Path, required=True, help="ONNX file to write")
    return parser.parse_args(arguments)


def _run(options: argparse.Namespace) -> None:
    _check(options)
    recipe = Recipe(
        network_name=options.network,
        classes=2,
        epochs=options.epochs,
        seed=options.seed,
        alpha=options.alpha,
        resolution=options.resolution,
        batch=options.batch,
        patience=options.patience,
    )
    recipe.network()  # complains before pictures are read
    pictures = load_pictures(options.data, options.resolution, options.held_out, options.seed)
    rate = options.rate or recipe.rate * (_FINE_TUNING_SHARE if options.weights else 1)
    batch = min(options.batch, len(pictures.training.labels))
    recipe = replace(recipe, classes=pictures.classes, rate=rate, batch=batch)
    weights = None
    if options.weights:
        weights = read_keras_weights(options.weights, recipe.network(), new_classes=True)
    model = train(recipe, pictures.training, pictures.held_out, options.checkpoint, weights, say)
    export_onnx(model, options.output, image_metadata(pictures.names))
    if options.save_weights:
        with whole_file(options.save_weights) as unfinished:
            model.save_weights(str(unfinished), save_format="h5")


def _check(options: argparse.Namespace) -> None:
    for name, least in (("epochs", 1), ("patience", 1), ("batch", 1)):
        if getattr(options, name) < least:
            raise ThumbnetError(f"--{name} must be at least {least}")
    if not 0 < options.held_out < 1:
        raise ThumbnetError(f"--held-out must be between 0 and 1, not {options.held_out:g}")
    if options.rate is not None and options.rate <= 0:
        raise ThumbnetError(f"--rate must be above 0, not {options.rate:g}")


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    try:
        _run(_parse(arguments))
    except (ThumbnetError, OSError) as error:
        say(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
