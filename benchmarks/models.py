"""The command line of the benchmarks that go through a folder of ONNX files."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from codegen.ir import Preprocess
from codegen.preprocess import parse_preprocess


@dataclass(frozen=True)
class Arguments:
    """What was asked for.

    Attributes:
        models: ONNX files.
        calibrate: Pictures.
        images: How many to verify with.
        out: Markdown file to write.
    """

    models: tuple[Path, ...]
    calibrate: Path
    images: int
    out: Path


def parse_arguments(description: str, images: int) -> Arguments:
    """Reads the command line; ``images`` is a default."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--models", type=Path, required=True, help="folder of ONNX files")
    parser.add_argument("--calibrate", type=Path, required=True, help="pictures")
    parser.add_argument("--images", type=int, default=images, help="pictures to verify with")
    parser.add_argument("--only", default="", help="only files whose name contains this")
    parser.add_argument("-o", "--out", type=Path, required=True, help="Markdown file to write")
    found = parser.parse_args()
    models = tuple(m for m in sorted(found.models.glob("*.onnx")) if found.only in m.name)
    return Arguments(models, found.calibrate, found.images, found.out)


def preprocess_of(model: Path) -> Preprocess:
    """``vww...`` takes pixel / 255, a quantized file pixels, all others pixel / 127.5 - 1."""
    spec = "unit" if model.name.startswith("vww") else "signed"
    return parse_preprocess("raw" if "qdq" in model.name else spec)
