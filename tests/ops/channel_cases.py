"""Cases of the operators over channels, for ``test_faces``."""

from __future__ import annotations

from typing import Any

from layer_case import SKEWED, Case, normal

from codegen.ir import Pads
from codegen.ops import Concat, GroupedConv, Lrn


def concat(ranges: tuple, output: tuple, names: str = "ab") -> Case:
    return Case(Concat("layer", tuple(names), "y"), (3, 5, 4), ranges, output)


def grouped(
    shape: tuple, outputs: int, kernel: tuple, groups: int, *ranges: tuple, **options: Any
) -> Case:
    inputs = shape[2] // groups
    weight = normal(outputs, *kernel, inputs) / (kernel[0] * kernel[1] * inputs) ** 0.5
    bias = normal(outputs, seed=1)
    node = GroupedConv("layer", ("a",), "y", weight, bias, groups=groups, **options)
    return Case(node, shape, ranges or (SKEWED,))


def lrn(channels: int, size: int, ranges: tuple, output: tuple, **options: Any) -> Case:
    return Case(Lrn("layer", ("a",), "y", size, **options), (3, 4, channels), (ranges,), output)


AROUND = Pads(2, 2, 2, 2)

CHANNEL_CASES: dict[str, dict[str, Case]] = {
    "grouped": {
        "2 groups": grouped((6, 5, 8), 6, (3, 3), 2, pads=Pads(1, 1, 1, 1)),
        "3 groups, 1x1": grouped((3, 4, 6), 9, (1, 1), 3),
        "5 outputs a group, stride 2": grouped((7, 8, 4), 10, (3, 2), 2, stride=(2, 1)),
        "dilated": grouped((9, 8, 3), 5, (3, 3), 1, dilation=(2, 2), pads=AROUND),
        "dilated in rows": grouped((9, 8, 2), 4, (3, 3), 1, dilation=(3, 1), pads=Pads(3, 0, 1, 2)),
        "dilated depthwise": grouped((8, 7, 5), 5, (3, 3), 5, dilation=(2, 2), pads=AROUND),
        "dilated groups, stride 2": grouped(
            (9, 9, 4), 8, (3, 3), 2, dilation=(2, 3), stride=(2, 2), pads=AROUND
        ),
        "zero point -128": grouped((5, 5, 4), 4, (3, 3), 2, (0.0, 5.0), pads=Pads(1, 1, 1, 1)),
    },
    "lrn": {
        "AlexNet": lrn(9, 5, (0.0, 90.0), (0.0, 60.0), alpha=1e-4, beta=0.75, bias=2.0),
        "GoogLeNet": lrn(7, 5, (0.0, 300.0), (0.0, 200.0), alpha=1e-4),
        "signed": lrn(6, 3, SKEWED, SKEWED, alpha=0.1),
        "even size": lrn(5, 4, SKEWED, (-1.0, 2.0), alpha=0.5, beta=0.5),
        "strong": lrn(8, 5, (0.0, 20.0), (0.0, 2.0), alpha=1.0),
        "more than all channels": lrn(3, 9, SKEWED, SKEWED, alpha=0.2),
        "one channel": lrn(1, 1, SKEWED, SKEWED, alpha=0.2),
    },
    "concat": {
        "equal scales": concat((SKEWED, SKEWED), SKEWED),
        "one is copied": concat(((-9.0, 5.0), (0.0, 1.0)), (-9.0, 5.0)),
        "three": concat(((-0.1, 1.0), (0.0, 3.0)), (-1.0, 4.0), "aba"),
        "clipped": concat(((-5.0, 5.0), (-3.0, 3.0)), (-1.0, 1.0)),
    },
}
