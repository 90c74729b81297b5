"""A compiled function is traced again exactly when something that it sees has changed."""

from __future__ import annotations

import copy
import datetime
import functools
import logging
import re
import sys
import threading
import time
import types
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import chainrule as cr
from chainrule import tracing
from chainrule.tracing.closure import closure_key

X = np.array([1.0, 2.0, 3.0])


class Count:
    """How many traces were made while it was in force."""

    def __init__(self) -> None:
        self.traces = 0

    def of(self, call: Callable[[], Any]) -> int:
        before = self.traces
        call()
        return self.traces - before


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Count:
    found = Count()
    original = tracing.capture

    def counted(*args: Any, **kwargs: Any) -> Any:
        found.traces += not tracing.is_tracing()
        return original(*args, **kwargs)

    monkeypatch.setattr(tracing, "capture", counted)
    return found


@dataclass(frozen=True)
class Layer:
    """A layer of the user's own."""

    weight: Any
    rate: float = 0.5
    activation: Callable[[Any], Any] = np.tanh

    def __call__(self, x: Any) -> Any:
        return self.activation(x @ self.weight) * self.rate * LAYER_FACTOR


LAYER_FACTOR = 1.0


class Settings:
    """A class whose attributes are read as settings."""

    rate = 2.0
    factors = [1.0]  # noqa: RUF012 (it is changed on purpose)

    @staticmethod
    def scaled(x: Any) -> Any:
        return x * Settings.rate


class Model:
    """An object that is no tree."""

    def __init__(self, weight: float) -> None:
        self.weight = np.array([weight])

    def apply(self, x: Any) -> Any:
        return self.forward(x)

    def forward(self, x: Any) -> Any:
        return x * self.weight * FACTOR


FACTOR = 1.0
TABLE = {"a": [1.0, 2.0]}


def helper(x: Any) -> Any:
    return x * FACTOR


def outer_helper(x: Any, offset: float = 0.0) -> Any:
    return helper(x) + offset


# --- the same program ---


def test_the_same_shapes_are_traced_once(count: Count) -> None:
    """Values do not matter, nor memory layout, byte order, or NumPy scalar against 0-d array."""
    double = cr.compile(lambda x: 2 * x)
    assert count.of(lambda: double(np.ones((2, 3)))) == 1
    same = [
        np.zeros((2, 3)),
        np.asfortranarray(np.ones((2, 3))),
        np.ones((4, 3))[::2],
        np.ones((2, 3), ">f8"),
        np.broadcast_to(1.0, (2, 3)),
    ]
    for array in same:
        assert count.of(lambda array=array: double(array)) == 0
        np.testing.assert_array_equal(double(array), 2 * array)
    assert count.of(lambda: double(np.float32(1))) == 1
    assert count.of(lambda: double(np.array(1, np.float32))) == 0


@pytest.mark.parametrize(
    "other",
    [
        np.ones((3, 2)),
        np.ones((2, 3), np.float32),
        np.ones((2, 3), int),
        np.ones((2, 3), bool),
        [np.ones((2, 3))],
        {"x": np.ones((2, 3))},
        1.0,
    ],
)
def test_another_shape_dtype_or_tree_is_another_program(count: Count, other: Any) -> None:
    """And both stay: going back traces nothing."""
    function = cr.compile(lambda x: [2 * leaf.value for leaf in tracing.leaves(x)])
    function(np.ones((2, 3)))
    assert count.of(lambda: function(other)) == 1
    assert count.of(lambda: function(np.ones((2, 3)))) == 0
    assert count.of(lambda: function(other)) == 0


def test_python_floats_are_arguments_and_integers_constants(count: Count) -> None:
    """2.0 and 3.0 share a program, 2 and 3 do not; nor do 1 and True."""
    power = cr.compile(lambda x, n: x**n)
    assert count.of(lambda: power(X, 2.0)) == 1
    assert count.of(lambda: power(X, 3.0)) == 0
    np.testing.assert_allclose(power(X, 3.0), X**3)
    assert count.of(lambda: power(X, 2)) == 1
    assert count.of(lambda: power(X, 3)) == 1
    summed = cr.compile(lambda x, keep: np.sum(x, keepdims=keep) + 0 * keep)
    made = [count.of(lambda k=k: summed(X, k)) for k in (True, False, 1, True)]
    assert made == [1, 1, 1, 0]


