"""A look at the whole file before anything is imported: all that is unsupported, in one message."""

from __future__ import annotations

from pathlib import Path

from onnx import AttributeProto, GraphProto

from codegen.errors import ThumbnetError
from codegen.onnx_import.constants import FOLDABLE
from codegen.onnx_import.node import OnnxNode
from codegen.onnx_import.registry import CONTROL_FLOW, ENLARGING, HANDLERS, UNKNOWN_SCALES

DEQUANTIZING = frozenset(("QuantizeLinear", "DequantizeLinear"))
"""Operators that have a handler for constants, too."""

LISTED = 12
"""Nodes that a message names before it counts the rest."""

_DECODER = (
    " Maps cannot be made larger: networks that end in a map of the picture's size (decoders) are "
    "not supported; take the encoder alone."
)


def live_nodes(graph: GraphProto, path: Path, output: str) -> list[OnnxNode]:
    """The nodes that the output depends on, in the order of the file."""
    nodes = [OnnxNode(proto, index, path) for index, proto in enumerate(graph.node)]
    # A value should have one maker; where a damaged file has two, both are kept and refused later.
    makers: dict[str, list[OnnxNode]] = {}
    for node in nodes:
        for name in filter(None, node.outputs):
            makers.setdefault(name, []).append(node)
    live: set[int] = set()
    waiting = [output]
    while waiting:
        for node in makers.get(waiting.pop(), ()):
            if node.index not in live:
                live.add(node.index)
                waiting += node.inputs
    return [node for node in nodes if node.index in live]


def refuse_incomplete(nodes: list[OnnxNode], known: set[str]) -> None:
    """Refuses a graph that reads what is not there, or writes a value twice.

    Args:
        nodes: The nodes that count, in the order of the file.
        known: Names of the graph's input and of the initializers.

    Raises:
        ThumbnetError: The graph is damaged.
    """
    known = set(known)
    for node in nodes:
        for name in node.inputs:
            if name and name not in known:
                raise node.error(
                    f"reads {name!r}, which is no input, no initializer and no result of a node "
                    "before it: the file is incomplete. Export it again"
                )
        for name in filter(None, node.outputs):
            if name in known:
                raise node.error(f"writes {name!r}, which exists already: the file is damaged")
            known.add(name)
        if not any(node.outputs):
            raise node.error("has no output: the file is damaged")


def refuse_unsupported(nodes: list[OnnxNode], path: Path, source: str) -> None:
    """Refuses a graph with operators that cannot be imported, naming all of them.

    Args:
        nodes: The nodes that count.
        path: The file.
        source: Name of the graph's input.

    Raises:
        ThumbnetError: At least one node is not supported.
    """
    active = {source}
    unsupported = []
    for node in nodes:
        is_active = any(name in active for name in node.inputs)
        # The shape of an activation is known, and so is a constant cast to its type.
        known = node.op_type == "Shape" or (
            node.op_type == "CastLike" and not active.intersection(node.inputs[:1])
        )
        if is_active and not known:
            active.update(name for name in node.outputs if name)
        if not _supported(node, is_active):
            unsupported.append(node)
    if unsupported:
        control = any(node.op_type in CONTROL_FLOW for node in unsupported)
        hint = " If, Loop and Scan: export the model for inference, without control flow."
        dynamic = any(node.op_type in UNKNOWN_SCALES for node in unsupported)
        static = " Dynamically quantized models: quantize statically, or give the float model."
        raise ThumbnetError(
            f"{path} has operators that are not supported: {_listed(unsupported)}."
            + (hint if control else "")
            + (static if dynamic else "")
            + (_DECODER if any(node.op_type in ENLARGING for node in unsupported) else "")
            + f" Supported are {', '.join(sorted(HANDLERS))}."
        )
    _refuse_second_outputs(nodes)


def _supported(node: OnnxNode, active: bool) -> bool:
    if node.proto.domain not in ("", "ai.onnx"):
        return False
    if any(a.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for a in node.proto.attribute):
        return False
    return node.op_type in (HANDLERS if active else FOLDABLE | DEQUANTIZING)


def _refuse_second_outputs(nodes: list[OnnxNode]) -> None:
    """Only the first output of a node exists here: indices, masks and statistics do not."""
    read = {name for node in nodes for name in node.inputs if name}
    for node in nodes:
        extra = [name for name in node.outputs[1:] if name]
        if node.op_type == "BatchNormalization" and extra:
            raise node.error(
                "has outputs for training statistics; export the model in evaluation mode"
            )
        for name in extra:
            if name in read and node.op_type in HANDLERS:
                raise node.error(
                    f"has a second output {name!r} that is used (indices or a mask), which is not "
                    "supported"
                )


def _listed(nodes: list[OnnxNode]) -> str:
    by_type: dict[str, list[str]] = {}
    for node in nodes[:LISTED]:
        domain = node.proto.domain
        kind = f"{domain}.{node.op_type}" if domain not in ("", "ai.onnx") else node.op_type
        by_type.setdefault(kind, []).append(
            repr(node.proto.name) if node.proto.name else f"node {node.index}"
        )
    text = "; ".join(f"{kind} ({', '.join(names)})" for kind, names in by_type.items())
    return text + (f"; and {len(nodes) - LISTED} more" if len(nodes) > LISTED else "")
