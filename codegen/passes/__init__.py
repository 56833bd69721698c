"""The passes over a float graph. ``PIPELINE`` is the whole story, read from top to bottom."""

from __future__ import annotations

from collections.abc import Callable

from codegen.ir import Graph, validate
from codegen.passes.fold_affine import fold_affine, merge_affine
from codegen.passes.fold_pad import fold_pad
from codegen.passes.fuse_clip import fuse_clip
from codegen.passes.fuse_lookup import fuse_lookup
from codegen.passes.graph import without_dead
from codegen.passes.lower import lower_affine, lower_clip

Pass = Callable[[Graph], Graph]

PIPELINE: tuple[tuple[str, Pass], ...] = (
    ("without_dead", without_dead),
    ("fuse_lookup", fuse_lookup),
    ("fold_pad", fold_pad),
    ("merge_affine", merge_affine),
    ("fold_affine", fold_affine),
    ("lower_affine", lower_affine),
    ("fuse_clip", fuse_clip),
    ("lower_clip", lower_clip),
)


def simplify(graph: Graph) -> Graph:
    """Runs the pipeline: of the operators only those remain that have an integer face.

    Args:
        graph: A float graph.

    Returns:
        The same function with fewer nodes. Each tensor keeps the name and the values it had, or,
        when a clip moved in front of the MaxPool or Pad that reads it, those values clipped.

    Raises:
        ThumbnetError: Folding gives weights that float32 cannot hold.
    """
    for name, apply in PIPELINE:
        graph = validate(apply(graph), name)
    return graph
