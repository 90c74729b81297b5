"""Forecasts without a network, to compare with: the last value again, and a linear one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import ShapeError

Floats = NDArray[np.float64]


def persistence(values: NDArray[np.floating], horizon: int) -> Floats:
    """The last value of each row for every step ahead: [rows, window] -> [rows, horizon]."""
    if values.ndim != 2 or values.shape[1] == 0:
        raise ShapeError(f"the values have the shape {values.shape}", do="give [rows, window]")
    return np.repeat(np.asarray(values[:, -1:], np.float64), horizon, axis=1)


def autoregression(
    x: NDArray[np.floating], y: NDArray[np.floating]
) -> Callable[[NDArray[np.floating]], Floats]:
    """The linear forecast with the least squared error on training windows.

    `x` is [rows, window, ...] and `y` [rows, horizon]; each step ahead has coefficients of its own
    for every number of the window, and a constant (a direct multi-step autoregression). Returns
    the function from further windows to forecasts. Where there are more coefficients than rows, or
    columns repeat, it is the solution of least norm. Raises ShapeError where rows differ.
    """
    if len(x) != len(y) or y.ndim != 2:
        raise ShapeError(
            f"windows of shape {x.shape} and targets of shape {y.shape}",
            do="give [rows, window, ...] and [rows, horizon]",
        )
    solution = np.linalg.lstsq(_with_constant(x), np.asarray(y, np.float64), rcond=None)[0]

    def forecast(windows: NDArray[np.floating]) -> Floats:
        found: Floats = _with_constant(windows) @ solution
        return found

    return forecast


def _with_constant(x: NDArray[np.floating]) -> Floats:
    flat = np.asarray(x, np.float64).reshape(len(x), -1)
    return np.concatenate([flat, np.ones((len(flat), 1))], axis=1)
