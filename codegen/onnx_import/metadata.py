"""The properties that thumbnet's own exporters leave in an ONNX file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from onnx import ModelProto

from codegen.errors import ThumbnetError
from codegen.ir import Preprocess

PREPROCESS_KEY = "thumbnet.preprocess"
CLASSES_KEY = "thumbnet.classes"

CHANNELS = {"RGB": 3, "BGR": 3, "GRAY": 1}
RESIZE = ("stretch", "crop")


def read_preprocess(model: ModelProto, path: Path, channels: int) -> Preprocess | None:
    """The preprocessing that the file declares; None if it declares none.

    Args:
        model: The model.
        path: Its file, for messages.
        channels: Of the input.

    Raises:
        ThumbnetError: The declaration is malformed or does not fit the input.
    """
    value = _property(model, path, PREPROCESS_KEY)
    if value is None:
        return None
    if not isinstance(value, dict):
        raise _bad(path, PREPROCESS_KEY, "it is no JSON object")
    known = Preprocess()
    mean, std = (_numbers(path, value, name, channels) for name in ("mean", "std"))
    order = value.get("channels", known.channels if channels == 3 else "GRAY")
    resize = value.get("resize", known.resize)
    if min(map(abs, std)) == 0:
        raise _bad(path, PREPROCESS_KEY, "a std is 0")
    if order not in CHANNELS or CHANNELS[order] != channels:
        raise _bad(path, PREPROCESS_KEY, f"channels {order!r} do not fit an input of {channels}")
    if resize not in RESIZE:
        raise _bad(path, PREPROCESS_KEY, f"resize {resize!r} is none of {', '.join(RESIZE)}")
    return Preprocess(mean, std, order, resize)


def read_classes(model: ModelProto, path: Path, outputs: int) -> tuple[str, ...]:
    """The names of the classes that the file declares; empty if it declares none.

    Raises:
        ThumbnetError: The declaration is malformed or does not fit the output.
    """
    value = _property(model, path, CLASSES_KEY)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise _bad(path, CLASSES_KEY, "it is no JSON list of names")
    if len(value) != outputs:
        raise _bad(path, CLASSES_KEY, f"it has {len(value)} names for {outputs} outputs")
    return tuple(value)


def _property(model: ModelProto, path: Path, key: str) -> Any:
    for entry in model.metadata_props:
        if entry.key == key:
            try:
                return json.loads(entry.value)
            except (ValueError, RecursionError) as error:
                raise _bad(path, key, f"it is no JSON ({error})") from None
    return None


def _numbers(path: Path, value: dict[str, Any], name: str, channels: int) -> tuple[float, ...]:
    given = value.get(name)
    if isinstance(given, (int, float)):
        given = [given] * channels
    if (
        not isinstance(given, Sequence)
        or len(given) != channels
        or not all(isinstance(v, (int, float)) and isfinite(v) for v in given)
    ):
        raise _bad(path, PREPROCESS_KEY, f"{name!r} is no list of {channels} numbers")
    return tuple(float(v) for v in given)


def _bad(path: Path, key: str, what: str) -> ThumbnetError:
    return ThumbnetError(
        f"{path}: the metadata property {key!r} is wrong: {what}. Correct it or remove it."
    )
