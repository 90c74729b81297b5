"""A fixed point that is not reached stops the run, which keeps the last good weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from problems import Events, arrays, assert_same_bits

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import ConvergenceError
from chainrule.observe.events import EpochEnded, RunEnded, StepMeasured

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(64, 2)).astype(np.float32)
DATA = X, 3 * X[:, :1] * X[:, 1:]
BACKENDS = ["native", "reference"]


def fails(**options: Any) -> ConvergenceError:
    """A network whose states come to rest more slowly from step to step."""
    net = nn.Sequential(nn.Equilibrium(2, 8, max_iterations=40), nn.Dense(1))
    settings = {"optimizer": optim.adam(0.05), "epochs": 60, "batch_size": 8, "seed": 1}
    with pytest.raises(ConvergenceError, match=r"fixed.point (did not conv|was not r)") as caught:
        cr.train(net, DATA, **(settings | options))
    return caught.value


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_was_learned_is_kept(backend: str, tmp_path: Path) -> None:
    events = Events()
    error = fails(backend=backend, run_dir=tmp_path / "run", watchers=[events])
    run = error.run
    (ended,) = events.of(RunEnded)
    assert ended.reason == run.reason == "not converged"
    assert ended.step > 0
    assert len(events.of(EpochEnded)) == ended.step // 7
    assert f"stopped at step {ended.step}" in str(error)
    assert f"saved in {tmp_path / 'run'}" in str(error)
    assert "in layers.0" in str(error)
    assert_same_bits(cr.load_run(tmp_path / "run").net, run.net)
    assert all(np.isfinite(array).all() for array in arrays(run.net).values())
    page = (tmp_path / "run" / "report.html").read_text()
    assert "no state of rest" in page
    assert f"step {ended.step:,}" in page
    again = fails(backend=backend, run_dir=tmp_path / "run", resume=True)
    assert f"stopped at step {ended.step}" in str(again)
    assert_same_bits(again.run.net, run.net)


def test_what_could_not_be_evaluated_is_shown_by_its_last_epoch(tmp_path: Path) -> None:
    fails(run_dir=tmp_path / "run", batch_size=None, validation=0)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "has not been evaluated at the end" in page


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_weights_are_those_before_the_step_that_failed(backend: str) -> None:
    """As in a run that ends there, in which nothing but the evaluation of these rows fails."""
    options: dict[str, Any] = {"batch_size": None, "validation": 0, "backend": backend}
    error = fails(**options)
    steps = error.run.record.ended.step
    assert steps > 1
    shorter = fails(epochs=steps, **options)
    assert shorter.run.record.ended.step == steps
    assert_same_bits(shorter.run.net, error.run.net)
    assert error.run.metrics == shorter.run.metrics == {}
    assert shorter.run.history["loss"] == error.run.history["loss"]
    assert len(shorter.run.history["loss"]) == steps


def test_measuring_every_step_or_none_keeps_the_same_bits() -> None:
    runs = [fails(measure_every=every, watchers=[lambda event: None]).run for every in (0, 1, 3)]
    for run in runs[1:]:
        assert_same_bits(run.net, runs[0].net)
        assert run.record.ended.step == runs[0].record.ended.step
    measured = [event.step for event in runs[2].record.events if isinstance(event, StepMeasured)]
    assert measured == list(range(0, runs[2].record.ended.step, 3))


def test_a_full_batch_method_stops_too() -> None:
    error = fails(optimizer=optim.lbfgs(), batch_size=None, validation=0)
    assert error.run.reason == "not converged"


def test_where_it_may_go_on_nothing_stops() -> None:
    net = nn.Sequential(nn.Equilibrium(2, 8, max_iterations=40, strict=False), nn.Dense(1))
    run = cr.train(net, DATA, optimizer=optim.adam(0.05), epochs=3, batch_size=8, seed=1)
    assert run.reason == "finished"
