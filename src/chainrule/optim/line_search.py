"""The step length along a direction: a search for the strong Wolfe conditions.

    value(a) <= value(0) + DECREASE a slope(0)       it falls enough for the length of the step
    |slope(a)| <= CURVATURE |slope(0)|               it is near a place where it falls no more

Source: Nocedal and Wright, "Numerical Optimization", second edition 2006, algorithms 3.5 (`search`)
and 3.6 (`_zoom`), with cubic interpolation (their equation 3.59).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

DECREASE = 1e-4  # both as the book has them for quasi-Newton methods (section 3.1)
CURVATURE = 0.9
_MOST_TRIALS = 40


@dataclass(frozen=True)
class Trial:
    """A step length with the value and the slope there; `place` is the caller's."""

    length: float
    value: float
    slope: float
    place: Any = None

    @property
    def finite(self) -> bool:
        return math.isfinite(self.value) and math.isfinite(self.slope)


class Conditions:
    """The strong Wolfe conditions for steps from `start`.

    Close to a minimum the values of two trials differ by less than their rounding. Then the slopes
    say which is lower: the trapezoidal rule gives the difference, exactly for a parabola, and the
    first condition becomes the approximate one of Hager and Zhang 2005.
    """

    def __init__(self, start: Trial, rounding: float) -> None:
        self.start = start
        self.rounding = rounding

    def rise(self, trial: Trial, other: Trial) -> float:
        """How much higher `trial` is than `other`."""
        difference = trial.value - other.value
        if abs(difference) > self.rounding:
            return difference
        return (trial.slope + other.slope) / 2 * (trial.length - other.length)

    def falls_enough(self, trial: Trial) -> bool:
        allowed = DECREASE * trial.length * self.start.slope
        return trial.finite and self.rise(trial, self.start) <= allowed

    def is_flat(self, trial: Trial) -> bool:
        return abs(trial.slope) <= -CURVATURE * self.start.slope


def search(
    at: Callable[[float], Trial], start: Trial, first: float, rounding: float
) -> Trial | None:
    """A step that meets both conditions, or None where rounding hides them all.

    `at(length)` tries a step; `start` has length 0 and a negative slope; `first` is tried first;
    values that differ by no more than `rounding` count as equal.
    """
    conditions = Conditions(start, rounding)
    before, length = start, first
    for _ in range(_MOST_TRIALS):
        trial = at(length)
        higher = before is not start and conditions.rise(trial, before) >= 0
        if not conditions.falls_enough(trial) or higher:
            return _zoom(at, conditions, before, trial)
        if conditions.is_flat(trial):
            return trial
        if trial.slope >= 0:
            return _zoom(at, conditions, trial, before)
        before, length = trial, _longer(before, trial)
    return None


def _longer(before: Trial, trial: Trial) -> float:
    """Where the slopes point to, but between 2 and 10 times as far."""
    change = trial.slope - before.slope
    aim = trial.length - trial.slope * (trial.length - before.length) / change if change > 0 else 0
    return min(max(aim, 2 * trial.length), 10 * trial.length)


def _zoom(
    at: Callable[[float], Trial], conditions: Conditions, low: Trial, high: Trial
) -> Trial | None:
    """A step between the lowest so far and one that is beyond a good step."""
    for _ in range(_MOST_TRIALS):
        length = _between(conditions, low, high)
        if length in (low.length, high.length):
            return None
        trial = at(length)
        if not conditions.falls_enough(trial) or conditions.rise(trial, low) >= 0:
            high = trial
            continue
        if conditions.is_flat(trial):
            return trial
        if trial.slope * (high.length - low.length) >= 0:
            high = low
        low = trial
    return None


def _between(conditions: Conditions, low: Trial, high: Trial) -> float:
    """The bottom of the cubic through both ends, kept off them by a tenth; else the middle."""
    middle = (low.length + high.length) / 2
    if not high.finite:
        return middle
    width = high.length - low.length
    d1 = low.slope + high.slope - 3 * conditions.rise(high, low) / width
    square = d1 * d1 - low.slope * high.slope
    if not 0 <= square < math.inf:
        return middle
    d2 = math.copysign(math.sqrt(square), width)
    divisor = high.slope - low.slope + 2 * d2
    if divisor == 0:
        return middle
    share = 1 - (high.slope + d2 - d1) / divisor
    return low.length + width * min(max(share, 0.1), 0.9) if math.isfinite(share) else middle
