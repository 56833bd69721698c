"""What is compared: a network, pictures for it, what float makes of them, and rows of results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.bare import Cost
from codegen.images import load_images
from codegen.ir import FloatArray, Int8Array
from codegen.onnx_import import import_onnx
from codegen.onnx_runtime import FloatModel
from codegen.preprocess import Pixels, parse_preprocess, to_float

NAME = "net"
"""Prefix of C names that the adapters expect."""
FLOAT_MODEL = "vww_96_float_nhwc_op13.onnx"
INT8_MODEL = "vww_96_int8.tflite"
SHAPE = (96, 96, 3)
PREPROCESS = "unit"
CALIBRATION_IMAGES = 100

_STEPS = 256


@dataclass(frozen=True, eq=False)
class Subject:
    """Visual Wake Words, and pictures.

    Attributes:
        float_model: The trained network, ONNX.
        int8_model: The official int8 file, TFLite.
        pictures: Where the pictures are.
        calibration: uint8 [n, 96, 96, 3] to calibrate with.
        pixels: uint8 [N, 96, 96, 3] to compare with; none of them calibrates.
        reference: float32 [N, 2], probabilities of the trained network.
    """

    float_model: Path
    int8_model: Path
    pictures: Path
    calibration: Pixels
    pixels: Pixels
    reference: FloatArray

    @property
    def int8_inputs(self) -> Int8Array:
        """The pictures as every int8 program here takes them: pixel - 128."""
        return (self.pixels.astype(np.int16) - 128).astype(np.int8)

    def float_inputs(self, pixels: Pixels) -> FloatArray:
        """Pictures as the float network takes them."""
        return to_float(pixels, parse_preprocess(PREPROCESS))


@dataclass(frozen=True)
class Agreement:
    """How near two classes' probabilities are to float's.

    Attributes:
        images: Pictures.
        top1: Share with the same class, in percent.
        mean_steps: Mean difference of a probability in steps of 1/256.
        most_steps: The largest one.
    """

    images: int
    top1: float
    mean_steps: float
    most_steps: float


@dataclass(frozen=True)
class Row:
    """One line of the measured table.

    Attributes:
        who: The generator, with its version and options.
        what: The model that it was given.
        cost: What one inference takes; None if it was not counted.
        agreement: With float; None if no pictures were run.
        note: What a reader must know.
        own: It is thumbnet.
    """

    who: str
    what: str
    cost: Cost | None = None
    agreement: Agreement | None = None
    note: str = ""
    own: bool = False


def load_subject(models: Path, pictures: Path, count: int) -> Subject:
    """Reads the model and the pictures.

    Args:
        models: Folder that holds `FLOAT_MODEL` and `INT8_MODEL`.
        pictures: Folder, zip or npz.
        count: Pictures to compare with, at most.

    Raises:
        ThumbnetError: Something is missing or damaged.
    """
    preprocess = parse_preprocess(PREPROCESS)
    calibration = load_images(pictures, SHAPE, preprocess, CALIBRATION_IMAGES)
    every = load_images(pictures, SHAPE, preprocess)
    used = set(calibration.names)
    others = [i for i, name in enumerate(every.names) if name not in used]
    pixels = every.pixels[(others or list(range(len(every.names))))[:count]]
    model = FloatModel(import_onnx(models / FLOAT_MODEL))
    reference = model.run(to_float(pixels, preprocess)).reshape(len(pixels), -1)
    return Subject(
        models / FLOAT_MODEL,
        models / INT8_MODEL,
        pictures,
        calibration.pixels,
        pixels,
        reference,
    )


def agreement(subject: Subject, probabilities: FloatArray) -> Agreement:
    """Compares probabilities, [N, 2], with float's."""
    steps = np.abs(probabilities - subject.reference) * _STEPS
    same = probabilities.argmax(axis=1) == subject.reference.argmax(axis=1)
    return Agreement(len(same), 100 * float(same.mean()), float(steps.mean()), float(steps.max()))


def int8_probabilities(outputs: Int8Array) -> FloatArray:
    """Softmax outputs of scale 1/256 and zero point -128 as numbers."""
    return ((outputs.astype(np.float32) + 128) / 256).astype(np.float32)


def softmax(logits: FloatArray) -> FloatArray:
    """Probabilities, along the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), np.float32)
