"""Kernel, stride and padding attributes, which convolutions and pools share."""

from __future__ import annotations

from collections.abc import Sequence

from codegen.ir import Pads, Shape
from codegen.onnx_import.node import OnnxNode
from codegen.ops.window import Size


def pair(node: OnnxNode, values: Sequence[int], what: str) -> Size:
    """Two positive whole numbers.

    Raises:
        ThumbnetError: There are more or fewer, or one is not positive.
    """
    if len(values) != 2 or min(values) < 1:
        raise node.error(f"has {what} {list(values)}; two positive numbers are needed (2-D only)")
    return int(values[0]), int(values[1])


def dilation_of(node: OnnxNode, kernel: Size) -> Size:
    """The dilation; 1 in a direction in which the kernel has one element.

    Raises:
        ThumbnetError: It is not two positive numbers.
    """
    dilations = pair(node, node.integers("dilations", (1, 1)), "dilations")
    rows, columns = (d if k > 1 else 1 for d, k in zip(dilations, kernel, strict=True))
    return rows, columns


def spread(kernel: Size, dilation: Size) -> Size:
    """Rows and columns from the first tap of a dilated kernel to the last."""
    rows, columns = ((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    return rows, columns


def refuse_dilation(node: OnnxNode, kernel: Size) -> None:
    """Refuses a dilation that spreads the kernel.

    Raises:
        ThumbnetError: The dilation is not 1 in a direction in which the kernel has more than one
            element.
    """
    dilation = dilation_of(node, kernel)
    if dilation != (1, 1):
        raise node.error(f"is dilated (dilations {list(dilation)}); only convolutions may be")


def pads_of(node: OnnxNode, shape: Shape, kernel: Size, stride: Size) -> Pads:
    """The padding of a window operator, from ``pads`` or ``auto_pad``.

    Args:
        node: The node.
        shape: Of the input, ``(H, W, C)``.
        kernel: Rows, columns.
        stride: Rows, columns.

    Raises:
        ThumbnetError: The attributes are contradictory or unknown.
    """
    auto = node.text("auto_pad", "NOTSET")
    given = node.integers("pads", (0, 0, 0, 0))
    if len(given) != 4 or min(given) < 0:
        raise node.error(f"has pads {list(given)}; four numbers, not negative, are needed")
    if auto in ("NOTSET", ""):
        top, left, bottom, right = given
        return Pads(top, left, bottom, right)
    if auto == "VALID":
        return Pads()
    if auto not in ("SAME_UPPER", "SAME_LOWER"):
        raise node.error(f"has auto_pad {auto!r}, which ONNX does not have")
    begin, end = [], []
    for size, k, s in zip(shape[:2], kernel, stride, strict=True):
        total = max((-(-size // s) - 1) * s + k - size, 0)
        smaller, larger = total // 2, total - total // 2
        begin.append(smaller if auto == "SAME_UPPER" else larger)
        end.append(larger if auto == "SAME_UPPER" else smaller)
    return Pads(begin[0], begin[1], end[0], end[1])
