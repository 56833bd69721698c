"""Sizes of a generated model: what a cross compiler makes of it, without runner or startup code."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from codegen.boards import Core
from codegen.elf import elf_sizes
from codegen.toolchain import find_tool, run

_TIMEOUT = 600.0
_FLAGS = ("-O2", "-std=c99", "-mthumb", "-ffreestanding", "-ffunction-sections", "-fdata-sections")


@dataclass(frozen=True)
class ModelSizes:
    """Bytes of a model.

    Attributes:
        weights: int8 weights.
        tables: Biases, multipliers, look-up tables.
        code: Instructions; None if it was not compiled.
        stack: Of NAME_run and what it calls, as the compiler lays it out; None likewise.
    """

    weights: int
    tables: int
    code: int | None = None
    stack: int | None = None


def measure_model(folder: Path, name: str, core: Core, build_dir: Path) -> ModelSizes:
    """Compiles the generated C files for ``core`` and measures the objects.

    Raises:
        ThumbnetError: The compiler is missing or fails.
    """
    compiler = find_tool("arm-none-eabi-gcc")

    def build(stem: str) -> Path:
        target = build_dir / f"{stem}.o"
        source = folder / f"{stem}.c"
        flags = (*core.gcc_flags, *_FLAGS, "-fstack-usage", f"-I{folder}")
        run([compiler, *flags, "-c", str(source), "-o", str(target)], _TIMEOUT)
        return target

    with ThreadPoolExecutor(2) as pool:
        objects = [elf_sizes(path) for path in pool.map(build, (name, f"{name}_weights"))]
    return ModelSizes(
        weights=sum(sizes.weights for sizes in objects),
        tables=sum(sizes.rodata for sizes in objects),
        code=sum(sizes.code for sizes in objects),
        stack=_stack(build_dir / f"{name}.su"),
    )


def _stack(usage: Path) -> int:
    """Of the deepest call: one kernel below NAME_run; kernels call nothing."""
    lines = (line.split("\t") for line in usage.read_text(encoding="utf-8").splitlines())
    frames = {place.rsplit(":", 1)[1]: int(size) for place, size, *_ in lines}
    run_frames = [size for function, size in frames.items() if function.endswith("_run")]
    return max(run_frames) + max(
        (s for f, s in frames.items() if not f.endswith("_run")), default=0
    )
