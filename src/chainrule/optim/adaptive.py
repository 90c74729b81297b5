"""Optimisers that scale each element of the gradient by the sizes it had so far.

All of them add `eps` after the square root, as AdaGrad's and Adam's papers do, except Adadelta,
whose paper has it under the root. (TensorFlow's and Keras' RMSProp have it under the root, too;
PyTorch's is as here.) An element whose gradient was always zero does not move. The square of a
float32 gradient above 1.8e19 is infinite, and its element then never moves again: clip gradients
that may explode.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from chainrule.optim import checks
from chainrule.optim.arrays import Array, one_minus_power
from chainrule.optim.optimizer import Optimizer, Rule, elementwise
from chainrule.optim.schedules import Schedule, as_schedule, schedule_to_json
from chainrule.optim.selection import decides

Step = tuple[Any, Mapping[str, Any]]


def adagrad(learning_rate: float | Schedule = 0.01, *, eps: float = 1e-10) -> Optimizer:
    """AdaGrad: s <- s + g^2, w <- w - rate * g / (sqrt(s) + eps).

    Source: Duchi, Hazan and Singer 2011, figure 1, the diagonal form with eps as its delta.
    """
    rate = as_schedule("adagrad", learning_rate)
    eps = checks.positive("adagrad", "eps", eps, "1e-10")

    def rule(gradient: Array, weight: Array, memory: Mapping[str, Array], number: Array) -> Step:
        squares = memory["sum_of_squares"] + gradient * gradient
        return gradient / (np.sqrt(squares) + eps), {"sum_of_squares": squares}

    settings = {"learning_rate": schedule_to_json(rate), "eps": eps}
    return elementwise("adagrad", settings, rate, rule, memory=("sum_of_squares",))


def rmsprop(
    learning_rate: float | Schedule = 0.001, *, decay: float = 0.9, eps: float = 1e-8
) -> Optimizer:
    """RMSProp: s <- decay * s + (1 - decay) * g^2, w <- w - rate * g / (sqrt(s) + eps).

    Source: Tieleman and Hinton 2012 (Neural Networks for Machine Learning, lecture 6.5), which
    has no eps; s starts at zero and its bias is not corrected, as in the lecture.
    """
    rate = as_schedule("rmsprop", learning_rate)
    decay = checks.below_one("rmsprop", "decay", decay)
    eps = checks.positive("rmsprop", "eps", eps, "1e-8")

    def rule(gradient: Array, weight: Array, memory: Mapping[str, Array], number: Array) -> Step:
        square = decay * memory["mean_square"] + (1.0 - decay) * (gradient * gradient)
        return gradient / (np.sqrt(square) + eps), {"mean_square": square}

    settings = {"learning_rate": schedule_to_json(rate), "decay": decay, "eps": eps}
    return elementwise("rmsprop", settings, rate, rule, memory=("mean_square",))


def adadelta(
    learning_rate: float | Schedule = 1.0, *, decay: float = 0.95, eps: float = 1e-6
) -> Optimizer:
    """Adadelta: steps in the units of the weights, from the sizes of steps and gradients so far.

    s <- decay * s + (1 - decay) * g^2, d = g * sqrt(u + eps) / sqrt(s + eps),
    u <- decay * u + (1 - decay) * d^2, w <- w - rate * d. The paper has no rate: 1.0 is its
    method. Source: Zeiler 2012, algorithm 1.
    """
    rate = as_schedule("adadelta", learning_rate)
    decay = checks.below_one("adadelta", "decay", decay, "0.95")
    eps = checks.positive("adadelta", "eps", eps, "1e-6")

    def rule(gradient: Array, weight: Array, memory: Mapping[str, Array], number: Array) -> Step:
        square = decay * memory["mean_square"] + (1.0 - decay) * (gradient * gradient)
        past = memory["mean_square_step"]
        step = gradient * (np.sqrt(past + eps) / np.sqrt(square + eps))
        past = decay * past + (1.0 - decay) * (step * step)
        return step, {"mean_square": square, "mean_square_step": past}

    settings = {"learning_rate": schedule_to_json(rate), "decay": decay, "eps": eps}
    memory = ("mean_square", "mean_square_step")
    return elementwise("adadelta", settings, rate, rule, memory=memory)


def adam(
    learning_rate: float | Schedule = 0.001,
    *,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> Optimizer:
    """Adam: w <- w - rate * m' / (sqrt(v') + eps) with bias-corrected means m' and v'.

    m <- beta1 * m + (1 - beta1) * g, v <- beta2 * v + (1 - beta2) * g^2, and at step t from 1,
    m' = m / (1 - beta1^t), v' = v / (1 - beta2^t). Source: Kingma and Ba 2015, algorithm 1 (not
    the faster form of its section 2, whose eps means something else).
    """
    rate = as_schedule("adam", learning_rate)
    settings = _adam_settings("adam", rate, beta1, beta2, eps)
    rule = _adam_rule(settings)
    return elementwise("adam", settings, rate, rule, memory=("first_moment", "second_moment"))


def adamw(
    learning_rate: float | Schedule = 0.001,
    *,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.01,
    decay_on: str = "matrices",
) -> Optimizer:
    """Adam with decoupled weight decay: as `adam`, and w <- w - rate * weight_decay * w.

    Decayed are the weights with two axes or more (`decay_on="matrices"`; "all" for every one).
    Source: Loshchilov and Hutter 2019, algorithm 2, line 12; the paper's decay is `weight_decay`
    times its alpha, so that here `learning_rate` stands for its alpha and schedule together.
    """
    rate = as_schedule("adamw", learning_rate)
    settings = _adam_settings("adamw", rate, beta1, beta2, eps)
    strength = checks.not_negative("adamw", "weight_decay", weight_decay, "0.01")
    decayed = decides("adamw", "decay_on", decay_on)
    adam_rule = _adam_rule(settings)

    def rule(gradient: Array, weight: Array, memory: Mapping[str, Array], number: Array) -> Step:
        direction, kept = adam_rule(gradient, weight, memory, number)
        return direction + strength * weight if decayed(weight) else direction, kept

    settings = {**settings, "weight_decay": strength, "decay_on": decay_on}
    return elementwise("adamw", settings, rate, rule, memory=("first_moment", "second_moment"))


def _adam_settings(
    owner: str, rate: Schedule, beta1: float, beta2: float, eps: float
) -> dict[str, Any]:
    return {
        "learning_rate": schedule_to_json(rate),
        "beta1": checks.below_one(owner, "beta1", beta1, "0.9"),
        "beta2": checks.below_one(owner, "beta2", beta2, "0.999"),
        "eps": checks.positive(owner, "eps", eps, "1e-8"),
    }


def _adam_rule(settings: Mapping[str, float]) -> Rule:
    beta1, beta2, eps = settings["beta1"], settings["beta2"], settings["eps"]

    def rule(gradient: Array, weight: Array, memory: Mapping[str, Array], number: Array) -> Step:
        first = beta1 * memory["first_moment"] + (1.0 - beta1) * gradient
        second = beta2 * memory["second_moment"] + (1.0 - beta2) * (gradient * gradient)
        # (m / c1) / (sqrt(v / c2) + eps), with what all weights have in common in two numbers: a
        # division for each weight is as slow as ten multiplications.
        root = one_minus_power(beta2, number)
        root = math.sqrt(root) if isinstance(root, float) else np.sqrt(root)
        scale = root / one_minus_power(beta1, number)
        kept = {"first_moment": first, "second_moment": second}
        return (first * scale) / (np.sqrt(second) + eps * root), kept

    return rule
