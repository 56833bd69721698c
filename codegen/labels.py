"""Class numbers of pictures: from a table, or from one folder per class."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from codegen.errors import ThumbnetError
from codegen.image_files import LABELS_FILE, Folder, Zip, brief


@dataclass(frozen=True)
class LabelOptions:
    """Where class numbers come from.

    Attributes:
        file_column: Column of labels.csv with the picture's name.
        class_column: Column of labels.csv with the class, a whole number.
        offset: Added to every class number, 1 for a network with a background class in front.
    """

    file_column: str = "file"
    class_column: str = "class"
    offset: int = 0


def read_labels(
    source: Folder | Zip, names: Sequence[str], options: LabelOptions
) -> NDArray[np.int64] | None:
    """One class number a picture: from labels.csv, else from one folder per class, else None.

    Raises:
        ThumbnetError: The table cannot be read or does not belong to the pictures.
    """
    if LABELS_FILE in source.files:
        rows = _read_csv(source, options)
        lost = sorted(set(rows) - set(source.files))
        bare = [name for name in names if name not in rows]
        for text, wrong in (("is in the table, but not here", lost), ("has no row", bare)):
            if wrong:
                more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
                raise ThumbnetError(f"{source.where}: {LABELS_FILE}: {wrong[0]} {text}{more}")
        numbers = [rows[name] for name in names]
    else:
        parents = [PurePosixPath(name).parent.as_posix() for name in names]
        if any(parent == "." or "/" in parent for parent in parents):
            return None
        order = sorted({*parents, *(name for name in source.folders if "/" not in name)})
        numbers = [order.index(parent) for parent in parents]
    return shifted(np.array(numbers, np.int64), options, source.where)


def _read_csv(source: Folder | Zip, options: LabelOptions) -> dict[str, int]:
    where = f"{source.where}: {LABELS_FILE}"
    rows: dict[str, int] = {}
    try:
        text = _read(source, LABELS_FILE).decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, restval="")
        columns = [column.strip() for column in reader.fieldnames or ()]
        for option, column in (("file", options.file_column), ("class", options.class_column)):
            if column not in columns:
                raise ThumbnetError(
                    f"{where} has no column {column!r}, only {', '.join(columns) or 'none'}; "
                    f"name it with --{option}-column"
                )
        reader.fieldnames = columns
        for row in reader:
            name = PurePosixPath(row[options.file_column].strip().replace("\\", "/")).as_posix()
            number = row[options.class_column].strip()
            if not number.lstrip("-").isdecimal() or len(number) > 9:
                raise ThumbnetError(
                    f"{where}, line {reader.line_num}: class {number!r} is not a whole number"
                )
            if rows.setdefault(name, int(number)) != int(number):
                raise ThumbnetError(f"{where}: {name} is in two classes, {rows[name]} and {number}")
    except (ValueError, csv.Error) as error:
        raise ThumbnetError(f"{where}: no readable table ({brief(error)})") from error
    return rows


def _read(source: Folder | Zip, name: str) -> bytes:
    try:
        return source.read(name)
    # A damaged archive raises nearly anything, from zlib.error to NotImplementedError.
    except Exception as error:
        if isinstance(error, OSError):
            raise
        raise ValueError(brief(error)) from error


def shifted(classes: NDArray[np.int64], options: LabelOptions, where: str) -> NDArray[np.int64]:
    """Classes with the offset.

    Raises:
        ThumbnetError: One is negative.
    """
    moved = classes + options.offset
    if moved.min() < 0:
        raise ThumbnetError(
            f"{where}: class {classes.min()} with offset {options.offset} is negative; "
            "classes count from 0, see --class-offset"
        )
    return moved
