"""What a user does with an output folder on the desk: simulate, evaluate, look inside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen import simulate
from codegen.boards import DEFAULT_CORE, load_core
from codegen.errors import ThumbnetError
from codegen.estimate import estimated_sizes
from codegen.explain import separable_blocks
from codegen.images import LabelOptions, load_images, to_float, to_int8
from codegen.ir import FloatArray, Graph, Int8Array
from codegen.onnx_import import import_onnx
from codegen.onnx_runtime import FloatModel
from codegen.output import read_output
from codegen.passes import simplify
from codegen.preprocess import Pixels
from codegen.progress import Progress, silent
from codegen.zoo.defaults import default_model

_CHUNK = 32
"""Images between two reports of progress."""


@dataclass(frozen=True, eq=False)
class SimulateReport:
    """Results of the simulator.

    Attributes:
        names: Of the pictures.
        classes: int64 [N], the largest output.
        outputs: int8 [N, n].
        probabilities: float32 [N, n], the outputs as real numbers.
        labels: Names of the outputs, or empty.
        tensors: int8 [N, H, W, C] of each tensor that was asked for.
    """

    names: tuple[str, ...]
    classes: NDArray[np.int64]
    outputs: Int8Array
    probabilities: FloatArray
    labels: tuple[str, ...]
    tensors: Mapping[str, Int8Array]

    def to_json(self) -> dict[str, Any]:
        """The document of ``simulate --json``."""
        images = []
        for index, name in enumerate(self.names):
            best = int(self.classes[index])
            entry = {
                "name": name,
                "class": best,
                "label": self.labels[best] if best < len(self.labels) else None,
                "probability": float(self.probabilities[index, best]),
                "output": [int(value) for value in self.outputs[index]],
            }
            images.append(entry)
        return {"images": images}


@dataclass(frozen=True)
class Accuracy:
    """Shares in percent; None without labels."""

    top1: float | None
    top5: float | None


@dataclass(frozen=True)
class EvaluateReport:
    """Float network and int8 program on the same pictures; shares in percent."""

    images: int
    float_: Accuracy
    int8: Accuracy
    agreement: float

    def to_json(self) -> dict[str, Any]:
        """The document of ``evaluate --json``."""
        return {
            "images": self.images,
            "float": vars(self.float_),
            "int8": vars(self.int8),
            "agreement": self.agreement,
        }


@dataclass(frozen=True, eq=False)
class InfoReport:
    """A network's layers, and what it takes.

    Attributes:
        name: Of the network.
        graph: Its layers.
        sizes: ``core``, ``flash`` and ``ram``: measured of an output folder, else estimated.
        compiled: The sizes are those of an output folder.
        explain: List what standard convolutions would cost.
        warnings: What the user should know.
    """

    name: str
    graph: Graph
    sizes: Mapping[str, Any]
    compiled: bool
    explain: bool = False
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The document of ``info --json``."""
        graph = self.graph
        layers = []
        for node in graph.nodes:
            shapes = graph.shapes(node)
            layers.append(
                {
                    "name": node.name,
                    "op": node.op,
                    "input": list(shapes[0]),
                    "output": list(graph.tensors[node.output].shape),
                    "macs": node.macs(*shapes),
                    "parameters": node.parameters,
                }
            )
        document = {
            "name": self.name,
            "macs": graph.macs(),
            "parameters": sum(node.parameters for node in graph.nodes),
            "layers": layers,
            "compiled": self.compiled,
            **{key: self.sizes[key] for key in ("core", "flash", "ram") if key in self.sizes},
            "warnings": list(self.warnings),
        }
        if self.explain:
            document["blocks"] = [block.to_json() for block in separable_blocks(graph)]
        return document


def simulate_model(
    out: Path,
    images: Path,
    limit: int | None = None,
    tensors: tuple[str, ...] = (),
    progress: Progress = silent,
) -> SimulateReport:
    """Runs pictures through the simulator of an output folder.

    Args:
        out: Folder made by ``compile``.
        images: Pictures.
        limit: Pictures at most.
        tensors: Names of further tensors to keep.
        progress: Told the images done.

    Raises:
        ThumbnetError: The folder or a picture does not do, or a tensor is unknown.
    """
    graph = read_output(out).graph
    unknown = [name for name in tensors if name not in graph.tensors]
    if unknown:
        known = ", ".join(repr(name) for name in list(graph.tensors)[:8])
        raise ThumbnetError(f"{out} has no tensor {unknown[0]!r}; its first ones are {known}.")
    loaded = load_images(images, graph.input_tensor.shape, graph.preprocess, limit)
    kept = _simulate(graph, loaded.pixels, {graph.output, *tensors}, progress)
    outputs = kept[graph.output].reshape(len(loaded.pixels), -1)
    q = graph.output_tensor.q
    assert q is not None
    return SimulateReport(
        names=loaded.names,
        classes=outputs.argmax(axis=1),
        outputs=outputs,
        probabilities=((outputs.astype(np.float32) - q.zero_point) * np.float32(q.scale)),
        labels=graph.classes,
        tensors={name: kept[name] for name in tensors},
    )


