"""What is said of a layer that the arithmetic cannot hold."""

from __future__ import annotations

from codegen.errors import ThumbnetError
from codegen.ir import Node


def refuse(node: Node, reason: str) -> ThumbnetError:
    """The exception for a layer: its name, its operator and the reason."""
    return ThumbnetError(
        f"Layer {node.name!r} ({node.op}) cannot be computed in int8: {reason}. "
        "Split the layer or retrain it with smaller values."
    )
