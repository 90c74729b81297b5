"""L-BFGS: Newton's direction from the last few steps and how the gradient changed along them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.optim import checks
from chainrule.optim.arrays import Array, State, Weights, advance, first_count
from chainrule.optim.full_batch import FullBatch, Iteration, Loss, Vector, no_update
from chainrule.optim.line_search import Trial, search
from chainrule.optim.optimizer import Optimizer

# Values are sums, and rounded more than once. Where a search fails, more rounding is reckoned with
# from then on: at first _ROUNDING units of the dtype's precision, then _MORE times as much, up to
# the root of the precision.
_ROUNDING, _MORE = 10.0, 100.0
# Where rounding hides the fall, the gradient must get smaller once in so many iterations.
_MOST_STALE = 20


def lbfgs(*, memory: int = 10, tolerance: float = 1e-8) -> Optimizer:
    """L-BFGS with a strong-Wolfe line search, for full batches: batch_size=None in `train`.

    It goes against the gradient, bent by what the last `memory` steps taught about the curvature.
    One step of training is one iteration; it costs the gradient of all rows once, now and then
    more often. It has converged where the norm of the gradient is at most `tolerance`, or where
    rounding hides whether the loss can fall; training ends there. The rate shown is the length of
    the last step in units of its direction (1 where the curvature is well known).

    Sources: Liu and Nocedal 1989; Nocedal and Wright 2006, algorithms 7.4, 7.5, 3.5 and 3.6.
    """
    memory = checks.whole("lbfgs", "memory", memory)
    tolerance = checks.not_negative("lbfgs", "tolerance", tolerance, "1e-8")

    def init(weights: Weights) -> State:
        size = sum(w.size for w in weights.values())
        return {
            "count": first_count(),
            "pairs": first_count(),  # the last rows of the two below that are filled
            "steps": np.zeros((memory, size), np.float64),
            "changes": np.zeros((memory, size), np.float64),  # of the gradient, along each step
            "length": np.ones((), np.float64),
            "rounding": np.zeros((), np.float64),  # 0: not learned yet
            "least_norm": np.full((), np.inf, np.float64),
            "stale": first_count(),
        }

    def iterate(loss: Loss, state: State, x: Vector) -> Iteration:
        return _iterate(loss, state, x, tolerance)

    return Optimizer(
        "lbfgs",
        {"memory": memory, "tolerance": tolerance},
        init,
        no_update("lbfgs"),
        learning_rate=lambda state: float(state["length"]),
        full_batch=FullBatch("gradient", iterate),
    )


@dataclass(frozen=True)
class _Place:
    """Where an iteration begins, and the searches from there."""

    loss: Loss
    x: Vector
    value: float
    gradient: Vector

    def along(self, direction: Vector, first: float, rounding: float) -> Trial | None:
        slope = float(self.gradient @ direction)
        if not slope < 0:
            return None

        def at(length: float) -> Trial:
            there = self.loss.rounded(self.x + length * direction)
            value, gradient = self.loss.slope(there)
            return Trial(length, value, float(gradient @ direction), (there, gradient))

        return search(at, Trial(0.0, self.value, slope), first, rounding)


@np.errstate(all="ignore")  # a trial may lead to infinity, and is then not taken
def _iterate(loss: Loss, state: State, x: Vector, tolerance: float) -> Iteration:
    place = _Place(loss, x, *loss.slope(x))
    gradient, size = place.gradient, abs(place.value)
    norm = float(np.linalg.norm(gradient))
    if norm <= tolerance:
        return Iteration(x, state, f"the norm of the gradient is at most {tolerance:g}", True)
    if state["stale"] >= _MOST_STALE:
        return Iteration(x, state, "rounding hides whether the value still falls", True)
    rounding = float(state["rounding"]) or _ROUNDING * loss.precision
    while rounding <= max(math.sqrt(loss.precision), float(state["rounding"])):
        pairs, first = int(state["pairs"]), min(1.0, 1 / norm)
        direction = -_times_inverse_hessian(gradient, state, pairs)
        found = place.along(direction, 1.0 if pairs else first, rounding * size)
        if found is None and pairs:  # what was learned misleads here: begin again
            pairs, found = 0, place.along(-gradient, first, rounding * size)
        if found is not None:
            learned = {**state, "rounding": np.asarray(rounding, np.float64)}
            return _taken(place, found, learned, pairs)
        rounding *= _MORE
    return Iteration(x, state, "no step lowers the value")


def _taken(place: _Place, found: Trial, state: State, pairs: int) -> Iteration:
    there, gradient = found.place
    norm = float(np.linalg.norm(gradient))
    hidden = place.value - found.value <= float(state["rounding"]) * abs(place.value)
    stale = int(state["stale"]) + 1 if hidden and norm >= state["least_norm"] else 0
    after = {
        **state,
        **_with_pair(state, pairs, there - place.x, gradient - place.gradient),
        "count": advance(state["count"]),
        "length": np.asarray(found.length, np.float64),
        "least_norm": np.asarray(min(norm, float(state["least_norm"])), np.float64),
        "stale": np.asarray(stale, np.int32),
    }
    return Iteration(there, after)


def _times_inverse_hessian(gradient: Vector, state: State, pairs: int) -> Vector:
    """The two-loop recursion (algorithm 7.4); the newest pair is the last."""
    if not pairs:
        return gradient
    steps, changes = state["steps"][-pairs:], state["changes"][-pairs:]
    curvatures = np.einsum("ij,ij->i", steps, changes)
    shares = np.zeros(pairs)
    q = gradient.copy()
    for i in reversed(range(pairs)):
        shares[i] = (steps[i] @ q) / curvatures[i]
        q -= shares[i] * changes[i]
    q *= curvatures[-1] / (changes[-1] @ changes[-1])  # equation 7.20
    for i in range(pairs):
        q += (shares[i] - (changes[i] @ q) / curvatures[i]) * steps[i]
    return q


def _with_pair(state: State, pairs: int, step: Vector, change: Vector) -> dict[str, Any]:
    """What is known of the curvature, with one more pair unless rounding left none in it."""
    size = float(np.linalg.norm(step) * np.linalg.norm(change))
    if not float(step @ change) > np.finfo(np.float64).eps * size:
        return {"pairs": np.asarray(pairs, np.int32)}
    return {
        "pairs": np.asarray(min(pairs + 1, len(state["steps"])), np.int32),
        "steps": _appended(state["steps"], step),
        "changes": _appended(state["changes"], change),
    }


def _appended(rows: Array, row: Vector) -> Array:
    return np.concatenate([rows[1:], row[None]])
