"""The networks that MobileNet is measured against, and its third version, in small, as ONNX files.

Built as exporters write them; weights are random, scaled so that activations stay alive.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from onnx_models import Net, assert_like_onnxruntime, pictures

from codegen import simulate
from codegen.ir import FloatArray, Graph, Int8Array
from codegen.quant.channels import drop_channels
from codegen.quant.quantize import quantize
from codegen.simulate_float import run_float

CLASSES = 5


def conv(net: Net, x: str, c: int, outputs: int, size: int = 3, group: int = 1, **more: int) -> str:
    """A convolution that keeps rows and columns at stride 1."""
    stride, pad = more.pop("stride", 1), more.pop("pad", size // 2)
    weight = net.normal(outputs, c // group, size, size) * (2 / (c // group * size * size)) ** 0.5
    bias = net.normal(outputs) * 0.1
    return net.op(
        "Conv", x, weight.astype(np.float32), bias.astype(np.float32),
        group=group, strides=[stride] * 2, pads=[pad] * 4,
    )  # fmt: skip


def relu(net: Net, x: str) -> str:
    return net.op("Relu", x)


def pool(net: Net, x: str, size: int = 3, stride: int = 2, **more: object) -> str:
    return net.op("MaxPool", x, kernel_shape=[size] * 2, strides=[stride] * 2, **more)


def dense(net: Net, x: str, inputs: int, outputs: int) -> str:
    weight = net.normal(outputs, inputs) * inputs**-0.5
    return net.op("Gemm", x, weight.astype(np.float32), net.normal(outputs), transB=1)


def head(net: Net, x: str, channels: int) -> None:
    x = net.op("Flatten", net.op("GlobalAveragePool", x))
    net.op("Softmax", dense(net, x, channels, CLASSES))


def mobilenet_v3(net: Net, *, swish: Callable[[str], str], gate: Callable[[str], str]) -> None:
    """Blocks with and without squeeze and excite, kernels of 3 and 5."""
    x = swish(conv(net, "x", 3, 8, stride=2))
    for index, (wide, size, excite) in enumerate(((16, 3, True), (24, 5, True), (24, 5, False))):
        y = swish(conv(net, x, 8, wide, 1))
        y = swish(conv(net, y, wide, wide, size, wide, stride=2 if index == 1 else 1))
        if excite:
            z = relu(net, conv(net, net.op("GlobalAveragePool", y), wide, 4, 1))
            y = net.op("Mul", gate(conv(net, z, 4, wide, 1)), y)
        y = conv(net, y, wide, 8, 1)
        x = y if index == 1 else net.op("Add", x, y)
    head(net, swish(conv(net, x, 8, 24, 1)), 24)


def mobilenet_v3_torch(net: Net) -> None:
    mobilenet_v3(
        net,
        swish=lambda x: net.op("HardSwish", x),
        gate=lambda x: net.op("HardSigmoid", x, alpha=1 / 6),
    )


def mobilenet_v3_keras(net: Net) -> None:
    """Everything in pieces."""

    def gate(x: str) -> str:
        clipped = net.op("Min", relu(net, net.op("Add", x, np.float32(3))), np.float32(6))
        return net.op("Mul", clipped, np.float32(1 / 6))

    mobilenet_v3(net, swish=lambda x: net.op("Mul", x, gate(x)), gate=gate)


def squeezenet(net: Net) -> None:
    x = pool(net, relu(net, conv(net, "x", 3, 12, stride=2, pad=0)), ceil_mode=1)
    for inputs in (12, 16):
        y = relu(net, conv(net, x, inputs, 4, 1))
        x = net.op(
            "Concat", relu(net, conv(net, y, 4, 8, 1)), relu(net, conv(net, y, 4, 8)), axis=1
        )
    x = relu(net, conv(net, x, 16, CLASSES, 1))
    net.op("Softmax", net.op("Flatten", net.op("GlobalAveragePool", x)))


def googlenet(net: Net) -> None:
    x = pool(net, relu(net, conv(net, "x", 3, 8, 7, stride=2)), ceil_mode=1)
    x = net.op("LRN", relu(net, conv(net, x, 8, 12)), size=5, alpha=1e-2)
    for inputs in (12, 24):
        branches = [
            conv(net, x, inputs, 8, 1),
            conv(net, relu(net, conv(net, x, inputs, 4, 1)), 4, 8),
            conv(net, relu(net, conv(net, x, inputs, 3, 1)), 3, 4, 5),
            conv(net, pool(net, x, stride=1, pads=[1] * 4), inputs, 4, 1),
        ]
        x = net.op("Concat", *(relu(net, branch) for branch in branches), axis=1)
    x = net.op(
        "AveragePool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4, count_include_pad=1
    )
    head(net, x, 24)


def alexnet(net: Net) -> None:
    x = relu(net, conv(net, "x", 3, 8, 11, stride=4, pad=2))
    x = net.op("LRN", pool(net, x, stride=1), size=5, alpha=1e-2, bias=2.0)
    x = relu(net, conv(net, x, 8, 12, 5, 2))
    x = relu(net, conv(net, relu(net, conv(net, x, 12, 16)), 16, 8, group=2))
    x = relu(net, dense(net, net.op("Flatten", pool(net, x, 3, 2)), 8 * 2 * 2, 16))
    net.op("Softmax", dense(net, x, 16, CLASSES))


def vgg(net: Net) -> None:
    x, inputs = "x", 3
    for channels in (6, 8, 10):
        x = relu(net, conv(net, relu(net, conv(net, x, inputs, channels)), channels, channels))
        x, inputs = pool(net, x, 2), channels
    x = relu(net, dense(net, net.op("Flatten", x), 10 * 4 * 4, 16))
    net.op("Softmax", dense(net, x, 16, CLASSES))


def darknet(net: Net) -> None:
    """LeakyRelu, PRelu and dilation, which the others do not have."""
    x = net.op("LeakyRelu", conv(net, "x", 3, 8, stride=2), alpha=0.1)
    x = net.op("PRelu", conv(net, x, 8, 8, 7, 8), net.normal(8, 1, 1))
    weight = (net.normal(8, 8, 3, 3) * 0.2).astype(np.float32)
    x = net.op("LeakyRelu", net.op("Conv", x, weight, dilations=[2, 2], pads=[2] * 4), alpha=0.1)
    head(net, x, 8)


RELATIVES: dict[str, Callable[[Net], None]] = {
    build.__name__: build
    for build in (
        mobilenet_v3_torch, mobilenet_v3_keras, squeezenet, googlenet, alexnet, vgg, darknet
    )
}  # fmt: skip
SIZE = {"alexnet": 35}


def colours(graph: Graph, count: int, seed: int) -> FloatArray:
    """Noise on pictures of one colour each: float32 [count, H, W, C]."""
    tint = np.random.default_rng(seed).uniform(-1, 1, (count, 1, 1, 3)).astype(np.float32)
    return tint + pictures(graph, count, seed) / 2


def int8_network(path: Path) -> tuple[Graph, Graph]:
    """The float graph of a file, which is what onnxruntime computes, and its int8 graph.

    What carries nothing is dropped from the int8 graph.
    """
    _, simple = assert_like_onnxruntime(path)
    values = run_float(simple, colours(simple, 32, seed=1))
    ranges = {key: (float(x.min()), float(x.max())) for key, x in values.items()}
    return simple, drop_channels(quantize(simple, ranges)).graph


def integers(graph: Graph, count: int) -> Int8Array:
    """The same kind of pictures for the int8 graph, others than it was quantized on."""
    q = graph.q(graph.input)
    values = np.rint(colours(graph, count, seed=7) / q.scale) + q.zero_point
    return np.clip(values, -128, 127).astype(np.int8)


def outputs(simple: Graph, graph: Graph) -> tuple[FloatArray, FloatArray]:
    """What the float and the int8 graph of a network say of eight pictures, as real numbers."""
    images = integers(graph, 8)
    want = run_float(simple, graph.q(graph.input).real(images))[simple.output]
    return want, graph.q(graph.output).real(simulate.run(graph, images))
