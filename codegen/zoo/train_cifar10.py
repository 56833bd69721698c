"""Trains MobileNetV1 on CIFAR-10 and exports it: the script that made the default model.

    python -m codegen.zoo.train_cifar10 --data TRAIN.npz --test TEST.npz --epochs 85 -o OUT.onnx

A data file is either JPEG-coded (arrays ``jpeg``, ``offsets``, ``labels``: picture i is
``jpeg[offsets[i]:offsets[i + 1]]``) or plain (arrays ``images`` uint8 [N, 32, 32, 3] and
``labels``). Without ``--data`` Keras downloads the set.

The recipe is that of ``codegen.zoo.training``. The test pictures are only counted: no choice
depends on them.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from codegen.errors import ThumbnetError
from codegen.zoo.export import export_onnx
from codegen.zoo.keras_model import legacy_keras
from codegen.zoo.metadata import image_metadata
from codegen.zoo.train import say
from codegen.zoo.training import Dataset, Images, Recipe, train

CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
SIDE = 32  # pixels of a CIFAR-10 picture


def load_dataset(path: Path) -> Dataset:
    """Reads a data file (see the module's text) and decodes its pictures.

    Raises:
        ThumbnetError: The file holds neither of the two layouts, or pictures of another size.
        OSError: the file cannot be read.
    """
    with np.load(path) as arrays:
        names = set(arrays.files)
        if {"images", "labels"} <= names:
            images = np.asarray(arrays["images"])
        elif {"jpeg", "offsets", "labels"} <= names:
            images = _decode(arrays["jpeg"], arrays["offsets"])
        else:
            raise ThumbnetError(
                f"{path}: expected arrays images and labels, or jpeg, offsets and labels; "
                f"found {', '.join(sorted(names))}"
            )
        labels = np.asarray(arrays["labels"]).reshape(-1).astype(np.int32)
    if images.shape != (len(labels), SIDE, SIDE, 3) or images.dtype != np.uint8:
        raise ThumbnetError(
            f"{path}: expected uint8 pictures [{len(labels)}, {SIDE}, {SIDE}, 3], "
            f"found {images.dtype} {list(images.shape)}"
        )
    return Dataset(images, labels)


def _decode(jpeg: Images, offsets: npt.NDArray[np.int64]) -> Images:
    from PIL import Image

    images = np.empty((len(offsets) - 1, SIDE, SIDE, 3), np.uint8)
    for i in range(len(images)):
        file = io.BytesIO(jpeg[offsets[i] : offsets[i + 1]].tobytes())
        images[i] = np.asarray(Image.open(file).convert("RGB"))
    return images


def download_datasets() -> tuple[Dataset, Dataset]:
    """Training and test set from Keras, which downloads them once (170 MB)."""
    keras = legacy_keras()
    return tuple(  # type: ignore[return-value]
        Dataset(images, labels.reshape(-1).astype(np.int32))
        for images, labels in keras.datasets.cifar10.load_data()
    )


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    defaults = Recipe()
    parser = argparse.ArgumentParser(
        prog="python -m codegen.zoo.train_cifar10",
        description="Train MobileNetV1 on CIFAR-10 and export it to ONNX.",
    )
    parser.add_argument("--data", type=Path, help="training pictures, .npz (default: download)")
    parser.add_argument("--test", type=Path, help="test pictures, .npz (default: download)")
    parser.add_argument("--epochs", type=int, default=defaults.epochs)
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--alpha", type=float, default=defaults.alpha)
    parser.add_argument("--resolution", type=int, default=defaults.resolution)
    parser.add_argument("--batch", type=int, default=defaults.batch)
    parser.add_argument("--checkpoint", type=Path, help="file to write to and to resume from")
    parser.add_argument("-o", "--output", type=Path, required=True, help="ONNX file to write")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    options = _parse(arguments)
    recipe = Recipe(
        epochs=options.epochs,
        seed=options.seed,
        alpha=options.alpha,
        resolution=options.resolution,
        batch=options.batch,
    )
    try:
        if options.data and options.test:
            training, test = load_dataset(options.data), load_dataset(options.test)
        elif options.data or options.test:
            raise ThumbnetError("give both --data and --test, or neither")
        else:
            training, test = download_datasets()
        model = train(recipe, training, test, options.checkpoint, say=say)
        export_onnx(model, options.output, image_metadata(CLASSES))
    except (ThumbnetError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
