"""Activations: right values, right derivatives to second order, and nothing that overflows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import special

import chainrule as cr
from chainrule import nn
from chainrule.errors import UsageError
from chainrule.nn.activations import ACTIVATIONS

ALPHA, SCALE = 1.6732632423543772, 1.0507009873554805
POINTS = np.array([-1e4, -709.0, -50.0, -20.0, -3.0, -0.7, -1e-9, 0.0, 1e-9, 0.3, 2.0, 50.0, 1e4])
FAR = np.array([-1e4, -50.0, 0.0, 50.0, 1e4])

# Each by another formula, or another library's.
VALUES: dict[str, Callable[[Any], Any]] = {
    "identity": lambda x: x,
    "sigmoid": special.expit,
    "tanh": lambda x: 2 * special.expit(2 * x) - 1,
    "relu": lambda x: (x + np.abs(x)) / 2,
    "leaky_relu": lambda x: x * (0.01 + 0.99 * (x > 0)),
    "elu": lambda x: np.maximum(x, 0) + np.minimum(np.expm1(np.minimum(x, 0)), 0),
    "selu": lambda x: SCALE * (np.maximum(x, 0) + ALPHA * np.expm1(np.minimum(x, 0))),
    "gelu": lambda x: x * special.ndtr(x),
    "silu": lambda x: x * special.expit(x),
    "softplus": lambda x: -special.log_expit(-x),
    "softmax": lambda x: special.softmax(x, axis=-1),
    "log_softmax": lambda x: special.log_softmax(x, axis=-1),
}


def _bell(x: Any) -> Any:
    return np.exp(-x * x / 2) / np.sqrt(2 * np.pi)


def _slope(x: Any) -> Any:
    """The derivative of the sigmoid, accurate in both tails."""
    return special.expit(x) * special.expit(-x)


# First and second derivatives, worked out by hand.
DERIVATIVES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "sigmoid": (_slope, lambda x: _slope(x) * (special.expit(-x) - special.expit(x))),
    "tanh": (lambda x: 4 * _slope(2 * x), lambda x: -8 * np.tanh(x) * _slope(2 * x)),
    "gelu": (lambda x: special.ndtr(x) + x * _bell(x), lambda x: (2 - x * x) * _bell(x)),
    "silu": (
        lambda x: special.expit(x) + x * _slope(x),
        lambda x: _slope(x) * (2 + x * (special.expit(-x) - special.expit(x))),
    ),
    "softplus": (special.expit, _slope),
    "identity": (np.ones_like, np.zeros_like),
}


def derivatives(function: Callable[[Any], Any], x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and second derivatives of an elementwise function, by the chain rule."""

    def total(x: Any) -> Any:
        return np.sum(function(x))

    return cr.grad(total)(x), cr.hvp(total)(x, np.ones_like(x))


def test_every_activation_is_compared() -> None:
    assert set(VALUES) == set(ACTIVATIONS)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_agree_with_another_formula(name: str, dtype: Any) -> None:
    """To a few last places (absolute near 0, where the other formula cancels), in the dtype of the
    input, without overflow up to 1e4 and back."""
    x = POINTS.astype(dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        found = nn.activation(name)(x)
    assert found.dtype == dtype
    assert found.shape == x.shape
    eps = float(np.finfo(dtype).eps)
    np.testing.assert_allclose(found, VALUES[name](x.astype(float)), rtol=32 * eps, atol=8 * eps)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_traced_and_plain_agree(name: str, dtype: Any) -> None:
    """To two last places: some primitives are computed by another formula when traced."""
    function = nn.activation(name)
    plain, traced = function(POINTS.astype(dtype)), cr.compile(function)(POINTS.astype(dtype))
    assert traced.dtype == dtype
    np.testing.assert_allclose(traced, plain, rtol=2 * float(np.finfo(dtype).eps), atol=0)


@pytest.mark.parametrize("name", DERIVATIVES)
def test_smooth_activations_have_exact_derivatives_to_second_order(name: str) -> None:
    """At 0, in both tails, and where exp would overflow."""
    first, second = DERIVATIVES[name]
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        found_first, found_second = derivatives(nn.activation(name), POINTS)
    np.testing.assert_allclose(found_first, first(POINTS), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(found_second, second(POINTS), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", ["sigmoid", "softplus"])
def test_tails_keep_their_digits(name: str) -> None:
    """exp(-50) is far below the last place of 1, and still the derivative is right to 1e-12."""
    first, second = derivatives(nn.activation(name), np.array([-50.0]))
    np.testing.assert_allclose([first[0], second[0]], np.exp(-50.0), rtol=1e-12)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("shape", [(3, 5), (2, 1, 4)])
def test_gradients_agree_with_differences(name: str, shape: tuple[int, ...]) -> None:
    """To second order, at random places."""
    x = np.random.default_rng(0).normal(0, 2, shape)
    cr.check_grads(nn.activation(name), (x,))


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "gelu", "silu", "softplus", "softmax"])
def test_gradients_agree_with_differences_at_zero_and_far_out(name: str) -> None:
    for x in (np.zeros((2, 3)), np.array([[50.0, -50.0, 0.0]])):
        cr.check_grads(nn.activation(name), (x,))


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("relu", 0.0, 0.0),
        ("leaky_relu", 0.01, 0.0),
        ("elu", 1.0, 1.0),
        ("selu", SCALE * ALPHA, SCALE * ALPHA),
    ],
)
def test_kinks_follow_the_convention(name: str, first: float, second: float) -> None:
    """At 0 the derivatives are those of the left side."""
    found = derivatives(nn.activation(name), np.zeros(1))
    np.testing.assert_allclose([found[0][0], found[1][0]], [first, second], rtol=1e-15)


