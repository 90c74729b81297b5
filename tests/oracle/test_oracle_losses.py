"""Losses and activations against PyTorch: values, gradients, second derivatives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
from peer import Case, check, tensor, torch

from chainrule import nn
from chainrule.nn.activations import ACTIVATIONS
from chainrule.nn.losses import LOSSES

pytestmark = pytest.mark.oracle

F = torch.nn.functional
random = np.random.default_rng(9)
ROWS, CLASSES = 7, 4


@dataclass(frozen=True)
class Applied(nn.Layer):
    """A function as a layer without weights."""

    function: Callable[..., Any]

    def forward(self, *inputs: Any) -> Any:
        return self.function(*inputs)


def _case(function: Callable[..., Any], peer: Callable[..., Any], x: Any, *targets: Any) -> Case:
    """A function of x; targets and weights are constants of it."""
    others = [tensor(t) for t in targets]
    net = Applied(lambda x: function(x, *targets))
    return Case(net, (x,), lambda w, x: peer(x, *others), weights=False)


# --- losses -------------------------------------------------------------------------------------

Y = random.normal(size=(ROWS, 3))
TARGETS = random.normal(size=(ROWS, 3))
LOGITS = random.normal(size=(ROWS, CLASSES)) * 2
LABELS = random.integers(0, CLASSES, ROWS)
SHARES = random.dirichlet(np.ones(CLASSES), ROWS)
BITS = random.integers(0, 2, (ROWS, 3)).astype(np.float64)
BY_CLASS = np.array([0.5, 2.0, 1.0, 3.0])
BY_ROW = random.uniform(0.5, 2.0, ROWS)
SEQUENCE, SYMBOLS = random.normal(size=(3, 5, CLASSES)), random.integers(0, CLASSES, (3, 5))


def _weighted(values: Any, weights: Any) -> Any:
    return (values * weights).sum() / weights.sum()


def _bce(y: Any, t: Any) -> Any:
    """PyTorch weighs the ones alone, and takes the mean over all: that is brought to ours."""
    found = F.binary_cross_entropy_with_logits(y, t, pos_weight=torch.tensor(3.0), reduction="sum")
    return found * 2 / torch.where(t > 0, 6.0, 2.0).sum()


def _best_other(y: Any, t: Any) -> Any:
    """The loss of Crammer and Singer, which PyTorch does not have."""
    own = y.gather(1, t[:, None])[:, 0]
    others = y.masked_fill(F.one_hot(t, CLASSES).bool(), -torch.inf).amax(dim=1)
    return (1 + others - own).clamp(min=0).mean()


def _weighing(loss: Callable[..., Any]) -> Callable[..., Any]:
    return lambda y, t, w: loss(y, t, weights=w)


L = nn.losses
LOSS_CASES = {
    "squared_error": _case(
        L.squared_error, lambda y, t: 0.5 * F.mse_loss(y, t, reduction="sum") / ROWS, Y, TARGETS
    ),
    "mean_squared_error": _case(L.mean_squared_error, F.mse_loss, Y, TARGETS),
    "mean_absolute_error": _case(L.mean_absolute_error, F.l1_loss, Y, TARGETS),
    "huber": _case(
        partial(L.huber, delta=0.7), lambda y, t: F.huber_loss(y, t, delta=0.7), Y, TARGETS
    ),
    "binary_cross_entropy": _case(
        L.binary_cross_entropy, F.binary_cross_entropy_with_logits, Y, BITS
    ),
    "binary_cross_entropy of probabilities": _case(
        L.binary_cross_entropy, F.binary_cross_entropy_with_logits, Y, SHARES[:, :3]
    ),
    "binary_cross_entropy far out": _case(
        L.binary_cross_entropy, F.binary_cross_entropy_with_logits, 40 * Y, BITS
    ),
    "binary_cross_entropy by class": _case(
        lambda y, t: L.binary_cross_entropy(y, t, class_weights=[2.0, 6.0]), _bce, Y, BITS
    ),
    "cross_entropy": _case(L.cross_entropy, F.cross_entropy, LOGITS, LABELS),
    "cross_entropy far out": _case(L.cross_entropy, F.cross_entropy, 100 * LOGITS, LABELS),
    "cross_entropy by class": _case(
        lambda y, t: L.cross_entropy(y, t, class_weights=BY_CLASS),
        lambda y, t: F.cross_entropy(y, t, weight=torch.tensor(BY_CLASS)),
        LOGITS,
        LABELS,
    ),
    "cross_entropy of probabilities": _case(L.cross_entropy, F.cross_entropy, LOGITS, SHARES),
    "cross_entropy of each place": _case(
        L.cross_entropy, lambda y, t: F.cross_entropy(y.movedim(-1, 1), t), SEQUENCE, SYMBOLS
    ),
    "cross_entropy by row": _case(
        _weighing(L.cross_entropy),
        lambda y, t, w: _weighted(F.cross_entropy(y, t, reduction="none"), w),
        LOGITS,
        LABELS,
        BY_ROW,
    ),
    "kl_divergence": _case(
        L.kl_divergence,
        lambda y, t: F.kl_div(F.log_softmax(y, -1), t, reduction="batchmean"),
        LOGITS,
        SHARES,
    ),
    "hinge": _case(L.hinge, _best_other, LOGITS, LABELS),
    "hinge of two classes": _case(
        L.hinge, lambda y, t: (1 - (2 * t - 1) * y).clamp(min=0).mean(), Y, BITS
    ),
}


# --- activations --------------------------------------------------------------------------------

X = random.normal(size=(5, 6)) * 3
ACTIVATION_CASES = {
    "identity": torch.clone,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "selu": F.selu,
    "gelu": F.gelu,
    "silu": F.silu,
    "softplus": lambda x: F.softplus(x, threshold=1e3),  # beyond it PyTorch takes x itself
    "softmax": lambda x: F.softmax(x, -1),
    "log_softmax": lambda x: F.log_softmax(x, -1),
}
MORE = {
    "gelu by tanh": _case(
        partial(nn.gelu, approximate="tanh"), lambda x: F.gelu(x, approximate="tanh"), X
    ),
    "erf": _case(nn.erf, torch.erf, X),
    "softmax along rows": _case(partial(nn.softmax, axis=0), lambda x: F.softmax(x, 0), X),
    "elu of 0.3": _case(partial(nn.elu, alpha=0.3), lambda x: F.elu(x, 0.3), X),
}
CASES = {
    **LOSS_CASES,
    **{name: _case(ACTIVATIONS[name], peer, X) for name, peer in ACTIVATION_CASES.items()},
    **MORE,
}


@pytest.mark.parametrize("backend", ["reference", "native"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", CASES)
def test_a_function_is_pytorchs(name: str, backend: str, dtype: str) -> None:
    check(CASES[name], backend, dtype)


def test_every_loss_and_activation_is_compared() -> None:
    assert {name.split()[0] for name in LOSS_CASES} == set(LOSSES)
    assert set(ACTIVATION_CASES) == set(ACTIVATIONS)
