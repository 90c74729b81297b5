"""One training step: the network, its loss, its deltas, its update and what is measured of them,
against the same in plain NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.optim.registry import OPTIMIZERS
from chainrule.tracing import trees
from chainrule.tracing.context import key_of
from chainrule.training.objective import objective
from chainrule.training.step import Layout, StepBuilder
from chainrule.training.telling import StepResult

Array = np.ndarray[Any, Any]
SEED = 5


def rows(count: int = 24, width: int = 3, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float64)


def net64(*layers: Any, width: int = 3, seed: int = 1) -> Any:
    """A network in float64, so that another order of sums shows in the last digits only."""
    return cr.nn.init(cr.nn.Sequential(*layers), np.zeros((2, width)), seed, dtype=np.float64)


class Steps:
    """A step and its carry."""

    def __init__(self, net: Any, task: str, outputs: int, loss: Any = None, **options: Any) -> None:
        self.optimizer = options.get("optimizer", cr.optim.sgd(0.1))
        self.layout, self.carry = Layout.of(net, self.optimizer)
        self.builder = StepBuilder(
            self.layout, objective(loss, task, outputs, net), self.optimizer, None
        )
        self.seed = options.get("seed", SEED)
        self.done = options.get("first", 0)

    def __call__(self, *batch: Array, measured: bool = False) -> StepResult:
        key = key_of(self.seed)
        self.carry, result = self.builder(self.carry, batch, key, self.done, measured)
        self.done += 1
        return result

    def arrays(self) -> dict[str, Array]:
        return dict(zip(self.layout.names(), self.carry, strict=True))


def rms(x: Array) -> float:
    return float(np.sqrt(np.mean(np.square(x))))


def test_every_measure_of_a_step_is_that_of_backpropagation_by_hand() -> None:
    x, y = rows(), rows(width=2, seed=1)
    net = net64(cr.nn.Dense(4), cr.nn.relu, cr.nn.Dense(2))
    steps = Steps(net, "regression", 2)
    result = steps(x, y, measured=True)

    first, _, last = net.layers
    before = x @ first.weight + first.bias
    hidden = np.maximum(before, 0)
    out = hidden @ last.weight + last.bias
    delta_out = 2 * (out - y) / y.size
    delta_hidden = delta_out @ last.weight.T
    delta_before = delta_hidden * (before > 0)
    gradients = {
        "layers.0.weight": x.T @ delta_before,
        "layers.0.bias": delta_before.sum(axis=0),
        "layers.2.weight": hidden.T @ delta_out,
        "layers.2.bias": delta_out.sum(axis=0),
    }

    assert result.finite
    assert result.loss == pytest.approx(np.mean((out - y) ** 2), rel=1e-12)
    assert result.score == pytest.approx(np.abs(out - y).mean(axis=1).sum(), rel=1e-12)
    layers = {
        "layers.0": (before, delta_before),
        "layers.1": (hidden, delta_hidden),
        "layers.2": (out, delta_out),
        "": (out, delta_out),
    }
    assert list(result.layers) == list(layers)
    for path, (activation, delta) in layers.items():
        assert result.layers[path] == pytest.approx(
            {
                "activation_rms": rms(activation),
                "activation_mean": activation.mean(),
                "zero_fraction": np.mean(activation == 0),
                "delta_rms": rms(delta),
            },
            rel=1e-12,
        )
    weights = cr.nn.parameters(net)
    assert list(result.weights) == list(weights)
    for name, gradient in gradients.items():
        size = rms(weights[name])
        assert result.weights[name] == pytest.approx(
            {
                "weight_rms": size,
                "gradient_rms": rms(gradient),
                "update_rms": rms(0.1 * gradient),
                "update_ratio": rms(0.1 * gradient) / size if size else 0.0,
            },
            rel=1e-12,
        )
        np.testing.assert_allclose(
            steps.arrays()[f"weights.{name}"], weights[name] - 0.1 * gradient, rtol=1e-12
        )
    flat = np.concatenate([g.ravel() for g in gradients.values()])
    assert result.gradient_norm == pytest.approx(np.linalg.norm(flat), rel=1e-12)


def test_the_score_of_a_step_is_the_number_of_right_answers() -> None:
    x = rows()
    for outputs, task, loss in [
        (1, "binary", None),
        (2, "binary", "cross_entropy"),
        (1, "binary", "squared_error"),
        (1, "binary", "hinge"),
        (3, "multiclass", None),
        (3, "multiclass", "squared_error"),
        (3, "multiclass", "kl_divergence"),
    ]:
        classes = 2 if task == "binary" else 3
        y = np.arange(len(x)) % classes
        net = net64(cr.nn.Dense(outputs))
        steps = Steps(net, task, 1 if task == "binary" else 3, loss)
        out = net(x)
        chosen = out.argmax(axis=1)
        if outputs == 1:
            chosen = (out[:, 0] > (0.5 if loss == "squared_error" else 0)).astype(int)
        assert steps(x, y).score == np.sum(chosen == y), (task, loss)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_carry_keeps_its_names_shapes_and_types(name: str) -> None:
    x, y = rows().astype(np.float32), rows(width=1).astype(np.float32)
    net = cr.nn.Sequential(cr.nn.Dense(4), cr.nn.BatchNorm(), cr.nn.tanh, cr.nn.Dense(1))
    net = cr.nn.init(net, x, SEED)
    optimizer = cr.optim.chain(
        cr.optim.clip_by_global_norm(1.0),
        cr.optim.by_name(name),
        cr.optim.reduce_on_plateau(),
        cr.optim.exponential_average(),
    )
    steps = Steps(net, "regression", 1, optimizer=optimizer)
    before = {n: (a.shape, a.dtype) for n, a in steps.arrays().items()}
    for _ in range(3):
        steps(x, y)
    after = steps.arrays()
    assert {n: (a.shape, a.dtype) for n, a in after.items()} == before
    assert all(type(a) is np.ndarray and a.flags.c_contiguous for a in after.values())
    assert len({id(a) for a in after.values()}) == len(after), "no two share memory"


def test_running_statistics_move_as_batch_normalisation_says() -> None:
    batches = [rows(8, seed=s) * (s + 1) + s for s in range(4)]
    net = net64(cr.nn.BatchNorm(momentum=0.9), cr.nn.Dense(1))
    steps = Steps(net, "regression", 1)
    mean, variance = np.zeros(3), np.ones(3)
    for x in batches:
        steps(x, rows(8, 1))
        mean = 0.9 * mean + 0.1 * x.mean(axis=0)
        variance = 0.9 * variance + 0.1 * x.var(axis=0, ddof=1)
    arrays = steps.arrays()
    np.testing.assert_allclose(arrays["state.layers.0.running_mean"], mean, rtol=1e-12)
    np.testing.assert_allclose(arrays["state.layers.0.running_var"], variance, rtol=1e-12)
    # Evaluation uses them, and not the batch.
    weights, state, _ = steps.layout.split(steps.carry)
    norm = steps.layout.network(weights, state).layers[0]
    x = rows(1, seed=9)
    expected = (x - mean) / np.sqrt(variance + norm.eps) * norm.scale + norm.shift
    np.testing.assert_allclose(norm(x), expected, rtol=1e-12)


def test_dropout_masks_are_a_function_of_the_seed_and_the_step() -> None:
    x, y = rows(), rows(width=1)
    net = net64(cr.nn.Dense(16), cr.nn.Dropout(0.5), cr.nn.Dense(1))

    def loss(seed: int, step: int) -> float:
        return Steps(net, "regression", 1, seed=seed, first=step)(x, y).loss

    assert loss(1, 3) == loss(1, 3)
    assert len({loss(1, 3), loss(1, 4), loss(2, 3)}) == 3
    with cr.nn.training(net, seed=1, step=3):
        by_hand = np.mean((net(x) - y) ** 2)
    assert loss(1, 3) == pytest.approx(by_hand, rel=1e-12)


def test_dropout_at_two_places_has_two_masks() -> None:
    drop = cr.nn.Dropout(0.5)  # one object, at both places
    net = cr.nn.init(cr.nn.Sequential(drop, drop, cr.nn.Dense(1)), np.ones((2, 64)), SEED)
    steps = Steps(net, "regression", 1)
    batch = [np.ones((4, 64), np.float32), np.zeros((4, 1), np.float32)]
    found = steps.builder.quantities(steps.carry, batch, key_of(SEED), 0)["outputs"]
    kept = found["layers.0"] > 0
    assert (found["layers.1"][kept] == 0).any()


def test_measuring_a_step_changes_no_bit_of_it() -> None:
    x, y = rows(33).astype(np.float32), np.arange(33) % 3
    layers = (cr.nn.Dense(8), cr.nn.BatchNorm(), cr.nn.gelu, cr.nn.Dropout(0.2), cr.nn.Dense(3))
    net = cr.nn.init(cr.nn.Sequential(*layers), x, SEED)
    watched, alone = (Steps(net, "multiclass", 3, optimizer=cr.optim.adamw(0.01)) for _ in range(2))
    for _ in range(5):
        one, other = watched(x, y, measured=True), alone(x, y)
        assert (one.loss, one.score) == (other.loss, other.score)
    for name, array in alone.arrays().items():
        np.testing.assert_array_equal(watched.arrays()[name], array, err_msg=name)


@pytest.mark.parametrize("spoiled", ["weights.layers.1.weight", "state.layers.0.running_mean"])
def test_a_step_says_when_a_weight_or_a_statistic_is_not_finite(spoiled: str) -> None:
    """Also one that the loss does not show: here a unit whose output counts nothing."""
    net = net64(cr.nn.BatchNorm(), cr.nn.Dense(2), cr.nn.Dense(1))
    steps = Steps(net, "regression", 1)
    x, y = rows(), rows(width=1)
    assert steps(x, y).finite
    place = steps.layout.names().index(spoiled)
    for bad in (np.nan, np.inf, -np.inf):
        carry = [np.array(a) for a in steps.carry]
        carry[place].flat[0] = bad
        _, result = steps.builder(carry, [x, y], key_of(SEED), 1, False)
        assert not result.finite


def test_the_arrays_of_the_users_network_are_left_alone() -> None:
    net = net64(cr.nn.Dense(2), cr.nn.tanh, cr.nn.Dense(1))
    before = [np.array(leaf.value) for leaf in trees.leaves(net)]
    steps = Steps(net, "regression", 1)
    for _ in range(3):
        steps(rows(), rows(width=1))
    for old, leaf in zip(before, trees.leaves(net), strict=True):
        np.testing.assert_array_equal(old, leaf.value)
