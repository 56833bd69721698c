"""Makes the keras_*.onnx and tf_keras_*.onnx files of this folder: small networks, as exported.

Needs tensorflow, tf_keras and tf2onnx. ``python make_keras.py`` makes the files of Keras 3,
``python make_keras.py legacy`` those of tf_keras (one process can hold only one of them). The
numbers are seeded.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

LEGACY = sys.argv[1:] == ["legacy"]
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_USE_LEGACY_KERAS"] = "1" if LEGACY else "0"

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import tf2onnx  # noqa: E402

if LEGACY:
    import tf_keras as keras
else:
    import keras

HERE = Path(__file__).parent
layers = keras.layers


def conv_bn(x, filters, kernel, stride, activation, padding="same"):
    x = layers.Conv2D(filters, kernel, stride, padding, use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    return layers.ReLU(6.0)(x) if activation else x


def depthwise_bn(x, stride):
    if stride == 2:
        x = layers.ZeroPadding2D(((0, 1), (0, 1)))(x)
    padding = "same" if stride == 1 else "valid"
    x = layers.DepthwiseConv2D(3, stride, padding, use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    return layers.ReLU(6.0)(x)


def mobile_v1():
    inputs = keras.Input((32, 32, 3), name="image")
    x = layers.Rescaling(1 / 127.5, -1.0)(inputs)
    x = conv_bn(x, 8, 3, 2, True)
    for filters, stride in ((12, 1), (16, 2), (16, 1)):
        x = conv_bn(depthwise_bn(x, stride), filters, 1, 1, True)
    x = layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = layers.Dropout(0.1)(x)
    x = layers.Conv2D(5, 1)(x)
    x = layers.Reshape((5,))(x)
    return keras.Model(inputs, layers.Softmax()(x))


def mobile_v2():
    inputs = keras.Input((32, 32, 3), name="image")
    x = conv_bn(inputs, 8, 3, 2, True)
    for filters, stride in ((8, 1), (12, 2), (12, 1)):
        y = conv_bn(x, 4 * x.shape[-1], 1, 1, True)
        y = conv_bn(depthwise_bn(y, stride), filters, 1, 1, False)
        x = layers.Add()([x, y]) if stride == 1 and x.shape[-1] == filters else y
    x = layers.MaxPooling2D(3, 2, "same")(x)
    x = layers.AveragePooling2D(3, 1, "same")(x)
    x = layers.Flatten()(x)
    return keras.Model(inputs, layers.Dense(5, activation="softmax")(x))


def randomized(model, seed):
    """Statistics far from the ones of a new network, so that folding them shows."""
    random = np.random.default_rng(seed)
    for layer in model.layers:
        values = layer.get_weights()
        if isinstance(layer, layers.BatchNormalization):
            n = len(values[0])
            values = [
                random.uniform(0.5, 1.5, n), random.normal(0, 0.3, n),
                random.normal(0, 0.3, n), random.uniform(0.2, 1.2, n),
            ]  # fmt: skip
        elif values:
            values = [random.normal(0, v[..., 0].size ** -0.5, v.shape) for v in values]
        layer.set_weights([np.asarray(v, np.float32) for v in values])
    return model


def converted(name, model, opset, batch=None, nchw=False):
    signature = [tf.TensorSpec((batch, 32, 32, 3), tf.float32, name="image")]
    function = tf.function(lambda image: model(image, training=False))
    tf2onnx.convert.from_function(
        function, signature, opset=opset, output_path=str(HERE / name),
        inputs_as_nchw=["image"] if nchw else None,
    )  # fmt: skip


def main() -> None:
    v1, v2 = randomized(mobile_v1(), 1), randomized(mobile_v2(), 2)
    if LEGACY:
        converted("tf_keras_v1_nhwc_op13.onnx", v1, 13)
        converted("tf_keras_v2_nchw_op9.onnx", v2, 9, batch=1, nchw=True)
        return
    converted("keras_v1_nchw_op18.onnx", v1, 18, batch=1, nchw=True)
    converted("keras_v2_nhwc_op15.onnx", v2, 15)
    v1.export(str(HERE / "keras_v1_export.onnx"), format="onnx", verbose=False)
    v2.export(str(HERE / "keras_v2_export.onnx"), format="onnx", verbose=False, opset_version=13)


if __name__ == "__main__":
    main()
