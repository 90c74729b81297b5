"""`cr.check_grads` finds what is wrong, names it, and passes what is right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.checking import GradientMismatchError
from chainrule.errors import NoDerivativeError, TraceError, UsageError
from chainrule.graph import build
from chainrule.tracing.traced import Traced, as_traced, wrap

W, X, Y = (np.random.default_rng(0).normal(size=s) for s in ((3,), (5, 3), (5,)))


def loss(w: Any, x: Any, y: Any) -> Any:
    return np.mean((np.tanh(x @ w) - y) ** 2)


def wrong(x: Any, factor: float = 1.001) -> Any:
    """x^2, with a derivative that is off by `factor`: the value of one, the derivative of other."""
    if not isinstance(x, Traced):
        return x * x
    stopped = wrap(build.make("stop", x.node))
    return stopped * stopped + factor * (x * x - stopped * stopped)


def wrong_to_second_order(x: Any) -> Any:
    """sin(x) whose derivative is right, and the derivative's derivative 0."""
    if not isinstance(x, Traced):
        return np.sin(x)
    stopped = wrap(build.make("stop", x.node))
    return np.sin(stopped) + (x - stopped) * np.cos(stopped)


def test_right_gradients_pass() -> None:
    """Of numbers, of trees of results with integers among them, of float32 arguments."""
    cr.check_grads(loss, (W, X, Y))
    cr.check_grads(loss, tuple(a.astype(np.float32) for a in (W, X, Y)))
    cr.check_grads(loss, (W, X, Y), order=3)

    def several(p: Any, n: Any, flag: bool) -> Any:
        return {"a": np.outer(p["w"], p["w"]) * n, "best": np.argmax(p["w"]), "b": [p["b"] ** 3]}

    cr.check_grads(several, ({"w": W, "b": 2.5, "n": np.arange(2)}, np.arange(3), True))
    cr.check_grads(lambda x: np.sum(x), (np.zeros((0, 3)),))  # noqa: PLW0108


@pytest.mark.parametrize("place", ["w", "layers.0.weight", "layers.1"])
def test_a_wrong_gradient_is_named(place: str) -> None:
    """The array, the order, both numbers."""

    def function(w: Any, layers: Any) -> Any:
        parts = {"w": w, "layers.0.weight": layers[0]["weight"], "layers.1": layers[1]}
        return sum(np.sum(wrong(p) if name == place else p * p) for name, p in parts.items())

    with pytest.raises(GradientMismatchError) as caught:
        cr.check_grads(function, (W, [{"weight": X}, Y]))
    text = str(caught.value)
    assert f"for {place}, order 1," in text
    assert "the derivative of function" in text
    numbers = [float(word.rstrip(",")) for word in text.split() if _is_number(word.rstrip(","))]
    computed, numeric = numbers[1], numbers[2]
    assert computed / numeric == pytest.approx(1.001, rel=1e-6)
    assert isinstance(caught.value, AssertionError)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def test_the_second_order_is_checked_by_default() -> None:
    """A right gradient with a wrong derivative of its own; order=1 does not look."""
    cr.check_grads(wrong_to_second_order, (W,), order=1)
    with pytest.raises(GradientMismatchError, match="order 2"):
        cr.check_grads(wrong_to_second_order, (W,))


def test_argnums_choose_what_is_checked() -> None:
    """One, several, from the end; the others may be wrong, or have no derivative at all."""

    def function(x: Any, y: Any) -> Any:
        return np.sum(wrong(x) * np.tanh(y))

    cr.check_grads(function, (W, W), argnums=1)
    cr.check_grads(function, (W, W), argnums=(-1,))
    for numbers in (0, (0, 1), None):
        with pytest.raises(GradientMismatchError, match="for x"):
            cr.check_grads(function, (W, W), argnums=numbers)
    cr.check_grads(lambda x, y: np.sum(x * np.floor(y)), (W, W), argnums=0)
    with pytest.raises(NoDerivativeError, match="floor"):
        cr.check_grads(lambda x, y: np.sum(x * np.floor(y)), (W, W))


def test_the_tolerance_and_the_step_can_be_chosen() -> None:
    """A loose tolerance lets 0.1 % pass; a step that is too large does not agree."""
    cr.check_grads(wrong, (W,), order=1, rtol=0.01)
    cr.check_grads(wrong, (W,), order=1, atol=1.0)
    with pytest.raises(GradientMismatchError):
        cr.check_grads(np.exp, (W,), eps=1.0)
    cr.check_grads(lambda x: (1000 * x) ** 2, (1e3 * W,))


def test_directions_depend_on_the_seed_alone() -> None:
    """The same seed finds the same numbers."""

    def message(seed: int) -> str:
        with pytest.raises(GradientMismatchError) as caught:
            cr.check_grads(wrong, (W,), seed=seed)
        return str(caught.value)

    assert message(1) == message(1) != message(2)


def test_the_caller_keeps_his_arrays() -> None:
    """Nothing is written to, and functions may write to their own copies."""

    def function(x: Any) -> Any:
        y = x.copy()
        y[0] = 3 * x[1]
        return y

    before = W.copy()
    cr.check_grads(function, (W,))
    np.testing.assert_array_equal(W, before)


@dataclass(frozen=True)
class Scale:
    """A layer of the user's own."""

    weight: Any
    rate: float = 2.0

    def __call__(self, x: Any) -> Any:
        return self.rate * wrong(self.weight) * x


def test_layers_are_arguments_like_any_tree() -> None:
    """Their arrays go by their names; their settings are constants."""
    with pytest.raises(GradientMismatchError, match=r"for net\.weight"):
        cr.check_grads(lambda net, x: net(x), (Scale(W), W))
    cr.check_grads(lambda net, x: net(x), (Scale(W), W), argnums=1)


def test_wrong_calls_are_named() -> None:
    """A single array instead of a tuple, order 0, nothing to differentiate by."""
    for call, words in (
        (lambda: cr.check_grads(loss, W), "as a tuple"),  # type: ignore[arg-type]
        (lambda: cr.check_grads(np.sum, (W,), order=0), "order 0"),
        (lambda: cr.check_grads(np.sum, (W,), argnums=1), "1 arguments were given"),
        (lambda: cr.check_grads(np.sum, (np.arange(3),)), "no floating-point arrays"),
        (lambda: cr.check_grads(np.argmax, (W,)), "returns no floating-point"),
    ):
        with pytest.raises(UsageError, match=words):
            call()
    with pytest.raises(TraceError):
        cr.check_grads(lambda x: x if x[0] > 0 else -x, (W,))


def test_a_value_that_is_not_finite_is_a_mismatch() -> None:
    """NaN agrees with nothing."""
    with pytest.raises(GradientMismatchError, match="nan"):
        cr.check_grads(lambda x: np.sqrt(x - 10), (W,))


def test_what_is_traced_only_inside_is_no_argument() -> None:
    """Helpers of these tests: a stopped copy is a constant to the chain rule."""
    stopped = cr.trace(lambda x: as_traced(x) + 0 * x, W)
    assert stopped.outputs[0].op == "add"
