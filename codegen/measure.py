"""Sizes of a generated model: what a cross compiler makes of it, without runner or startup code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from codegen.boards import Core
from codegen.elf import elf_sizes
from codegen.toolchain import find_tool, run

_TIMEOUT = 600.0
_FLAGS = ("-O2", "-std=c99", "-mthumb", "-ffreestanding", "-ffunction-sections", "-fdata-sections")
_CALLS = (("_run",), ("_push_rows", "_finish"), ("make_row",))
"""Ends of the names of functions above the kernels, each called by those before it."""


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


def measure_model(
    folder: Path, name: str, core: Core, constants: ModelSizes, build_dir: Path
) -> ModelSizes:
    """Compiles the generated C files for ``core`` and measures the objects.

    Args:
        folder: The generated files.
        name: Name of the model.
        core: What to compile for.
        constants: Sizes of the arrays in NAME_weights.c: to the byte what a compiler makes of it,
            so that its megabytes of numbers are not compiled for that.
        build_dir: Where objects go.

    Raises:
        ThumbnetError: The compiler is missing or fails.
    """
    compiler = find_tool("arm-none-eabi-gcc")

    def build(source: Path) -> Path:
        target = build_dir / f"{source.stem}.o"
        flags = (*core.gcc_flags, *_FLAGS, "-fstack-usage", f"-I{folder}", f"-Wa,-I,{folder}")
        run([compiler, *flags, "-c", str(source), "-o", str(target)], _TIMEOUT)
        return target

    with ThreadPoolExecutor(2) as pool:
        camera = list(folder.glob(f"{name}_camera.c"))
        sources = (folder / f"{name}.c", *camera, *folder.glob("*_kernels.S"))
        objects = [elf_sizes(path) for path in pool.map(build, sources)]
    return ModelSizes(
        weights=constants.weights,
        tables=constants.tables + sum(sizes.rodata for sizes in objects),
        code=sum(sizes.code for sizes in objects),
        stack=_stack(build_dir / f"{name}.su")
        + sum(size for c in camera for _, size in _frames(build_dir / f"{c.stem}.su"))
        + max(map(_assembly_stack, sources)),
    )


def _assembly_stack(source: Path) -> int:
    """Bytes of the largest frame of a function in assembly: all push nine registers."""
    if source.suffix != ".S":
        return 0
    frames = re.findall(r"^ +sub +sp, sp, #(\d+)$", source.read_text(encoding="ascii"), re.M)
    return 9 * 4 + max(map(int, frames), default=0)


def _stack(usage: Path) -> int:
    """Bytes of the deepest call in C: NAME_run, push_rows or finish, make_row, one kernel."""
    depth = [0, 0, 0, 0]
    for function, size in _frames(usage):
        level = next((i for i, ends in enumerate(_CALLS) if function.endswith(ends)), len(_CALLS))
        depth[level] = max(depth[level], size)
    return sum(depth)


def _frames(usage: Path) -> Iterator[tuple[str, int]]:
    """Name and bytes of stack of each function, from a file of gcc's -fstack-usage."""
    for line in usage.read_text(encoding="utf-8").splitlines():
        place, size, *_ = line.split("\t")
        yield place.rsplit(":", 1)[1], int(size)
