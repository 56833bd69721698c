"""Weights of a Keras file (.h5) for a network of the zoo.

Both layouts are read: the older one, where each layer's group lists its arrays by name (also what
Keras applications publish and whole saved models hold), and that of ``.weights.h5``, where the
arrays of a layer are numbered and the layers of each class too.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from codegen.errors import ThumbnetError
from codegen.ir import FloatArray
from codegen.zoo.network import Conv, Network
from codegen.zoo.weights import Weights, array_shapes

Arrays = tuple[FloatArray, ...]
_HEAD = "logits"
"""The classifier."""
Shapes = tuple[tuple[int, ...], ...]


def read_keras_weights(path: Path, network: Network, new_classes: bool = False) -> Weights:
    """Reads the weights of a network.

    Layers are matched by name if the file has all names of the network, by order otherwise.

    Args:
        path: What ``save_weights`` or ``save`` of Keras wrote.
        network: The network that they are for.
        new_classes: The classifier is left out where it has another number of classes.

    Raises:
        ThumbnetError: The file cannot be read or its arrays are those of another network.
    """
    try:
        import h5py
    except ImportError as error:
        raise ThumbnetError(
            f"{path} cannot be read without h5py ({error}); "
            "install the extra: pip install 'thumbnet[train]'"
        ) from error
    wanted = array_shapes(network)
    try:
        with h5py.File(path, "r") as file:
            found = _by_class(file, network) if _numbered(file) else _by_name(file)
    except FileNotFoundError as error:
        raise ThumbnetError(f"{path} does not exist.") from error
    except (OSError, KeyError, ValueError, AttributeError) as error:
        raise ThumbnetError(f"{path} is no file of Keras weights (.h5): {error}") from error
    if not wanted.keys() <= found.keys():
        if len(found) != len(wanted):
            raise ThumbnetError(
                f"{path} has {len(found)} layers with weights, {network.name} has {len(wanted)}: "
                "it is the file of another network"
            )
        found = dict(zip(wanted, found.values(), strict=True))
    if (
        new_classes
        and _HEAD in wanted
        and [array.shape for array in found[_HEAD]] != list(wanted[_HEAD])
    ):
        del wanted[_HEAD]
    return {name: _fitted(path, name, found[name], shapes) for name, shapes in wanted.items()}


def _fitted(path: Path, name: str, arrays: Arrays, shapes: Shapes) -> Arrays:
    """The arrays in the shapes that are wanted; a 1x1 convolution is as good as a dense layer."""
    given = tuple(array.shape for array in arrays)
    if [_without_ones(shape) for shape in given] != [_without_ones(shape) for shape in shapes]:
        raise ThumbnetError(
            f"{path} has arrays of shape {_listed(given)} for layer {name!r}, which needs "
            f"{_listed(shapes)}: it was made with another alpha, resolution or number of classes, "
            "or for another network"
        )
    pairs = zip(arrays, shapes, strict=True)
    return tuple(np.asarray(array, np.float32).reshape(shape) for array, shape in pairs)


def _without_ones(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)


def _listed(shapes: Shapes) -> str:
    return " and ".join(str(list(shape)) for shape in shapes) or "none"


def _by_name(file: Any) -> dict[str, Arrays]:
    """The older layout."""
    root = file.get("model_weights", file)
    found = {}
    for layer in root.attrs["layer_names"]:
        group = root[_text(layer)]
        names = [_text(name) for name in group.attrs["weight_names"]]
        if names:
            found[_text(layer)] = tuple(np.asarray(group[name]) for name in names)
    return found


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _numbered(file: Any) -> bool:
    return "layers" in file or "_layer_checkpoint_dependencies" in file


def _by_class(file: Any, network: Network) -> dict[str, Arrays]:
    """The newer layout: ``conv2d``, ``conv2d_1`` ... in the order of the network.

    Recent versions of Keras name the groups after the layers instead.
    """
    root = file["layers" if "layers" in file else "_layer_checkpoint_dependencies"]
    filled = {name: group["vars"] for name, group in root.items() if len(group.get("vars", ()))}
    if not any(re.fullmatch(r"(depthwise_)?conv2d(_\d+)?", name) for name in filled):
        return {name: _numbered_arrays(group) for name, group in filled.items()}
    counts: Counter[str] = Counter()
    found: dict[str, Arrays] = {}
    convolutions = {layer.name: layer for layer in network.layers if isinstance(layer, Conv)}
    for name in array_shapes(network):
        kind = "batch_normalization" if name.endswith("_bn") else "dense"
        if name in convolutions:
            kind = "depthwise_conv2d" if convolutions[name].depthwise else "conv2d"
        key = f"{kind}_{counts[kind]}" if counts[kind] else kind
        counts[kind] += 1
        if key in filled:
            found[name] = _numbered_arrays(filled.pop(key))
    return {**found, **{name: _numbered_arrays(group) for name, group in filled.items()}}


def _numbered_arrays(group: Any) -> Arrays:
    return tuple(np.asarray(group[str(index)]) for index in range(len(group)))
