"""thumbnet itself, counted like every other C program."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.bare import CORE
from benchmarks.bare.thumbnet import NAME, measure_thumbnet
from benchmarks.peers.subject import (
    CALIBRATION_IMAGES,
    PREPROCESS,
    Row,
    Subject,
    agreement,
    int8_probabilities,
)
from codegen import __version__, simulate
from codegen.flow import CompileOptions, compile_model
from codegen.output import read_output
from codegen.preprocess import parse_preprocess

_NOTE = "rows of the image as they come, -O2 as its Makefile says"


def rows(subject: Subject, folder: Path) -> list[Row]:
    """A row with the options' defaults, and one that keeps the channels that carry nothing.

    Raises:
        ThumbnetError: The program computes something else than the simulator, or does not build.
    """
    options = CompileOptions(
        folder / "default",
        subject.float_model,
        subject.pictures,
        core=CORE,
        name=NAME,
        preprocess=parse_preprocess(PREPROCESS),
        limit=CALIBRATION_IMAGES,
    )
    whole = replace(options, out=folder / "whole", simplify=False)
    return [_row(subject, options, ""), _row(subject, whole, " --no-simplify")]


def _row(subject: Subject, options: CompileOptions, option: str) -> Row:
    macs = compile_model(options).to_json()["macs"]
    inputs = subject.int8_inputs
    cost = measure_thumbnet(options.out, inputs[0], options.out.with_suffix(".m4"))
    outputs = simulate.run(read_output(options.out).graph, inputs).reshape(len(inputs), -1)
    return Row(
        f"thumbnet {__version__}{option}",
        "float ONNX, int8 by thumbnet",
        cost,
        agreement(subject, int8_probabilities(np.asarray(outputs, np.int8))),
        f"{macs / 1e6:.2f} M multiply-adds are left to compute; {_NOTE}",
        own=True,
    )
