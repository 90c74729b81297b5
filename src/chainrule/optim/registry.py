"""The closed list of optimisers, stages and schedules: by name, and from JSON.

Only what is listed here can be made from a file; a name is never looked up anywhere else.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from chainrule.errors import UsageError, unknown
from chainrule.optim.adaptive import adadelta, adagrad, adam, adamw, rmsprop
from chainrule.optim.adjustments import decoupled_weight_decay, reduce_on_plateau
from chainrule.optim.averaging import exponential_average, running_average
from chainrule.optim.chaining import chain
from chainrule.optim.descent import sgd
from chainrule.optim.gauss_newton import levenberg_marquardt
from chainrule.optim.gradients import (
    clip_by_global_norm,
    clip_by_value,
    l1_penalty,
    l2_penalty,
)
from chainrule.optim.optimizer import Optimizer
from chainrule.optim.quasi_newton import lbfgs
from chainrule.optim.resilient import rprop
from chainrule.optim.schedules import SCHEDULES, Schedule

Made = TypeVar("Made")

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adadelta": adadelta,
    "adagrad": adagrad,
    "adam": adam,
    "adamw": adamw,
    "rmsprop": rmsprop,
    "rprop": rprop,
    "sgd": sgd,
}

# These are given the function itself: for full batches only, and in no chain.
FULL_BATCH: dict[str, Callable[..., Optimizer]] = {
    "lbfgs": lbfgs,
    "levenberg_marquardt": levenberg_marquardt,
}

STAGES: dict[str, Callable[..., Optimizer]] = {
    "clip_by_global_norm": clip_by_global_norm,
    "clip_by_value": clip_by_value,
    "decoupled_weight_decay": decoupled_weight_decay,
    "exponential_average": exponential_average,
    "l1_penalty": l1_penalty,
    "l2_penalty": l2_penalty,
    "reduce_on_plateau": reduce_on_plateau,
    "running_average": running_average,
}


def names() -> tuple[str, ...]:
    """The names that `by_name` knows."""
    return (*OPTIMIZERS, *FULL_BATCH)


def by_name(name: str, learning_rate: float | Schedule | None = None, **settings: Any) -> Optimizer:
    """The optimiser of that name, with its own default rate where none is given. Full-batch
    methods find the length of their steps themselves, and take no rate.

    Raises UsageError for an unknown name or setting (with the nearest known one) and for a value
    that is out of range.
    """
    known = {**OPTIMIZERS, **FULL_BATCH}
    if name not in known:
        raise unknown("optimizer", name, known)
    if learning_rate is not None:
        settings = {"learning_rate": learning_rate, **settings}
    return _make("optimizer", name, known[name], settings)


def as_optimizer(optimizer: str | Optimizer) -> Optimizer:
    """An optimiser that can train by itself, from a name or as it is.

    Raises UsageError for a stage alone (clipping, an average, ...) and for anything else.
    """
    if isinstance(optimizer, str):
        return by_name(optimizer)
    if not isinstance(optimizer, Optimizer):
        raise UsageError(
            f"not an optimiser: {optimizer!r}",
            where="optimizer",
            do=f"give one such as optim.adam(0.001), or a name: {', '.join(names())}",
        )
    if optimizer.role != "step":
        raise UsageError(
            f"{optimizer.name} alone does not train: it is a stage of a chain",
            where=f"optimizer={optimizer!r}",
            do="chain it with an optimiser: optim.chain(optim.clip_by_global_norm(1.0), "
            "optim.adam(0.001))",
        )
    return optimizer


def from_json(value: Mapping[str, Any]) -> Optimizer:
    """The optimiser that `to_json` wrote; an equal one.

    Raises UsageError where the value is not one of ours: another shape, an unknown name or
    setting, a setting out of its range.
    """
    name, settings = _split("optimizer", value)
    if name == "chain":
        stages = settings.get("stages")
        if set(settings) != {"stages"} or not isinstance(stages, list):
            raise _malformed("optimizer", value)
        return chain(*(from_json(stage) for stage in stages))
    known = {**OPTIMIZERS, **FULL_BATCH, **STAGES}
    if name not in known:
        raise unknown("optimizer", name, [*known, "chain"])
    return _make("optimizer", name, known[name], _decoded(settings))


def schedule_from_json(value: Any) -> Schedule:
    """The schedule that `schedule_to_json` wrote: a number is a constant one."""
    if not isinstance(value, Mapping):
        return SCHEDULES["constant"](value)
    name, settings = _split("schedule", value)
    if name not in SCHEDULES:
        raise unknown("schedule", name, SCHEDULES)
    return _make("schedule", name, SCHEDULES[name], _decoded(settings))


def _decoded(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: schedule_from_json(value) if isinstance(value, Mapping) else value
        for key, value in settings.items()
    }


def _split(kind: str, value: Any) -> tuple[str, Mapping[str, Any]]:
    """The name and the settings of {kind: name, "settings": {...}}."""
    if not isinstance(value, Mapping) or set(value) != {kind, "settings"}:
        raise _malformed(kind, value)
    name, settings = value[kind], value["settings"]
    if not isinstance(name, str) or not isinstance(settings, Mapping):
        raise _malformed(kind, value)
    return name, settings


def _malformed(kind: str, value: Any) -> UsageError:
    return UsageError(
        f"not the JSON of an {kind}" if kind == "optimizer" else f"not the JSON of a {kind}",
        where=f"{value!r}"[:200],
        do=f'it looks like {{"{kind}": "a name", "settings": {{...}}}}; write it with to_json',
    )


def _make(kind: str, name: str, function: Callable[..., Made], settings: Mapping[str, Any]) -> Made:
    """Call `function` with settings by name; UsageError for one it does not know or misses."""
    parameters = inspect.signature(function).parameters
    for setting in settings:
        if setting not in parameters:
            raise unknown(f"setting of {kind} {name}", setting, parameters)
    missing = [
        key
        for key, parameter in parameters.items()
        if parameter.default is inspect.Parameter.empty and key not in settings
    ]
    if missing:
        raise UsageError(
            f"{kind} {name} needs the setting {missing[0]!r}",
            where=f"{kind} {name}",
            do=f"its settings are: {', '.join(parameters)}",
        )
    return function(**settings)
