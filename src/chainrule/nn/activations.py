"""Activations: plain functions over NumPy arrays, whole arrays at once.

Each is accurate and free of overflow for inputs of any size, and has exact first and second
derivatives wherever it is smooth. At a kink the derivative is that of the left side: relu'(0) = 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule import reference
from chainrule.errors import UsageError, unknown
from chainrule.graph import build
from chainrule.nn.layer import as_float
from chainrule.pipeline import stop_gradient
from chainrule.tracing.traced import Traced, here, lift, wrap

# Klambauer et al. 2017: the two that make mean 0 and variance 1 a fixed point of a layer.
_SELU_ALPHA = 1.6732632423543772848
_SELU_SCALE = 1.0507009873554804934


def identity(x: Any) -> Any:
    """x itself."""
    return x


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)), between 0 and 1. Relative accuracy holds in both tails."""
    x = as_float(x, np.float64)
    above = x >= 0
    e = np.exp(np.where(above, -x, x))
    return np.where(above, 1.0, e) / (1.0 + e)


def tanh(x: Any) -> Any:
    """The hyperbolic tangent, between -1 and 1."""
    return np.tanh(x)


def relu(x: Any) -> Any:
    """max(x, 0). Source: Nair and Hinton, ICML 2010."""
    return np.maximum(x, 0)


def leaky_relu(x: Any, slope: float = 0.01) -> Any:
    """x where x > 0, else slope * x. Source: Maas, Hannun and Ng, ICML 2013."""
    x = as_float(x, np.float64)
    return np.where(x > 0, x, slope * x)


def elu(x: Any, alpha: float = 1.0) -> Any:
    """x where x > 0, else alpha * (exp(x) - 1).

    Source: Clevert, Unterthiner and Hochreiter, ICLR 2016.
    """
    x = as_float(x, np.float64)
    above = x > 0
    return np.where(above, x, alpha * np.expm1(np.where(above, 0, x)))


def selu(x: Any) -> Any:
    """elu, scaled so that layers of lecun_normal weights keep mean 0 and variance 1.

    Source: Klambauer, Unterthiner, Mayr and Hochreiter, "Self-normalizing neural networks", 2017.
    """
    return _SELU_SCALE * elu(x, _SELU_ALPHA)


def gelu(x: Any, approximate: str = "none") -> Any:
    """x * P(N < x) for a standard normal N; `approximate="tanh"` is the cheaper formula.

    Raises UsageError for another `approximate`. Source: Hendrycks and Gimpel, 2016.
    """
    x = as_float(x, np.float64)
    if approximate == "none":
        return 0.5 * x * (1.0 + erf(x * math.sqrt(0.5)))
    if approximate == "tanh":
        return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x * x * x)))
    raise UsageError(f"gelu has no approximation {approximate!r}", do="give 'none' or 'tanh'")


def erf(x: Any) -> Any:
    """The error function, 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x."""
    x = as_float(x, np.float64)
    if not isinstance(x, Traced):
        return reference.erf(x)
    with here():
        return wrap(build.make("erf", lift(x)))


def silu(x: Any) -> Any:
    """x * sigmoid(x). Source: Elfwing, Uchibe and Doya, Neural Networks 2018."""
    x = as_float(x, np.float64)
    return x * sigmoid(x)


def softplus(x: Any) -> Any:
    """log(1 + exp(x)), a smooth relu. Source: Dugas, Bengio, Bélisle, Nadeau and Garcia, 2000."""
    x = as_float(x, np.float64)
    above = x >= 0
    return np.where(above, x, 0.0) + np.log1p(np.exp(np.where(above, -x, x)))


def softmax(x: Any, axis: int = -1) -> Any:
    """exp(x) / sum(exp(x)) along an axis: positive numbers that add up to 1.

    Source: Bridle, "Probabilistic interpretation of feedforward classification network outputs",
    1990.
    """
    e = np.exp(_shifted(x, axis))
    return e / np.sum(e, axis=axis, keepdims=True)


def log_softmax(x: Any, axis: int = -1) -> Any:
    """log(softmax(x)), without the loss of digits that taking the logarithm later would bring."""
    shifted = _shifted(x, axis)
    return shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))


def _shifted(x: Any, axis: int) -> Any:
    """x less its maximum. The maximum cancels, so it is a constant to the derivative."""
    x = as_float(x, np.float64)
    return x - stop_gradient(np.max(x, axis=axis, keepdims=True))


ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "identity": identity,
    "sigmoid": sigmoid,
    "tanh": tanh,
    "relu": relu,
    "leaky_relu": leaky_relu,
    "elu": elu,
    "selu": selu,
    "gelu": gelu,
    "silu": silu,
    "softplus": softplus,
    "softmax": softmax,
    "log_softmax": log_softmax,
}


def activation(name: str) -> Callable[..., Any]:
    """The activation of that name. Raises UsageError, with the nearest known one, if unknown."""
    if name not in ACTIVATIONS:
        raise unknown("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]
