"""What `cr.train` is told to do, it does: batches, losses, optimisers, weights of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from problems import Events, arrays, assert_same_bits, blobs, line, small
from sklearn.utils.class_weight import compute_class_weight

import chainrule as cr
from chainrule import optim
from chainrule.data import permutation
from chainrule.nn.losses import LOSSES
from chainrule.observe.events import EpochEnded, RunStarted
from chainrule.optim import schedules
from chainrule.optim.registry import OPTIMIZERS
from chainrule.optim.schedules import SCHEDULES

FAST = optim.adam(0.02)
STILL = optim.sgd(1e-30)  # so small that float32 weights do not move


# --- batches --------------------------------------------------------------------------------


@pytest.mark.parametrize(("batch_size", "steps"), [(None, 1), (1, 50), (16, 4), (50, 1), (999, 1)])
def test_an_epoch_passes_each_row_once_in_batches_of_the_size_asked_for(
    batch_size: int | None, steps: int
) -> None:
    """The epoch's loss is the mean over rows, also where the last batch is short."""
    x, y = line()
    net = cr.nn.init(small(1), x, 3)
    events = Events()
    run = cr.train(
        net,
        (x, y),
        loss="squared_error",
        optimizer=STILL,
        epochs=3,
        batch_size=batch_size,
        validation=0,
        watchers=[events],
    )
    (started,) = events.of(RunStarted)
    assert started.steps_per_epoch == steps
    assert started.batch_size == min(batch_size or 50, 50)
    assert [e.step for e in events.of(EpochEnded)] == [steps, 2 * steps, 3 * steps]
    error = net(x) - y
    assert run.history["loss"] == pytest.approx([0.5 * np.mean(error**2)] * 3, rel=1e-5)
    assert run.history["mae"] == pytest.approx([np.abs(error).mean()] * 3, rel=1e-5)


def test_one_row_at_a_time_is_the_delta_rule() -> None:
    """Widrow and Hoff 1960: w += rate * (y - x w) x, row by row in the order of the epoch."""
    x, y = line(rows=20)
    net = cr.nn.Dense(3, 1, bias=False, weight=np.zeros((3, 1)))
    run = cr.train(
        net,
        (x, y),
        loss="squared_error",
        optimizer=optim.sgd(0.05),
        epochs=2,
        batch_size=1,
        validation=0,
        seed=4,
    )
    weight = np.zeros((3, 1))
    for epoch in range(2):
        for row in permutation(20, 4, epoch):
            one = x[row : row + 1].astype(float)
            weight = weight + 0.05 * one.T @ (y[row : row + 1] - one @ weight)
    np.testing.assert_allclose(run.net.weight, weight, rtol=1e-12)


# --- losses ---------------------------------------------------------------------------------

_NUMBERS = ["squared_error", "mean_squared_error", "mean_absolute_error", "huber"]
CASES = [
    *[("regression", loss, 2) for loss in _NUMBERS],
    *[("binary", loss, 1) for loss in [*_NUMBERS, "binary_cross_entropy", "hinge"]],
    *[("binary", loss, 2) for loss in ["cross_entropy", "kl_divergence"]],
    *[("multiclass", loss, 3) for loss in [*_NUMBERS, "cross_entropy", "kl_divergence", "hinge"]],
]


def test_every_loss_is_tried_below() -> None:
    assert {loss for _, loss, _ in CASES} == set(LOSSES)


@pytest.mark.parametrize(("task", "loss", "outputs"), CASES)
def test_every_loss_trains_and_its_outputs_are_read_rightly(
    task: str, loss: str, outputs: int
) -> None:
    """Also those that give no logits: an estimate of 0.9 is class 1, with probability 0.9."""
    data = line(outputs=2) if task == "regression" else blobs(classes=2 + (task == "multiclass"))
    run = cr.train(small(outputs), data, loss=loss, optimizer=FAST, epochs=60)
    assert run.task == task
    assert run.history["loss"][-1] < 0.5 * run.history["loss"][0]
    if task == "regression":
        assert run.metrics["r2"] > 0.95
        return
    assert run.metrics["accuracy"] > 0.8
    assert run.history["accuracy"][-1] > 0.8
    right = run.predict(data[0]) == data[1].astype(str)
    assert right.mean() > 0.8
    if loss != "hinge":  # whose margins are no logits, so that they are no good probabilities
        assert run.metrics["log_loss"] < 0.45
    np.testing.assert_allclose(run.predict_probabilities(data[0]).sum(axis=1), 1)


def test_cross_entropy_with_shares_as_targets_predicts_shares() -> None:
    x, label = blobs(classes=3)
    shares = np.full((60, 3), 0.1)
    shares[np.arange(60), label] = 0.8
    for loss in ("cross_entropy", "kl_divergence"):
        run = cr.train(small(3), (x, shares), loss=loss, optimizer=FAST, epochs=60)
        assert run.task == "regression"
        assert run.metrics["mae"] < 0.1
        assert run.history["mae"][-1] < 0.1


