"""Compiles every ONNX file of a folder, verifies it on the host and on every core, writes a table.

    python benchmarks/verify_models.py --models DIR --calibrate DIR_OR_FILE -o docs/measured.md

Nothing is asserted: the table says what was equal and what it cost. Models whose name begins with
``vww`` take pixel / 255, those with ``qdq`` in it bytes, all others pixel / 127.5 - 1.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from codegen.errors import ThumbnetError
from codegen.flow import CompileOptions, compile_model
from codegen.preprocess import parse_preprocess
from codegen.verify import VerifyReport, verify_model

CORES = ("m0plus", "m3", "m4", "m7", "m33", "m55")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, required=True, help="folder of ONNX files")
    parser.add_argument("--calibrate", type=Path, required=True, help="pictures")
    parser.add_argument("--images", type=int, default=10, help="pictures to verify with")
    parser.add_argument("--only", default="", help="only files whose name contains this")
    parser.add_argument("-o", "--out", type=Path, required=True, help="Markdown file to write")
    arguments = parser.parse_args()
    rows = []
    for model in sorted(arguments.models.glob("*.onnx")):
        if arguments.only in model.name:
            rows.append(measure(model, arguments.calibrate, arguments.images))
            print(rows[-1], flush=True)
    arguments.out.write_text(table(rows, arguments.images), encoding="utf-8")


def measure(model: Path, calibrate: Path, images: int) -> tuple[str, ...]:
    """One row of the table."""
    spec = "unit" if model.name.startswith("vww") else "signed"
    preprocess = parse_preprocess("raw" if "qdq" in model.name else spec)
    with tempfile.TemporaryDirectory(prefix="thumbnet-") as work:
        out = Path(work) / "out"
        started = time.perf_counter()
        try:
            report = compile_model(
                CompileOptions(out, model, calibrate, preprocess=preprocess)
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


def table(rows: list[tuple[str, ...]], images: int) -> str:
    """The Markdown text."""
    head: tuple[str, ...] = ("model", "M multiply-adds", "arena B", "stack B", "flash B")
    head += (f"bytes compared, {images} images", *CORES, "compile s")
    lines = [" | ".join(head), " | ".join("---" for _ in head), *(" | ".join(row) for row in rows)]
    return (
        "# Measured\n\nMade by `benchmarks/verify_models.py`. Simulator, host (gcc and clang) and "
        "emulated cores, every byte of every layer. Columns of cores: million instructions of one "
        "inference in QEMU. Arena includes the input image; flash is weights, tables and code for "
        "Cortex-M4, without runner and startup code.\n\n"
        + "".join(f"| {line} |\n" for line in lines)
    )


if __name__ == "__main__":
    main()
