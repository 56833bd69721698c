"""Runs a graph with the float face of each operator."""

from __future__ import annotations

from codegen.ir import FloatArray, Graph


def run_float(graph: Graph, images: FloatArray) -> dict[str, FloatArray]:
    """Every tensor of ``graph`` for a batch of images.

    Args:
        graph: A graph before or after quantization; its float face runs.
        images: float32 [N, H, W, C], preprocessed.

    Returns:
        float32 [N, H, W, C] for each tensor name.
    """
    values = {graph.input: images}
    for node in graph.nodes:
        values[node.output] = node.run_float(*(values[name] for name in node.inputs))
    return values