def test_binary_cross_entropy_with_several_labels_a_row_predicts_their_probabilities() -> None:
    x, label = blobs(classes=3)
    labels = np.stack([label == 0, label != 2], axis=1).astype(float)
    run = cr.train(small(2), (x, labels), loss="binary_cross_entropy", optimizer=FAST, epochs=60)
    assert run.metrics["mae"] < 0.2
    found = run.outputs(x)
    assert ((found > 0) & (found < 1)).all()


def test_a_loss_of_ones_own_is_a_function_of_outputs_and_targets() -> None:
    def quartic(outputs: Any, targets: Any) -> Any:
        return np.mean((outputs - targets) ** 4)

    run = cr.train(small(1), line(), loss=quartic, epochs=80)
    assert run.history["loss"][-1] < 0.1 * run.history["loss"][0]
    assert run.config["loss"] == "quartic"


def test_outputs_that_only_a_loss_of_ones_own_can_read_have_no_other_metrics() -> None:
    """A mean and a spread for each row: two outputs for one target."""

    def likelihood(outputs: Any, targets: Any) -> Any:
        mean, log_spread = outputs[:, :1], outputs[:, 1:]
        return np.mean(0.5 * ((targets - mean) / np.exp(log_spread)) ** 2 + log_spread)

    run = cr.train(small(2), line(), loss=likelihood, epochs=40)
    assert list(run.metrics) == ["loss"]
    assert set(run.history) >= {"loss", "held_out_loss"}
    assert "mae" not in run.history
    assert run.history["loss"][-1] < run.history["loss"][0]


# --- optimisers -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimiser_makes_the_loss_smaller(name: str) -> None:
    rate = {"sgd": 0.1, "adadelta": None, "rprop": None}.get(name, 0.01)
    optimizer = optim.by_name(name, rate)
    run = cr.train(small(), blobs(), optimizer=optimizer, epochs=30)
    assert run.history["loss"][-1] < 0.9 * run.history["loss"][0]
    by_name = cr.train(small(), blobs(), optimizer=name, epochs=2)
    assert by_name.config["optimizer"]["optimizer"] == name


