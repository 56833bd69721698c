"""The quantized graph as one file of the output folder: ``graph.npz``.

An .npz of all constant arrays, and one more array, ``graph``, that holds the rest as JSON text:
each frozen dataclass is an object with its class's name under ``is`` and the fields that differ
from their defaults; an array is a reference to its entry. Nothing is pickled; the same graph gives
the same bytes.
"""

from __future__ import annotations

import json
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.errors import ThumbnetError
from codegen.ir import Bounds, Graph, Pads, Preprocess, QParams, Requant, Tensor, validate
from codegen.ops import OPS, AddRequant

FORMAT = 1
FILE_NAME = "graph.npz"

_CLASSES: dict[str, type] = {
    cls.__name__: cls
    for cls in (
        Graph, Tensor, QParams, Preprocess, Pads, Bounds, Requant, AddRequant, *OPS.values()
    )
}  # fmt: skip


def save_graph(graph: Graph, path: Path) -> None:
    """Writes ``graph`` to ``path`` (an .npz file)."""
    arrays: dict[str, Any] = {}
    text = json.dumps({"format": FORMAT, "graph": _encode(graph, arrays)}, separators=(",", ":"))
    document = np.frombuffer(text.encode(), np.uint8)
    with path.open("wb") as file:
        np.savez_compressed(file, graph=document, **arrays)


def load_graph(path: Path) -> Graph:
    """Reads what ``save_graph`` wrote.

    Raises:
        ThumbnetError: The file is missing, damaged, or of another version.
    """
    hint = "Run `thumbnet compile` again."
    try:
        with np.load(path, allow_pickle=False) as arrays:
            document = json.loads(arrays["graph"].tobytes())
            if document["format"] != FORMAT:
                raise ThumbnetError(
                    f"{path} has format {document['format']}, this version reads {FORMAT}. {hint}"
                )
            graph = _decode(document["graph"], arrays)
        if not isinstance(graph, Graph):
            raise ValueError("it holds no graph")
        return validate(graph, "load", integer=graph.input_tensor.q is not None)
    except ThumbnetError:
        raise
    except FileNotFoundError:
        raise ThumbnetError(
            f"{path.parent} is no output folder of thumbnet: {path} is missing."
        ) from None
    except Exception as error:  # a damaged archive raises whatever zipfile, zlib and json like
        raise ThumbnetError(f"{path} is damaged ({error}). {hint}") from error


def _encode(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    if isinstance(value, np.ndarray):
        key = f"a{len(arrays)}"
        arrays[key] = value
        return {"array": key}
    if is_dataclass(value) and not isinstance(value, type):
        items = {f.name: getattr(value, f.name) for f in fields(value)}
        changed = {
            f.name: items[f.name] for f in fields(value) if not _is_default(f, items[f.name])
        }
        encoded = {name: _encode(item, arrays) for name, item in changed.items()}
        return {"is": type(value).__name__, **encoded}
    if isinstance(value, MappingProxyType | dict):
        return [_encode(item, arrays) for item in value.values()]
    if isinstance(value, tuple | list):
        return [_encode(item, arrays) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def _is_default(field: Field[Any], value: Any) -> bool:
    if field.default is MISSING or isinstance(value, np.ndarray):
        return False
    return bool(type(value) is type(field.default) and value == field.default)


def _decode(value: Any, arrays: Any) -> Any:
    if isinstance(value, list):
        return tuple(_decode(item, arrays) for item in value)
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return arrays[value["array"]]
    items = {key: _decode(item, arrays) for key, item in value.items() if key != "is"}
    if value["is"] == "Graph":
        items["tensors"] = {tensor.name: tensor for tensor in items["tensors"]}
    return _CLASSES[value["is"]](**items)
