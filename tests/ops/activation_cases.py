"""Cases of the operators that work value by value, for ``test_faces``."""

from __future__ import annotations

import numpy as np
from layer_case import SKEWED, Case

from codegen.ir import Bounds
from codegen.ops import Activation, Affine, Clip, Lookup, Mul, PRelu

RELU6 = Bounds(0.0, 6.0)


def lookup(function: str, output: tuple, alpha: float = 0.0, beta: float = 0.0) -> Case:
    body = (Activation("f", ("a",), "y", function, alpha, beta),)
    return Case(Lookup("layer", ("a",), "y", body), (3, 4, 5), ((-7.0, 5.0),), output)


def in_pieces() -> Case:
    """``x * relu6(x + 3) / 6`` as exporters write it."""
    one, three, zero = np.ones(1), np.full(1, 3.0), np.zeros(1)
    body = (
        Affine("add", ("a",), "b", one, three),
        Clip("relu6", ("b",), "c", RELU6),
        Mul("mul", ("a", "c"), "d"),
        Affine("div", ("d",), "y", one / 6, zero),
    )
    return Case(Lookup("layer", ("a",), "y", body), (3, 4, 5), ((-7.0, 5.0),), (-0.4, 5.0))


def mul(ranges: tuple, output: tuple, names: str = "ab", bounds: Bounds = Bounds()) -> Case:
    return Case(Mul("layer", tuple(names), "y", False, bounds), (3, 5, 4), ranges, output)


def prelu(slope: tuple, input_range: tuple, output: tuple) -> Case:
    node = PRelu("layer", ("a",), "y", np.array(slope, np.float32))
    return Case(node, (3, 5, len(slope)), (input_range,), output)


def gate(ranges: tuple, output: tuple) -> Case:
    node = Mul("layer", ("a", "b"), "y", by_channel=True)
    return Case(node, (3, 5, 4), ranges, output, second=(1, 1, 4))


ACTIVATION_CASES: dict[str, dict[str, Case]] = {
    "lookup": {
        "elu": lookup("elu", (-1.0, 5.0), 1.0),
        "hard sigmoid": lookup("hardsigmoid", (0.0, 1.0), 1 / 6, 0.5),
        "hard swish": lookup("hardswish", (-0.4, 5.0)),
        "hard swish in pieces": in_pieces(),
        "leaky relu": lookup("leakyrelu", (-0.7, 5.0), 0.1),
        "leaky relu upside down": lookup("leakyrelu", (0.0, 7.0), -1.0),
        "sigmoid": lookup("sigmoid", (0.0, 1.0)),
        "swish": lookup("swish", (-0.3, 5.0), 1.0),
        "tanh": lookup("tanh", (-1.0, 1.0)),
    },
    "prelu": {
        "slopes": prelu((0.25, 0.1, 0.0, 1.5), SKEWED, (-2.0, 2.9)),
        "negative slopes": prelu((-0.5, 0.5, -1.0), (-5.0, 3.0), (-3.0, 5.0)),
        "nothing negative": prelu((0.1, 0.2), (0.0, 4.0), (0.0, 4.0)),
        "narrow output": prelu((0.1, 0.2), (-9.0, 9.0), (-0.01, 0.01)),
    },
    "mul": {
        "of one shape": mul((SKEWED, (0.0, 6.0)), (-7.0, 17.0)),
        "square": mul((SKEWED,), (0.0, 8.0), "aa"),
        "relu6": mul((SKEWED, SKEWED), (0.0, 6.0), bounds=RELU6),
        "narrow output": mul(((-9.0, 9.0), (-9.0, 9.0)), (-0.1, 0.1)),
        "zero points at both ends": mul(((0.0, 1.0), (-1.0, 0.0)), (-1.0, 0.0)),
        "by channel": gate((SKEWED, (0.0, 1.0)), SKEWED),
        "by channel, signed": gate(((0.0, 5.0), (-2.0, 1.0)), (-9.0, 4.0)),
    },
}
