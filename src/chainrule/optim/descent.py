"""Stochastic gradient descent, with and without momentum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chainrule.errors import UsageError
from chainrule.optim import checks
from chainrule.optim.arrays import Array
from chainrule.optim.optimizer import Optimizer, elementwise
from chainrule.optim.schedules import Schedule, as_schedule, schedule_to_json


def sgd(
    learning_rate: float | Schedule = 0.01, *, momentum: float = 0.0, nesterov: bool = False
) -> Optimizer:
    """Gradient descent: w <- w - rate * g, or with momentum m in [0, 1) the heavy ball.

    With momentum, v <- m * v + g and w <- w - rate * v; v starts at zero. At a constant rate this
    is v <- m * v - rate * g, w <- w + v of the papers; under a schedule the past is scaled by the
    rate of today. Nesterov's form moves by g + m * v instead of v. The weights are then those at
    which the gradient is looked up, one momentum step ahead of the papers' own variable.

    Sources: Robbins and Monro 1951 (plain); Polyak 1964 (momentum); Nesterov 1983 in the form of
    Sutskever, Martens, Dahl and Hinton 2013, equations 3 and 4.
    """
    rate = as_schedule("sgd", learning_rate)
    momentum = checks.below_one("sgd", "momentum", momentum)
    nesterov = checks.flag("sgd", "nesterov", nesterov)
    if nesterov and momentum == 0:
        raise UsageError(
            "nesterov=True has no effect without momentum",
            where="optim.sgd(nesterov=True, momentum=0)",
            do="set momentum as well, such as momentum=0.9",
        )

    def plain(
        gradient: Array, weight: Array, memory: Mapping[str, Array], number: Array
    ) -> tuple[Any, Mapping[str, Any]]:
        return gradient, {}

    def heavy_ball(
        gradient: Array, weight: Array, memory: Mapping[str, Array], number: Array
    ) -> tuple[Any, Mapping[str, Any]]:
        velocity = momentum * memory["velocity"] + gradient
        direction = gradient + momentum * velocity if nesterov else velocity
        return direction, {"velocity": velocity}

    settings = {
        "learning_rate": schedule_to_json(rate),
        "momentum": momentum,
        "nesterov": nesterov,
    }
    if momentum == 0:
        return elementwise("sgd", settings, rate, plain)
    return elementwise("sgd", settings, rate, heavy_ball, memory=("velocity",))
