"""MobileNetV1, V2 and V3.

Howard et al. 2017 (arXiv:1704.04861, table 1), Sandler et al. 2018 (arXiv:1801.04381, table 2) and
Howard et al. 2019 (arXiv:1905.02244, tables 1 and 2), with padding "same" everywhere. V3's blocks
and its minimalistic variant are those of Keras applications, so that its weights fit.
"""

from __future__ import annotations

from typing import NamedTuple

from codegen.zoo.network import Activation, Network, Stack

# Output channels at alpha 1 and stride of each depthwise-separable block of MobileNetV1.
V1_BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
)


class V2Stage(NamedTuple):
    """One line of table 2 of the MobileNetV2 paper."""

    expansion: int
    filters: int
    repeats: int
    stride: int


V2_STAGES = (
    V2Stage(1, 16, 1, 1),
    V2Stage(6, 24, 2, 2),
    V2Stage(6, 32, 3, 2),
    V2Stage(6, 64, 4, 2),
    V2Stage(6, 96, 3, 1),
    V2Stage(6, 160, 3, 2),
    V2Stage(6, 320, 1, 1),
)


class V3Block(NamedTuple):
    """One line of table 1 or 2 of the MobileNetV3 paper."""

    expansion: float
    filters: int
    kernel: int
    stride: int
    squeeze: bool
    hard_swish: bool


V3_LARGE = (
    V3Block(1, 16, 3, 1, False, False),
    V3Block(4, 24, 3, 2, False, False),
    V3Block(3, 24, 3, 1, False, False),
    V3Block(3, 40, 5, 2, True, False),
    V3Block(3, 40, 5, 1, True, False),
    V3Block(3, 40, 5, 1, True, False),
    V3Block(6, 80, 3, 2, False, True),
    V3Block(2.5, 80, 3, 1, False, True),
    V3Block(2.3, 80, 3, 1, False, True),
    V3Block(2.3, 80, 3, 1, False, True),
    V3Block(6, 112, 3, 1, True, True),
    V3Block(6, 112, 3, 1, True, True),
    V3Block(6, 160, 5, 2, True, True),
    V3Block(6, 160, 5, 1, True, True),
    V3Block(6, 160, 5, 1, True, True),
)
V3_SMALL = (
    V3Block(1, 16, 3, 2, True, False),
    V3Block(72 / 16, 24, 3, 2, False, False),
    V3Block(88 / 24, 24, 3, 1, False, False),
    V3Block(4, 40, 5, 2, True, True),
    V3Block(6, 40, 5, 1, True, True),
    V3Block(6, 40, 5, 1, True, True),
    V3Block(3, 48, 5, 1, True, True),
    V3Block(3, 48, 5, 1, True, True),
    V3Block(6, 96, 5, 2, True, True),
    V3Block(6, 96, 5, 1, True, True),
    V3Block(6, 96, 5, 1, True, True),
)


def mobilenet_v1(alpha: float, resolution: int, classes: int) -> Network:
    """MobileNetV1; every channel count of the paper is multiplied by alpha."""
    net = Stack("mobilenet_v1")
    x = net.conv(net.input(resolution), int(32 * alpha), 3, "conv1", stride=2)
    for number, (filters, stride) in enumerate(V1_BLOCKS, start=1):
        x = net.depthwise(x, 3, f"conv_dw_{number}", stride=stride)
        x = net.conv(x, int(filters * alpha), 1, f"conv_pw_{number}")
    return _classified(net, net.global_average(x), classes)


def mobilenet_v2(alpha: float, resolution: int, classes: int) -> Network:
    """MobileNetV2.

    Channel counts are rounded to multiples of 8, and the last convolution keeps its 1280 channels
    where alpha is below 1 (as in the paper).
    """
    net = Stack("mobilenet_v2")
    x = net.conv(net.input(resolution), rounded(32 * alpha), 3, "conv1", stride=2)
    number = 0
    for stage in V2_STAGES:
        for repeat in range(stage.repeats):
            number += 1
            name, shortcut = f"block_{number}", x
            stride = stage.stride if repeat == 0 else 1
            if stage.expansion != 1:
                x = net.conv(x, net.channels(x) * stage.expansion, 1, f"{name}_expand")
            x = net.depthwise(x, 3, f"{name}_dw", stride=stride)
            filters = rounded(stage.filters * alpha)
            x = net.conv(x, filters, 1, f"{name}_project", "")
            if stride == 1 and net.channels(shortcut) == filters:
                x = net.add(shortcut, x, f"{name}_add")
    x = net.conv(x, rounded(1280 * max(alpha, 1.0)), 1, "conv_last")
    return _classified(net, net.global_average(x), classes)


