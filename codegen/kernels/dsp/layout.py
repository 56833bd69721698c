"""Moved."""

from codegen.kernels.layout import Planar, pair_halfword, pairs_bytes, position

__all__ = ["Planar", "pair_halfword", "pairs_bytes", "position"]