def test_programs_are_dropped_from_the_oldest_on(count: Count) -> None:
    """The cache of one function is bounded."""
    from chainrule.pipeline import CACHED_PROGRAMS

    function = cr.compile(lambda x: x + 1)
    for size in range(CACHED_PROGRAMS + 1):
        function(np.zeros(size))
    assert count.of(lambda: function(np.zeros(CACHED_PROGRAMS))) == 0
    assert count.of(lambda: function(np.zeros(0))) == 1


def test_keywords_are_traced_like_arguments(count: Count) -> None:
    """Arrays and trees by keyword; defaults; and a dict by position is not a keyword."""

    def function(x: Any, y: Any = None, *, scale: Any = 1.0) -> Any:
        return x * scale if y is None else x * scale + (y["y"] if isinstance(y, dict) else y)

    program = cr.compile(function)
    np.testing.assert_array_equal(program(X, y=X, scale=2.0), 3 * X)
    np.testing.assert_array_equal(program(X, {"y": X}), 2 * X)
    np.testing.assert_array_equal(program(X, y={"y": 2 * X}), 3 * X)
    np.testing.assert_array_equal(program(X), X)
    assert count.of(lambda: program(X, y=2 * X, scale=3.0)) == 0
    value, gradient = cr.value_and_grad(lambda w, *, x: np.sum(w * x))(X, x=2 * X)
    assert value == 28.0
    np.testing.assert_array_equal(gradient, 2 * X)


def test_inputs_are_named_after_parameters_and_leaves() -> None:
    """Also by keyword, in trees, and of *args."""
    seen = []

    def spy(graph: Any, *how: Any) -> Any:
        seen.append([n["name"] for n in graph.inputs])
        return lambda arrays: [np.zeros(n.shape) for n in graph.outputs]

    function = cr.compile(lambda w, *rest, bias: w["a"] * rest[0] + bias)
    from chainrule import pipeline

    original = pipeline.Program
    pipeline.Program = spy  # type: ignore[assignment,misc]
    try:
        function({"a": X}, X, bias=X)
    finally:
        pipeline.Program = original  # type: ignore[misc]
    assert seen == [["w.a", "rest0", "bias"]]


# --- what the function sees ---


def test_a_variable_that_is_bound_anew_is_seen(count: Count) -> None:
    """A closed-over number, array, function."""
    scale: Any = 2.0
    function = cr.compile(lambda x: x * scale)
    for value in (3.0, 4, np.array([1.0, 2.0, 3.0]), np.float32(2)):
        scale = value
        assert count.of(lambda: function(X)) == 1
        np.testing.assert_allclose(function(X), X * scale)
    assert count.of(lambda: function(X)) == 0


def test_the_contents_of_an_array_are_seen(count: Count) -> None:
    """Changed in place: any element, the dtype, the order of elements."""
    weights = np.array([1.0, 2.0, 3.0])
    function = cr.compile(lambda x: x * weights)
    function(X)
    assert count.of(lambda: function(X)) == 0
    changes: list[Callable[[], Any]] = [lambda: weights.__setitem__(2, -1.0), weights.sort]
    for change in changes:
        change()
        assert count.of(lambda: function(X)) == 1
        np.testing.assert_array_equal(function(X), X * weights)


def test_what_containers_and_objects_hold_is_seen(count: Count) -> None:
    """A list, a dict, a nested dict of arrays, an object's attribute, a dataclass's field."""
    numbers, model, box = [1.0], Model(2.0), types.SimpleNamespace(rate=1.0)
    layer = Layer(np.eye(3))

    def function(x: Any) -> Any:
        return layer(model.apply(x) * numbers[0] * TABLE["a"][1] * box.rate)

    program = cr.compile(function)
    program(X)

    def set_layer() -> None:
        nonlocal layer
        layer = replace(layer, rate=0.25)

    def set_activation() -> None:
        nonlocal layer
        layer = replace(layer, activation=np.sin)

    changes: list[Callable[[], Any]] = [
        lambda: numbers.__setitem__(0, 5.0),
        lambda: TABLE["a"].__setitem__(1, 7.0),
        lambda: setattr(model, "weight", np.array([4.0])),
        lambda: model.weight.__setitem__(0, 5.0),
        lambda: setattr(box, "rate", 0.5),
        set_layer,
        set_activation,
    ]
    assert count.of(lambda: program(X)) == 0
    for change in changes:
        change()
        assert count.of(lambda: program(X)) == 1
        np.testing.assert_allclose(program(X), function(X))


