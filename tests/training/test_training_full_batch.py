"""L-BFGS and Levenberg-Marquardt train networks: one iteration a step, resumed to the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from problems import Events, assert_same_bits, blobs, line, small

import chainrule as cr
from chainrule import optim
from chainrule.errors import NonFiniteError, UsageError
from chainrule.observe.events import EpochEnded, Event, RunEnded, StepMeasured
from chainrule.optim.registry import FULL_BATCH
from chainrule.tracing import trees

Array = np.ndarray[Any, Any]
both_backends = pytest.mark.parametrize("backend", ["reference", "native"])
every_method = pytest.mark.parametrize("method", FULL_BATCH)


def curve(rows: int = 60) -> tuple[Array, Array]:
    x = np.linspace(-1, 1, rows)[:, None]
    return x, np.sin(3 * x)


def doubled(net: Any, x: Array) -> Any:
    """The network with its first weights in float64."""
    return trees.map_leaves(lambda leaf: leaf.astype(np.float64), cr.nn.init(net, x[:1], 0))


def fit(method: str = "lbfgs", data: Any = None, net: Any = None, **options: Any) -> cr.Run:
    settings: dict[str, Any] = {"epochs": 12, "batch_size": None, "backend": "reference"}
    data = line(rows=30) if data is None else data
    return cr.train(net or small(1), data, optimizer=method, **(settings | options))


@both_backends
def test_a_small_network_learns_a_curve_to_ten_digits(backend: str) -> None:
    """What Levenberg-Marquardt is for. Adam would need some 100,000 steps for a loss of 1e-7."""
    x, y = curve()
    net = doubled(cr.nn.Sequential(cr.nn.Dense(12), cr.nn.tanh, cr.nn.Dense(1)), x)
    run = fit("levenberg_marquardt", (x, y), net, epochs=300, validation=0, backend=backend)
    assert run.history["loss"][-1] < 1e-10
    assert all(b <= a for a, b in zip(run.history["loss"], run.history["loss"][1:], strict=False))


def test_lbfgs_beats_adam_on_a_full_batch() -> None:
    """On iris-like data: with as many passes over the rows, a loss that is many times smaller."""
    data = blobs(rows=150, classes=3, width=4)
    quasi = fit("lbfgs", data, small(3), epochs=60, validation=0)
    adam = fit("adam", data, small(3), epochs=120, validation=0)
    assert quasi.history["loss"][-1] < 0.1 * adam.history["loss"][-1]
    assert quasi.metrics["accuracy"] == 1.0


def test_iris_in_full_batches() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    x, y = datasets.load_iris(return_X_y=True)
    run = fit("lbfgs", (x, y), small(3), epochs=100, validation=0)
    assert run.metrics["accuracy"] > 0.98


@every_method
def test_the_loss_told_is_that_of_the_weights_before_the_step(method: str) -> None:
    """As for every other optimiser."""
    events = Events()
    x, y = line(rows=30)
    y = (y - y.mean()) / y.std()  # else training would do so, and tell losses in those units
    net = cr.nn.init(small(1), x[:1], 0)
    run = fit(method, (x, y), net, validation=0, epochs=4, watchers=[events])
    first = np.mean((net(x) - y) ** 2)
    assert run.history["loss"][0] == pytest.approx(float(first), rel=1e-5)
    after = np.mean((np.asarray(run.net(x)) - y) ** 2)
    assert float(after) < run.history["loss"][-1]
    steps = events.of(StepMeasured)
    assert [e.step for e in steps] == [0, 1, 2, 3]
    assert steps[0].loss == run.history["loss"][0]
    assert steps[0].gradient_norm > steps[-1].gradient_norm > 0
    assert all(sizes["update_rms"] > 0 for sizes in steps[0].weights.values())
    assert set(steps[0].layers) >= {"layers.0", "layers.2"}


@every_method
def test_measuring_and_the_same_seed_change_no_bit(method: str) -> None:
    assert_same_bits(fit(method, measure_every=0).net, fit(method, measure_every=1).net)


# --- ends -----------------------------------------------------------------------------------


@every_method
def test_training_ends_where_the_method_has_converged(method: str, tmp_path: Path) -> None:
    """A network without hidden layers: the loss is a parabola, or has one minimum."""
    x, y = line(rows=40)
    net = doubled(cr.nn.Dense(1), x)
    events = Events()
    run = fit(method, (x, y), net, epochs=500, run_dir=tmp_path / "run", watchers=[events])
    assert run.reason == "converged"
    assert len(run.history["loss"]) < 40
    (ended,) = events.of(RunEnded)
    assert (ended.reason, ended.epoch) == ("converged", len(events.of(EpochEnded)))
    # The last step found nothing to do, and did nothing.
    rows = np.array([row for row in range(40) if row not in held_out(y)])
    solution = np.linalg.lstsq(
        np.column_stack([x[rows], np.ones(len(rows))]).astype(np.float64),
        y[rows].astype(np.float64),
        rcond=None,
    )[0]
    found = np.concatenate([run.net.weight, run.net.bias[None]])
    np.testing.assert_allclose(found, solution, rtol=1e-6)
    again = fit(method, (x, y), net, epochs=500, run_dir=tmp_path / "run", resume=True)
    assert again.reason == "converged"
    assert_same_bits(run.net, again.net)
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "No better weights nearby" in page


def held_out(y: Array) -> Any:
    from chainrule.data import split

    return split(y, 0.2, "regression", 0)[1]


def test_early_stopping_takes_back_the_best_epoch() -> None:
    random = np.random.default_rng(3)
    x = random.normal(size=(40, 5))
    y = (x[:, 0] + random.normal(size=40) > 0).astype(int)
    run = fit("lbfgs", (x, y), small(1), epochs=80, patience=5)
    assert run.reason == "early stopping"
    losses = run.history["held_out_loss"]
    assert run.metrics["loss"] == min(losses) < losses[-1]


def test_a_loss_that_is_not_finite_at_the_start_is_named() -> None:
    x, y = line(rows=30)
    net = cr.nn.Sequential(cr.nn.Dense(4), np.exp, np.exp, cr.nn.Dense(1))
    net = trees.map_leaves(lambda leaf: leaf * np.float32(50), cr.nn.init(net, x[:1], 0))
    with pytest.raises(NonFiniteError, match=r"layers\.[12]"):
        fit("levenberg_marquardt", (x, y), net)


def test_a_step_that_leads_to_infinity_is_not_taken() -> None:
    """The first step of steepest descent overflows here; the line search finds a shorter one."""
    x, y = line(rows=30)
    net = cr.nn.Sequential(cr.nn.Dense(4), np.exp, np.exp, cr.nn.Dense(1))
    for method in FULL_BATCH:
        run = fit(method, (x, y), net, epochs=20)
        assert np.isfinite(run.history["loss"]).all()
        assert run.history["loss"][-1] < 0.5 * run.history["loss"][0]


# --- resuming -------------------------------------------------------------------------------


class Stop(Exception):
    pass


def stop_after(epoch: int) -> Any:
    def watch(event: Event) -> None:
        if isinstance(event, EpochEnded) and event.epoch == epoch:
            raise Stop

    return watch


@both_backends
@every_method
def test_a_resumed_run_ends_in_the_same_bits(method: str, backend: str, tmp_path: Path) -> None:
    """Also what it remembers: curvature, trust region, running statistics."""

    def run(**options: Any) -> cr.Run:
        net = cr.nn.Sequential(cr.nn.Dense(5), cr.nn.BatchNorm(), cr.nn.tanh, cr.nn.Dense(1))
        return fit(method, net=net, backend=backend, save_every=0, **options)

    whole = run()
    with pytest.raises(Stop):
        run(run_dir=tmp_path / "run", watchers=[stop_after(5)])
    resumed = run(run_dir=tmp_path / "run", resume=True)
    assert_same_bits(whole.net, resumed.net)
    assert whole.history["loss"] == resumed.history["loss"]


def test_what_the_methods_remember_keeps_its_shapes_and_dtypes() -> None:
    """Else a checkpoint of the first step would not fit the second."""

    def layout(state: Any) -> list[Any]:
        return [(leaf.name, np.shape(leaf.value), leaf.value.dtype) for leaf in trees.leaves(state)]

    for name in FULL_BATCH:
        optimizer = optim.by_name(name)
        weights = {"w": np.ones((2, 3), np.float32), "b": np.zeros(3)}
        state = optimizer.init(weights)
        assert optimizer.full_batch is not None
        vector = np.arange(9.0)
        if optimizer.full_batch.needs == "gradient":
            problem: Any = optim.full_batch.Loss(lambda x: (x @ x, 2 * x), lambda x: x, 1e-16)
        else:
            problem = optim.full_batch.Residuals(
                lambda x: x, lambda x: (x, np.eye(9)), lambda x: x, 1e-16
            )
        made = optimizer.full_batch.iterate(problem, state, vector)
        assert not made.ended
        assert layout(made.state) == layout(state)


# --- rows and mistakes ----------------------------------------------------------------------


@every_method
def test_a_row_of_weight_two_counts_like_two_rows_and_one_of_weight_0_not_at_all(
    method: str,
) -> None:
    x, y = blobs(rows=20)
    net = doubled(small(3), x)
    rows = np.concatenate([[0], np.arange(20)])
    rows = rows[rows != 1]
    y_spoiled = y.copy()
    y_spoiled[1] = 2
    weights = np.array([2.0, 0.0] + [1.0] * 18)
    settings: dict[str, Any] = {"loss": "squared_error", "validation": 0, "epochs": 6}
    one = fit(method, (x, y_spoiled), net, sample_weights=weights, **settings)
    other = fit(method, (x[rows], y[rows]), net, **settings)
    for leaf, same in zip(trees.leaves(one.net), trees.leaves(other.net), strict=True):
        np.testing.assert_allclose(leaf.value, same.value, rtol=1e-7, atol=1e-9)


def test_squared_errors_of_classes_are_sums_of_squares_too() -> None:
    x, y = blobs(rows=60)
    run = fit("levenberg_marquardt", (x, y), small(3), loss="squared_error", validation=0)
    assert run.metrics["accuracy"] == 1.0


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "batches": ({"optimizer": "lbfgs", "batch_size": 32}, "batch_size is 32"),
    "the default batches": ({"optimizer": "lbfgs"}, "batch_size=None"),
    "not a sum of squares": (
        {"optimizer": "levenberg_marquardt", "batch_size": None, "data": blobs()},
        "cross_entropy is not",
    ),
    "a loss of one's own": (
        {
            "optimizer": "levenberg_marquardt",
            "batch_size": None,
            "loss": lambda outputs, y: np.mean((outputs - y) ** 2),
        },
        "needs a loss that is a sum of squares",
    ),
    "dropout": (
        {"optimizer": "lbfgs", "batch_size": None, "net": small(1, cr.nn.Dropout(0.1))},
        "leave out dropout",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_what_does_not_go_together_is_refused_before_the_first_step(case: str) -> None:
    options, message = MISTAKES[case]
    options = dict(options)
    data = options.pop("data", line())
    net = options.pop("net", small(3 if case == "not a sum of squares" else 1))
    with pytest.raises(UsageError) as caught:
        cr.train(net, data, **options)
    assert message in str(caught.value)
    assert caught.value.do
