"""Residuals as a linear function of a small step, in the form in which every step is cheap."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.errors import ChainruleError
from chainrule.optim.arrays import Array
from chainrule.optim.full_batch import Vector

_CLOSE = 0.01  # how well a step must fit its trust region, as a share of it
_MOST_TRIALS = 60
_BLOCK = 8  # rows that are triangularised at once, in units of the columns
_LEAST_BLOCK = 2048


class LinearModel:
    """r + J d for a step d, with the steps measured by |D d| (Moré 1978).

    D is the largest norm that each column of J ever had (`scale`, [p]), which makes the method
    blind to the units of the weights. J is triangularised (which does not square its condition, as
    J'J would), and the triangle over D decomposed into singular values once: after that a step for
    any damping is two small products.
    """

    def __init__(self, r: Vector, jacobian: Array, scale: Vector, precision: float) -> None:
        self.at = (r, jacobian)
        rows, columns = jacobian.shape
        triangle = _triangle(r, jacobian)
        self.norm = float(np.linalg.norm(triangle[:, columns]))
        largest = np.maximum(scale, np.sqrt(np.square(triangle[:, :columns]).sum(axis=0)))
        self.scale = largest
        self._scale = np.where(largest > 0, largest, 1.0)
        left, self._singular, self._right = _decomposed(triangle[:, :columns] / self._scale)
        self._parts = left.T @ triangle[:, columns]
        most = self._singular[0] if self._singular.size else 0.0
        self._counts = self._singular > precision * max(rows, columns) * most

    @property
    def full_rank(self) -> bool:
        return bool(self._counts.all()) and len(self._singular) == len(self._scale)

    @property
    def reducible(self) -> float:
        """The norm of the part of the residuals that a step could take away."""
        return float(np.linalg.norm(self._parts[self._counts]))

    def length(self, step: Vector) -> float:
        """|D d|."""
        return float(np.linalg.norm(self._scale * step))

    def step(self, damping: float) -> Vector:
        """The d that makes |r + J d|^2 + damping |D d|^2 least; the shortest, without damping."""
        return np.asarray(-(self._right.T @ self._weights(damping)) / self._scale)

    def step_within(self, radius: float) -> tuple[Vector, float]:
        """The best step with |D d| <= radius, and its damping: 0 where the best of all fits."""
        damping = 0.0
        if np.linalg.norm(self._weights(0.0)) > 1.1 * radius:
            damping = self._damping(radius)
        return self.step(damping), damping

    def answer(self, gradient: Vector, damping: float) -> Vector:
        """The step -(J'J + damping D^2)^-1 gradient."""
        s = self._singular
        counts = self._counts | (damping > 0)
        curves = np.where(counts, s * s + damping, np.inf)
        along = self._right @ (gradient / self._scale)
        return np.asarray(-(self._right.T @ (along / curves)) / self._scale)

    def expected_fall(self, damping: float) -> float:
        """By how much the sum of squares falls, if the residuals are linear."""
        weights = self._weights(damping)
        return float(np.sum(weights * self._singular * self._parts) + damping * weights @ weights)

    def slope_along(self, damping: float) -> float:
        """The derivative of the sum of squares along the step, at its beginning; negative."""
        return -2 * float(np.sum(self._weights(damping) * self._singular * self._parts))

    def gradient_norm(self, r: Vector, jacobian: Array) -> float:
        """The norm of the gradient at some place, in the measure of this one."""
        return float(np.linalg.norm((jacobian.T @ r) / self._scale))

    def covariance(self) -> Array:
        """The inverse of J'J, where J has full rank."""
        root = self._right / (self._singular[:, None] * self._scale)
        return np.asarray(root.T @ root)

    def _weights(self, damping: float) -> Vector:
        """The step in the coordinates of the singular values: s c / (s^2 + damping)."""
        s = self._singular
        if damping:
            return np.asarray(s * self._parts / (s * s + damping))
        return np.where(self._counts, self._parts / np.where(self._counts, s, 1.0), 0.0)

    def _damping(self, radius: float) -> float:
        """The damping for which |D d| is the radius: Newton's method for 1 / |D d|, which comes
        from below and never passes (Moré 1978; Hebden 1973)."""
        damping, s = 0.0, self._singular
        for _ in range(_MOST_TRIALS):
            weights = self._weights(damping)
            length = math.sqrt(weights @ weights)
            if length - radius <= _CLOSE * radius:
                break
            curves = np.where(self._counts | (damping > 0), s * s + damping, np.inf)
            damping += length**2 / float(weights @ (weights / curves)) * (length / radius - 1)
        return damping


def _triangle(r: Vector, jacobian: Array) -> Array:
    """The R of a QR decomposition of [J | r], block by block: no second copy of J is made."""
    rows, columns = jacobian.shape
    block = max(_BLOCK * columns, _LEAST_BLOCK)
    kept = np.zeros((0, columns + 1))
    for first in range(0, rows, block):
        part = slice(first, first + block)
        more = np.column_stack([jacobian[part].astype(np.float64), r[part]])
        kept = np.asarray(np.linalg.qr(np.concatenate([kept, more]), mode="r"))
    return kept


def _decomposed(matrix: Array) -> tuple[Any, Any, Any]:
    try:
        return np.linalg.svd(matrix, full_matrices=False)
    except np.linalg.LinAlgError:
        raise ChainruleError(
            "the singular values of the Jacobian could not be computed",
            do="look at the Jacobian for numbers near the end of float64's range",
        ) from None
