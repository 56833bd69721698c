"""Covariances of a layer's inputs, and what regression and rounding ask of them.

A layer that meets more windows than it has inputs has a matrix for them. A fully connected layer
meets one window a picture: its covariance is ``F^T F`` of as many rows ``F`` as there are pictures,
and the matrix, 5 GB for the 25,088 inputs of VGG16's first, is never made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from codegen.quant.weights import Matrix


class Descent(Protocol):
    """The gradient of ``e^T (covariance + damping) e`` while the errors ``e`` [n, C] change.

    Inputs come first here, so that those of a block lie together.
    """

    block: int
    """Inputs whose changes are collected before the others hear of them."""

    def gradient(self, inputs: slice) -> tuple[Matrix, NDArray[np.float64]]:
        """Half the gradient for some inputs [b, C], and their part of the matrix [G, b, b]."""

    def moved(self, inputs: slice, change: Matrix) -> None:
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

    def descent(self, damping: NDArray[np.float64], error: Matrix) -> Descent:
        """The gradient for the damping [G] of the diagonal and the errors [n, C]."""


@dataclass(frozen=True, eq=False)
class Full:
    """Covariances as matrices: float64 [G, n, n]."""

    matrix: NDArray[np.float64]

    @property
    def variance(self) -> NDArray[np.float64]:
        return _positive(np.einsum("gii->g", self.matrix) / self.matrix.shape[2])

    def times(self, weight: Matrix) -> Matrix:
        return _times(weight, self.matrix)

    def plus(self, diagonal: NDArray[np.float64]) -> NDArray[np.float64]:
        """The matrices with ``diagonal`` [G] added to theirs."""
        return np.asarray(self.matrix + diagonal[:, None, None] * np.eye(self.matrix.shape[2]))

    def solve(self, ridge: NDArray[np.float64], right: Matrix) -> Matrix:
        matrix = self.plus(ridge)
        if len(matrix) == 1:
            return np.asarray(np.linalg.solve(matrix[0], right.T).T)
        return np.asarray(np.linalg.solve(matrix, right[..., None])[..., 0])

    def descent(self, damping: NDArray[np.float64], error: Matrix) -> Descent:
        return _FullDescent(self.plus(damping), error)


class _FullDescent:
    block = 64

    def __init__(self, matrix: NDArray[np.float64], error: Matrix) -> None:
        self._matrix, self._gradient = matrix, _times(error.T, matrix).T

    def gradient(self, inputs: slice) -> tuple[Matrix, NDArray[np.float64]]:
        return self._gradient[inputs], self._matrix[:, inputs, inputs]

    def moved(self, inputs: slice, change: Matrix) -> None:
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

    def descent(self, damping: NDArray[np.float64], error: Matrix) -> Descent:
        return _LowRankDescent(self.rows, float(damping[0]), error)


class _LowRankDescent:
    block = 16

    def __init__(self, rows: Matrix, damping: float, error: Matrix) -> None:
        self._columns = np.ascontiguousarray(rows.T)
        self._damping, self._error = damping, error
        self._seen = rows @ error  # what the windows see of the errors, [S, C]

    def gradient(self, inputs: slice) -> tuple[Matrix, NDArray[np.float64]]:
        part = self._columns[inputs]
        matrix = part @ part.T + self._damping * np.eye(len(part))
        return part @ self._seen + self._damping * self._error[inputs], matrix[None]

    def moved(self, inputs: slice, change: Matrix) -> None:
        self._seen += self._columns[inputs].T @ change
        self._error[inputs] += change


def _times(weight: Matrix, matrices: NDArray[np.float64]) -> Matrix:
    """Each row of ``weight [C, n]`` times its matrix: one for all, or one a row [G, n, m]."""
    if len(matrices) == 1:
        return np.asarray(weight @ matrices[0])
    return np.asarray(np.einsum("ci,cij->cj", weight, matrices))


def _positive(variance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inputs that never vary still divide nothing by zero."""
    return np.asarray(np.maximum(variance, np.finfo(np.float32).tiny))
