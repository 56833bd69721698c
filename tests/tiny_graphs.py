"""Three hand-made networks that are small enough to read what is generated from them."""

from __future__ import annotations

import numpy as np

from codegen.ir import Bounds, Graph, Node, Pads, Preprocess, Tensor, validate
from codegen.ops import Add, AvgPool, Conv, Depthwise, MaxPool, Pad, Softmax
from codegen.quant.quantize import quantize
from codegen.simulate_float import run_float

RELU6 = Bounds(0.0, 6.0)


class _Maker:
    """Collects nodes one after another; weights are small whole numbers, the same everywhere."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.tensors = {"in": Tensor("in", shape)}
        self.nodes: list[Node] = []
        self._next = 1

    def weight(self, *shape: int) -> np.ndarray:
        count = int(np.prod(shape))
        values = (np.arange(self._next, self._next + count) * 37 % 11 - 5) / 4
        self._next += count
        return values.reshape(shape).astype(np.float32)

    def add(self, node: Node) -> str:
        self.nodes.append(node)
        shape = node.infer(*(self.tensors[name].shape for name in node.inputs))
        self.tensors[node.output] = Tensor(node.output, shape)
        return node.output

    def graph(self, name: str, preprocess: Preprocess, classes: tuple[str, ...] = ()) -> Graph:
        output = self.nodes[-1].output
        graph = Graph(name, self.tensors, tuple(self.nodes), "in", output, preprocess, classes)
        validate(graph, "tiny")
        pixels = np.arange(2 * graph.input_tensor.size).reshape(2, *graph.input_tensor.shape) % 256
        images = (pixels - np.array(preprocess.mean)) / np.array(preprocess.std)
        values = run_float(graph, images.astype(np.float32))
        ranges = {key: (float(x.min()), float(x.max())) for key, x in values.items()}
        ends = np.array([[0.0], [255.0]])
        inputs = (ends - np.array(preprocess.mean)) / np.array(preprocess.std)
        ranges["in"] = (float(inputs.min()), float(inputs.max()))
        return quantize(graph, ranges)


def v1() -> Graph:
    """Convolution, depthwise separable block, pooling, classifier: a MobileNetV1 in small."""
    m = _Maker((8, 8, 3))
    w = m.weight
    stem = Conv(
        "conv1", ("in",), "conv1/relu", w(4, 3, 3, 3), w(4), (2, 2), Pads(0, 0, 1, 1), RELU6
    )
    m.add(stem)
    dw = Depthwise("dw", ("conv1/relu",), "dw", w(3, 3, 4, 1), w(4), pads=Pads(1, 1, 1, 1))
    m.add(dw)
    m.add(Conv("pw", ("dw",), "pw", w(6, 1, 1, 4), w(6), bounds=RELU6))
    m.add(AvgPool("mean", ("pw",), "mean", (4, 4)))
    m.add(Conv("fc", ("mean",), "fc", w(3, 1, 1, 6), w(3)))
    m.add(Softmax("probabilities", ("fc",), "probabilities"))
    signed = Preprocess((127.5,) * 3, (127.5,) * 3)
    return m.graph("v1", signed, ("cat", "dog */ \\ ??/", "ship \u2603"))


def v2() -> Graph:
    """An inverted residual with a strange name, and a padding that nothing takes over."""
    m = _Maker((6, 6, 4))
    w = m.weight
    m.add(Conv("block/expand */ \\ ??/ \u00e9", ("in",), "e", w(8, 1, 1, 4), w(8), bounds=RELU6))
    m.add(Depthwise("block/dw", ("e",), "d", w(3, 3, 8, 1), w(8), (1, 1), Pads(1, 1, 1, 1), RELU6))
    m.add(Conv("block/project", ("d",), "p", w(4, 1, 1, 8), w(4)))
    m.add(Add("block/add", ("p", "in"), "s"))
    m.add(Pad("pad", ("s",), "padded", Pads(0, 1, 1, 0), 0.5))
    return m.graph("v2", Preprocess((0.0,) * 4, (255.0,) * 4))


def pools() -> Graph:
    """Every kind of pooling, on one channel, with one value of padding counted and one not."""
    m = _Maker((7, 5, 1))
    m.add(MaxPool("max", ("in",), "max", (3, 3), (2, 1), Pads(1, 1, 1, 1)))
    m.add(AvgPool("count", ("max",), "count", (2, 2), (1, 1), Pads(0, 0, 1, 1), count_pads=True))
    m.add(AvgPool("share", ("count",), "share", (3, 3), (2, 2), Pads(1, 1, 1, 1)))
    return m.graph("pools", Preprocess((0.0,), (1.0,), "GRAY"))


TINY = {"v1": v1, "v2": v2, "pools": pools}
