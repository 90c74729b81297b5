"""Levenberg-Marquardt and Gauss-Newton: least squares through the Jacobian of the residuals.

Near x the residuals are about r + J d, and the d that makes their squares least is a linear
problem. Gauss-Newton goes there; Levenberg-Marquardt goes to the best place within a trust region,
which grows while the residuals do as J says and shrinks where they do not. Where the residuals
curve along that step it tries the step bent after them too, and takes the better of the two.
"""

from __future__ import annotations

import math

import numpy as np

from chainrule.optim import checks
from chainrule.optim.arrays import State, Weights, advance, first_count
from chainrule.optim.full_batch import FullBatch, Iteration, Residuals, Vector, no_update
from chainrule.optim.linear_model import LinearModel
from chainrule.optim.optimizer import Optimizer

# Moré's constants (1978, algorithm 7.1, and MINPACK's lmder), with one difference: the region
# doubles, but starts no larger than the weights are, so that a first step seldom leads far away.
_ACCEPTED = 1e-4
_POOR, _GOOD = 0.25, 0.75
_LEAST_SHRINKING, _MOST_SHRINKING = 0.5, 0.1
# Where a sum of squares is about to fall by less than this share, rounding may hide it, and the
# gradient decides: it must fall by a tenth, or the step is not worth it.
_SMALL = 1e-4
_FALLS = 0.9
# The second derivative along a step is measured over a tenth of it, and bends the step where it
# changes it by less than _MOST_BENT (Transtrum and Sethna 2012, equations 4 to 6).
_PROBE = 0.1
_MOST_BENT = 0.75
_HALVINGS = 50
_NOT_FINITE = "the derivatives of the residuals are not finite here"


def levenberg_marquardt(*, tolerance: float = 1e-12, first_radius: float = 1.0) -> Optimizer:
    """Levenberg-Marquardt, for full batches and losses that are sums of squares.

    In `train`: batch_size=None and loss="mean_squared_error" or "squared_error". One step is one
    accepted iteration; it costs the Jacobian of all residuals and work of about rows * weights^2,
    so it suits networks of up to a few thousand weights. The first trust region is `first_radius`
    times as large as the weights, measured by their effect on the residuals. It has converged where
    the part of the residuals that any change of the weights could reduce is at most `tolerance`
    of all of them, or as small as rounding lets it become; training ends there.

    Sources: Levenberg 1944; Marquardt 1963; Moré 1978 (scaling and trust region); Transtrum and
    Sethna 2012 (geodesic acceleration).
    """
    tolerance = checks.not_negative("levenberg_marquardt", "tolerance", tolerance, "1e-12")
    radius = checks.positive("levenberg_marquardt", "first_radius", first_radius, "1.0")

    def init(weights: Weights) -> State:
        size = sum(w.size for w in weights.values())
        return {
            "count": first_count(),
            "radius": np.zeros((), np.float64),  # 0: not chosen yet
            "scale": np.zeros(size, np.float64),
        }

    def iterate(residuals: Residuals, state: State, x: Vector) -> Iteration:
        return _levenberg_marquardt(residuals, state, x, tolerance, radius)

    return Optimizer(
        "levenberg_marquardt",
        {"tolerance": tolerance, "first_radius": radius},
        init,
        no_update("levenberg_marquardt"),
        full_batch=FullBatch("jacobian", iterate),
    )


def gauss_newton(*, tolerance: float = 1e-12) -> Optimizer:
    """Gauss-Newton with step halving, for `least_squares`.

    As `levenberg_marquardt` without a trust region: each step is that of the linear problem, or the
    largest of 1/2, 1/4, 1/8, ... of it after which the sum of squares has fallen. It needs a good
    start, and weights that the residuals determine: networks have others.
    """
    tolerance = checks.not_negative("gauss_newton", "tolerance", tolerance, "1e-12")

    def init(weights: Weights) -> State:
        return {"count": first_count()}

    def iterate(residuals: Residuals, state: State, x: Vector) -> Iteration:
        return _gauss_newton(residuals, state, x, tolerance)

    return Optimizer(
        "gauss_newton",
        {"tolerance": tolerance},
        init,
        no_update("gauss_newton"),
        full_batch=FullBatch("jacobian", iterate),
    )


