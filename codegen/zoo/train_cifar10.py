"""Trains MobileNetV1 on CIFAR-10 and exports it: the script that made the default model.

    python -m codegen.zoo.train_cifar10 --data TRAIN.npz --test TEST.npz --epochs 85 -o OUT.onnx

A data file is either JPEG-coded (arrays ``jpeg``, ``offsets``, ``labels``: picture i is
``jpeg[offsets[i]:offsets[i + 1]]``) or plain (arrays ``images`` uint8 [N, 32, 32, 3] and
``labels``). Without ``--data`` Keras downloads the set.

Recipe: random crop from a border of 4 reflected pixels, mirroring and a grey square, all at
32x32; bilinear enlargement to the input size; SGD with Nesterov momentum, linear warm-up and a
cosine to zero; weight decay on kernels only; label smoothing; a moving average of all weights is
what is measured and exported. A run that was broken off goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import io
import math
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from codegen.zoo import export, mobilenet

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
BORDER = 4  # reflected pixels around it that the random crop may reach

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Dataset:
    """Pictures uint8 [N, 32, 32, 3] (RGB) and their class numbers int32 [N]."""

    images: Images
    labels: Labels


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a run learns."""

    epochs: int = 85
    seed: int = 1
    alpha: float = 0.25
    resolution: int = 64
    batch: int = 128
    rate: float = 0.2
    warmup_epochs: int = 3
    momentum: float = 0.9
    decay: float = 3e-4
    depthwise_decay: float = 3e-5
    smoothing: float = 0.05
    square: int = 8
    average: float = 0.999

    def rate_at(self, epoch: float) -> float:
        """Learning rate after a fractional number of epochs: linear warm-up, then a cosine."""
        if epoch < self.warmup_epochs:
            return self.rate * (epoch + 0.01) / self.warmup_epochs
        share = (epoch - self.warmup_epochs) / max(1, self.epochs - self.warmup_epochs)
        return self.rate * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def load_dataset(path: Path) -> Dataset:
    """Reads a data file (see the module's text) and decodes its pictures.

    Raises:
        ValueError: the file holds neither of the two layouts, or pictures of another size.
        OSError: the file cannot be read.
    """
    with np.load(path) as arrays:
        names = set(arrays.files)
        if {"images", "labels"} <= names:
            images = np.asarray(arrays["images"])
        elif {"jpeg", "offsets", "labels"} <= names:
            images = _decode(arrays["jpeg"], arrays["offsets"])
        else:
            raise ValueError(
                f"{path}: expected arrays images and labels, or jpeg, offsets and labels; "
                f"found {', '.join(sorted(names))}"
            )
        labels = np.asarray(arrays["labels"]).reshape(-1).astype(np.int32)
    if images.shape != (len(labels), SIDE, SIDE, 3) or images.dtype != np.uint8:
        raise ValueError(
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
    keras = mobilenet.legacy_keras()
    return tuple(  # type: ignore[return-value]
        Dataset(images, labels.reshape(-1).astype(np.int32))
        for images, labels in keras.datasets.cifar10.load_data()
    )


def augmented_batches(data: Dataset, recipe: Recipe, epoch: int) -> Iterator[tuple[Images, Labels]]:
    """One epoch of shuffled, randomly changed batches; the last incomplete one is left out.

    The same seed and epoch give the same batches, whatever was drawn before.

    Yields:
        Pictures uint8 [batch, 32, 32, 3] and labels int32 [batch].
    """
    random = np.random.default_rng([recipe.seed, epoch])
    order = random.permutation(len(data.labels))
    pad = ((0, 0), (BORDER, BORDER), (BORDER, BORDER), (0, 0))
    for start in range(0, len(order) - recipe.batch + 1, recipe.batch):
        chosen = order[start : start + recipe.batch]
        padded = np.pad(data.images[chosen], pad, mode="reflect")
        images = _random_crops(padded, random)
        mirrored = random.random(len(images)) < 0.5
        images[mirrored] = images[mirrored, :, ::-1]
        _grey_squares(images, recipe.square, random)
        yield images, data.labels[chosen]


def _random_crops(padded: Images, random: np.random.Generator) -> Images:
    """Cuts [N, 40, 40, 3] at N random places to [N, 32, 32, 3]."""
    top = random.integers(0, 2 * BORDER + 1, len(padded))
    left = random.integers(0, 2 * BORDER + 1, len(padded))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (SIDE, SIDE), axis=(1, 2))
    chosen = windows[np.arange(len(padded)), top, left]  # [N, 3, 32, 32]
    return np.ascontiguousarray(chosen.transpose(0, 2, 3, 1))


