"""Which ONNX operators exist here, and what is said about those that do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from codegen.onnx_import import activations, channels, elementwise, layers, pool, quantized, shapes
from codegen.onnx_import.builder import Builder
from codegen.onnx_import.node import OnnxNode

Handler = Callable[[Builder, OnnxNode], None]

HANDLERS: Mapping[str, Handler] = {
    "Add": elementwise.add,
    "AveragePool": pool.average_pool,
    "BatchNormalization": elementwise.batch_normalization,
    "Cast": shapes.cast,
    "CastLike": shapes.cast_like,
    "Clip": elementwise.clip,
    "Concat": channels.concat,
    "Conv": layers.conv,
    "DequantizeLinear": quantized.dequantize_linear,
    "Div": elementwise.divide,
    "Dropout": shapes.dropout,
    "Elu": activations.activation(alpha=1.0),
    "Flatten": shapes.flatten,
    "Gather": channels.gather,
    "Gemm": layers.gemm,
    "GlobalAveragePool": pool.global_average_pool,
    "GlobalMaxPool": pool.global_max_pool,
    "HardSigmoid": activations.activation(alpha=0.2, beta=0.5),
    "HardSwish": activations.activation(),
    "Identity": shapes.identity,
    "LeakyRelu": activations.activation(alpha=0.01),
    "LRN": channels.lrn,
    "MatMul": layers.matmul,
    "Max": elementwise.maximum,
    "MaxPool": pool.max_pool,
    "Min": elementwise.minimum,
    "Mul": elementwise.multiply,
    "PRelu": elementwise.prelu,
    "Pad": shapes.pad,
    "QuantizeLinear": quantized.quantize_linear,
    "ReduceMax": pool.reduce_max,
    "ReduceMean": pool.reduce_mean,
    "Relu": elementwise.relu,
    "Reshape": shapes.reshape,
    "Shape": shapes.shape,
    "Sigmoid": activations.activation(),
    "Softmax": elementwise.softmax,
    "Squeeze": shapes.squeeze,
    "Sub": elementwise.subtract,
    "Sum": elementwise.add,
    "Swish": activations.activation(alpha=1.0),
    "Tanh": activations.activation(),
    "Transpose": shapes.transpose,
    "Unsqueeze": shapes.unsqueeze,
}
"""For each operator that may read an activation, the function that imports it."""

CONTROL_FLOW = frozenset(("If", "Loop", "Scan"))

ENLARGING = frozenset(("ConvTranspose", "DepthToSpace", "MaxUnpool", "Resize", "Upsample"))
"""Operators of decoders."""

# fmt: off
ON_INTEGERS = frozenset((
    "DequantizeLinear", "Dropout", "Flatten", "GlobalMaxPool", "Identity", "MaxPool", "Pad",
    "ReduceMax", "Reshape", "Shape", "Squeeze", "Transpose", "Unsqueeze",
))
"""Operators that may stand between QuantizeLinear and DequantizeLinear: they move values."""

UNKNOWN_SCALES = frozenset((
    "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger", "DynamicQuantizeMatMul",
    "MatMulIntegerToFloat",
))
"""Operators of dynamically quantized files, whose scales are found anew for each picture."""
# fmt: on