def test_globals_defaults_classes_and_helpers_are_seen(
    count: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What helpers read, what classes hold, default arguments, decorated and partial functions."""
    partial = functools.partial(outer_helper, offset=1.0)
    cached = functools.lru_cache(helper)

    @functools.wraps(helper)
    def decorated(x: Any) -> Any:
        return helper(x)

    def function(x: Any, extra: float = 0.0) -> Any:
        return partial(x) + decorated(x) + Settings.scaled(x) * Settings.factors[0] + extra

    program = cr.compile(function)
    program(X)
    assert count.of(lambda: program(X)) == 0
    module = sys.modules[__name__]
    changes: list[Callable[[], Any]] = [
        lambda: monkeypatch.setattr(module, "FACTOR", 3.0),
        lambda: monkeypatch.setattr(Settings, "rate", 5.0),
        lambda: Settings.factors.__setitem__(0, 2.0),
        lambda: monkeypatch.setattr(Settings, "scaled", staticmethod(lambda x: x + 100)),
        lambda: monkeypatch.setattr(module, "helper", lambda x: x - 1),
        lambda: monkeypatch.setattr(outer_helper, "__defaults__", (9.0,)),
        lambda: monkeypatch.setattr(function, "__defaults__", (9.0,)),
    ]
    for change in changes:
        change()
        assert count.of(lambda: program(X)) == 1
        np.testing.assert_allclose(program(X), function(X))
    assert closure_key(cached) is not None


def test_attributes_of_the_users_modules_are_seen(count: Count) -> None:
    """A global module, a module in a closure, a module within a package; libraries are fixed."""
    package, inner = types.ModuleType("mine"), types.ModuleType("mine.inner")
    package.inner, package.rate, inner.depth = inner, 2.0, 3.0  # type: ignore[attr-defined]

    def function(x: Any) -> Any:
        return x * package.rate + package.inner.depth  # type: ignore[attr-defined]

    program = cr.compile(function)
    program(X)
    assert count.of(lambda: program(X)) == 0
    package.rate = 5.0  # type: ignore[attr-defined]
    assert count.of(lambda: program(X)) == 1
    inner.depth = 7.0  # type: ignore[attr-defined]
    assert count.of(lambda: program(X)) == 1
    np.testing.assert_allclose(program(X), function(X))


def test_what_a_layer_passed_as_an_argument_sees_is_seen(
    count: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its arrays are inputs, its settings and functions constants, its code is followed."""
    program = cr.compile(lambda net, x: net(x) + 0)
    layer = Layer(np.eye(3))
    program(layer, X)
    assert count.of(lambda: program(replace(layer, weight=2 * np.eye(3)), X)) == 0
    assert count.of(lambda: program(replace(layer, rate=0.1), X)) == 1
    assert count.of(lambda: program(replace(layer, activation=np.sin), X)) == 1
    assert count.of(lambda: program(replace(layer, activation=lambda x: x), X)) == 1
    monkeypatch.setattr(sys.modules[__name__], "LAYER_FACTOR", 4.0)
    assert count.of(lambda: program(layer, X)) == 1
    np.testing.assert_allclose(program(layer, X), layer(X))


def test_an_object_passed_as_an_argument_is_seen(count: Count) -> None:
    """It is no tree, so what it holds is a constant; when that changes, so does the program."""
    program = cr.compile(lambda model, x: model.apply(x) + 0)
    model = Model(2.0)
    program(model, X)
    assert count.of(lambda: program(model, X)) == 0
    model.weight[0] = 9.0
    assert count.of(lambda: program(model, X)) == 1
    np.testing.assert_allclose(program(model, X), 9 * X)


def test_transformed_functions_are_seen_through(count: Count) -> None:
    """A gradient closed over by a compiled function: its source and settings count, its own cache
    does not; Hessian-vector products see what their function sees."""
    scale = 2.0

    def loss(w: Any, x: Any) -> Any:
        return np.sum(np.tanh(w * x) * scale)

    gradient = cr.grad(loss)
    step = cr.compile(lambda w, x: w - 0.1 * gradient(w, x))
    curvature = cr.hvp(loss)
    step(X, X)
    gradient(X[:2], X[:2])  # fills another cache
    assert count.of(lambda: step(X, X)) == 0
    curvature(X, X, X)
    assert count.of(lambda: curvature(X, X, X)) == 0
    before = step(X, X), curvature(X, X, X)
    scale = 3.0
    after = step(X, X), curvature(X, X, X)
    np.testing.assert_allclose((X - after[0]) * 2, (X - before[0]) * 3)
    np.testing.assert_allclose(after[1] * 2, before[1] * 3)
    gradient = cr.grad(loss, argnums=1)
    assert count.of(lambda: step(X, X)) == 1


def test_what_cannot_be_followed_is_traced_at_every_call(count: Count) -> None:
    """An object without a dict, a generator: slower, never wrong."""

    class Slots:
        __slots__ = ("rate",)

    class SlotsAndDict(Slots):
        pass

    box = SlotsAndDict()
    box.rate = 2.0
    program = cr.compile(lambda x: x * box.rate)
    program(X)
    box.rate = 3.0
    assert count.of(lambda: program(X)) == 1
    np.testing.assert_array_equal(program(X), 3 * X)
    items = iter([5.0, 6.0])
    following = cr.compile(lambda x: x * next(items))
    np.testing.assert_array_equal(following(X), 5 * X)
    np.testing.assert_array_equal(following(X), 6 * X)


def test_values_of_the_standard_library_do_not_stand_in_the_way(count: Count) -> None:
    """A logger, a path, a date, a pattern, a fraction among what the function names."""
    things = (
        logging.getLogger("core"),
        Path("a"),
        datetime.date(2000, 1, 1),
        re.compile("a"),
        Fraction(1, 3),
    )
    program = cr.compile(lambda x: x * float(things[4]) * things[2].year)
    program(X)
    assert count.of(lambda: program(X)) == 0
    things = (*things[:4], Fraction(1, 2))
    assert count.of(lambda: program(X)) == 1


def test_functions_that_refer_to_each_other_have_a_key() -> None:
    """Recursion ends; equal values at different places are not mistaken for each other."""

    def even(x: Any, n: int) -> Any:
        return x if n == 0 else odd(2 * x, n - 1)

    def odd(x: Any, n: int) -> Any:
        return x if n == 0 else even(3 * x, n - 1)

    np.testing.assert_array_equal(cr.compile(lambda x: even(x, 3))(X), 12 * X)
    assert closure_key(even) is not None

    def of(a: Any, b: Any) -> Any:
        return closure_key(lambda: (a, b))

    one, other = [1.0], [1.0]
    assert of(one, other) == of([1.0], [1.0])
    assert of([1.0], [2.0]) != of([2.0], [1.0])
    assert of(1, 2) != of(1.0, 2.0) != of(True, 2.0)
    assert of(0.0, 1) != of(-0.0, 1)
    assert of({1, 2}, slice(1)) == of({2, 1}, slice(1)) != of({1, 3}, slice(1))


# --- trees ---


class Pair(NamedTuple):
    """A named tuple of two."""

    first: Any
    second: Any


@dataclass(frozen=True)
class Normed:
    """A layer with a statistic that is not trained."""

    scale: Any
    mean: Any = tracing.trees.state(default=None)  # noqa: RUF009 (it makes a field)
    names: tuple[str, ...] = field(default=("a",))


def test_trees_come_back_as_they_went_in() -> None:
    """dict, list, tuple, named tuple, dataclass, None, strings and numbers, nested."""
    tree = {
        "pair": Pair(X, [X * 2, None, "text", 3, True]),
        "layer": Normed(X, mean=np.float32(1)),
        "tuple": (np.arange(3), 2.5),
    }
    back = cr.compile(lambda t: t)(tree)
    assert isinstance(back["pair"], Pair)
    assert isinstance(back["layer"], Normed)
    assert back["pair"].second[1:] == [None, "text", 3, True]
    assert back["layer"].names == ("a",)
    for one, other in zip(tracing.leaves(back), tracing.leaves(tree), strict=True):
        assert (one.name, one.trained) == (other.name, other.trained)
        np.testing.assert_array_equal(one.value, other.value)
        assert np.asarray(one.value).dtype == np.asarray(other.value).dtype
    gradient = cr.grad(lambda p: np.sum(p.first**2) * p.second)(Pair(X, 3.0))
    assert isinstance(gradient, Pair)
    np.testing.assert_array_equal(gradient.first, 6 * X)
    assert gradient.second == 14.0


def test_results_are_arrays_of_the_callers_own() -> None:
    """Writing to a result changes neither an argument, nor a constant, nor a later result."""
    constant = np.zeros(3)
    program = cr.compile(lambda x: (x, x, np.zeros_like(x), x[::-1], x * 0 + constant))
    first = program(X)
    for array in first:
        array += 100.0
    np.testing.assert_array_equal(X, [1.0, 2.0, 3.0])
    for one, other in zip(program(X), (X, X, 0 * X, X[::-1], 0 * X), strict=True):
        np.testing.assert_array_equal(one, other)


# --- threads ---


def test_two_threads_may_trace_and_run_at_once() -> None:
    """Contexts, origins and depths are each thread's own; a shared function stays right."""
    shared = cr.compile(lambda x: np.cumsum(np.tanh(x)))
    failures: list[str] = []

    def work(number: int) -> None:
        try:
            for size in range(1, 12):
                x = np.linspace(-1, number, size)
                own = cr.value_and_grad(lambda w, n=number: np.sum(np.tanh(w) ** 2) * n)
                value, gradient = own(x)
                np.testing.assert_allclose(value, np.sum(np.tanh(x) ** 2) * number)
                slope = 2 * np.tanh(x) * (1 - np.tanh(x) ** 2) * number
                np.testing.assert_allclose(gradient, slope, atol=1e-12)
                np.testing.assert_allclose(shared(x), np.cumsum(np.tanh(x)), atol=1e-12)
                assert not tracing.is_tracing()
        except Exception as error:  # noqa: BLE001 (reported below)
            failures.append(f"{number}: {error}")

    threads = [threading.Thread(target=work, args=(n,)) for n in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_trace_that_fails_leaves_nothing_behind() -> None:
    """The next call is not taken for a part of it."""
    with pytest.raises(ZeroDivisionError):
        cr.trace(lambda x: x * (1 // 0), X)
    assert not tracing.is_tracing()
    assert "test_core_cache.py:" in str(cr.trace(lambda x: x * 2, X).outputs[0].origin)


def test_the_users_line_is_not_one_of_the_standard_library() -> None:
    """copy.deepcopy, functools.reduce and the like are passed by; helpers of the user's are not."""

    def function(x: Any) -> Any:
        return functools.reduce(lambda a, b: a + b, [copy.deepcopy({"x": x})["x"], helper(x)])

    origins = {str(n.origin) for n in cr.trace(function, X).nodes() if n.op != "input"}
    assert len(origins) == 2
    assert all("test_core_cache.py:" in origin for origin in origins)


def test_tracing_a_small_network_is_quick() -> None:
    """Loss and gradients of three layers in less than 30 ms, of CPU time, so that others' work on
    the machine counts little."""
    rng = np.random.default_rng(0)
    layers = [{"w": rng.normal(size=(8, 8)), "b": np.zeros(8)} for _ in range(3)]
    x, y = rng.normal(size=(16, 8)), np.arange(16) % 8

    def loss(layers: Any, x: Any, y: Any) -> Any:
        for layer in layers:
            x = np.tanh(x @ layer["w"] + layer["b"])
        z = x - np.max(x, axis=1, keepdims=True)
        return np.mean(np.log(np.sum(np.exp(z), axis=1)) - z[np.arange(16), y])

    def seconds() -> float:
        start = time.process_time()
        cr.trace(cr.value_and_grad(loss), layers, x, y)
        return time.process_time() - start

    assert min(seconds() for _ in range(5)) < 0.03
