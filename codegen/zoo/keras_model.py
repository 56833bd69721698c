"""A network of the zoo in Keras: to be trained, and exported through tf2onnx."""

from __future__ import annotations

import os
from typing import Any

from codegen.errors import ThumbnetError
from codegen.zoo.network import (
    Add,
    Concat,
    Conv,
    Dense,
    GlobalAverage,
    Input,
    Layer,
    Lrn,
    Multiply,
    Network,
    Pool,
)
from codegen.zoo.weights import EPSILON, Weights

BATCH_NORM_MOMENTUM = 0.99


def legacy_keras() -> Any:
    """Returns the module ``tf_keras`` (Keras 2), the one tf2onnx folds BatchNormalization for.

    Raises:
        ThumbnetError: TensorFlow or tf_keras is not installed.
    """
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # its greeting is no message of ours
    try:
        import tf_keras
    except ImportError as error:
        raise ThumbnetError(
            f"Keras models need TensorFlow and tf_keras ({error}); "
            "install the extra: pip install 'thumbnet[train]'"
        ) from error
    return tf_keras


def keras_model(network: Network, weights: Weights | None = None) -> Any:
    """Builds a network in Keras.

    Args:
        network: The network.
        weights: Its weights; None for Keras' random ones.

    Returns:
        A ``tf_keras.Model`` from ``input`` [N, R, R, 3] to ``softmax`` [N, classes]; its layers
        have the names of the network's, with ``_bn`` for the normalization behind them.

    Raises:
        ThumbnetError: TensorFlow is not installed.
    """
    keras = legacy_keras()
    values: dict[str, Any] = {}
    for layer in network.layers:
        if isinstance(layer, Input):
            values[layer.name] = keras.Input(layer.shape, name=layer.name)
        else:
            values[layer.name] = _layer(keras, layer, [values[name] for name in layer.inputs])
    first, last = network.layers[0].name, network.layers[-1].name
    model = keras.Model(values[first], values[last], name=network.name)
    for name, arrays in (weights or {}).items():
        model.get_layer(name).set_weights(arrays)
    return model


def _layer(keras: Any, layer: Layer, xs: list[Any]) -> Any:
    layers = keras.layers
    if isinstance(layer, Conv):
        return _conv(keras, layer, xs[0])
    if isinstance(layer, Dense):
        flat = xs[0] if len(xs[0].shape) == 2 else layers.Flatten(name=f"{layer.name}_flat")(xs[0])
        y = layers.Dense(layer.shape[2], kernel_initializer="he_normal", name=layer.name)(flat)
        return _activated(keras, y, layer.activation, layer.name)
    if isinstance(layer, Pool):
        window = (layer.kernel, layer.stride, layer.padding)
        return layers.MaxPooling2D(*window, name=layer.name)(xs[0])
    if isinstance(layer, GlobalAverage):
        return layers.GlobalAveragePooling2D(keepdims=True, name=layer.name)(xs[0])
    if isinstance(layer, Lrn):
        return _lrn(keras, layer, xs[0])
    if isinstance(layer, Concat):
        return layers.Concatenate(name=layer.name)(xs)
    if isinstance(layer, Add):
        return layers.Add(name=layer.name)(xs)
    if isinstance(layer, Multiply):
        return layers.Multiply(name=layer.name)(xs)
    flat = xs[0] if len(xs[0].shape) == 2 else layers.Flatten(name=f"{layer.name}_flat")(xs[0])
    return layers.Softmax(name=layer.name)(flat)


def _conv(keras: Any, layer: Conv, x: Any) -> Any:
    layers, bias = keras.layers, not layer.normalize
    if layer.depthwise:
        # Keras counts the channels into the fan of a depthwise kernel, which makes its default far
        # too small; He initialization of the values that really meet has variance 2/KH/KW.
        deviation = (2 / layer.kernel**2) ** 0.5
        x = layers.DepthwiseConv2D(
            layer.kernel,
            strides=layer.stride,
            padding=layer.padding,
            use_bias=bias,
            depthwise_initializer=keras.initializers.RandomNormal(stddev=deviation),
            name=layer.name,
        )(x)
    else:
        x = layers.Conv2D(
            layer.shape[2],
            layer.kernel,
            strides=layer.stride,
            padding=layer.padding,
            groups=layer.groups,
            use_bias=bias,
            kernel_initializer="he_normal",
            name=layer.name,
        )(x)
    if layer.normalize:
        x = layers.BatchNormalization(
            momentum=BATCH_NORM_MOMENTUM, epsilon=EPSILON, name=f"{layer.name}_bn"
        )(x)
    return _activated(keras, x, layer.activation, layer.name)


def _activated(keras: Any, x: Any, activation: str, name: str) -> Any:
    layers, name = keras.layers, f"{name}_{activation.replace('relu6', 'relu')}"
    if activation == "relu6":
        return layers.ReLU(6.0, name=name)(x)
    if activation == "relu":
        return layers.ReLU(name=name)(x)
    if activation in ("hard_sigmoid", "hard_swish"):
        # As Keras applications write it: relu6(x + 3) / 6. Keras' own hard_sigmoid has slope 0.2.
        shifted = layers.Rescaling(1.0, 3.0, name=f"{name}_shift")(x)
        gate = layers.ReLU(6.0, name=f"{name}_clip")(shifted)
        last = name if activation == "hard_sigmoid" else f"{name}_gate"
        gate = layers.Rescaling(1 / 6, name=last)(gate)
        return gate if activation == "hard_sigmoid" else layers.Multiply(name=name)([x, gate])
    return x


def _lrn(keras: Any, layer: Lrn, x: Any) -> Any:
    def normalize(values: Any) -> Any:
        import tensorflow as tf  # here, since Keras copies the function with what it holds

        # TensorFlow's alpha is not divided by the size, and its radius does not count the middle.
        return tf.nn.local_response_normalization(
            values,
            depth_radius=layer.size // 2,
            bias=layer.bias,
            alpha=layer.alpha / layer.size,
            beta=layer.beta,
        )

    return keras.layers.Lambda(normalize, name=layer.name)(x)
