"""Which network of the same family would fit a board that this one does not."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from itertools import product
from pathlib import Path

import numpy as np

from codegen.boards import Board
from codegen.errors import ThumbnetError
from codegen.estimate import planned
from codegen.fit import CODE_ESTIMATE, check_fit
from codegen.ir import Graph
from codegen.onnx_import import import_onnx
from codegen.ops import Conv, Depthwise
from codegen.passes import simplify
from codegen.zoo import network as zoo
from codegen.zoo.make import save_network
from codegen.zoo.registry import ARCHITECTURES, build_network
from codegen.zoo.weights import array_shapes

ALPHAS = (1.0, 0.75, 0.5, 0.35, 0.25)
RESOLUTIONS = (224, 192, 160, 128, 96, 64, 32)


def nearest_that_fits(graph: Graph, board: Board, core: str) -> str:
    """A sentence that names the largest smaller network of the graph's family that fits.

    Args:
        graph: A network that does not fit.
        board: The board.
        core: The core that it is compiled for.

    Returns:
        The sentence, or nothing if the graph is not of the zoo's families.
    """
    name = recognised(graph)
    if name is None:
        return ""
    classes = graph.output_tensor.shape[2]
    for alpha, resolution in _smaller(name, graph, board, classes):
        if _fits(name, alpha, resolution, classes, board, core):
            return f"{name} with alpha {alpha:g} and resolution {resolution} would fit."
    return f"No {name} of the usual alphas and resolutions would fit."


def recognised(graph: Graph) -> str | None:
    """Name of the architecture whose convolutions have the kernels and strides of the graph's."""
    shape = tuple(
        (*node.kernel, node.stride[0]) for node in graph.nodes if isinstance(node, Conv | Depthwise)
    )
    for name in ARCHITECTURES:
        layers = build_network(name).layers
        convs = tuple((x.kernel, x.kernel, x.stride) for x in layers if isinstance(x, zoo.Conv))
        dense = sum(isinstance(layer, zoo.Dense) for layer in layers)
        if shape[: len(convs)] == convs and len(shape) == len(convs) + dense:
            return name
    return None


def _smaller(name: str, graph: Graph, board: Board, classes: int) -> Iterable[tuple[float, int]]:
    """Widths and resolutions that cost less than the graph, the most costly first."""
    found = []
    for alpha, resolution in product(ALPHAS, RESOLUTIONS):
        try:
            network = build_network(name, alpha, resolution, classes)
        except ThumbnetError:
            continue  # too small a picture for this network
        if network.macs < graph.macs() and network.parameters < board.flash_bytes:
            found.append((network.macs, alpha, resolution))
    return [(alpha, resolution) for _, alpha, resolution in sorted(found, reverse=True)]


def _fits(name: str, alpha: float, resolution: int, classes: int, board: Board, core: str) -> bool:
    network = build_network(name, alpha, resolution, classes)
    ones = {
        layer: tuple(np.ones(shape, np.float32) for shape in shapes)
        for layer, shapes in array_shapes(network).items()
    }
    with tempfile.TemporaryDirectory(prefix="thumbnet-") as folder:
        path = Path(folder) / "net.onnx"
        save_network(network, ones, path)
        graph = simplify(import_onnx(path).graph)
    plan, constants = planned(graph, core, board.flash_bytes - CODE_ESTIMATE)
    return check_fit(plan, constants, board, required=False) is not None