def evaluate_model(
    out: Path,
    model: Path | None,
    data: Path,
    labels: LabelOptions | None = None,
    limit: int | None = None,
    progress: Progress = silent,
) -> EvaluateReport:
    """Float network (onnxruntime) and int8 network (simulator) on the same pictures.

    Args:
        out: Folder made by ``compile``.
        model: The ONNX file it was made from; None for the default model.
        data: Pictures, with labels for an accuracy.
        labels: Where the labels are.
        limit: Pictures at most.
        progress: Told the images done.

    Raises:
        ThumbnetError: As ``simulate_model``, or the file is of another network.
    """
    graph = read_output(out).graph
    imported = import_onnx(model or default_model())
    shapes = (imported.graph.input_tensor.shape, imported.graph.output_tensor.shape)
    if shapes != (graph.input_tensor.shape, graph.output_tensor.shape):
        raise ThumbnetError(
            f"{imported.path} is not the model that {out} was made from: its input and output are "
            f"{shapes[0]} and {shapes[1]}. Name the right file with --model."
        )
    loaded = load_images(data, graph.input_tensor.shape, graph.preprocess, limit, labels)
    outputs = graph.output_tensor.size
    if loaded.labels is not None and not 0 <= loaded.labels.min() <= loaded.labels.max() < outputs:
        raise ThumbnetError(
            f"{data} has labels from {loaded.labels.min()} to {loaded.labels.max()}, but the "
            f"network has the classes 0 to {outputs - 1}. Is a --class-offset needed?"
        )
    kept = _simulate(graph, loaded.pixels, {graph.output}, progress)
    integer = kept[graph.output].reshape(len(loaded.pixels), -1)
    session = FloatModel(imported, threads=2)
    real = np.concatenate(
        [
            session.run(to_float(loaded.pixels[i : i + _CHUNK], graph.preprocess))
            for i in range(0, len(loaded.pixels), _CHUNK)
        ]
    ).reshape(integer.shape)
    agreement = 100.0 * float((integer.argmax(axis=1) == real.argmax(axis=1)).mean())
    return EvaluateReport(
        len(integer),
        _accuracy(real, loaded.labels),
        _accuracy(integer, loaded.labels),
        agreement,
    )


def info_model(path: Path, core: str | None = None, explain: bool = False) -> InfoReport:
    """Layers of an ONNX file or of an output folder, and what it takes.

    Args:
        path: The file or folder.
        core: Core whose flash and RAM are estimated for a file; None for cortex-m4. A folder is
            for one core already.
        explain: Also compare depthwise-separable blocks with standard convolutions.

    Raises:
        ThumbnetError: It is neither, or there is no such core.
    """
    if path.is_dir():
        if core is not None:
            raise ThumbnetError(f"{path} is compiled for its core already; leave out --core.")
        output = read_output(path)
        return InfoReport(output.name, output.graph, output.report, True, explain)
    chosen = load_core(core or DEFAULT_CORE)
    graph = simplify(import_onnx(path).graph)
    try:
        return InfoReport(path.stem, graph, estimated_sizes(graph, chosen.name), False, explain)
    except ThumbnetError as error:
        warning = f"flash and RAM are unknown: {error}"
        return InfoReport(path.stem, graph, {}, False, explain, (warning,))


def _simulate(
    graph: Graph, pixels: Pixels, names: set[str], progress: Progress
) -> dict[str, Int8Array]:
    q = graph.input_tensor.q
    assert q is not None
    parts = []
    for start in range(0, len(pixels), _CHUNK):
        chunk = to_int8(pixels[start : start + _CHUNK], graph.preprocess, q)
        parts.append(simulate.trace(graph, chunk, names))
        progress("simulating", min(start + _CHUNK, len(pixels)), len(pixels))
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def _accuracy(outputs: NDArray[Any], labels: NDArray[np.int64] | None) -> Accuracy:
    """Shares of pictures whose label is the largest output, or among the five largest.

    Of equal outputs the first counts as the larger one.
    """
    if labels is None:
        return Accuracy(None, None)
    order = np.argsort(-outputs.astype(np.float64), axis=1, kind="stable")[:, :5]
    hits = order == labels[:, None]
    return Accuracy(100.0 * float(hits[:, 0].mean()), 100.0 * float(hits.any(axis=1).mean()))
