"""Bad settings are refused at once and clearly; names, chains and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from chainrule import optim
from chainrule.errors import UsageError
from chainrule.optim import schedules
from chainrule.optim.registry import FULL_BATCH, OPTIMIZERS

BAD_RATES: list[Any] = [
    0, 0.0, -1e-3, math.nan, math.inf, -math.inf, 10**400, 1e300, 1e-300,
    True, None, "0.1", [0.1], 1j, np.array([0.1]), lambda count: 0.1,
]  # fmt: skip


@pytest.mark.parametrize("rate", BAD_RATES, ids=lambda rate: repr(rate)[:20])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_learning_rate_that_is_not_positive_and_finite_is_refused(name: str, rate: Any) -> None:
    with pytest.raises(UsageError) as caught:
        getattr(optim, name)(rate)
    assert "learning_rate must be" in caught.value.what
    assert f"optim.{name}(learning_rate=" in str(caught.value.where)
    assert "0." in str(caught.value.do)


BAD: dict[str, tuple[Callable[[], object], str]] = {
    "momentum 1": (lambda: optim.sgd(momentum=1.0), "momentum must be at least 0 and below 1"),
    "momentum -1": (lambda: optim.sgd(momentum=-0.1), "momentum must be"),
    "nesterov alone": (lambda: optim.sgd(nesterov=True), "no effect without momentum"),
    "nesterov 1": (
        lambda: optim.sgd(momentum=0.9, nesterov=1),  # type: ignore[arg-type]
        "nesterov must be True or False",
    ),
    "beta1": (lambda: optim.adam(beta1=1.0), "beta1 must be at least 0 and below 1"),
    "beta2": (lambda: optim.adam(beta2=math.nan), "beta2 must be"),
    "beta2 of adamw": (lambda: optim.adamw(beta2=1.5), "beta2 must be"),
    "eps 0": (lambda: optim.adam(eps=0.0), "eps must be a positive"),
    "eps that float32 loses": (lambda: optim.adagrad(eps=1e-50), "float32"),
    "decay": (lambda: optim.rmsprop(decay=1), "decay must be"),
    "decay of adadelta": (lambda: optim.adadelta(decay=-1), "decay must be"),
    "weight_decay": (lambda: optim.adamw(weight_decay=-0.1), "weight_decay must be"),
    "decay_on": (lambda: optim.adamw(decay_on="matrix"), "did you mean 'matrices'"),
    "decay_on 2": (
        lambda: optim.adamw(decay_on=2),  # type: ignore[arg-type]
        "must be 'matrices' or 'all'",
    ),
    "rprop schedule": (
        lambda: optim.rprop(schedules.cosine(0.1, 10)),  # type: ignore[arg-type]
        "learning_rate must be a number for rprop",
    ),
    "rprop bounds": (lambda: optim.rprop(0.1, largest=0.01), "not between"),
    "rprop grow": (lambda: optim.rprop(grow=1.0), "grow must be above 1"),
    "rprop shrink": (lambda: optim.rprop(shrink=1.0), "shrink must be between"),
    "memory": (lambda: optim.lbfgs(memory=0), "memory must be a whole number, 1"),
    "tolerance": (lambda: optim.lbfgs(tolerance=-1.0), "tolerance must be"),
    "tolerance 2": (lambda: optim.levenberg_marquardt(tolerance=math.nan), "tolerance must be"),
    "radius": (lambda: optim.levenberg_marquardt(first_radius=0.0), "first_radius must be"),
    "clip": (lambda: optim.clip_by_value(0.0), "limit must be a positive"),
    "clip norm": (lambda: optim.clip_by_global_norm(-1.0), "max_norm must be a positive"),
    "l1": (lambda: optim.l1_penalty(-1.0), "strength must be"),
    "l2": (lambda: optim.l2_penalty(math.inf), "strength must be"),
    "decoupled": (lambda: optim.decoupled_weight_decay(0.0), "rate must be"),
    "plateau factor": (lambda: optim.reduce_on_plateau(factor=1.0), "factor must be"),
    "plateau patience": (lambda: optim.reduce_on_plateau(patience=0), "patience must be"),
    "plateau smallest": (lambda: optim.reduce_on_plateau(smallest=2.0), "smallest must be"),
    "average": (lambda: optim.exponential_average(1.0), "decay must be"),
    "average start": (lambda: optim.running_average(-1), "start must be a whole number, 0"),
    "chain without optimiser": (
        lambda: optim.chain(optim.clip_by_value(1.0)),
        "the chain has no optimiser",
    ),
    "empty chain": (optim.chain, "the chain has no optimiser"),
    "two optimisers": (
        lambda: optim.chain(optim.sgd(), optim.adam()),
        "more than one optimiser",
    ),
    "two averages": (
        lambda: optim.chain(optim.sgd(), optim.running_average(), optim.running_average()),
        "more than one average",
    ),
    "clipping too late": (
        lambda: optim.chain(optim.sgd(), optim.clip_by_value(1.0)),
        "clip_by_value must come before sgd",
    ),
    "average too early": (
        lambda: optim.chain(optim.sgd(), optim.running_average(), optim.reduce_on_plateau()),
        "reduce_on_plateau must come before running_average",
    ),
    "not a stage": (
        lambda: optim.chain("adam"),  # type: ignore[arg-type]
        "stage 0 of the chain is not an optimiser",
    ),
    "unknown name": (lambda: optim.by_name("adm"), "did you mean 'adam'"),
    "a stage is no optimiser by name": (
        lambda: optim.by_name("clip_by_value", 1.0),
        "unknown optimizer 'clip_by_value'",
    ),
    "unknown setting": (
        lambda: optim.by_name("adam", beta_1=0.9),
        "did you mean 'beta1'",
    ),
    "stage alone": (
        lambda: optim.as_optimizer(optim.clip_by_value(1.0)),
        "clip_by_value alone does not train",
    ),
    "no optimiser": (
        lambda: optim.as_optimizer(0.1),  # type: ignore[arg-type]
        "not an optimiser: 0.1",
    ),
    "function": (
        lambda: optim.as_optimizer(optim.adam),  # type: ignore[arg-type]
        "not an optimiser",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_settings_are_refused_before_the_first_step(case: str) -> None:
    make, message = BAD[case]
    with pytest.raises(UsageError) as caught:
        make()
    assert message in str(caught.value)
    assert caught.value.do


GOOD_JSON = optim.to_json(optim.chain(optim.clip_by_value(1.0), optim.adam(0.1)))
BAD_JSON: list[Any] = [
    None,
    [],
    "adam",
    {},
    {"optimizer": "adam"},
    {"optimizer": "adam", "settings": []},
    {"optimizer": 3, "settings": {}},
    {"optimizer": "os.system", "settings": {}},
    {"optimizer": "adam", "settings": {}, "more": 1},
    {"optimizer": "adam", "settings": {"learning_rate": "0.1"}},
    {"optimizer": "adam", "settings": {"learning_rate": {"schedule": "eval", "settings": {}}}},
    {"optimizer": "adam", "settings": {"learning_rate": {}}},
    {"optimizer": "adam", "settings": {"rate": 0.1}},
    {"optimizer": "clip_by_value", "settings": {}},
    {"optimizer": "chain", "settings": {}},
    {"optimizer": "chain", "settings": {"stages": "adam"}},
    {"optimizer": "chain", "settings": {"stages": [{"optimizer": "adam"}]}},
    {"optimizer": "chain", "settings": {**GOOD_JSON["settings"], "more": 1}},
]


@pytest.mark.parametrize("value", BAD_JSON, ids=lambda value: repr(value)[:60])
def test_json_that_is_not_ours_is_refused(value: Any) -> None:
    with pytest.raises(UsageError) as caught:
        optim.from_json(value)
    assert caught.value.do


def test_names_and_functions_are_the_same_optimisers() -> None:
    for name in OPTIMIZERS:
        assert optim.by_name(name) == getattr(optim, name)()
        assert optim.by_name(name, 0.02) == getattr(optim, name)(0.02)
        assert optim.as_optimizer(name) == getattr(optim, name)()
    assert optim.by_name("sgd", 0.1, momentum=0.9) == optim.sgd(0.1, momentum=0.9)
    rate = schedules.cosine(0.1, 5)
    assert optim.by_name("adam", rate) == optim.adam(rate)


@pytest.mark.parametrize("name", FULL_BATCH)
def test_full_batch_methods_are_optimisers_too_but_in_no_chain(name: str) -> None:
    optimizer = optim.by_name(name, tolerance=1e-4)
    assert optimizer == getattr(optim, name)(tolerance=1e-4) != getattr(optim, name)()
    assert optim.from_json(json.loads(json.dumps(optim.to_json(optimizer)))) == optimizer
    assert name in optim.names()
    with pytest.raises(UsageError, match=f"{name} cannot be part of a chain"):
        optim.chain(optim.clip_by_value(1.0), optimizer)
    with pytest.raises(UsageError, match="unknown setting"):
        optim.by_name(name, 0.1)
    weights = {"w": np.ones((2, 2))}
    with pytest.raises(UsageError, match="needs the function itself"):
        optimizer.update(weights, optimizer.init(weights), weights)


def test_numbers_of_any_kind_make_equal_optimisers_with_plain_settings() -> None:
    """A NumPy scalar kept as it came would turn float32 weights into float64."""
    one = optim.adam(np.float64(0.5), beta1=np.float32(0.5), eps=1)  # type: ignore[arg-type]
    assert one == optim.adam(0.5, beta1=0.5, eps=1.0)
    assert all(type(value) is float for value in one.settings.values())
    assert optim.adam(schedules.constant(0.5)) == optim.adam(0.5)


def test_different_settings_are_different_optimisers() -> None:
    made = [optim.adam(), optim.adam(0.1), optim.adamw(), optim.chain(optim.adam())]
    assert all(a != b for i, a in enumerate(made) for b in made[:i])


def test_optimisers_print_as_the_call_that_makes_them() -> None:
    optimizer = optim.chain(
        optim.clip_by_global_norm(1.0), optim.sgd(schedules.cosine(0.1, 50), momentum=0.9)
    )
    assert repr(optimizer) == (
        "chain(clip_by_global_norm(max_norm=1.0), sgd(learning_rate=cosine(start=0.1, steps=50, "
        "end=0.0), momentum=0.9, nesterov=False))"
    )


def test_a_chain_in_a_chain_is_its_stages() -> None:
    inner = optim.chain(optim.l2_penalty(0.1), optim.adam())
    outer = optim.chain(optim.clip_by_value(1.0), inner, optim.running_average())
    assert outer == optim.chain(
        optim.clip_by_value(1.0), optim.l2_penalty(0.1), optim.adam(), optim.running_average()
    )
    assert [part.name for part in outer.parts] == [
        "clip_by_value", "l2_penalty", "adam", "running_average",
    ]  # fmt: skip


def test_a_chain_does_its_stages_in_their_order() -> None:
    """Clipped first, the penalty is added whole; clipped last, it is clipped with the rest."""
    weights = {"w": np.full((1, 1), 10.0)}
    gradient = {"w": np.full((1, 1), 5.0)}
    clip, penalty, sgd = optim.clip_by_value(1.0), optim.l2_penalty(0.5), optim.sgd(1.0)
    for stages, expected in (((clip, penalty, sgd), -6.0), ((penalty, clip, sgd), -1.0)):
        optimizer = optim.chain(*stages)
        updates, _ = optimizer.update(gradient, optimizer.init(weights), weights)
        assert float(updates["w"][0, 0]) == expected


def test_a_chain_of_one_does_what_its_stage_does() -> None:
    weights = {"w": np.full((2, 2), 10.0)}
    alone, chained = optim.adam(), optim.chain(optim.adam())
    one, _ = alone.update(weights, alone.init(weights), weights)
    two, _ = chained.update(weights, chained.init(weights), weights)
    assert one["w"].tobytes() == two["w"].tobytes()


def test_the_state_of_a_chain_is_arrays_under_readable_names() -> None:
    optimizer = optim.chain(optim.clip_by_value(1.0), optim.adam(), optim.running_average())
    state = optimizer.init({"w": np.zeros((2, 2))})
    assert set(state) == {"1_adam", "2_running_average"}
    assert set(state["1_adam"]) == {"count", "first_moment", "second_moment"}


def test_the_settings_cannot_be_changed_through_the_json() -> None:
    optimizer = optim.chain(optim.clip_by_value(1.0), optim.adam(0.1))
    value = optim.to_json(optimizer)
    value["settings"]["stages"].clear()
    assert optim.to_json(optimizer) == GOOD_JSON
    assert json.loads(json.dumps(GOOD_JSON)) == GOOD_JSON
