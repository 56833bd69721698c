"""A network of the zoo as ONNX, written directly: no framework, a second even for large ones.

The tensors are NCHW and every node has the name of its layer, as a PyTorch export would have them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from codegen import __version__
from codegen.zoo.metadata import image_metadata
from codegen.zoo.network import (
    Add,
    Concat,
    Conv,
    Dense,
    GlobalAverage,
    Layer,
    Lrn,
    Multiply,
    Network,
    Pool,
    pads,
)
from codegen.zoo.weights import Weights, folded

OPSET = 14  # the first with HardSwish
_IR_VERSION = 8
_OPERATORS = {"relu": "Relu", "hard_swish": "HardSwish"}


def onnx_model(network: Network, weights: Weights) -> ModelProto:
    """The network in ONNX, BatchNormalization folded.

    Args:
        network: The network.
        weights: Its weights; see ``codegen.zoo.weights``.

    Returns:
        A model from ``input`` [batch, 3, R, R] to ``output`` [batch, classes].
    """
    writer = _Writer(network, weights)
    for layer in network.layers[1:]:
        writer.add(layer)
    return writer.model()


class _Writer:
    """An ONNX graph that grows layer by layer."""

    def __init__(self, network: Network, weights: Weights) -> None:
        self.network = network
        self.weights = weights
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self.value_of = {network.layers[0].name: "input"}
        """The ONNX value that a layer gives."""
        self.flat: set[str] = set()
        """Layers whose value is [batch, channels]."""

    def add(self, layer: Layer) -> None:
        """Adds the nodes of a layer."""
        inputs = [self.value_of[name] for name in layer.inputs]
        if isinstance(layer, Conv):
            self._conv(layer, inputs[0])
        elif isinstance(layer, Dense):
            self._dense(layer, self._flattened(layer.inputs[0]))
        elif isinstance(layer, Pool):
            attributes = _window(self.network.shape(layer.inputs[0]), layer)
            self._node(layer, "MaxPool", inputs, **attributes)
        elif isinstance(layer, GlobalAverage):
            self._node(layer, "GlobalAveragePool", inputs)
        elif isinstance(layer, Lrn):
            numbers: dict[str, Any] = {"alpha": layer.alpha, "beta": layer.beta, "bias": layer.bias}
            self._node(layer, "LRN", inputs, size=layer.size, **numbers)
        elif isinstance(layer, Concat):
            self._node(layer, "Concat", inputs, axis=1)
        elif isinstance(layer, Add | Multiply):
            self._node(layer, "Add" if isinstance(layer, Add) else "Mul", inputs)
        else:
            self._node(layer, "Softmax", [self._flattened(layer.inputs[0])], axis=1)
            self.flat.add(layer.name)

    def _conv(self, layer: Conv, x: str) -> None:
        kernel, bias = folded(layer, self.weights)
        order = (2, 3, 0, 1) if layer.depthwise else (3, 2, 0, 1)
        constants = [
            self._constant(f"{layer.name}/weights", kernel.transpose(order)),
            self._constant(f"{layer.name}/bias", bias),
        ]
        attributes = _window(self.network.shape(layer.inputs[0]), layer)
        self._node(layer, "Conv", [x, *constants], group=layer.groups, **attributes)
        self._activation(layer, layer.activation)

    def _dense(self, layer: Dense, x: str) -> None:
        matrix, bias = self.weights[layer.name]
        constants = [
            self._constant(f"{layer.name}/weights", matrix),
            self._constant(f"{layer.name}/bias", bias),
        ]
        self._node(layer, "Gemm", [x, *constants])
        self.flat.add(layer.name)
        self._activation(layer, layer.activation)

    def _activation(self, layer: Layer, activation: str) -> None:
        x, name = self.value_of[layer.name], f"{layer.name}/{activation}"
        if activation == "relu6":
            bounds = [self._constant(f"{name}/{bound}", np.float32(bound)) for bound in (0, 6)]
            self._node(layer, "Clip", [x, *bounds], name)
        elif activation == "hard_sigmoid":
            self._node(layer, "HardSigmoid", [x], name, alpha=1 / 6, beta=0.5)
        elif activation:
            self._node(layer, _OPERATORS[activation], [x], name)

    def _flattened(self, name: str) -> str:
        """The value of a layer as [batch, rows * columns * channels], in Keras' order."""
        value = self.value_of[name]
        if name in self.flat:
            return value
        if self.network.shape(name)[:2] != (1, 1):
            nhwc = f"{name}/nhwc"
            self.nodes.append(
                helper.make_node("Transpose", [value], [nhwc], name=nhwc, perm=[0, 2, 3, 1])
            )
            value = nhwc
        flat = f"{name}/flat"
        self.nodes.append(helper.make_node("Flatten", [value], [flat], name=flat, axis=1))
        return flat

    def _node(
        self, layer: Layer, operator: str, inputs: list[str], name: str = "", **attributes: Any
    ) -> None:
        """Adds a node whose result is from now on the layer's value."""
        name = name or layer.name
        last = layer is self.network.layers[-1]
        value = "output" if last else name
        self.nodes.append(helper.make_node(operator, inputs, [value], name=name, **attributes))
        self.value_of[layer.name] = value

    def _constant(self, name: str, values: NDArray[Any] | np.float32) -> str:
        array = np.ascontiguousarray(values, np.float32).reshape(np.shape(values))
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def model(self) -> ModelProto:
        """The finished model."""
        height, width, channels = self.network.layers[0].shape
        classes = self.network.layers[-1].shape[2]
        graph = helper.make_graph(
            self.nodes,
            self.network.name,
            [_value("input", ["batch", channels, height, width])],
            [_value("output", ["batch", classes])],
            self.initializers,
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=_IR_VERSION,
            producer_name="thumbnet.zoo",
            producer_version=__version__,
        )
        helper.set_model_props(model, image_metadata(()))
        return model


def _value(name: str, shape: list[int | str]) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _window(shape: tuple[int, int, int], layer: Conv | Pool) -> dict[str, Any]:
    """Attributes of a window that moves over a map of this shape."""
    around = pads(shape, layer.kernel, layer.stride, layer.padding)
    return {
        "kernel_shape": [layer.kernel, layer.kernel],
        "strides": [layer.stride, layer.stride],
        "pads": [around.top, around.left, around.bottom, around.right],
    }