@np.errstate(all="ignore")  # a step may lead to infinity, and is then not taken
def _levenberg_marquardt(
    residuals: Residuals, state: State, x: Vector, tolerance: float, first_radius: float
) -> Iteration:
    r, jacobian = residuals.linearised(x)
    if not np.isfinite(jacobian).all():
        return Iteration(x, state, _NOT_FINITE)
    model = LinearModel(r, jacobian, state["scale"], residuals.precision)
    size = model.length(x)
    if done := _done(model, size, tolerance, residuals.precision):
        return Iteration(x, state, done, True)
    radius = float(state["radius"]) or first_radius * (size or 1.0)
    least = residuals.precision * (size or radius)
    while radius > least:
        step, damping = model.step_within(radius)
        length, expected = model.length(step), model.expected_fall(damping)
        steps = [step]
        if expected > _SMALL * model.norm**2:
            steps += _bent(model, residuals, x, step, damping)
        fall, place = max((_tried(residuals, r, x + s) for s in steps), key=lambda t: t[0])
        gain = fall / expected
        if gain < _POOR:
            radius = min(radius, 10 * length) * _shrinking(fall, model.slope_along(damping))
        elif gain > _GOOD or not damping:
            radius = 2 * length
        accepted = gain > _ACCEPTED
        if not accepted and not damping and _still_falls(model, residuals, place, fall):
            accepted, radius = True, max(radius, 2 * length)
        if accepted:
            kept = {"radius": np.asarray(radius, np.float64), "scale": model.scale}
            return Iteration(place, {**state, **kept, "count": advance(state["count"])})
    return Iteration(x, state, *_stuck(model, size, residuals.precision))


@np.errstate(all="ignore")  # a step may lead to infinity, and is then not taken
def _gauss_newton(residuals: Residuals, state: State, x: Vector, tolerance: float) -> Iteration:
    r, jacobian = residuals.linearised(x)
    if not np.isfinite(jacobian).all():
        return Iteration(x, state, _NOT_FINITE)
    model = LinearModel(r, jacobian, np.zeros(len(x)), residuals.precision)
    size = model.length(x)
    if done := _done(model, size, tolerance, residuals.precision):
        return Iteration(x, state, done, True)
    whole, expected = model.step(0.0), model.expected_fall(0.0)
    for halvings in range(_HALVINGS):
        share = 0.5**halvings
        fall, place = _tried(residuals, r, x + share * whole)
        accepted = fall >= _ACCEPTED * share * expected
        if not accepted and not halvings:
            accepted = _still_falls(model, residuals, place, fall)
        if accepted:
            return Iteration(place, {**state, "count": advance(state["count"])})
    return Iteration(x, state, *_stuck(model, size, residuals.precision))


def _tried(residuals: Residuals, r: Vector, place: Vector) -> tuple[float, Vector]:
    """By how much the sum of squares falls at a place, and the place; -infinity where it cannot be
    said."""
    place = residuals.rounded(place)
    new = residuals.values(place)
    fall = float((r - new) @ (r + new))
    return (fall if math.isfinite(fall) else -math.inf), place


def _bent(
    model: LinearModel, residuals: Residuals, x: Vector, step: Vector, damping: float
) -> list[Vector]:
    """The step with its geodesic acceleration, or nothing where that is no small change."""
    r, jacobian = model.at
    probe = residuals.values(residuals.rounded(x + _PROBE * step))
    ahead = jacobian @ step.astype(jacobian.dtype)
    curving = 2 / _PROBE * ((probe - r) / _PROBE - ahead)
    change = model.answer(curving @ jacobian, damping) / 2
    if not np.isfinite(change).all():
        return []
    return [step + change] if 2 * model.length(change) <= _MOST_BENT * model.length(step) else []


def _shrinking(fall: float, slope: float) -> float:
    """Where along the step the parabola through what is known has its bottom (Moré 1978)."""
    if fall >= 0:
        return _LEAST_SHRINKING
    share = 0.5 * slope / (slope + fall)  # both are negative; 0 where the fall is -infinity
    return min(max(share, _MOST_SHRINKING), _LEAST_SHRINKING)


def _still_falls(model: LinearModel, residuals: Residuals, place: Vector, fall: float) -> bool:
    """Whether a whole Gauss-Newton step is good although the sum of squares does not tell."""
    if model.expected_fall(0.0) > _SMALL * model.norm**2 or fall == -math.inf:
        return False
    new, jacobian = residuals.linearised(place)
    if not np.isfinite(jacobian).all():
        return False
    return model.gradient_norm(new, jacobian) <= _FALLS * model.gradient_norm(*model.at)


def _done(model: LinearModel, size: float, tolerance: float, precision: float) -> str:
    if model.reducible <= tolerance * model.norm:
        return f"at most {tolerance:g} of the residuals could still be reduced"
    if model.length(model.step(0.0)) <= precision * size:
        return "the next step would be lost in rounding"
    return ""


def _stuck(model: LinearModel, size: float, precision: float) -> tuple[str, bool]:
    """Why no step helps. At a minimum it is rounding, and what could be gained is as small."""
    small = math.sqrt(precision)
    at_minimum = model.reducible <= small * model.norm
    if at_minimum or model.length(model.step(0.0)) <= small * size:
        return "the sum of squares cannot be seen to fall any more", True
    return "no step lowers the sum of squares", False
