"""The systems that the MobileNet paper compares with, every channel count times alpha.

GoogLeNet (Szegedy et al. 2014, arXiv:1409.4842, table 1), VGG16 (Simonyan and Zisserman 2014,
arXiv:1409.1556, configuration D), SqueezeNet (Iandola et al. 2016, arXiv:1602.07360, table 1; 1.1
after its authors' later release) and AlexNet (Krizhevsky et al. 2012, with two groups where it ran
on two processors).

The first layers of AlexNet and SqueezeNet are padded "same" here, so that resolutions are multiples
of 32 as everywhere in the zoo; the papers take 227 pixels for what they call 224.
"""

from __future__ import annotations

from typing import NamedTuple

from codegen.zoo.network import Network, Stack


class Inception(NamedTuple):
    """Channels of an Inception module: 1x1, 3x3 and its reduction, 5x5 and its, pool's."""

    name: str
    one: int
    reduce_three: int
    three: int
    reduce_five: int
    five: int
    pool: int


INCEPTIONS = (
    Inception("3a", 64, 96, 128, 16, 32, 32),
    Inception("3b", 128, 128, 192, 32, 96, 64),
    Inception("4a", 192, 96, 208, 16, 48, 64),
    Inception("4b", 160, 112, 224, 24, 64, 64),
    Inception("4c", 128, 128, 256, 24, 64, 64),
    Inception("4d", 112, 144, 288, 32, 64, 64),
    Inception("4e", 256, 160, 320, 32, 128, 128),
    Inception("5a", 256, 160, 320, 32, 128, 128),
    Inception("5b", 384, 192, 384, 48, 128, 128),
)
# Layers and channels of each part of VGG16; a pooling follows each.
VGG16_PARTS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
# Channels of the squeezing layer of each fire module; it expands to four times as many twice.
FIRES = (16, 16, 32, 32, 48, 48, 64, 64)


def googlenet(alpha: float, resolution: int, classes: int) -> Network:
    """GoogLeNet, without the classifiers at its side, which only training uses."""
    net = Stack("googlenet", normalize=False)
    x = net.conv(net.input(resolution), _width(64, alpha), 7, "conv1", "relu", stride=2)
    x = net.lrn(net.pool(x, 3, 2, "pool1"), "norm1")
    x = net.conv(x, _width(64, alpha), 1, "conv2_reduce", "relu")
    x = net.conv(x, _width(192, alpha), 3, "conv2", "relu")
    x = net.pool(net.lrn(x, "norm2"), 3, 2, "pool2")
    for module in INCEPTIONS:
        x = _inception(net, x, module, alpha)
        if module.name in ("3b", "4e"):
            x = net.pool(x, 3, 2, f"pool{module.name[0]}")
    net.softmax(net.dense(net.global_average(x), classes, "logits"))
    return net.network()


def _inception(net: Stack, x: str, module: Inception, alpha: float) -> str:
    name = f"inception_{module.name}"

    def conv(source: str, filters: int, kernel: int, part: str) -> str:
        return net.conv(source, _width(filters, alpha), kernel, f"{name}_{part}", "relu")

    one = conv(x, module.one, 1, "1x1")
    three = conv(conv(x, module.reduce_three, 1, "3x3_reduce"), module.three, 3, "3x3")
    five = conv(conv(x, module.reduce_five, 1, "5x5_reduce"), module.five, 5, "5x5")
    pool = conv(net.pool(x, 3, 1, f"{name}_pool"), module.pool, 1, "pool_project")
    return net.concat((one, three, five, pool), f"{name}_output")


def vgg16(alpha: float, resolution: int, classes: int) -> Network:
    """VGG16."""
    net = Stack("vgg16", normalize=False)
    x = net.input(resolution)
    for part, (layers, filters) in enumerate(VGG16_PARTS, start=1):
        for layer in range(1, layers + 1):
            x = net.conv(x, _width(filters, alpha), 3, f"conv{part}_{layer}", "relu")
        x = net.pool(x, 2, 2, f"pool{part}", "valid")
    return _fully_connected(net, x, alpha, classes)


def squeezenet_1_0(alpha: float, resolution: int, classes: int) -> Network:
    """SqueezeNet 1.0."""
    return _squeezenet("squeezenet_1_0", 96, 7, (3, 7), alpha, resolution, classes)


def squeezenet_1_1(alpha: float, resolution: int, classes: int) -> Network:
    """SqueezeNet 1.1: a smaller first layer, and pooling earlier."""
    return _squeezenet("squeezenet_1_1", 64, 3, (2, 4), alpha, resolution, classes)


def _squeezenet(
    name: str,
    stem: int,
    kernel: int,
    pooled: tuple[int, int],
    alpha: float,
    resolution: int,
    classes: int,
) -> Network:
    """``pooled``: numbers of the fire modules that a pooling follows."""
    net = Stack(name, normalize=False)
    x = net.input(resolution)
    x = net.conv(x, _width(stem, alpha), kernel, "conv1", "relu", stride=2)
    x = net.pool(x, 3, 2, "pool1", "valid")
    for number, squeeze in enumerate(FIRES, start=1):
        narrow, fire = _width(squeeze, alpha), f"fire{number + 1}"
        x = net.conv(x, narrow, 1, f"{fire}_squeeze", "relu")
        one = net.conv(x, 4 * narrow, 1, f"{fire}_expand_1x1", "relu")
        three = net.conv(x, 4 * narrow, 3, f"{fire}_expand_3x3", "relu")
        x = net.concat((one, three), f"{fire}_output")
        if number in pooled:
            x = net.pool(x, 3, 2, f"pool{number + 1}", "valid")
    x = net.conv(x, classes, 1, "conv10", "relu")
    net.softmax(net.global_average(x))
    return net.network()


def alexnet(alpha: float, resolution: int, classes: int) -> Network:
    """AlexNet."""
    net = Stack("alexnet", normalize=False)
    x = net.input(resolution)
    x = net.conv(x, _even(96, alpha), 11, "conv1", "relu", stride=4)
    x = net.pool(net.lrn(x, "norm1"), 3, 2, "pool1", "valid")
    x = net.conv(x, _even(256, alpha), 5, "conv2", "relu", groups=2)
    x = net.pool(net.lrn(x, "norm2"), 3, 2, "pool2", "valid")
    x = net.conv(x, _even(384, alpha), 3, "conv3", "relu")
    x = net.conv(x, _even(384, alpha), 3, "conv4", "relu", groups=2)
    x = net.conv(x, _even(256, alpha), 3, "conv5", "relu", groups=2)
    x = net.pool(x, 3, 2, "pool5", "valid")
    return _fully_connected(net, x, alpha, classes)


def _fully_connected(net: Stack, x: str, alpha: float, classes: int) -> Network:
    """The two layers of 4096 and the classifier that AlexNet and VGG16 end with."""
    for number in (6, 7):
        x = net.dense(x, _width(4096, alpha), f"fc{number}", "relu")
    net.softmax(net.dense(x, classes, "logits"))
    return net.network()


def _width(filters: int, alpha: float) -> int:
    return max(1, int(filters * alpha))


def _even(filters: int, alpha: float) -> int:
    """Channels that two groups can share."""
    return max(2, int(filters * alpha) // 2 * 2)
