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

from codegen.quant.covariance import Single
from codegen.quant.moments import Moments
from codegen.quant.scales import WEIGHT_MAX
from codegen.quant.weights import Matrix, on_grid

RIDGE = 0.5
"""Of the regression, in units of the mean variance of the inputs."""

DAMPING = 0.01
"""Of the rounding, likewise: inputs that never vary still have weights to be kept."""

SWEEPS = 4

Rounding = Callable[[Matrix, NDArray[np.float64], Moments], NDArray[np.int16]]


def regressed(weight: Matrix, moments: Moments) -> Matrix:
    """The real weights that come nearest to the wanted output from the inputs there are.

    ``argmin_v  E(y - v x)^2 + ridge |v - w|^2``, the means taken out.

    Args:
        weight: float64 [C, n].
        moments: Of the layer.
    """
    # With few pictures of many inputs the regression would learn the pictures.
    ridge = RIDGE * (1.0 + 3.0 * weight.shape[1] / moments.windows)
    residual = moments.cross - moments.covariance.times(weight)
    return weight + moments.covariance.solve(ridge * moments.covariance.variance, residual)


def nearest(weight: Matrix, scale: NDArray[np.float64], moments: Moments) -> NDArray[np.int16]:
    """Each weight by itself."""
    return on_grid(weight, scale)


def adaptive(weight: Matrix, scale: NDArray[np.float64], moments: Moments) -> NDArray[np.int16]:
    """Coordinate descent on the error of the layer's output, from the nearest steps.

    Args:
        weight: The real weights, float64 [C, n].
        scale: float64 [C].
        moments: Of the layer.

    Returns:
        int16 [C, n]: ``objective`` of it is at most that of ``nearest``.
    """
    integers = on_grid(weight, scale).T.astype(np.float32, order="C")
    error = (integers - weight.T / scale).astype(np.float32)
    descent = moments.covariance.descent(DAMPING, error)
    for _ in range(SWEEPS):
        moved = False
        for start in range(0, len(integers), descent.block):
            block = slice(start, start + descent.block)
            change = _descend(integers[block], *descent.gradient(block))
            if change.any():
                moved = True
                descent.moved(block, change)
        if not moved:
            break
    return np.ascontiguousarray(integers.T.astype(np.int16))


def _descend(integers: Single, gradient: Single, matrix: Single) -> Single:
    """One pass over the inputs of a block; ``integers`` are changed in place.

    Args:
        integers: float32 [b, C].
        gradient: Half the gradient in steps before the pass, [b, C].
        matrix: float32 [G, b, b].

    Returns:
        float32 [b, C]: by how much each integer changed.
    """
    before, gradient = integers.copy(), gradient.copy()
    across = matrix.transpose(1, 2, 0)
    for index, values in enumerate(integers):
        best = np.rint(values - gradient[index] / across[index, index])
        np.minimum(best, WEIGHT_MAX, out=best)  # np.clip takes longer to call than to clip
        np.maximum(best, -WEIGHT_MAX, out=best)
        gradient[index:] += (best - values) * across[index, index:]
        values[:] = best
    return np.asarray(integers - before)


def objective(error: Matrix, moments: Moments) -> NDArray[np.float64]:
    """Mean squared error of each output channel for errors [C, n] of its weights: float64 [C]."""
    covariance = moments.covariance
    gradient = covariance.times(error) + DAMPING * covariance.variance[:, None] * error
    return np.asarray((error * gradient).sum(axis=1))


ROUNDINGS: dict[str, Rounding] = {"nearest": nearest, "adaptive": adaptive}
