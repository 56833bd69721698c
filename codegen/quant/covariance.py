"""Covariances of a layer's inputs, and what regression and rounding ask of them.

A layer that meets more windows than it has inputs has a matrix for them. A fully connected layer
meets one window a picture: its covariance is ``F^T F`` of as many rows ``F`` as there are pictures,
and the matrix, 5 GB for the 25,088 inputs of VGG16's first, is never made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from codegen.quant.weights import Matrix

Single = NDArray[np.float32]
"""float32 [n, C] or [G, n, n]: which way a weight rounds is not decided in the seventh digit."""


class Descent(Protocol):
    """The gradient of ``e^T (covariance + damping) e`` while the errors ``e`` [n, C] change.

    Inputs come first here, so that those of a block lie together. The mean variance is 1.
    """

    block: int
    """Inputs whose changes are collected before the others hear of them."""

    def gradient(self, inputs: slice) -> tuple[Single, Single]:
        """Half the gradient for some inputs [b, C], and their part of the matrix [G, b, b]."""

    def moved(self, inputs: slice, change: Single) -> None:
        """The errors of some inputs changed, by ``change`` [b, C]."""


class Covariance(Protocol):
    """The covariance of windows: one for all output channels, ``G = 1``, or one a channel."""

    @property
    def variance(self) -> NDArray[np.float64]:
        """Mean variance of the inputs: float64 [G], positive."""

    def times(self, weight: Matrix) -> Matrix:
        """``weight [C, n]`` times the covariance that it meets."""

    def solve(self, ridge: NDArray[np.float64], right: Matrix) -> Matrix:
        """``x (covariance + ridge) = right``: [C, n] from ridge [G] and right [C, n]."""

    def descent(self, damping: float, error: Single) -> Descent:
        """The gradient for errors [n, C]; ``damping``, in mean variances, is on the diagonal."""


@dataclass(frozen=True, eq=False)
class Full:
    """Covariances as matrices: float64 [G, n, n]."""

    matrix: NDArray[np.float64]

    @property
    def variance(self) -> NDArray[np.float64]:
        return _positive(np.einsum("gii->g", self.matrix) / self.matrix.shape[2])

    def times(self, weight: Matrix) -> Matrix:
        return _times(weight, self.matrix)

    def solve(self, ridge: NDArray[np.float64], right: Matrix) -> Matrix:
        matrix = _plus(self.matrix, ridge)
        if len(matrix) == 1:
            return np.asarray(np.linalg.solve(matrix[0], right.T).T)
        return np.asarray(np.linalg.solve(matrix, right[..., None])[..., 0])

    def descent(self, damping: float, error: Single) -> Descent:
        matrix = (self.matrix / self.variance[:, None, None]).astype(np.float32)
        return _FullDescent(_plus(matrix, np.full(len(matrix), damping, np.float32)), error)


class _FullDescent:
    block = 64

    def __init__(self, matrix: Single, error: Single) -> None:
        self._matrix, self._gradient = matrix, _times(error.T, matrix).T

    def gradient(self, inputs: slice) -> tuple[Single, Single]:
        return self._gradient[inputs], self._matrix[:, inputs, inputs]

    def moved(self, inputs: slice, change: Single) -> None:
        self._gradient += _times(change.T, self._matrix[:, inputs]).T


@dataclass(frozen=True, eq=False)
class LowRank:
    """One covariance ``rows^T rows`` of few windows: float64 [S, n]."""

    rows: Matrix

    @property
    def variance(self) -> NDArray[np.float64]:
        return _positive(np.array([np.vdot(self.rows, self.rows) / self.rows.shape[1]]))

    def times(self, weight: Matrix) -> Matrix:
        return np.asarray((weight @ self.rows.T) @ self.rows)

    def solve(self, ridge: NDArray[np.float64], right: Matrix) -> Matrix:
        # (F^T F + r)^-1 = (1 - F^T (F F^T + r)^-1 F) / r: Woodbury's identity.
        small = self.rows @ self.rows.T + ridge * np.eye(len(self.rows))
        known = np.linalg.solve(small, self.rows @ right.T).T
        return np.asarray((right - known @ self.rows) / ridge)

    def descent(self, damping: float, error: Single) -> Descent:
        rows = (self.rows / np.sqrt(self.variance)).astype(np.float32)
        return _LowRankDescent(rows, damping, error)


class _LowRankDescent:
    block = 16

    def __init__(self, rows: Single, damping: float, error: Single) -> None:
        self._columns = np.ascontiguousarray(rows.T)
        self._damping, self._error = np.float32(damping), error
        self._seen = rows @ error  # what the windows see of the errors, [S, C]

    def gradient(self, inputs: slice) -> tuple[Single, Single]:
        part = self._columns[inputs]
        matrix = _plus((part @ part.T)[None], self._damping[None])
        return part @ self._seen + self._damping * self._error[inputs], matrix

    def moved(self, inputs: slice, change: Single) -> None:
        self._seen += self._columns[inputs].T @ change
        self._error[inputs] += change


def _plus(matrices: NDArray[Any], diagonal: NDArray[Any]) -> NDArray[Any]:
    """The matrices [G, n, n] with ``diagonal`` [G] added to theirs."""
    made = matrices.copy()
    np.einsum("gii->gi", made)[:] += diagonal[:, None]
    return np.asarray(made)


def _times(weight: NDArray[Any], matrices: NDArray[Any]) -> NDArray[Any]:
    """Each row of ``weight [C, n]`` times its matrix: one for all, or one a row [G, n, m]."""
    if len(matrices) == 1:
        return np.asarray(weight @ matrices[0])
    return np.asarray(np.einsum("ci,cij->cj", weight, matrices))


def _positive(variance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inputs that never vary still divide nothing by zero."""
    return np.asarray(np.maximum(variance, np.finfo(np.float32).tiny))
