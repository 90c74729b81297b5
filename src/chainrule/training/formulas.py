"""Derivatives as a textbook writes them, for the functions and losses of small dense networks.

A second statement of what the traced graph computes, kept apart from it on purpose: where the two
disagree, one of them is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from chainrule.nn import activations, losses
from chainrule.pipeline import grad

Array: TypeAlias = np.ndarray[Any, Any]


@dataclass(frozen=True)
class SlopeFormula:
    """The derivative of an elementwise function a = f(z): in letters, and of (z, a) [m]."""

    text: str
    slope: Callable[[Array, Array], Array]


SLOPES: dict[Any, SlopeFormula] = {
    activations.identity: SlopeFormula("1", lambda z, a: np.ones_like(z)),
    activations.sigmoid: SlopeFormula("a (1 - a)", lambda z, a: a * (1.0 - a)),
    activations.tanh: SlopeFormula("1 - a²", lambda z, a: 1.0 - a * a),
    np.tanh: SlopeFormula("1 - a²", lambda z, a: 1.0 - a * a),
    activations.relu: SlopeFormula("1 if z > 0, else 0", lambda z, a: (z > 0).astype(z.dtype)),
    activations.softplus: SlopeFormula("1 - exp(-a)", lambda z, a: -np.expm1(-a)),
}


def slope_of(function: Any, z: Array, a: Array) -> Array:
    """f'(z) [m]: by the table above, or by the graph of f where it is not in it."""
    known = SLOPES.get(function)
    if known is not None:
        return known.slope(z, a)
    return np.asarray(grad(lambda sums: np.sum(function(sums)))(z))


@dataclass(frozen=True)
class LossParts:
    """A loss of one row, taken apart.

    `error` [k] is dE/d output, and `terms` [k] add up to E where it is such a sum. `formula` and
    `slope_formula` are E and dE/da in letters, `numbers` is E in numbers where it is short.
    """

    formula: str
    slope_formula: str
    error: Array
    probabilities: Array | None = None
    terms: Array | None = None
    numbers: str = ""


def loss_parts(loss: Any, outputs: Array, targets: Array) -> LossParts | None:
    """The parts of a loss by its formula, for outputs and targets [k]; None for other losses."""
    known = _LOSSES.get(loss)
    return None if known is None else known(outputs, targets)


def _squared_error(a: Array, t: Array) -> LossParts:
    error = a - t
    numbers = f"½ {_difference(a, t, '()')}²" if len(a) == 1 else ""
    return LossParts("E = ½ Σ (a - t)²", "a - t", error, terms=0.5 * error * error, numbers=numbers)


def _mean_squared_error(a: Array, t: Array) -> LossParts:
    error, count = a - t, len(a)
    terms, slope = error * error / count, 2.0 * error / count
    if count > 1:
        return LossParts(f"E = Σ (a - t)² / {count}", f"2 (a - t) / {count}", slope, terms=terms)
    numbers = f"{_difference(a, t, '()')}²"
    return LossParts("E = (a - t)²", "2 (a - t)", slope, terms=terms, numbers=numbers)


def _mean_absolute_error(a: Array, t: Array) -> LossParts:
    error, count = a - t, len(a)
    terms, slope = np.abs(error) / count, np.sign(error) / count
    if count > 1:
        return LossParts(f"E = Σ |a - t| / {count}", f"sign(a - t) / {count}", slope, terms=terms)
    numbers = _difference(a, t, "||")
    return LossParts("E = |a - t|", "sign(a - t)", slope, terms=terms, numbers=numbers)


def _binary_cross_entropy(a: Array, t: Array) -> LossParts:
    e = np.exp(-np.abs(a))
    larger, smaller = 1.0 / (1.0 + e), e / (1.0 + e)
    p, q = np.where(a >= 0, larger, smaller), np.where(a >= 0, smaller, larger)
    if t[0] == 1:
        numbers = f"-log({_near_one(p[0], q[0])})"
        return LossParts("E = -log(p)", "p - t", -q, probabilities=p, numbers=numbers)
    numbers = f"-log({_near_one(q[0], p[0])})"
    return LossParts("E = -log(1 - p)", "p - t", p, probabilities=p, numbers=numbers)


def _cross_entropy(a: Array, t: Array) -> LossParts:
    weight = np.exp(a - a.max())
    p = weight / weight.sum()
    others = float(p[t == 0].sum())  # 1 - p of the target loses the digits of a p near 1
    error = np.where(t == 1, -others, p)
    numbers = f"-log({_near_one(float(p[t == 1].sum()), others)})"
    formula = "E = -log(p of the target)"
    return LossParts(formula, "p - t", error, probabilities=p, numbers=numbers)


def _difference(a: Array, t: Array, around: str) -> str:
    return f"{around[0]}{a[0]:.5g} - {t[0]:.5g}{around[1]}"


def _near_one(p: float, rest: float) -> str:
    """A probability, by what it lacks where it is so close to 1 that its own digits say nothing."""
    return f"1 - {rest:.4g}" if rest < 1e-3 else f"{p:.5g}"


_LOSSES: dict[Any, Callable[[Array, Array], LossParts]] = {
    losses.squared_error: _squared_error,
    losses.mean_squared_error: _mean_squared_error,
    losses.mean_absolute_error: _mean_absolute_error,
    losses.binary_cross_entropy: _binary_cross_entropy,
    losses.cross_entropy: _cross_entropy,
}
