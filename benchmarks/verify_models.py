"""Compiles every ONNX file of a folder, verifies it on the host and on every core, writes a table.

    python -m benchmarks.verify_models --models DIR --calibrate DIR_OR_FILE -o docs/measured.md

Nothing is asserted: the table says what was equal and what it cost. Models whose name begins with
``vww`` take pixel / 255, those with ``qdq`` in it bytes, all others pixel / 127.5 - 1.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.markdown import table
from benchmarks.models import parse_arguments, preprocess_of
from codegen.errors import ThumbnetError
from codegen.flow import CompileOptions, compile_model
from codegen.verify import VerifyReport, verify_model

CORES = ("m0plus", "m3", "m4", "m7", "m33", "m55")


def main() -> None:
    """Command line."""
    arguments = parse_arguments(__doc__.splitlines()[0], images=10)
    rows = []
    for model in arguments.models:
        rows.append(measure(model, arguments.calibrate, arguments.images))
        print(rows[-1], flush=True)
    arguments.out.write_text(page(rows, arguments.images), encoding="utf-8")


def measure(model: Path, calibrate: Path, images: int) -> tuple[str, ...]:
    """One row of the table."""
    with tempfile.TemporaryDirectory(prefix="thumbnet-") as work:
        out = Path(work) / "out"
        started = time.perf_counter()
        try:
            report = compile_model(
                CompileOptions(out, model, calibrate, preprocess=preprocess_of(model))
            ).to_json()
        except ThumbnetError as error:
            return (model.stem, *("-",) * 4, f"refused: {error}", *("-",) * len(CORES), "-")
        seconds = time.perf_counter() - started
        targets = ("host", "host:clang", "qemu:all")
        verified = verify_model(out, targets, calibrate, limit=images)
    ram, flash = report["ram"], report["flash"]
    return (
        model.stem,
        f"{report['macs'] / 1e6:.2f}",
        f"{ram['arena']:,}",
        f"{ram['stack']:,}",
        f"{flash['total']:,}",
        result(verified),
        *(instructions(verified, core) for core in CORES),
        f"{seconds:.1f}",
    )


def result(verified: VerifyReport) -> str:
    """How many bytes were equal, or the first difference."""
    for target in verified.targets:
        if target.difference:
            return f"{target.target}: {target.difference}"
    return f"{sum(target.bytes for target in verified.targets):,} equal"


def instructions(verified: VerifyReport, core: str) -> str:
    """Million instructions of one inference."""
    for target in verified.targets:
        if target.target == f"qemu:cortex-{core}" and target.instructions:
            return f"{target.instructions / 1e6:.1f}"
    return "-"


def page(rows: list[tuple[str, ...]], images: int) -> str:
    """The Markdown text."""
    head = (
        *("model", "M multiply-adds", "arena B", "stack B", "flash B"),
        *(f"bytes compared, {images} images", *CORES, "compile s"),
    )
    return (
        "# Measured\n\nMade by `benchmarks/verify_models.py`. Simulator, host (gcc and clang) and "
        "emulated cores, every byte of every layer. Columns of cores: million instructions of one "
        "inference in QEMU. Arena includes the input image; flash is weights, tables and code for "
        "Cortex-M4, without runner and startup code.\n\n" + table(head, rows)
    )


if __name__ == "__main__":
    main()
