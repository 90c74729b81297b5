"""A loss or a weight that stops being finite stops the run, which says where and keeps the last
good weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from problems import Events, arrays, assert_same_bits, blobs, line, small

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import NonFiniteError
from chainrule.observe.events import NonFinite, RunEnded


@dataclass(frozen=True)
class Root(nn.Layer):
    """The square root of x - low: NaN for what is below `low`, and a slope without bound at it."""

    low: float = 0.0
    gain: Any = None

    def fill(self, draw: nn.layer.Draw, *inputs: Any) -> Any:
        return self.replace(gain=draw("gain", "ones", (1,)))

    def forward(self, x: Any) -> Any:
        return np.sqrt(x - self.low) * self.gain


def fails(net: Any, data: Any, **options: Any) -> NonFiniteError:
    with pytest.raises(NonFiniteError) as caught:
        cr.train(net, data, **({"epochs": 20, "seed": 1} | options))
    return caught.value


def assert_finite(net: Any) -> None:
    assert all(np.isfinite(array).all() for array in arrays(net).values())


@pytest.mark.parametrize("optimizer", [optim.sgd(1e6), optim.sgd(1e30), optim.rmsprop(1e20)])
def test_a_rate_that_is_far_too_large_stops_the_run(optimizer: Any, tmp_path: Path) -> None:
    events = Events()
    error = fails(
        small(1),
        line(),
        loss="squared_error",
        optimizer=optimizer,
        run_dir=tmp_path / "run",
        watchers=[events],
    )
    (seen,) = events.of(NonFinite)
    assert np.isfinite(seen.last_loss)
    text = str(error)
    assert f"stopped at step {seen.step}: {seen.where} is not finite" in text
    assert f"the last finite loss was {seen.last_loss:.6g}" in text
    assert "layers." in seen.where or "the loss" in seen.where
    assert "lower the learning rate" in text
    assert f"saved in {tmp_path / 'run'}" in text
    # The weights are those from before the step that spoiled them.
    assert error.run.reason == "not finite"
    assert error.run.record.ended is not None
    assert error.run.record.ended.step == seen.step
    assert_finite(error.run.net)
    assert_same_bits(cr.load_run(tmp_path / "run").net, error.run.net)
    assert (tmp_path / "run" / "report.html").exists()
    (ended,) = events.of(RunEnded)
    assert ended.reason == "not finite"


def test_the_weights_that_are_kept_are_those_of_the_last_good_step() -> None:
    """The same run, ended before the step that failed, has the same bits."""
    optimizer = optim.sgd(3.0)
    data = line(rows=40)
    error = fails(small(1), data, optimizer=optimizer, batch_size=None, validation=0, epochs=500)
    steps = error.run.record.ended.step
    assert steps > 3
    before = cr.train(
        small(1), data, optimizer=optimizer, batch_size=None, validation=0, epochs=steps, seed=1
    )
    assert_same_bits(error.run.net, before.net)


def test_without_a_directory_the_error_itself_has_the_run() -> None:
    error = fails(small(1), line(), optimizer=optim.sgd(1e6))
    assert ".run.net of this error" in str(error)
    assert_finite(error.run.net)
    assert error.run.metrics


def test_patience_keeps_the_weights_of_the_best_epoch() -> None:
    """The rate rises from harmless to deadly."""
    rate = optim.schedules.warmup(100_000, 1e4)
    options: dict[str, Any] = {"optimizer": optim.sgd(rate), "batch_size": None, "epochs": 500}
    error = fails(small(1), line(), patience=400, **options)
    losses = error.run.history["held_out_loss"]
    best = int(np.argmin(losses))
    assert 0 < best < len(losses) - 1
    assert error.run.metrics["loss"] == losses[best]
    stopped = cr.train(small(1), line(), seed=1, **(options | {"epochs": best + 1}))
    assert_same_bits(error.run.net, stopped.net)


# --- where ----------------------------------------------------------------------------------


def test_a_nan_names_the_layer_that_made_it() -> None:
    net = nn.Sequential(nn.Dense(4), nn.tanh, nn.Sequential(Root(), nn.Dense(1)))
    error = fails(net, line())
    assert "stopped at step 0: the output of layers.2.layers.0 (Root) is not finite" in str(error)
    assert "there was no finite loss before" in str(error)
    assert_same_bits(error.run.net, nn.init(net, np.zeros((2, 3), np.float32), 1))


def test_a_function_between_layers_is_named_too() -> None:
    error = fails(nn.Sequential(nn.Dense(4), np.log1p, nn.Dense(1)), line())
    assert "the output of layers.1 (log1p) is not finite" in str(error)


def test_a_delta_names_the_layer_that_passed_it_back() -> None:
    """The derivative of the square root is infinite at 0, where its value is finite."""
    zeros = nn.Dense(3, 4, weight=np.zeros((3, 4), np.float32), bias=False)
    net = nn.Sequential(zeros, nn.tanh, Root(), nn.Dense(1))
    error = fails(net, line())
    assert "the delta that layers.2 (Root) passes back to layers.1 (tanh)" in str(error)


def test_a_loss_that_has_no_finite_slope_is_named() -> None:
    def root_loss(outputs: Any, targets: Any) -> Any:
        return np.mean(np.sqrt(np.where(outputs > 1e9, targets, outputs) * 0.0))

    zeros = nn.Dense(3, 1, weight=np.zeros((3, 1), np.float32))
    error = fails(zeros, line(), loss=root_loss)
    assert "the delta that the loss passes back to the network (Dense 3 -> 1)" in str(error)


def test_a_gradient_names_its_weight() -> None:
    @dataclass(frozen=True)
    class Power(nn.Layer):
        """x ** p for a weight p, whose slope log(x) is infinite at 0."""

        p: Any = None

        def fill(self, draw: Any, *inputs: Any) -> Any:
            return self.replace(p=draw("p", "zeros", (1,)))

        def forward(self, x: Any) -> Any:
            return np.sqrt(self.p) + x

    error = fails(nn.Sequential(nn.Dense(1), Power()), line())
    assert "the gradient of layers.1.p is not finite" in str(error)


def test_an_update_names_its_weight() -> None:
    x, y = line()
    error = fails(nn.Dense(1), (x, 1000 * y), optimizer=optim.sgd(1e38))
    assert "step 0: the update of weight is not finite" in str(error)


def test_running_statistics_that_overflow_stop_the_run() -> None:
    """The loss alone would not show it: batch normalisation in training uses the batch."""
    x, y = line()
    net = nn.Sequential(nn.BatchNorm(), nn.Dense(1))
    huge = np.array(x)
    huge[:, 1] = np.linspace(1, 2, 50) * 2e19
    error = fails(net, (huge, y))
    assert "layers.0" in str(error)


def test_every_layer_and_loss_of_the_library_goes_through_the_search() -> None:
    """What is looked for is found in networks of every kind of layer."""
    x, y = blobs()
    x[5] = 3e38
    net = nn.Sequential(
        nn.LayerNorm(),
        nn.Residual(nn.Sequential(nn.Dense(4), nn.Dropout(0.5))),
        nn.BatchNorm(),
        nn.Dense(3),
    )
    error = fails(net, (x, y), validation=0)
    assert "layers.0 (LayerNorm 4)" in str(error)


# --- afterwards -----------------------------------------------------------------------------


def test_a_run_that_ended_so_says_so_again_when_resumed(tmp_path: Path) -> None:
    options: dict[str, Any] = {"optimizer": optim.sgd(1e6), "run_dir": tmp_path / "run"}
    first = fails(small(1), line(), **options)
    again = fails(small(1), line(), resume=True, **options)
    assert str(again) == str(first)
    assert_same_bits(again.run.net, first.run.net)