def _grey_squares(images: Images, side: int, random: np.random.Generator) -> None:
    """Paints one grey square of `side` pixels, partly outside at times, into half the pictures."""
    top = random.integers(-side // 2, SIDE - side // 2, len(images))
    left = random.integers(-side // 2, SIDE - side // 2, len(images))
    for i in np.flatnonzero(random.random(len(images)) < 0.5):
        rows = slice(max(0, top[i]), top[i] + side)
        columns = slice(max(0, left[i]), left[i] + side)
        images[i, rows, columns] = 128


class Trainer:
    """A model in training, its momentum and the moving average of its weights."""

    def __init__(self, recipe: Recipe) -> None:
        """Builds the model with random weights that depend on the recipe's seed."""
        import tensorflow as tf

        keras = mobilenet.legacy_keras()
        _set_threads()
        keras.utils.set_random_seed(recipe.seed)
        self.recipe = recipe
        self.model = mobilenet.mobilenet_v1(recipe.alpha, recipe.resolution, len(CLASSES))
        self.averaged = mobilenet.mobilenet_v1(recipe.alpha, recipe.resolution, len(CLASSES))
        self.averaged.set_weights(self.model.get_weights())
        self.momenta = [tf.Variable(tf.zeros_like(v)) for v in self.model.trainable_variables]
        self.step = _make_step(self, keras)
        self.predict = _make_predict(self.averaged, recipe.resolution)

    def train_epoch(self, data: Dataset, epoch: int) -> tuple[float, float]:
        """Runs one epoch; returns the mean loss and the share of right answers in it."""
        import tensorflow as tf

        steps = len(data.labels) // self.recipe.batch
        totals = np.zeros(2)
        for number, (images, labels) in enumerate(augmented_batches(data, self.recipe, epoch)):
            rate = self.recipe.rate_at(epoch + number / steps)
            done = epoch * steps + number
            average = min(self.recipe.average, (1 + done) / (10 + done))
            totals += np.array(self.step(images, labels, tf.constant(rate), tf.constant(average)))
        return float(totals[0] / steps), float(totals[1] / steps)

    def count_right(self, data: Dataset) -> int:
        """How many pictures of `data` the averaged model puts into the right class."""
        right = 0
        for start in range(0, len(data.labels), 250):
            part = slice(start, start + 250)
            guesses = self.predict(data.images[part]).numpy()
            right += int((guesses == data.labels[part]).sum())
        return right

    def save(self, path: Path, epoch: int) -> None:
        """Writes a checkpoint after `epoch` finished epochs, whole or not at all."""
        arrays = {f"model_{i}": a for i, a in enumerate(self.model.get_weights())}
        arrays |= {f"averaged_{i}": a for i, a in enumerate(self.averaged.get_weights())}
        arrays |= {f"momentum_{i}": m.numpy() for i, m in enumerate(self.momenta)}
        unfinished = path.with_suffix(".unfinished.npz")
        np.savez(unfinished, epoch=epoch, recipe=self._identity(), **arrays)
        unfinished.replace(path)

    def _identity(self) -> str:
        return repr(replace(self.recipe, epochs=0))

    def restore(self, path: Path) -> int:
        """Reads a checkpoint; returns the number of finished epochs.

        The checkpoint may come from a run that was meant to be longer or shorter: the learning
        rate follows the new cosine from there on.

        Raises:
            ValueError: the checkpoint belongs to another recipe.
        """
        with np.load(path) as arrays:
            if str(arrays["recipe"]) != self._identity():
                raise ValueError(f"{path} belongs to another recipe: {arrays['recipe']}")
            count = len(self.model.get_weights())
            self.model.set_weights([arrays[f"model_{i}"] for i in range(count)])
            self.averaged.set_weights([arrays[f"averaged_{i}"] for i in range(count)])
            for i, momentum in enumerate(self.momenta):
                momentum.assign(arrays[f"momentum_{i}"])
            return int(arrays["epoch"])


def _set_threads() -> None:
    """One thread an operation, one operation a core: a third quicker here than the default."""
    import tensorflow as tf

    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(os.cpu_count() or 1)
    except RuntimeError:  # TensorFlow has already computed something in this process
        pass


def _prepare(images: Any, resolution: int) -> Any:
    """Enlarges uint8 [N, 32, 32, 3] (bilinear, pixel centres at halves) and scales to [-1, 1]."""
    import tensorflow as tf

    size = (resolution, resolution)
    enlarged = tf.image.resize(tf.cast(images, tf.float32), size, method="bilinear")
    return tf.round(enlarged) / 127.5 - 1.0


def _decays(variables: list[Any], recipe: Recipe) -> list[float]:
    """Weight decay of each variable: kernels have one, scales, offsets and biases have none."""
    decays = {"kernel": recipe.decay, "depthwise_kernel": recipe.depthwise_decay}
    return [decays.get(v.name.split("/")[-1].split(":")[0], 0.0) for v in variables]


def _make_step(trainer: Trainer, keras: Any) -> Any:
    """Compiles (images, labels, rate, average) -> (loss, accuracy), which updates the trainer."""
    import tensorflow as tf

    recipe, model = trainer.recipe, trainer.model
    logits_of = keras.Model(model.input, model.get_layer("logits").output)
    variables = model.trainable_variables
    decays = _decays(variables, recipe)
    loss_of = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=recipe.smoothing
    )

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator, unused-ignore]
    def step(images: Any, labels: Any, rate: Any, average: Any) -> Any:
        with tf.GradientTape() as tape:
            logits = logits_of(_prepare(images, recipe.resolution), training=True)
            loss = loss_of(tf.one_hot(labels, len(CLASSES)), logits)
        gradients = tape.gradient(loss, variables)
        for v, m, g, decay in zip(variables, trainer.momenta, gradients, decays, strict=True):
            slope = g + decay * v
            m.assign(recipe.momentum * m + slope)
            v.assign_sub(rate * (slope + recipe.momentum * m))
        for a, v in zip(trainer.averaged.weights, model.weights, strict=True):
            a.assign_add((1.0 - average) * (v - a))
        hits = tf.equal(tf.argmax(logits, 1, tf.int32), labels)
        return loss, tf.reduce_mean(tf.cast(hits, tf.float32))

    return step