SOME_SCHEDULES = {
    "constant": schedules.constant(0.1),
    "step": schedules.step(0.1, 7),
    "exponential": schedules.exponential(0.1, 9),
    "cosine": schedules.cosine(0.1, 40),
    "one_cycle": schedules.one_cycle(0.1, 40),
    "warmup": schedules.warmup(5, 0.1),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_each_step_is_made_at_the_rate_of_its_schedule(name: str) -> None:
    """With a loss whose gradient is 1, the weight is minus the sum of the rates."""

    def height(outputs: Any, targets: Any) -> Any:
        return np.mean(outputs)

    schedule = SOME_SCHEDULES[name]
    run = cr.train(
        cr.nn.Dense(1, 1, bias=False, weight=np.zeros((1, 1))),
        (np.ones((50, 1)), np.zeros(50)),
        task="regression",
        loss=height,
        optimizer=optim.sgd(schedule),
        epochs=10,
        batch_size=10,
        validation=0,
    )
    rates = [float(schedule(count, np.float64)) for count in range(51)]
    assert len(set(rates)) > 2 or name == "constant"
    assert run.net.weight[0, 0] == pytest.approx(-sum(rates[:50]), rel=1e-12)
    # The history tells the rate of the step that comes after each epoch.
    assert run.history["learning_rate"] == pytest.approx(rates[5::5], rel=1e-12)


def test_what_is_evaluated_and_kept_is_the_average_of_the_weights() -> None:
    """Polyak and Juditsky 1992, on a linear network whose steps are written out here."""
    x, y = line()
    net = cr.nn.Dense(3, 1, bias=False, weight=np.zeros((3, 1)))
    run = cr.train(
        net,
        (x, y),
        loss="squared_error",
        optimizer=optim.chain(optim.sgd(0.3), optim.running_average()),
        epochs=6,
        batch_size=None,
        validation=0,
    )
    weight, seen = np.zeros((3, 1)), []
    exact = x.astype(float)
    for _ in range(6):
        weight = weight - 0.3 * exact.T @ (exact @ weight - y) / 50
        seen.append(weight)
    np.testing.assert_allclose(run.net.weight, np.mean(seen, axis=0), rtol=1e-12)
    loss = 0.5 * np.mean((exact @ np.mean(seen, axis=0) - y) ** 2)
    assert run.metrics["loss"] == pytest.approx(loss, rel=1e-12)


def test_the_held_out_loss_of_an_epoch_is_that_of_the_average() -> None:
    optimizer = optim.chain(optim.adam(0.1), optim.exponential_average(0.9))
    run = cr.train(small(), blobs(), optimizer=optimizer, epochs=5)
    assert run.history["held_out_loss"][-1] == run.metrics["loss"]
    plain = cr.train(small(), blobs(), optimizer=optim.adam(0.1), epochs=5)
    assert plain.history["loss"] == run.history["loss"], "averaging does not touch the training"
    assert plain.metrics["loss"] != run.metrics["loss"]


def test_the_rate_falls_when_the_held_out_loss_stops_falling() -> None:
    """Nothing can be learned from noise, so the plateau is soon reached."""
    random = np.random.default_rng(0)
    data = random.normal(size=(80, 3)), random.normal(size=(80, 1))
    stage = optim.reduce_on_plateau(factor=0.5, patience=2, smallest=0.1)
    run = cr.train(small(1), data, optimizer=optim.chain(optim.adam(0.05), stage), epochs=40)
    best, bad, scale, expected = np.inf, 0, 1.0, []
    for loss in run.history["held_out_loss"]:
        better = loss < best * (1 - 1e-4)
        best, bad = (loss, 0) if better else (best, bad + 1)
        if bad >= 2:
            scale, bad = max(scale * 0.5, 0.1), 0
        expected.append(0.05 * scale)
    assert expected[-1] == pytest.approx(0.005)
    assert run.history["learning_rate"] == pytest.approx(expected)


# --- weights of classes and rows ------------------------------------------------------------


def lopsided() -> tuple[Any, Any]:
    x, y = blobs(rows=90)
    kept = np.flatnonzero((y != 2) | (np.arange(90) % 4 == 0))
    return x[kept], np.array(["ant", "bee", "cow"])[y[kept]]


def exact_net(x: Any, outputs: int) -> Any:
    return cr.nn.init(small(outputs), x, 1, dtype=np.float64)


def trained(data: Any, outputs: int = 3, **options: Any) -> cr.Run:
    """In float64 and full batches, where only the order of sums can differ."""
    settings = {"batch_size": None, "epochs": 15, "validation": 0, "optimizer": optim.sgd(0.5)}
    return cr.train(exact_net(data[0], outputs), data, **(settings | options))


def test_balanced_class_weights_are_those_of_scikit_learn() -> None:
    x, y = lopsided()
    run = trained((x, y), class_weights="balanced")
    weights = compute_class_weight("balanced", classes=np.unique(y), y=y)
    assert run.config["settings"]["class_weights"] == pytest.approx(weights)
    listed = trained((x, y), class_weights=list(weights))
    named = trained((x, y), class_weights=dict(zip(["ant", "bee", "cow"], weights, strict=True)))
    assert_same_bits(run.net, listed.net)
    assert_same_bits(run.net, named.net)
    plain = trained((x, y))
    assert not np.array_equal(plain.net.layers[0].weight, run.net.layers[0].weight)


@pytest.mark.parametrize(("outputs", "loss"), [(3, None), (1, None), (2, "cross_entropy")])
def test_class_weights_weigh_the_rows_of_the_class(outputs: int, loss: str | None) -> None:
    x, y = lopsided()
    if outputs < 3:
        y = np.where(y == "cow", "cow", "other")
    by_class = trained((x, y), outputs, loss=loss, class_weights={"cow": 3.0})
    by_row = trained((x, y), outputs, loss=loss, sample_weights=np.where(y == "cow", 3.0, 1.0))
    for name, array in arrays(by_class.net).items():
        np.testing.assert_allclose(array, arrays(by_row.net)[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("task", "outputs"), [("regression", 1), ("multiclass", 3)])
def test_a_row_of_weight_two_is_a_row_given_twice(task: str, outputs: int) -> None:
    x, y = line(rows=60, width=4) if task == "regression" else blobs()
    weights = np.arange(60) // 3 % 3  # some rows count nothing
    weighted = trained((x, y), outputs, sample_weights=weights)
    repeated = np.repeat(np.arange(60), weights)
    given = trained((x[repeated], y[repeated]), outputs)
    for name, array in arrays(weighted.net).items():
        np.testing.assert_allclose(array, arrays(given.net)[name], rtol=1e-9, atol=1e-12)
    assert weighted.metrics["loss"] == pytest.approx(given.metrics["loss"], rel=1e-9)


def test_the_held_out_loss_weighs_rows_as_training_does() -> None:
    """It is what early stopping judges by; the metrics count every row alike."""
    x, y = blobs()
    weights = np.where(y == 0, 5.0, 1.0)
    run = cr.train(small(), (x, y), sample_weights=weights, epochs=3)
    plain = cr.train(small(), (x, y), epochs=3)
    assert run.metrics["loss"] != pytest.approx(run.metrics["log_loss"], rel=1e-3)
    assert plain.metrics["loss"] == pytest.approx(plain.metrics["log_loss"], rel=1e-5)


# --- precision ------------------------------------------------------------------------------


def test_a_network_in_float64_is_trained_in_float64() -> None:
    x, y = blobs()
    middle = (cr.nn.BatchNorm(), cr.nn.Dropout(0.1))
    net = cr.nn.init(small(3, *middle), x, 0, dtype=np.float64)
    run = cr.train(net, (x, y), optimizer="adamw", epochs=2)
    assert {a.dtype.name for a in arrays(run.net).values()} == {"float64"}
    assert run.outputs(x).dtype == np.float64
    single = cr.train(small(3, *middle), (x, y), optimizer="adamw", epochs=2)
    assert {a.dtype.name for a in arrays(single.net).values()} == {"float32"}
