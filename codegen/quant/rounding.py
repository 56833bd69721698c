"""Rounding of weights: to the nearest step, or so that the layer's output errs least.

The error of a layer's output is a quadratic form in that of its weights (Nagel et al. 2020, "Up or
Down? Adaptive Rounding for Post-Training Quantization", arXiv 2004.10568, equation 20), whose
matrix is the covariance of the inputs. AdaRound minimises it by gradient descent on a relaxation;
here each integer is set in turn to the best value for the others as they are, until none changes.
That descends to a local minimum directly, is not restricted to the two steps next to the weight,
and takes seconds.

Inputs are those of the int8 network, the wanted output that of the float network, so that a layer
also makes up for what the layers before it did wrong. The regression for that is held near the
trained weights by a ridge.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from codegen.quant.moments import Moments, times
from codegen.quant.scales import WEIGHT_MAX
from codegen.quant.weights import Matrix, on_grid

RIDGE = 0.5
"""Of the regression, in units of the mean variance of the inputs."""

DAMPING = 0.01
"""Of the rounding, likewise: inputs that never vary still have weights to be kept."""

SWEEPS = 4
BLOCK = 64
"""Columns whose changes are collected before the other columns hear of them."""

Rounding = Callable[[Matrix, NDArray[np.float64], Moments], NDArray[np.int64]]


def regressed(weight: Matrix, moments: Moments) -> Matrix:
    """The real weights that come nearest to the wanted output from the inputs there are.

    ``argmin_v  E(y - v x)^2 + ridge |v - w|^2``, the means taken out.

    Args:
        weight: float64 [C, n].
        moments: Of the layer.
    """
    variance = np.maximum(_mean_variance(moments.covariance), np.finfo(np.float32).tiny)
    # With few pictures of many inputs the regression would learn the pictures.
    ridge = RIDGE * (1.0 + 3.0 * weight.shape[1] / moments.windows)
    matrix = moments.covariance + _diagonal(ridge * variance, weight.shape[1])
    residual = moments.cross - moments.times(weight)
    if len(matrix) == 1:
        return np.asarray(weight + np.linalg.solve(matrix[0], residual.T).T)
    return np.asarray(weight + np.linalg.solve(matrix, residual[..., None])[..., 0])


def nearest(weight: Matrix, scale: NDArray[np.float64], moments: Moments) -> NDArray[np.int64]:
    """Each weight by itself."""
    return on_grid(weight, scale)


def adaptive(weight: Matrix, scale: NDArray[np.float64], moments: Moments) -> NDArray[np.int64]:
    """Coordinate descent on the error of the layer's output, from the nearest steps.

    Args:
        weight: The real weights, float64 [C, n].
        scale: float64 [C].
        moments: Of the layer.

    Returns:
        int64 [C, n]: ``objective`` of it is at most that of ``nearest``.
    """
    matrix = damped(moments)
    integers = on_grid(weight, scale).astype(np.float64)
    taps = weight.shape[1]
    gradient = times(integers - weight / scale[:, None], matrix)
    for _ in range(SWEEPS):
        moved = False
        for start in range(0, taps, BLOCK):
            block = slice(start, min(start + BLOCK, taps))
            change = _descend(integers[:, block], gradient[:, block], matrix[:, block, block])
            if change.any():
                moved = True
                gradient += times(change, matrix[:, block])
        if not moved:
            break
    return integers.astype(np.int64)


def _descend(integers: Matrix, gradient: Matrix, matrix: NDArray[np.float64]) -> Matrix:
    """One pass over the columns of a block; ``integers`` are changed in place.

    Args:
        integers: float64 [C, b].
        gradient: Half the gradient in steps before the pass, [C, b].
        matrix: float64 [G, b, b].

    Returns:
        float64 [C, b]: by how much each integer changed.
    """
    before, gradient = integers.copy(), gradient.copy()
    for column in range(integers.shape[1]):
        best = integers[:, column] - gradient[:, column] / matrix[:, column, column]
        best = np.clip(np.rint(best), -WEIGHT_MAX, WEIGHT_MAX)
        step = best - integers[:, column]
        integers[:, column] = best
        gradient += step[:, None] * matrix[:, column]
    return np.asarray(integers - before)


def damped(moments: Moments) -> NDArray[np.float64]:
    """The matrix of the quadratic form: float64 [G, n, n], positive definite."""
    variance = np.maximum(_mean_variance(moments.covariance), np.finfo(np.float32).tiny)
    return moments.covariance + _diagonal(DAMPING * variance, moments.covariance.shape[2])


def objective(error: Matrix, moments: Moments) -> NDArray[np.float64]:
    """Mean squared error of each output channel for errors [C, n] of its weights: float64 [C]."""
    return np.asarray((error * times(error, damped(moments))).sum(axis=1))


def _mean_variance(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.einsum("gii->g", covariance) / covariance.shape[2])


def _diagonal(values: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    return np.asarray(values[:, None, None] * np.eye(size))


ROUNDINGS: dict[str, Rounding] = {"nearest": nearest, "adaptive": adaptive}
