"""NIST's 27 problems of nonlinear regression (Statistical Reference Datasets), read from its files.

Each file has two starting points, the certified estimates with their standard deviations and the
certified residual sum of squares, all to 11 digits, and the data. The models, which the files
state as formulas, are written out here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(os.environ.get("CHAINRULE_DATA", "")) / "nist-strd"
FIRST_LINE_OF_DATA = 60


@dataclass(frozen=True)
class Problem:
    """`starts`: the first and the second, nearer one; `deviations` are those of the estimates."""

    name: str
    x: Any
    y: Any
    starts: tuple[Any, Any]
    certified: Any
    deviations: Any
    sum_of_squares: float

    def residuals(self, b: Any, x: Any, y: Any) -> Any:
        return MODELS[self.name](b, x) - y


def read(name: str) -> Problem:
    lines = (FOLDER / f"{name}.dat").read_text(encoding="ascii").splitlines()
    rows = [re.split(r"[=\s]+", line.strip())[1:] for line in lines if re.match(r"\s*b\d+ =", line)]
    first, second, certified, deviations = np.array(rows, np.float64).T.copy()
    total = next(line for line in lines if line.startswith("Residual Sum of Squares:"))
    data = np.array([line.split() for line in lines[FIRST_LINE_OF_DATA:] if line.strip()], float)
    y, x = data[:, 0], data[:, 1:].T.copy()
    if name == "Nelson":  # its model is one of log y
        y = np.log(y)
    return Problem(
        name,
        x if len(x) > 1 else x[0],
        y,
        (first, second),
        certified,
        deviations,
        float(total.split(":")[1]),
    )


def _saturation(b: Any, x: Any) -> Any:
    return b[0] * (1 - np.exp(-b[1] * x))


def _chwirut(b: Any, x: Any) -> Any:
    return np.exp(-b[0] * x) / (b[1] + b[2] * x)


def _gauss(b: Any, x: Any) -> Any:
    first = b[2] * np.exp(-((x - b[3]) ** 2) / b[4] ** 2)
    second = b[5] * np.exp(-((x - b[6]) ** 2) / b[7] ** 2)
    return b[0] * np.exp(-b[1] * x) + first + second


def _three_exponentials(b: Any, x: Any) -> Any:
    return sum(b[i] * np.exp(-b[i + 1] * x) for i in (0, 2, 4))


def _enso(b: Any, x: Any) -> Any:
    t = 2 * np.pi * x
    yearly = b[1] * np.cos(t / 12) + b[2] * np.sin(t / 12)
    slow = b[4] * np.cos(t / b[3]) + b[5] * np.sin(t / b[3])
    return b[0] + yearly + slow + b[7] * np.cos(t / b[6]) + b[8] * np.sin(t / b[6])


def _cubics(b: Any, x: Any) -> Any:
    above = b[0] + b[1] * x + b[2] * x**2 + b[3] * x**3
    return above / (1 + b[4] * x + b[5] * x**2 + b[6] * x**3)


MODELS: dict[str, Callable[[Any, Any], Any]] = {
    "Bennett5": lambda b, x: b[0] * (b[1] + x) ** (-1 / b[2]),
    "BoxBOD": _saturation,
    "Chwirut1": _chwirut,
    "Chwirut2": _chwirut,
    "DanWood": lambda b, x: b[0] * x ** b[1],
    "ENSO": _enso,
    "Eckerle4": lambda b, x: b[0] / b[1] * np.exp(-0.5 * ((x - b[2]) / b[1]) ** 2),
    "Gauss1": _gauss,
    "Gauss2": _gauss,
    "Gauss3": _gauss,
    "Hahn1": _cubics,
    "Kirby2": lambda b, x: (b[0] + b[1] * x + b[2] * x**2) / (1 + b[3] * x + b[4] * x**2),
    "Lanczos1": _three_exponentials,
    "Lanczos2": _three_exponentials,
    "Lanczos3": _three_exponentials,
    "MGH09": lambda b, x: b[0] * (x**2 + x * b[1]) / (x**2 + x * b[2] + b[3]),
    "MGH10": lambda b, x: b[0] * np.exp(b[1] / (x + b[2])),
    "MGH17": lambda b, x: b[0] + b[1] * np.exp(-x * b[3]) + b[2] * np.exp(-x * b[4]),
    "Misra1a": _saturation,
    "Misra1b": lambda b, x: b[0] * (1 - (1 + b[1] * x / 2) ** -2),
    "Misra1c": lambda b, x: b[0] * (1 - (1 + 2 * b[1] * x) ** -0.5),
    "Misra1d": lambda b, x: b[0] * b[1] * x * (1 + b[1] * x) ** -1,
    "Nelson": lambda b, x: b[0] - b[1] * x[0] * np.exp(-b[2] * x[1]),
    "Rat42": lambda b, x: b[0] / (1 + np.exp(b[1] - b[2] * x)),
    "Rat43": lambda b, x: b[0] / (1 + np.exp(b[1] - b[2] * x)) ** (1 / b[3]),
    "Roszman1": lambda b, x: b[0] - b[1] * x - np.arctan(b[2] / (x - b[3])) / np.pi,
    "Thurber": _cubics,
}
