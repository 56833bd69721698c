"""Verifies every variant of the plan of every ONNX file of a folder, byte by byte, and says so.

    python -m benchmarks.verify_variants --models DIR --calibrate DIR_OR_FILE -o docs/variants.md

A variant is an objective, simplified or not, and a form of the kernels. Each is compared with the
simulator on the host, whose checking build also looks for writes outside a stage's row, and on an
emulated Cortex-M4. Nothing is asserted: the table says what was equal. Models whose name begins
with ``vww`` take pixel / 255, all others pixel / 127.5 - 1.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.markdown import table
from benchmarks.models import parse_arguments, preprocess_of
from codegen.errors import ThumbnetError
from codegen.flow import CompileOptions, compile_model
from codegen.plan import OBJECTIVES
from codegen.verify import verify_model

TARGETS = ("host", "qemu:cortex-m4")
FORMS: dict[str, tuple[str | None, int | None]] = {
    "weight chain": (None, None),
    "packed": (None, 0),
    "portable": ("portable", None),
}
"""Kernel family and flash budget."""


def main() -> None:
    """Command line."""
    arguments = parse_arguments(__doc__.splitlines()[0], images=1)
    rows = []
    names = ("model", "objective", "simplified", "kernels", "arena", *TARGETS, "bytes compared")
    text = "# Every variant of the plan\n\nMade by `benchmarks/verify_variants.py`.\n\n"
    for model in arguments.models:
        for row in variants(model, arguments.calibrate, arguments.images):
            print(" | ".join(row), flush=True)
            rows.append(row)
        arguments.out.write_text(text + table(names, rows), encoding="utf-8")


def variants(model: Path, calibrate: Path, images: int) -> Iterator[tuple[str, ...]]:
    """One row for each variant of a model."""
    for objective, simplify, form in itertools.product(OBJECTIVES, (True, False), FORMS):
        kernels, budget = FORMS[form]
        with tempfile.TemporaryDirectory(prefix="thumbnet-") as work:
            options = CompileOptions(
                Path(work) / "out",
                model,
                calibrate,
                preprocess=preprocess_of(model),
                optimize=objective,
                simplify=simplify,
                kernels=kernels,
                flash_budget=budget,
                limit=10,
                build=False,
            )
            what = (model.stem, objective, "yes" if simplify else "no", form)
            try:
                arena = compile_model(options).plan.arena_bytes
                verified = verify_model(options.out, TARGETS, calibrate, limit=images)
            except ThumbnetError as error:
                yield (*what, "-", *(f"{error}",) * len(TARGETS), "-")
                continue
        results = [
            "equal" if target.equal else str(target.difference) for target in verified.targets
        ]
        compared = sum(target.bytes for target in verified.targets)
        yield (*what, f"{arena:,}", *results, f"{compared:,}")


if __name__ == "__main__":
    main()