def mobilenet_v3_large(alpha: float, resolution: int, classes: int) -> Network:
    """MobileNetV3-Large."""
    return _v3("mobilenet_v3_large", V3_LARGE, 1280, alpha, resolution, classes)


def mobilenet_v3_small(alpha: float, resolution: int, classes: int) -> Network:
    """MobileNetV3-Small."""
    return _v3("mobilenet_v3_small", V3_SMALL, 1024, alpha, resolution, classes)


def mobilenet_v3_large_minimalistic(alpha: float, resolution: int, classes: int) -> Network:
    """MobileNetV3-Large with 3x3 kernels and ReLU only, without squeeze-and-excite."""
    name = "mobilenet_v3_large_minimalistic"
    return _v3(name, _minimalistic(V3_LARGE), 1280, alpha, resolution, classes)


def mobilenet_v3_small_minimalistic(alpha: float, resolution: int, classes: int) -> Network:
    """MobileNetV3-Small with 3x3 kernels and ReLU only, without squeeze-and-excite."""
    name = "mobilenet_v3_small_minimalistic"
    return _v3(name, _minimalistic(V3_SMALL), 1024, alpha, resolution, classes)


def _minimalistic(blocks: tuple[V3Block, ...]) -> tuple[V3Block, ...]:
    return tuple(b._replace(kernel=3, squeeze=False, hard_swish=False) for b in blocks)


def _v3(
    name: str,
    blocks: tuple[V3Block, ...],
    last: int,
    alpha: float,
    resolution: int,
    classes: int,
) -> Network:
    net = Stack(name)
    ends: Activation = "hard_swish" if any(block.hard_swish for block in blocks) else "relu"
    x = net.conv(net.input(resolution), 16, 3, "conv1", ends, stride=2)
    for number, block in enumerate(blocks):
        x = _v3_block(net, x, block, rounded(block.filters * alpha), f"block_{number}")
    x = net.conv(x, rounded(net.channels(x) * 6), 1, "conv_last", ends)
    x = net.global_average(x)
    width = rounded(last * alpha) if alpha > 1 else last
    x = net.conv(x, width, 1, "conv_head", ends, normalize=False)
    return _classified(net, x, classes)


def _v3_block(net: Stack, x: str, block: V3Block, filters: int, name: str) -> str:
    shortcut, channels = x, net.channels(x)
    activation: Activation = "hard_swish" if block.hard_swish else "relu"
    wide = rounded(channels * block.expansion)
    if block.expansion != 1:
        x = net.conv(x, wide, 1, f"{name}_expand", activation)
    x = net.depthwise(x, block.kernel, f"{name}_dw", activation, block.stride)
    if block.squeeze:
        factors = net.global_average(x, f"{name}_squeeze")
        narrow = rounded(wide / 4)
        factors = net.conv(factors, narrow, 1, f"{name}_reduce", "relu", normalize=False)
        factors = net.conv(factors, wide, 1, f"{name}_excite", "hard_sigmoid", normalize=False)
        x = net.multiply(x, factors, f"{name}_scale")
    x = net.conv(x, filters, 1, f"{name}_project", "")
    if block.stride == 1 and channels == filters:
        x = net.add(shortcut, x, f"{name}_add")
    return x


def rounded(filters: float) -> int:
    """The nearest multiple of 8, at least 8 and never below 90 % of the request."""
    nearest = max(8, int(filters + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * filters else nearest + 8


def _classified(net: Stack, x: str, classes: int) -> Network:
    net.softmax(net.dense(x, classes, "logits"))
    return net.network()
