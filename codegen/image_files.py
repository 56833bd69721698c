"""Where pictures lie: a folder, a zip, an npz. Lists and reads; knows nothing of pixels."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.errors import ThumbnetError

LABELS_FILE = "labels.csv"


def brief(error: BaseException) -> str:
    """The first line of an error's text, for a message."""
    text = str(error).splitlines()[0][:120] if str(error) else ""
    if "cannot identify image file" in text:
        return "no picture"
    return text or type(error).__name__


class Folder:
    """The files of a folder, or one of them, by their path relative to it."""

    def __init__(self, root: Path, only: str | None = None) -> None:
        self.where = str(root / only if only else root)
        self._root = root
        found = [root / only] if only else list(root.rglob("*"))
        paths = {path.relative_to(root).as_posix(): path for path in found}
        shown = [name for name in paths if _shown(name)] if only is None else list(paths)
        self.files = sorted(name for name in shown if paths[name].is_file())
        self.folders = {name for name in shown if paths[name].is_dir()}

    def read(self, name: str) -> bytes:
        """The bytes of a file."""
        return (self._root / name).read_bytes()


class Zip:
    """The members of a zip, by their path below the folder that all of them share, if any."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.where = str(path)
        self._archive = archive
        names = [name for name in archive.namelist() if _shown(name)]
        tops = {name.partition("/")[0] for name in names}
        deeper = any(name.count("/") > 1 or name.endswith("/" + LABELS_FILE) for name in names)
        self._prefix = f"{tops.pop()}/" if len(tops) == 1 and deeper else ""
        inner = [name[len(self._prefix) :] for name in names]
        self.files = sorted({name for name in inner if name and not name.endswith("/")})
        self.folders = {name.rstrip("/") for name in inner if name.endswith("/")}

    def read(self, name: str) -> bytes:
        """The bytes of a member."""
        return self._archive.read(self._prefix + name)


def _shown(name: str) -> bool:
    return not any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)


def open_zip(path: Path) -> zipfile.ZipFile:
    """Opens an archive.

    Raises:
        ThumbnetError: It is damaged.
    """
    try:
        return zipfile.ZipFile(path)
    # A damaged archive raises nearly anything; only the operating system's errors mean more.
    except Exception as error:
        if isinstance(error, OSError):
            raise
        raise ThumbnetError(f"{path}: damaged or no zip file ({brief(error)})") from error


def read_npz(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Those of the named arrays that a file has.

    Raises:
        ThumbnetError: It is damaged.
    """
    try:
        file = np.load(path, allow_pickle=False)
        if isinstance(file, np.ndarray):
            raise ValueError("one array only, as np.save writes it")
        with file:
            return {name: file[name] for name in names if name in file.files}
    # A damaged file raises nearly anything; only the operating system's errors mean more.
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        text = f"{path}: damaged or no npz file of numbers ({brief(error)})"
        raise ThumbnetError(text) from error
