"""MobileNetV1 and MobileNetV2 in Keras.

Both follow the papers (Howard et al. 2017, arXiv:1704.04861, table 1; Sandler et al. 2018,
arXiv:1801.04381, table 2) with padding "same" everywhere. Each convolution is followed by
BatchNormalization and ReLU6, so that an exporter can fold the normalization into the weights.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

BATCH_NORM_EPSILON = 1e-3
BATCH_NORM_MOMENTUM = 0.99

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


def legacy_keras() -> Any:
    """Returns the module ``tf_keras`` (Keras 2), the one tf2onnx folds BatchNormalization for.

    Raises:
        ImportError: TensorFlow or tf_keras is not installed.
    """
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    try:
        import tf_keras
    except ImportError as error:
        raise ImportError(
            f"the MobileNet builders need TensorFlow and tf_keras ({error}); "
            "install the extra: pip install 'thumbnet[train]'"
        ) from error
    return tf_keras


def mobilenet_v1(alpha: float = 1.0, resolution: int = 224, classes: int = 1000) -> Any:
    """Builds an untrained MobileNetV1.

    Args:
        alpha: width multiplier; every channel count of the paper is multiplied by it.
        resolution: height and width of the input in pixels, at least 32.
        classes: number of classes.

    Returns:
        A ``tf_keras.Model`` from ``input`` [N, resolution, resolution, 3] to ``softmax``
        [N, classes]; its layer ``logits`` gives the values before the softmax.

    Raises:
        ValueError: an argument is out of range.
        ImportError: TensorFlow is not installed.
    """
    _check_arguments(alpha, resolution, classes)
    keras = legacy_keras()
    image = keras.Input((resolution, resolution, 3), name="input")
    x = _conv(keras, image, _v1_channels(32, alpha), 3, 2, "conv1")
    for number, (filters, stride) in enumerate(V1_BLOCKS, start=1):
        x = _depthwise(keras, x, stride, f"conv_dw_{number}")
        x = _conv(keras, x, _v1_channels(filters, alpha), 1, 1, f"conv_pw_{number}")
    return keras.Model(image, _head(keras, x, classes), name="mobilenet_v1")


def mobilenet_v2(alpha: float = 1.0, resolution: int = 224, classes: int = 1000) -> Any:
    """Builds an untrained MobileNetV2.

    Args:
        alpha: width multiplier; channel counts are rounded to multiples of 8, and the last
            convolution keeps its 1280 channels where alpha is below 1 (as in the paper).
        resolution: height and width of the input in pixels, at least 32.
        classes: number of classes.

    Returns:
        A ``tf_keras.Model`` with the same input and outputs as `mobilenet_v1`.

    Raises:
        ValueError: an argument is out of range.
        ImportError: TensorFlow is not installed.
    """
    _check_arguments(alpha, resolution, classes)
    keras = legacy_keras()
    image = keras.Input((resolution, resolution, 3), name="input")
    x = _conv(keras, image, _v2_channels(32 * alpha), 3, 2, "conv1")
    number = 0
    for stage in V2_STAGES:
        for repeat in range(stage.repeats):
            number += 1
            stride = stage.stride if repeat == 0 else 1
            filters = _v2_channels(stage.filters * alpha)
            x = _inverted_residual(keras, x, stage.expansion, filters, stride, f"block_{number}")
    x = _conv(keras, x, _v2_channels(1280 * max(alpha, 1.0)), 1, 1, "conv_last")
    return keras.Model(image, _head(keras, x, classes), name="mobilenet_v2")


def _check_arguments(alpha: float, resolution: int, classes: int) -> None:
    if not 0 < alpha <= 4:
        raise ValueError(f"alpha must be above 0 and at most 4, not {alpha}")
    if _v1_channels(32, alpha) < 1:
        raise ValueError(f"alpha {alpha} leaves no channel in the first layer")
    if resolution < 32:
        raise ValueError(f"resolution must be at least 32 pixels (five halvings), not {resolution}")
    if classes < 2:
        raise ValueError(f"classes must be at least 2, not {classes}")


def _v1_channels(filters: int, alpha: float) -> int:
    return int(filters * alpha)


def _v2_channels(filters: float) -> int:
    """Rounds to the nearest multiple of 8, at least 8 and never below 90 % of the request."""
    rounded = max(8, int(filters + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * filters else rounded + 8


def _normalize(keras: Any, x: Any, name: str) -> Any:
    return keras.layers.BatchNormalization(
        momentum=BATCH_NORM_MOMENTUM, epsilon=BATCH_NORM_EPSILON, name=f"{name}_bn"
    )(x)


def _conv(keras: Any, x: Any, filters: int, kernel: int, stride: int, name: str) -> Any:
    x = _linear_conv(keras, x, filters, kernel, stride, name)
    return keras.layers.ReLU(6.0, name=f"{name}_relu")(x)


def _linear_conv(keras: Any, x: Any, filters: int, kernel: int, stride: int, name: str) -> Any:
    x = keras.layers.Conv2D(
        filters,
        kernel,
        strides=stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=name,
    )(x)
    return _normalize(keras, x, name)


def _depthwise(keras: Any, x: Any, stride: int, name: str) -> Any:
    # Keras counts the channels into the fan of a depthwise kernel, which makes its default far
    # too small; He initialization of the nine values that really meet has variance 2/9.
    x = keras.layers.DepthwiseConv2D(
        3,
        strides=stride,
        padding="same",
        use_bias=False,
        depthwise_initializer=keras.initializers.RandomNormal(stddev=(2 / 9) ** 0.5),
        name=name,
    )(x)
    return keras.layers.ReLU(6.0, name=f"{name}_relu")(_normalize(keras, x, name))


def _inverted_residual(
    keras: Any, x: Any, expansion: int, filters: int, stride: int, name: str
) -> Any:
    channels = int(x.shape[-1])
    shortcut = x
    if expansion != 1:
        x = _conv(keras, x, channels * expansion, 1, 1, f"{name}_expand")
    x = _depthwise(keras, x, stride, f"{name}_dw")
    x = _linear_conv(keras, x, filters, 1, 1, f"{name}_project")
    if stride == 1 and channels == filters:
        x = keras.layers.Add(name=f"{name}_add")([shortcut, x])
    return x


def _head(keras: Any, x: Any, classes: int) -> Any:
    x = keras.layers.GlobalAveragePooling2D(name="global_average")(x)
    x = keras.layers.Dense(classes, name="logits")(x)
    return keras.layers.Softmax(name="softmax")(x)
