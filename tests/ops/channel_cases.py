"""Cases of the operators over channels, for ``test_faces``."""

from __future__ import annotations

from layer_case import SKEWED, Case

from codegen.ops import Concat


def concat(ranges: tuple, output: tuple, names: str = "ab") -> Case:
    return Case(Concat("layer", tuple(names), "y"), (3, 5, 4), ranges, output)


CHANNEL_CASES: dict[str, dict[str, Case]] = {
    "concat": {
        "equal scales": concat((SKEWED, SKEWED), SKEWED),
        "one is copied": concat(((-9.0, 5.0), (0.0, 1.0)), (-9.0, 5.0)),
        "three": concat(((-0.1, 1.0), (0.0, 3.0)), (-1.0, 4.0), "aba"),
        "clipped": concat(((-5.0, 5.0), (-3.0, 3.0)), (-1.0, 1.0)),
    },
}