def test_parameters_of_activations() -> None:
    x = np.array([-2.0, 3.0])
    np.testing.assert_allclose(nn.leaky_relu(x, slope=0.2), [-0.4, 3])
    np.testing.assert_allclose(nn.elu(x, alpha=2.0), [2 * np.expm1(-2), 3])
    np.testing.assert_allclose(nn.softmax(np.ones((4, 2)), axis=0), np.full((4, 2), 0.25))
    np.testing.assert_allclose(nn.log_softmax(np.ones((4, 2)), axis=0), np.full((4, 2), -np.log(4)))


def test_gelu_by_tanh_is_its_formula_and_close_to_the_exact_one() -> None:
    """Hendrycks and Gimpel 2016, section 2; the approximation is good to 5e-4."""
    x = np.linspace(-6, 6, 101)
    cube = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
    np.testing.assert_allclose(nn.gelu(x, "tanh"), x / 2 * (1 + np.tanh(cube)), atol=1e-15)
    np.testing.assert_allclose(nn.gelu(x, "tanh"), nn.gelu(x), atol=5e-4)
    cr.check_grads(lambda x: nn.gelu(x, "tanh"), (x,))
    with pytest.raises(UsageError, match="gelu has no approximation 'fast'"):
        nn.gelu(x, "fast")


def test_erf_is_scipys() -> None:
    x = np.linspace(-7, 7, 203).reshape(7, 29)
    np.testing.assert_allclose(nn.erf(x), special.erf(x), rtol=1e-15)
    assert np.array_equal(cr.compile(nn.erf, backend="reference")(x), nn.erf(x))
    np.testing.assert_allclose(cr.compile(nn.erf)(x), special.erf(x), rtol=5e-16)
    assert nn.erf(x.astype(np.float32)).dtype == np.float32
    assert nn.erf(0.5) == special.erf(0.5)
    cr.check_grads(nn.erf, (x,))


@pytest.mark.parametrize("name", ["sigmoid", "gelu", "silu", "softplus", "softmax", "elu"])
def test_whole_numbers_become_floats(name: str) -> None:
    function = nn.activation(name)
    np.testing.assert_allclose(function(np.array([1, 2])), function(np.array([1.0, 2.0])))


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "elu", "sigmoid", "softplus", "gelu"])
def test_nan_stays_nan(name: str) -> None:
    """A NaN is not hidden by the branch that a comparison with it chooses."""
    assert np.isnan(nn.activation(name)(np.array([np.nan]))).all()


def test_softmax_of_masked_scores() -> None:
    """-infinity takes a class out: probability 0, and no NaN in the gradient."""
    x = np.array([[1.0, -np.inf, 2.0]])
    found = nn.softmax(x)
    np.testing.assert_allclose(found, [[special.expit(-1.0), 0, special.expit(1.0)]])
    gradient = cr.grad(lambda x: np.sum(nn.softmax(x)[:, 0]))(x)
    np.testing.assert_allclose(gradient, [[_slope(1.0), 0, -_slope(1.0)]])


def test_an_unknown_activation_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown activation 'rleu'[\s\S]*did you mean 'relu'"):
        nn.activation("rleu")


def test_relu_keeps_float32_next_to_python_numbers() -> None:
    for function in (nn.relu, nn.selu, nn.gelu, nn.leaky_relu):
        assert cr.grad(lambda x, f=function: np.sum(f(x)))(FAR.astype(np.float32)).dtype == (
            np.float32
        )
