"""Builds generated C with the model-free firmware around it, for the host and for a board."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from codegen.boards import Board, Core
from codegen.elf import Sizes, elf_sizes, weight_arrays
from codegen.errors import ThumbnetError
from codegen.linker import ANYWHERE, Layout, Need, linker_script, plan_layout
from codegen.programs import FOLDERS, PROGRAMS, board_defines, firmware_sources
from codegen.resources import resource
from codegen.toolchain import Children, find_tool, run

_COMPILE_TIMEOUT = 600.0
_WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-pedantic")
_COMMON = ("-std=c99", "-ffunction-sections", "-fdata-sections", *_WARNINGS)
_SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g")
_TARGET = ("-mthumb", "-ffreestanding", "-fno-common")
# gcc would turn the loops of memcpy and memset into calls of themselves.
_NO_LIBRARY_CALLS = "-fno-tree-loop-distribute-patterns"


@dataclass(frozen=True)
class _Job:
    """What all compilations of a program share."""

    compiler: str
    flags: tuple[str, ...]
    build_dir: Path
    children: Children


def build_host(
    sources_dir: Path,
    name: str,
    build_dir: Path,
    check: bool,
    cc: str = "gcc",
    sanitize: bool = False,
    *,
    optimize: str = "-O2",
    werror: bool = False,
    defines: Sequence[str] = (),
    firmware: Path | None = None,
) -> Path:
    """Builds the model and the runner for this computer.

    Args:
        sources_dir: The generated files (every .c and .S in it).
        name: Name of the model, and of the program.
        build_dir: Where objects and program go; is made.
        check: The checking build, which traces every row.
        cc: `gcc` or `clang`.
        sanitize: With address and undefined-behaviour sanitizers, which end the run.
        optimize: Optimization flag.
        werror: Warnings are errors.
        defines: More macros, as NAME or NAME=VALUE.
        firmware: Folder of the model-free C; None for thumbnet's own.

    Returns:
        Path of the program.

    Raises:
        ThumbnetError: The compiler is missing or fails; has its messages.
    """
    firmware = firmware or resource("firmware")
    includes = _includes(sources_dir, firmware)
    flags = (optimize, *_COMMON, *includes, *_defines(check, werror, defines))
    if sanitize:
        flags += _SANITIZERS
    job = _Job(find_tool(cc), flags, build_dir, Children())
    runner = [firmware / "runner" / file for file in ("runner.c", "port_host.c")]
    objects = _compile(job, [*_model_sources(sources_dir), *runner])
    program = build_dir / name
    link = [job.compiler, *(_SANITIZERS if sanitize else ()), *map(str, objects)]
    run([*link, "-o", str(program)], _COMPILE_TIMEOUT)
    return program


def build_target(
    sources_dir: Path,
    name: str,
    board: Board,
    core: Core,
    build_dir: Path,
    check: bool,
    stack_bytes: int | None = None,
    *,
    program: str = "runner",
    place: Mapping[str, str] = ANYWHERE,
    optimize: str = "-O2",
    werror: bool = False,
    defines: Sequence[str] = (),
    firmware: Path | None = None,
) -> Path:
    """Builds the model, a program around it and the startup code for a board, without any library.

    Args:
        sources_dir: The generated files (every .c and .S in it).
        name: Name of the model; the program is NAME.elf.
        board: Where it runs.
        core: What it is compiled for: the board's core or one whose code that core runs.
        build_dir: Where objects, linker script and program go; is made.
        check: The checking build, which traces every row.
        stack_bytes: Size of the process stack; None for the board's default.
        program: Which one, a key of ``PROGRAMS``.
        place: Regions chosen by hand, as in ``plan_layout``.
        optimize: Optimization flag.
        werror: Warnings are errors.
        defines: More macros, as NAME or NAME=VALUE.
        firmware: Folder of the model-free C; None for thumbnet's own.

    Returns:
        Path of the ELF file.

    Raises:
        ThumbnetError: The compiler is missing or fails, or the board's memory is too small.
    """
    firmware = firmware or resource("firmware")
    macros = [*board_defines(board), *PROGRAMS[program].defines, *defines]
    job = _Job(
        find_tool("arm-none-eabi-gcc"),
        (
            *(optimize, *core.gcc_flags, *_TARGET, *_COMMON),
            *_includes(sources_dir, firmware),
            *_defines(check, werror, macros),
        ),
        build_dir,
        Children(),
    )
    own = firmware_sources(board, program, firmware)
    objects = _compile(job, [*_model_sources(sources_dir), *own])
    layout = plan_layout(board, _need(objects), stack_bytes, place)
    return _link_target(job, core, board, layout, objects, build_dir / f"{name}.elf")


def _model_sources(sources_dir: Path) -> list[Path]:
    sources = [*sorted(sources_dir.glob("*.c")), *sorted(sources_dir.glob("*.S"))]
    if not sources:
        raise ThumbnetError(f"{sources_dir} holds no C files; is it a folder made by thumbnet?")
    return sources


def _includes(sources_dir: Path, firmware: Path) -> list[str]:
    # The assembler looks for the files of .incbin on a path of its own.
    own = [firmware / folder for folder in FOLDERS]
    folders = [sources_dir, sources_dir / "firmware", *own]
    return [*(f"-I{folder}" for folder in folders), f"-Wa,-I,{sources_dir}"]


def _defines(check: bool, werror: bool, defines: Iterable[str]) -> list[str]:
    flags = [f"-D{macro}" for macro in defines]
    if check:
        flags.append("-DTHUMBNET_CHECK")
    if werror:
        flags.append("-Werror")
    return flags


def _compile(job: _Job, sources: Sequence[Path]) -> list[Path]:
    """Compiles files in parallel; a failure or Ctrl-C ends those that still run."""
    job.build_dir.mkdir(parents=True, exist_ok=True)
    pool = ThreadPoolExecutor(os.cpu_count() or 1)
    try:
        return list(pool.map(lambda source: _compile_one(job, source), sources))
    except BaseException:
        job.children.end()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _compile_one(job: _Job, source: Path) -> Path:
    target = job.build_dir / f"{source.parent.name}_{source.stem}.o"
    extra = [_NO_LIBRARY_CALLS] if source.name == "mem.c" else []
    cmd = [job.compiler, *job.flags, *extra, "-c", str(source), "-o", str(target)]
    finished = run(cmd, _COMPILE_TIMEOUT, check=False, children=job.children)
    if finished.status != 0:
        raise ThumbnetError(f"{source} does not compile:\n{finished.text.strip()}")
    return target


def _need(objects: Sequence[Path]) -> Need:
    sizes: list[Sizes] = [elf_sizes(path) for path in objects]
    return Need(
        code=sum(s.code + s.rodata + s.data for s in sizes),
        weights=weight_arrays(objects),
        variables=sum(s.data + s.bss for s in sizes),
        arena=sum(s.arena for s in sizes),
    )


def _link_target(
    job: _Job, core: Core, board: Board, layout: Layout, objects: Sequence[Path], elf: Path
) -> Path:
    script = elf.with_suffix(".ld")
    script.write_text(linker_script(board, layout), encoding="utf-8")
    run(
        [
            *(job.compiler, *core.gcc_flags, "-mthumb", "-nostdlib", "-nostartfiles"),
            *("-Wl,--gc-sections", "-Wl,--fatal-warnings", f"-Wl,-T,{script}"),
            f"-Wl,-Map,{elf.with_suffix('.map')}",
            *(*map(str, objects), "-lgcc", "-o", str(elf)),
        ],
        _COMPILE_TIMEOUT,
    )
    return elf
