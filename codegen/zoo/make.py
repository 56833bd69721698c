"""What ``thumbnet zoo`` does: a network by name becomes an ONNX file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codegen.errors import ThumbnetError
from codegen.output import whole_file
from codegen.progress import Progress, silent
from codegen.zoo.metadata import image_metadata
from codegen.zoo.network import Network
from codegen.zoo.onnx_model import onnx_model
from codegen.zoo.registry import PAPER_RESOLUTION, build_network
from codegen.zoo.weights import Weights, random_weights

EXPORTERS = ("direct", "keras")


@dataclass(frozen=True)
class ZooOptions:
    """What the user asks of ``zoo``.

    Attributes:
        name: A network of ``codegen.zoo.registry``.
        out: ONNX file to write.
        alpha: Width multiplier.
        resolution: Rows and columns of the picture.
        classes: Number of classes.
        weights: Keras file; None for random weights.
        seed: Of the random weights.
        exporter: ``direct`` (NCHW, without TensorFlow) or ``keras`` (NHWC, through tf2onnx).
    """

    name: str
    out: Path
    alpha: float = 1.0
    resolution: int = PAPER_RESOLUTION
    classes: int = 1000
    weights: Path | None = None
    seed: int = 0
    exporter: str = "direct"


@dataclass(frozen=True, eq=False)
class ZooReport:
    """What ``zoo`` made."""

    options: ZooOptions
    network: Network

    def to_json(self) -> dict[str, Any]:
        """The document of ``zoo --json``."""
        options = self.options
        return {
            "name": self.network.name,
            "alpha": options.alpha,
            "resolution": options.resolution,
            "classes": options.classes,
            "weights": str(options.weights) if options.weights else f"random, seed {options.seed}",
            "exporter": options.exporter,
            "macs": self.network.macs,
            "parameters": self.network.parameters,
            "out": str(options.out),
        }


def make_model(options: ZooOptions, progress: Progress = silent) -> ZooReport:
    """Writes a network of the zoo as ONNX, the file as a whole or not at all.

    Raises:
        ThumbnetError: The name or a number does not do, the weights are of another network, or
            the Keras exporter is asked for and TensorFlow is not installed.
        OSError: The file cannot be written.
    """
    if options.exporter not in EXPORTERS:
        known = " and ".join(EXPORTERS)
        raise ThumbnetError(f"unknown exporter {options.exporter}: there are {known}")
    if options.out.is_dir():
        raise ThumbnetError(f"{options.out} is a folder; name a file to write, such as model.onnx")
    network = build_network(options.name, options.alpha, options.resolution, options.classes)
    progress("making weights", 0, 2)
    weights = network_weights(network, options.weights, options.seed)
    progress("exporting", 1, 2)
    save_network(network, weights, options.out, options.exporter)
    return ZooReport(options, network)


def network_weights(network: Network, path: Path | None, seed: int) -> Weights:
    """The weights of a Keras file, or random ones if there is none."""
    if path is None:
        return random_weights(network, seed)
    from codegen.zoo.keras_weights import read_keras_weights

    return read_keras_weights(path, network)


def save_network(network: Network, weights: Weights, path: Path, exporter: str = "direct") -> None:
    """Writes a network with these weights as ONNX; the folder is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if exporter == "keras":
        from codegen.zoo.export import export_onnx
        from codegen.zoo.keras_model import keras_model

        export_onnx(keras_model(network, weights), path, image_metadata(()))
        return
    with whole_file(path) as unfinished:
        unfinished.write_bytes(onnx_model(network, weights).SerializeToString(deterministic=True))
