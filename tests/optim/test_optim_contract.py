"""The contract of every optimiser and every stage: one set of promises, run over all of them.

A new entry of the registry needs a line in CASES (a test holds that none is missing) and nothing
else here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import optim
from chainrule.errors import UsageError
from chainrule.optim import schedules
from chainrule.optim.registry import OPTIMIZERS, STAGES

falling = schedules.warmup(5, schedules.cosine(0.05, 400, end=0.001))

# For each: how to make it. The rates are such that 500 steps reach the bottom of QUADRATIC.
CASES: dict[str, Callable[[], optim.Optimizer]] = {
    "sgd": lambda: optim.sgd(0.1),
    "sgd momentum": lambda: optim.sgd(0.05, momentum=0.9),
    "sgd nesterov": lambda: optim.sgd(0.05, momentum=0.9, nesterov=True),
    "sgd schedule": lambda: optim.sgd(schedules.step(0.2, 100, factor=0.5)),
    "adagrad": lambda: optim.adagrad(0.5),
    "rmsprop": lambda: optim.rmsprop(schedules.exponential(0.1, 40)),
    "adadelta": lambda: optim.adadelta(eps=1e-4),
    "adam": lambda: optim.adam(0.05),
    "adam schedule": lambda: optim.adam(falling),
    "adam one cycle": lambda: optim.adam(schedules.one_cycle(0.1, 500)),
    "adam without memory": lambda: optim.adam(schedules.exponential(0.1, 40), beta1=0.0, beta2=0.0),
    "adamw": lambda: optim.adamw(0.05, weight_decay=1e-5),
    "rprop": lambda: optim.rprop(0.05),
    "clip_by_value": lambda: optim.chain(optim.clip_by_value(0.5), optim.sgd(0.1)),
    "clip_by_global_norm": lambda: optim.chain(optim.clip_by_global_norm(0.5), optim.sgd(0.1)),
    "l1_penalty": lambda: optim.chain(optim.l1_penalty(1e-5), optim.sgd(0.1)),
    "l2_penalty": lambda: optim.chain(optim.l2_penalty(1e-5, on="all"), optim.sgd(0.1)),
    "decoupled_weight_decay": lambda: optim.chain(
        optim.sgd(0.1), optim.decoupled_weight_decay(schedules.step(1e-4, 50), on="all")
    ),
    "reduce_on_plateau": lambda: optim.chain(optim.sgd(0.1), optim.reduce_on_plateau()),
    "exponential_average": lambda: optim.chain(optim.sgd(0.1), optim.exponential_average(0.9)),
    "running_average": lambda: optim.chain(optim.sgd(0.1), optim.running_average(3)),
    "everything": lambda: optim.chain(
        optim.clip_by_value(2.0),
        optim.l2_penalty(1e-6),
        optim.l1_penalty(1e-6),
        optim.clip_by_global_norm(1.0),
        optim.adam(falling),
        optim.decoupled_weight_decay(1e-6),
        optim.reduce_on_plateau(patience=3),
        optim.exponential_average(0.99),
    ),
}
SHAPES = {
    "layers.0.weight": (3, 4),
    "layers.0.bias": (4,),
    "layers.1.gain": (),
    "layers.2.weight": (0, 2),
}

every_case = pytest.mark.parametrize("case", CASES)
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def sample(seed: int, dtype: Any = np.float32, sigma: float = 1.0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {n: np.asarray(generator.normal(0, sigma, s), dtype) for n, s in SHAPES.items()}


def flat(tree: Any, path: str = "") -> dict[str, Any]:
    if isinstance(tree, dict):
        leaves: dict[str, Any] = {}
        for key, value in tree.items():
            leaves |= flat(value, f"{path}/{key}")
        return leaves
    return {path: tree}


def layout(tree: Any) -> Any:
    """Everything but the values, in order; an empty dict counts too."""
    if isinstance(tree, dict):
        return [(key, layout(value)) for key, value in tree.items()]
    return (tree.shape, tree.dtype, type(tree))


def bits(tree: Any) -> dict[str, tuple[Any, ...]]:
    return {k: (v.dtype, v.shape, v.tobytes()) for k, v in flat(tree).items()}


def run(
    optimizer: optim.Optimizer, weights: dict[str, np.ndarray], steps: int, seed: int = 7
) -> tuple[dict[str, np.ndarray], Any]:
    state = optimizer.init(weights)
    for step in range(steps):
        gradients = sample(seed + step, next(iter(weights.values())).dtype)
        gradients = {n: gradients[n] for n in weights}
        updates, state = optimizer.update(gradients, state, weights)
        weights = {n: np.asarray(weights[n] + updates[n]) for n in weights}
    return weights, state


def test_every_entry_of_the_registry_is_under_this_contract() -> None:
    assert set(CASES) >= set(OPTIMIZERS) | set(STAGES)


@every_case
@both_dtypes
def test_state_and_updates_keep_names_order_shapes_and_dtypes(case: str, dtype: Any) -> None:
    """float32 stays float32 and float64 stays float64; the state is arrays and nothing else."""
    optimizer = CASES[case]()
    weights = sample(0, dtype)
    state = optimizer.init(weights)
    for step in range(3):
        updates, after = optimizer.update(sample(step + 1, dtype), state, weights)
        assert layout(updates) == layout(weights)
        assert layout(after) == layout(state)
        assert all(type(leaf) is np.ndarray for leaf in flat({"u": updates, "s": after}).values())
        state = after


@every_case
def test_memory_has_the_dtype_of_its_weight_and_the_counter_is_int32(case: str) -> None:
    weights = sample(0)
    _, state = run(CASES[case](), weights, 3)
    for path, value in flat(state).items():
        *_, last = path.split("/")
        if last == "count":
            assert (value.dtype, value.shape, int(value)) == (np.int32, (), 3)
        elif last in weights:
            assert (value.dtype, value.shape) == (np.float32, SHAPES[last])
        else:
            assert "reduce_on_plateau" in path


@every_case
def test_inputs_are_never_changed(case: str) -> None:
    optimizer = CASES[case]()
    weights, gradients = sample(0), sample(1)
    _, state = run(optimizer, weights, 2)
    before = bits({"w": weights, "g": gradients, "s": state})
    for leaf in flat({"w": weights, "g": gradients, "s": state}).values():
        leaf.setflags(write=False)
    updates, after = optimizer.update(gradients, state, weights)
    if optimizer.after_epoch is not None:
        optimizer.after_epoch(state, 1.0)
    if optimizer.averaged is not None:
        optimizer.averaged(state, weights)
    assert bits({"w": weights, "g": gradients, "s": state}) == before
    assert updates is not gradients
    assert "count" not in after or int(after["count"]) == int(state["count"]) + 1


@every_case
def test_the_same_inputs_give_the_same_bits(case: str) -> None:
    first = run(CASES[case](), sample(0), 10)
    second = run(CASES[case](), sample(0), 10)
    assert bits(first[0]) == bits(second[0])
    assert bits(first[1]) == bits(second[1])


@every_case
def test_the_order_of_the_weights_does_not_matter(case: str) -> None:
    weights = sample(0)
    first = run(CASES[case](), weights, 10)
    second = run(CASES[case](), dict(reversed(weights.items())), 10)
    assert bits(first[0]) == bits(second[0])
    assert bits(first[1]) == bits(second[1])


@every_case
def test_a_zero_gradient_from_the_start_moves_nothing(case: str) -> None:
    """With zero weights, so that penalties and decay ask for nothing either; and never NaN."""
    optimizer = CASES[case]()
    weights = {n: np.zeros(s, np.float32) for n, s in SHAPES.items()}
    state = optimizer.init(weights)
    for _ in range(3):
        updates, state = optimizer.update(weights, state, weights)
        assert all(not u.any() for u in updates.values())
        assert all(np.isfinite(v).all() for k, v in flat(state).items() if "best" not in k)


@every_case
def test_the_bottom_of_a_quadratic_is_found(case: str) -> None:
    optimizer = CASES[case]()
    goal = sample(5, np.float64)
    steepness = {n: np.linspace(0.5, 1.5, g.size).reshape(g.shape) for n, g in goal.items()}
    weights = sample(6, np.float64)
    state = optimizer.init(weights)
    for _ in range(500):
        gradients = {n: np.asarray(steepness[n] * (weights[n] - goal[n])) for n in goal}
        updates, state = optimizer.update(gradients, state, weights)
        weights = {n: np.asarray(weights[n] + updates[n]) for n in goal}
    far = max((np.abs(weights[n] - goal[n]).max(initial=0.0) for n in goal), default=0.0)
    # The start is about 3 away. A penalty of 1e-5 moves the bottom by about that much, and Adam
    # at a constant rate circles around it.
    assert far < 2e-3


@every_case
def test_no_weights_at_all_is_no_error(case: str) -> None:
    optimizer = CASES[case]()
    state = optimizer.init({})
    updates, _ = optimizer.update({}, state, {})
    assert updates == {}
    assert np.isfinite(optimizer.learning_rate(state))


@every_case
def test_json_round_trip_is_exact(case: str) -> None:
    optimizer = CASES[case]()
    text = json.dumps(optim.to_json(optimizer), allow_nan=False)
    again = optim.from_json(json.loads(text))
    assert again == optimizer
    assert hash(again) == hash(optimizer)
    assert json.dumps(optim.to_json(again)) == text
    first, second = run(optimizer, sample(0), 5), run(again, sample(0), 5)
    assert bits(first[0]) == bits(second[0])
    assert bits(first[1]) == bits(second[1])


@every_case
def test_the_learning_rate_shown_is_a_positive_float(case: str) -> None:
    optimizer = CASES[case]()
    _, state = run(optimizer, sample(0), 2)
    rate = optimizer.learning_rate(state)
    assert type(rate) is float
    assert 0 < rate < 100


@every_case
def test_a_missing_gradient_is_named(case: str) -> None:
    optimizer = CASES[case]()
    weights = sample(0)
    gradients = {n: w for n, w in weights.items() if n != "layers.0.bias"}
    with pytest.raises(UsageError, match=r"layers\.0\.bias"):
        optimizer.update(gradients, optimizer.init(weights), weights)


class Opaque(np.lib.mixins.NDArrayOperatorsMixin):
    """An array whose values cannot be seen, as in a trace: NumPy functions work, `if` does not."""

    def __init__(self, value: Any) -> None:
        self._value = np.asarray(value)

    shape = property(lambda self: self._value.shape)
    ndim = property(lambda self: self._value.ndim)
    dtype = property(lambda self: self._value.dtype)
    size = property(lambda self: self._value.size)

    def __array_ufunc__(self, ufunc: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        if method != "__call__" or "out" in kwargs:
            return NotImplemented
        return Opaque(ufunc(*map(_bare, args), **kwargs))

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        assert function in (np.where, np.sum, np.clip)
        return Opaque(function(*map(_bare, args), **kwargs))

    def astype(self, dtype: Any) -> Opaque:
        return Opaque(self._value.astype(dtype))

    def sum(self) -> Opaque:
        return Opaque(self._value.sum())

    def _hidden(self, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("a value was looked at")

    __array__ = __bool__ = __float__ = __int__ = __index__ = __len__ = __iter__ = _hidden
    __iadd__ = __isub__ = __imul__ = __itruediv__ = __setitem__ = __getitem__ = _hidden


def _bare(value: Any) -> Any:
    return value._value if isinstance(value, Opaque) else value


def _wrapped(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _wrapped(value) for key, value in tree.items()}
    return Opaque(tree)


def _unwrapped(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _unwrapped(value) for key, value in tree.items()}
    return _bare(tree)


@every_case
def test_update_never_looks_at_a_value(case: str) -> None:
    """So it can be traced and compiled, and does the same then, to the bit."""
    optimizer = CASES[case]()
    weights, gradients = sample(0), sample(1)
    _, state = run(optimizer, weights, 2)
    inputs = map(_wrapped, (gradients, state, weights))
    updates, after = optimizer.update(*inputs)
    expected = optimizer.update(gradients, state, weights)
    assert bits(_unwrapped(updates)) == bits(expected[0])
    assert bits(_unwrapped(after)) == bits(expected[1])
    if optimizer.after_epoch is not None:
        hidden = optimizer.after_epoch(_wrapped(state), Opaque(np.float64(0.5)))
        assert bits(_unwrapped(hidden)) == bits(optimizer.after_epoch(state, 0.5))


@every_case
def test_compiled_updates_have_the_bits_of_plain_numpy(case: str) -> None:
    optimizer = CASES[case]()
    weights = sample(0)
    _, state = run(optimizer, weights, 2)
    compiled = cr.compile(optimizer.update, backend="reference")
    for seed in (1, 2):
        updates, after = compiled(sample(seed), state, weights)
        expected = optimizer.update(sample(seed), state, weights)
        assert bits(updates) == bits(expected[0])
        assert bits(after) == bits(expected[1])
    if optimizer.after_epoch is not None:
        compiled = cr.compile(optimizer.after_epoch, backend="reference")
        for loss in (0.5, np.inf, np.nan):
            assert bits(compiled(state, loss)) == bits(optimizer.after_epoch(state, loss))
