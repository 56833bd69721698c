"""emx-onnx-cgen: the float network, and the same quantized to QDQ by onnxruntime."""

from __future__ import annotations

import logging
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from benchmarks.bare import CProgram, measure, run_on_host
from benchmarks.peers.subject import NAME, Row, Subject, agreement
from codegen.errors import ThumbnetError
from codegen.toolchain import run

_ADAPTER = Path(__file__).parent / "adapters" / "emx.c"
_TIMEOUT = 600.0
_OPTIONS = ("--large-temp-threshold", "0", "--large-weight-threshold", "0")
"""No heap and no file system: tensors on the stack, weights in the C file."""


def rows(subject: Subject, folder: Path) -> list[Row]:
    """A row for float and one for QDQ.

    Raises:
        ImportError: emx-onnx-cgen is not installed.
        ThumbnetError: It refuses a model, or the program does not build.
    """
    import emx_onnx_cgen  # noqa: F401  (it is run as a command)

    folder.mkdir(parents=True)
    quantized = folder / "qdq.onnx"
    quantize_qdq(subject, quantized)
    note = "each tensor has a place of its own on the stack"
    return [
        _row(subject, subject.float_model, folder / "float", "float", "float ONNX", note),
        _row(
            subject,
            quantized,
            folder / "qdq",
            "QDQ",
            "QDQ int8 ONNX of onnxruntime",
            f"convolutions run in float; {note}",
        ),
    ]


def _row(subject: Subject, model: Path, folder: Path, kind: str, what: str, note: str) -> Row:
    folder.mkdir()
    source = folder / f"{NAME}.c"
    command = [sys.executable, "-m", "emx_onnx_cgen", "compile", str(model), str(source)]
    run([*command, "--model-name", NAME, *_OPTIONS], _TIMEOUT)
    inputs = [image.tobytes() for image in subject.float_inputs(subject.pixels)]
    size = len(inputs[0])
    program = CProgram((source, _ADAPTER), size, 8, size)
    cost = measure(program, inputs[0], folder / "m4")
    outputs = run_on_host(program, inputs, folder / "host")
    probabilities = np.frombuffer(b"".join(outputs), np.float32).reshape(-1, 2)
    on_target = np.frombuffer(cost.output, np.float32)
    if not np.allclose(on_target, probabilities[0], atol=1e-2):
        raise ThumbnetError("emx-onnx-cgen's program computes something else than on the host")
    who = f"emx-onnx-cgen {version('emx-onnx-cgen')}, {kind}"
    return Row(who, what, cost, agreement(subject, probabilities), note)


def quantize_qdq(subject: Subject, out: Path) -> None:
    """Static quantization by onnxruntime: min-max, per channel, int8."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    inputs = iter(subject.float_inputs(subject.calibration))
    name = onnx.load(subject.float_model).graph.input[0].name

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        def get_next(self) -> dict[str, Any] | None:
            image = next(inputs, None)
            return None if image is None else {name: image[None]}

    logging.getLogger().setLevel(logging.ERROR)  # it advises to preprocess what is simple already
    quantize_static(
        str(subject.float_model),
        str(out),
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
    )
