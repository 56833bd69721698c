"""What a user does with an output folder on the desk: simulate, look inside."""

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
from codegen.images import load_images, to_int8
from codegen.ir import FloatArray, Graph, Int8Array
from codegen.onnx_import import import_onnx
from codegen.output import read_output
from codegen.passes import simplify
from codegen.preprocess import Pixels
from codegen.progress import Progress, silent

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

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What ``simulate -o`` writes."""
        return {
            "names": np.array(self.names),
            "classes": self.classes,
            "outputs": self.outputs,
            "probabilities": self.probabilities,
            **{f"tensor:{name}": values for name, values in self.tensors.items()},
        }

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
    return SimulateReport(
        names=loaded.names,
        classes=outputs.argmax(axis=1),
        outputs=outputs,
        probabilities=graph.q(graph.output).real(outputs),
        labels=graph.classes,
        tensors={name: kept[name] for name in tensors},
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
    q = graph.q(graph.input)
    parts = []
    for start in range(0, len(pixels), _CHUNK):
        chunk = to_int8(pixels[start : start + _CHUNK], graph.preprocess, q)
        parts.append(simulate.trace(graph, chunk, names))
        progress("simulating", min(start + _CHUNK, len(pixels)), len(pixels))
    return {name: np.concatenate([part[name] for part in parts]) for name in names}
