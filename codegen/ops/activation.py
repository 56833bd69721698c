"""Nonlinear functions of single values. A pass makes tables of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from codegen.ir import FloatArray, Node, Shape

Reals = NDArray[np.float64]


def _logistic(x: Reals) -> Reals:
    """``1 / (1 + exp(-x))`` without overflow."""
    e = np.exp(-np.abs(x))
    return np.asarray(np.where(x < 0, e, 1.0) / (1.0 + e))


def _leaky_relu(x: Reals, alpha: float, beta: float) -> Reals:
    return np.where(x < 0, alpha * x, x)


def _elu(x: Reals, alpha: float, beta: float) -> Reals:
    return np.where(x < 0, alpha * np.expm1(np.minimum(x, 0.0)), x)


FUNCTIONS: dict[str, Callable[[Reals, float, float], Reals]] = {
    "elu": _elu,
    "hardsigmoid": lambda x, alpha, beta: np.clip(alpha * x + beta, 0.0, 1.0),
    "hardswish": lambda x, alpha, beta: x * np.clip(x / 6.0 + 0.5, 0.0, 1.0),
    "leakyrelu": _leaky_relu,
    "sigmoid": lambda x, alpha, beta: _logistic(x),
    "swish": lambda x, alpha, beta: x * _logistic(alpha * x),
    "tanh": lambda x, alpha, beta: np.tanh(x),
}
"""By the name of the ONNX operator in lower case; ``alpha`` and ``beta`` as it defines them."""


@dataclass(frozen=True, eq=False)
class Activation(Node):
    """``function`` of every value.

    Attributes:
        function: A key of ``FUNCTIONS``.
        alpha: First parameter of the function, where it has one.
        beta: Second parameter.
    """

    op: ClassVar[str] = "activation"
    float_only: ClassVar[bool] = True

    function: str
    alpha: float = 0.0
    beta: float = 0.0

    @property
    def is_probability(self) -> bool:
        """True if its values lie between 0 and 1."""
        return self.function in ("hardsigmoid", "sigmoid")

    def infer(self, *shapes: Shape) -> Shape:
        return shapes[0]

    def run_float(self, *xs: FloatArray) -> FloatArray:
        values = FUNCTIONS[self.function](xs[0].astype(np.float64), self.alpha, self.beta)
        return np.asarray(values, np.float32)
