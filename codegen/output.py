"""Output folders and files: written whole or not at all, recognised when they are read again."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codegen.errors import ThumbnetError
from codegen.graph_file import FILE_NAME, load_graph
from codegen.ir import Graph
from codegen.plan import Plan, make_plan

REPORT_NAME = "compile.json"


@dataclass(frozen=True, eq=False)
class Output:
    """What a folder made by ``compile`` holds.

    Attributes:
        folder: The folder.
        graph: The int8 graph.
        report: The document of ``compile --json``.
    """

    folder: Path
    graph: Graph
    report: dict[str, Any]

    @property
    def name(self) -> str:
        """Prefix of the C names and files."""
        return str(self.report["name"])

    @property
    def core(self) -> str:
        """Core that the C was generated for."""
        return str(self.report["core"])

    def plan(self, core: str) -> Plan:
        """The plan for a core, made as ``compile`` made it."""
        report = self.report
        return make_plan(
            self.graph,
            core,
            report["optimize"],
            report["flash_budget"],
            report["kernels"],
            report["unroll"],
        )


def read_output(folder: Path) -> Output:
    """Reads an output folder.

    Raises:
        ThumbnetError: It does not exist, was not made by thumbnet, or is damaged.
    """
    if not folder.is_dir():
        raise ThumbnetError(f"{folder} is no folder. Make it with `thumbnet compile`.")
    graph = load_graph(folder / FILE_NAME)
    path = folder / REPORT_NAME
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        output = Output(folder, graph, report)
        for key in ("name", "core", "optimize", "flash_budget", "kernels", "unroll"):
            report[key]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ThumbnetError(
            f"{path} is missing or damaged ({error}). Run `thumbnet compile` again."
        ) from error
    return output


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def new_folder(out: Path, force: bool, marker: str = FILE_NAME) -> Iterator[Path]:
    """A folder beside ``out`` to write to; takes its place when the block ends without error.

    Args:
        out: The folder to make.
        force: Replace it if it was made by thumbnet.
        marker: File by which such a folder is recognised.

    Raises:
        ThumbnetError: ``out`` exists and must not be replaced, or its parent cannot be written.
    """
    _check_free(out, force, marker)
    # The name is known before the folder is: whenever an interruption comes, it can be removed.
    work = out.parent / f".{out.name}.{secrets.token_hex(4)}"
    try:
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            work.mkdir(mode=0o700)
        except OSError as error:
            raise ThumbnetError(f"Cannot write to {out.parent}: {error.strerror}.") from error
        yield work
        work.chmod(0o777 & ~_umask())
        _check_free(out, force, marker)  # again: something may have come there meanwhile
        if out.exists():
            shutil.rmtree(out)
        os.replace(work, out)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A file beside ``path`` to write to; takes its place when the block ends without error."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(descriptor)
    try:
        yield Path(name)
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _check_free(out: Path, force: bool, marker: str) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out.is_dir() and (out / marker).exists()):
        raise ThumbnetError(f"{out} exists and was not made by thumbnet. Choose another folder.")
    if not force:
        raise ThumbnetError(f"{out} exists. Add --force to replace it, or choose another folder.")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
