"""MobileNets with random weights, as ONNX."""

from __future__ import annotations

from pathlib import Path

from codegen.zoo.make import save_network
from codegen.zoo.registry import build_network
from codegen.zoo.weights import random_weights

CLASSES = 1000


def save(net: str, alpha: float, resolution: int, folder: Path) -> Path:
    """Writes ``v1`` or ``v2`` to a file."""
    network = build_network(f"mobilenet_{net}", alpha, resolution, CLASSES)
    path = folder / "net.onnx"
    save_network(network, random_weights(network), path)
    return path