def _make_predict(model: Any, resolution: int) -> Any:
    import tensorflow as tf

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator, unused-ignore]
    def predict(images: Any) -> Any:
        return tf.argmax(model(_prepare(images, resolution), training=False), 1, tf.int32)

    return predict


def train(
    recipe: Recipe, training: Dataset, test: Dataset, checkpoint: Path | None, quiet: bool = False
) -> Any:
    """Trains, resuming from `checkpoint` where that exists, and returns the averaged model.

    The test pictures are only counted for the progress lines; no choice depends on them.
    """
    trainer = Trainer(recipe)
    first = trainer.restore(checkpoint) if checkpoint and checkpoint.exists() else 0
    for epoch in range(first, recipe.epochs):
        start = time.monotonic()
        loss, accuracy = trainer.train_epoch(training, epoch)
        if checkpoint:
            trainer.save(checkpoint, epoch + 1)
        if not quiet:
            right = trainer.count_right(test)
            print(
                f"epoch {epoch + 1}/{recipe.epochs}  loss {loss:.4f}  training {accuracy:.4f}  "
                f"test {right}/{len(test.labels)}  {time.monotonic() - start:.1f} s",
                file=sys.stderr,
                flush=True,
            )
    return trainer.averaged


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
            raise ValueError("give both --data and --test, or neither")
        else:
            training, test = download_datasets()
        model = train(recipe, training, test, options.checkpoint)
        export.export_onnx(model, options.output, export.image_metadata(CLASSES))
    except (ImportError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
