"""Small ONNX files made on the spot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save


def wide_network(path: Path) -> Path:
    """A network whose whole tensors need some 60 KB of RAM: too much for a micro:bit."""
    rng = np.random.default_rng(0)
    stem = numpy_helper.from_array(rng.normal(0, 0.1, (16, 3, 3, 3)).astype(np.float32), "stem/w")
    wide = numpy_helper.from_array(rng.normal(0, 0.1, (4, 16, 31, 31)).astype(np.float32), "w")
    nodes = [
        helper.make_node("Conv", ["in", "stem/w"], ["stem"], name="stem", strides=[1, 1]),
        helper.make_node("Conv", ["stem", "w"], ["wide"], name="wide", strides=[31, 31]),
        helper.make_node("GlobalAveragePool", ["wide"], ["out"], name="mean"),
    ]
    graph = helper.make_graph(
        nodes,
        "wide",
        [helper.make_tensor_value_info("in", TensorProto.FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 4, 1, 1])],
        [stem, wide],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path
