"""Schedules: the learning rate as a function of how many steps were made.

Receives: the step counter, 0 at the first step. Returns: the rate of that step, an array without
axes. Next: the optimiser multiplies its direction with it.

A length is counted in steps: one epoch has rows / batch size of them, rounded up.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from chainrule.errors import UsageError
from chainrule.optim import checks
from chainrule.optim.arrays import Array, as_array
from chainrule.optim.text import call_text


@dataclass(frozen=True, repr=False)
class Schedule:
    """A learning rate that depends on the step.

    `schedule(count)` takes the number of steps made so far (an integer, an integer array without
    axes, or a traced one) and gives the rate of the next step, float32 unless a dtype is named.
    `name` and `settings` (JSON values) say how to make it again; equality compares these.
    """

    name: str
    settings: dict[str, Any] = field(hash=False)
    rate: Callable[[Array, np.dtype[Any]], Any] = field(compare=False)

    def __call__(self, count: Any, dtype: DTypeLike = np.float32) -> Array:
        counted = np.asarray(count, np.int32) if isinstance(count, int) else count
        return as_array(self.rate(counted, np.dtype(dtype)))

    def __repr__(self) -> str:
        return call_text(self.name, self.settings)


def constant(rate: float) -> Schedule:
    """The same rate at every step (Robbins and Monro 1951 show why it should fall in the end)."""
    value = checks.positive("schedules.constant", "rate", rate, "0.001")
    return Schedule("constant", {"rate": value}, lambda count, dtype: np.asarray(value, dtype))


def step(start: float, every: int, *, factor: float = 0.1) -> Schedule:
    """The rate falls to `factor` times itself after each `every` steps: start * factor^k."""
    start = checks.positive("schedules.step", "start", start, "0.1")
    every = checks.whole("schedules.step", "every", every)
    factor = checks.fraction("schedules.step", "factor", factor, "0.1")

    def rate(count: Array, dtype: np.dtype[Any]) -> Any:
        return start * factor ** (count // every).astype(dtype)

    return Schedule("step", {"start": start, "every": every, "factor": factor}, rate)


def exponential(start: float, every: int, *, factor: float = 0.5) -> Schedule:
    """The rate falls smoothly, to `factor` times itself in `every` steps: as `step`, unstepped."""
    start = checks.positive("schedules.exponential", "start", start, "0.1")
    every = checks.whole("schedules.exponential", "every", every)
    factor = checks.fraction("schedules.exponential", "factor", factor)

    def rate(count: Array, dtype: np.dtype[Any]) -> Any:
        return start * factor ** (count.astype(dtype) / every)

    return Schedule("exponential", {"start": start, "every": every, "factor": factor}, rate)


def cosine(start: float, steps: int, *, end: float = 0.0) -> Schedule:
    """Half a cosine from `start` down to `end` after `steps` steps, and `end` from then on.

    With `end` 0 nothing is learned after `steps` steps. Source: Loshchilov and Hutter 2017
    (SGDR), equation 5, one period without restarts.
    """
    start = checks.positive("schedules.cosine", "start", start, "0.001")
    steps = checks.whole("schedules.cosine", "steps", steps)
    end = checks.not_negative("schedules.cosine", "end", end, "0.0")

    def rate(count: Array, dtype: np.dtype[Any]) -> Any:
        return _half_cosine(start, end, np.minimum(count, steps).astype(dtype) / steps)

    return Schedule("cosine", {"start": start, "steps": steps, "end": end}, rate)


def warmup(steps: int, then: float | Schedule) -> Schedule:
    """A straight rise over the first `steps` steps, then the schedule `then` from its beginning.

    Step number c (from 0) has (c + 1) / (steps + 1) of the rate with which `then` begins: the
    first step already moves, and the last step of the rise is followed by the full rate. Source:
    Goyal and others 2017, section 2.2 (gradual warm-up).
    """
    steps = checks.whole("schedules.warmup", "steps", steps)
    following = as_schedule("schedules.warmup", then, "then")

    def rate(count: Array, dtype: np.dtype[Any]) -> Any:
        risen = np.minimum(count + 1, steps + 1).astype(dtype) / (steps + 1)
        return risen * following(np.maximum(count - steps, 0), dtype)

    return Schedule("warmup", {"steps": steps, "then": schedule_to_json(following)}, rate)


def one_cycle(
    peak: float,
    steps: int,
    *,
    rise: float = 0.3,
    start_divisor: float = 25.0,
    end_divisor: float = 1e4,
) -> Schedule:
    """Up from peak / start_divisor to `peak`, then down to that start / end_divisor.

    The rise takes the fraction `rise` of the `steps`; after `steps` the rate stays at the end.
    Source: Smith 2018 (a disciplined approach, part 1); there the lines are straight, here both
    are half cosines, which is how the method is mostly used. Momentum is not cycled.
    """
    peak = checks.positive("schedules.one_cycle", "peak", peak, "0.01")
    steps = checks.whole("schedules.one_cycle", "steps", steps, least=2)
    rise = checks.fraction("schedules.one_cycle", "rise", rise, "0.3")
    start_divisor = checks.divisor("schedules.one_cycle", "start_divisor", start_divisor, "25.0")
    end_divisor = checks.divisor("schedules.one_cycle", "end_divisor", end_divisor, "10000.0")
    up = min(max(round(rise * steps), 1), steps - 1)
    down = steps - up
    start = peak / start_divisor
    end = start / end_divisor

    def rate(count: Array, dtype: np.dtype[Any]) -> Any:
        risen = np.minimum(count, up).astype(dtype) / up
        fallen = np.minimum(np.maximum(count - up, 0), down).astype(dtype) / down
        rising = _half_cosine(start, peak, risen)
        return np.where(count < up, rising, _half_cosine(peak, end, fallen))

    settings = {
        "peak": peak,
        "steps": steps,
        "rise": rise,
        "start_divisor": start_divisor,
        "end_divisor": end_divisor,
    }
    return Schedule("one_cycle", settings, rate)


def _half_cosine(start: float, end: float, progress: Any) -> Any:
    """From `start` at progress 0 to `end` at 1, both exact."""
    left = 0.5 + 0.5 * np.cos(math.pi * progress)
    return left * start + (1.0 - left) * end


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": constant,
    "cosine": cosine,
    "exponential": exponential,
    "one_cycle": one_cycle,
    "step": step,
    "warmup": warmup,
}


def as_schedule(owner: str, rate: object, setting: str = "learning_rate") -> Schedule:
    """A schedule as it is, a number as a constant one; UsageError for anything else."""
    if isinstance(rate, Schedule):
        return rate
    if isinstance(rate, Real):
        return constant(checks.positive(owner, setting, rate, "0.001"))
    raise UsageError(
        f"{setting} must be a positive number or a schedule, not {rate!r}",
        where=f"optim.{owner}({setting}={rate!r})",
        do="give a number such as 0.001, or a schedule such as optim.schedules.cosine(0.001, 500)",
    )


def schedule_to_json(schedule: Schedule) -> Any:
    """The schedule as a JSON value; a constant one is its number."""
    if schedule.name == "constant":
        return schedule.settings["rate"]
    return {"schedule": schedule.name, "settings": copy.deepcopy(schedule.settings)}
