"""The training loop of the zoo: data augmentation, optimizer, moving average, early stopping.

Recipe: random crop from a border of reflected pixels, mirroring and a grey square; bilinear
resizing to the input size; SGD with Nesterov momentum, linear warm-up and a cosine to zero; weight
decay on kernels only; label smoothing; a moving average of all weights is what is measured and
exported. A run that was broken off goes on from its last checkpoint.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from codegen.errors import ThumbnetError
from codegen.zoo.keras_model import keras_model, legacy_keras
from codegen.zoo.network import Network
from codegen.zoo.registry import build_network
from codegen.zoo.weights import Weights

BORDER_SHARE = 8
"""A picture's side over the reflected pixels around it that the random crop may reach."""
SQUARE_SHARE = 4
"""A picture's side over that of the grey square."""

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Dataset:
    """Pictures uint8 [N, S, S, 3] (RGB) and their class numbers int32 [N]."""

    images: Images
    labels: Labels


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a run learns.

    Attributes:
        network_name: A network of the zoo that ends in the layer ``logits``.
        classes: Number of classes.
        epochs: Passes over the pictures at most.
        seed: Of weights and batches.
        alpha: Width multiplier.
        resolution: Rows and columns of the network's input.
        batch: Pictures of a step.
        rate: Largest learning rate.
        warmup_epochs: Until it is reached.
        momentum: Nesterov's.
        decay: Of kernels.
        depthwise_decay: Of depthwise kernels.
        smoothing: Of labels.
        average: Share of the old in the moving average of the weights.
        patience: Epochs without a better result on the pictures held out after which training ends;
            None runs all epochs and keeps the last weights. Those of the warm-up do not count.
    """

    network_name: str = "mobilenet_v1"
    classes: int = 10
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
    average: float = 0.999
    patience: int | None = None

    def network(self) -> Network:
        """The network that is trained."""
        return build_network(self.network_name, self.alpha, self.resolution, self.classes)

    def rate_at(self, epoch: float) -> float:
        """Learning rate after a fractional number of epochs: linear warm-up, then a cosine."""
        if epoch < self.warmup_epochs:
            return self.rate * (epoch + 0.01) / self.warmup_epochs
        share = (epoch - self.warmup_epochs) / max(1, self.epochs - self.warmup_epochs)
        return self.rate * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def augmented_batches(data: Dataset, recipe: Recipe, epoch: int) -> Iterator[tuple[Images, Labels]]:
    """One epoch of shuffled, randomly changed batches; the last incomplete one is left out.

    The same seed and epoch give the same batches, whatever was drawn before.

    Yields:
        Pictures uint8 [batch, S, S, 3] and labels int32 [batch].
    """
    random = np.random.default_rng([recipe.seed, epoch])
    order = random.permutation(len(data.labels))
    border = data.images.shape[1] // BORDER_SHARE
    pad = ((0, 0), (border, border), (border, border), (0, 0))
    for start in range(0, len(order) - recipe.batch + 1, recipe.batch):
        chosen = order[start : start + recipe.batch]
        padded = np.pad(data.images[chosen], pad, mode="reflect")
        images = _random_crops(padded, border, random)
        mirrored = random.random(len(images)) < 0.5
        images[mirrored] = images[mirrored, :, ::-1]
        _grey_squares(images, images.shape[1] // SQUARE_SHARE, random)
        yield images, data.labels[chosen]


def _random_crops(padded: Images, border: int, random: np.random.Generator) -> Images:
    """Cuts [N, S + 2 border, S + 2 border, 3] at N random places to [N, S, S, 3]."""
    top = random.integers(0, 2 * border + 1, len(padded))
    left = random.integers(0, 2 * border + 1, len(padded))
    side = padded.shape[1] - 2 * border
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(1, 2))
    chosen = windows[np.arange(len(padded)), top, left]  # [N, 3, S, S]
    return np.ascontiguousarray(chosen.transpose(0, 2, 3, 1))


def _grey_squares(images: Images, side: int, random: np.random.Generator) -> None:
    """Paints one grey square of `side` pixels, partly outside at times, into half the pictures."""
    free = images.shape[1] - side // 2
    top = random.integers(-side // 2, free, len(images))
    left = random.integers(-side // 2, free, len(images))
    for i in np.flatnonzero(random.random(len(images)) < 0.5):
        rows = slice(max(0, top[i]), top[i] + side)
        columns = slice(max(0, left[i]), left[i] + side)
        images[i, rows, columns] = 128


class Trainer:
    """A model in training, its momentum and the moving average of its weights."""

    def __init__(self, recipe: Recipe, weights: Weights | None = None) -> None:
        """Builds the model with these weights, or random ones that depend on the recipe's seed."""
        keras = legacy_keras()
        import tensorflow as tf

        _set_threads()
        keras.utils.set_random_seed(recipe.seed)
        self.recipe = recipe
        self.model = keras_model(recipe.network(), weights)
        self.averaged = keras_model(recipe.network())
        self.averaged.set_weights(self.model.get_weights())
        self.momenta = [tf.Variable(tf.zeros_like(v)) for v in self.model.trainable_variables]
        self.step = _make_step(self, keras)
        self.predict = _make_predict(self.averaged, recipe.resolution)

    def remember(self, steps: int) -> None:
        """Lets BatchNormalization's averages reach over an epoch of so many steps at most.

        With a few hundred pictures an epoch is a few steps, and averages that reach over a hundred
        would still hold their first values when the network is measured.
        """
        for layer in self.model.layers:
            if layer.name.endswith("_bn"):
                layer.momentum = min(layer.momentum, 1 - 1 / (steps + 1))

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
            ThumbnetError: The checkpoint belongs to another recipe.
        """
        with np.load(path) as arrays:
            if str(arrays["recipe"]) != self._identity():
                raise ThumbnetError(f"{path} belongs to another recipe: {arrays['recipe']}")
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
    """Resizes uint8 [N, S, S, 3] (bilinear, pixel centres at halves) and scales to [-1, 1]."""
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
            loss = loss_of(tf.one_hot(labels, recipe.classes), logits)
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
    recipe: Recipe,
    training: Dataset,
    held_out: Dataset,
    checkpoint: Path | None = None,
    weights: Weights | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Any:
    """Trains and returns the averaged model.

    Args:
        recipe: How.
        training: What is learnt.
        held_out: Pictures that are only counted. With ``recipe.patience`` they decide when to
            stop and which epoch's weights are kept; otherwise no choice depends on them.
        checkpoint: File to write to after each epoch, and to go on from if it exists.
        weights: To start from; None for random ones.
        say: Told each epoch's line.

    Raises:
        ThumbnetError: There are fewer pictures than a batch has, or the checkpoint belongs to
            another recipe.
    """
    if len(training.labels) < recipe.batch:
        raise ThumbnetError(
            f"There are {len(training.labels)} pictures to train on, fewer than a batch of "
            f"{recipe.batch}. Give more pictures or a smaller --batch."
        )
    trainer = Trainer(recipe, weights)
    trainer.remember(len(training.labels) // recipe.batch)
    first = trainer.restore(checkpoint) if checkpoint and checkpoint.exists() else 0
    best, best_epoch, kept = -1, first, None
    for epoch in range(first, recipe.epochs):
        start = time.monotonic()
        loss, accuracy = trainer.train_epoch(training, epoch)
        if checkpoint:
            trainer.save(checkpoint, epoch + 1)
        right = trainer.count_right(held_out)
        say(
            f"epoch {epoch + 1}/{recipe.epochs}  loss {loss:.4f}  training {accuracy:.4f}  "
            f"held out {right}/{len(held_out.labels)}  {time.monotonic() - start:.1f} s"
        )
        if recipe.patience is None:
            continue
        if right > best or epoch < recipe.warmup_epochs:
            best, best_epoch, kept = right, epoch, trainer.averaged.get_weights()
        elif epoch - best_epoch >= recipe.patience:
            say(f"no better for {recipe.patience} epochs: stopped")
            break
    if kept is not None:
        say(f"kept: epoch {best_epoch + 1}, held out {best}/{len(held_out.labels)}")
        trainer.averaged.set_weights(kept)
    return trainer.averaged
