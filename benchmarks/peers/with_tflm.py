"""tflite-micro: TFLM's interpreter on this computer, for its outputs and its arena."""

from __future__ import annotations

import os
import re
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.subject import Row, Subject, agreement, int8_probabilities
from codegen.errors import ThumbnetError

_ARENA = 1 << 20
_USED = re.compile(r"Arena allocation (total|head) (\d+) bytes")


def rows(subject: Subject, folder: Path) -> list[Row]:
    """One row, without a count: the package holds code for this computer only.

    Raises:
        ImportError: tflite-micro is not installed.
    """
    from tflite_micro import runtime

    interpreter = runtime.Interpreter.from_file(str(subject.int8_model), arena_size=_ARENA)
    outputs = []
    for image in subject.int8_inputs:
        interpreter.set_input(image[None], 0)
        interpreter.invoke()
        outputs.append(interpreter.get_output(0).reshape(-1))
    used = _arena(interpreter)
    note = (
        f"no Cortex-M code in the package: not counted (see TFLM below); arena here "
        f"{used['total']:,} B, tensors {used['head']:,} B of it"
    )
    probabilities = int8_probabilities(np.array(outputs, np.int8))
    return [
        Row(
            f"tflite-micro {version('tflite-micro').split('-')[0]}",
            "official int8 TFLite",
            agreement=agreement(subject, probabilities),
            note=note,
        )
    ]


def _arena(interpreter: Any) -> dict[str, int]:
    """Bytes of the arena, which the interpreter prints to standard error."""
    saved = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            interpreter.print_allocations()
        finally:
            os.dup2(saved, 2)
            os.close(saved)
        file.seek(0)
        text = file.read().decode("utf-8", "replace")
    used = {name: int(size) for name, size in _USED.findall(text)}
    if len(used) != 2:
        raise ThumbnetError("tflite-micro prints its allocations in another form than it did")
    return used
