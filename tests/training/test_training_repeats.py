"""The same seed gives the same bits, watched or not; early stopping takes back the best epoch's."""

from __future__ import annotations

import gc
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from problems import Events, assert_same_bits, blobs, line, small

import chainrule as cr
from chainrule import optim
from chainrule.observe.events import EpochEnded, Event, RunEnded, RunStarted, StepMeasured
from chainrule.tracing import trees


def run(**options: Any) -> cr.Run:
    """A run in which everything random takes part: split, order, weights and masks."""
    net = small(3, cr.nn.BatchNorm(), cr.nn.Dropout(0.3))
    settings: dict[str, Any] = {"optimizer": optim.adamw(0.01), "epochs": 6, "batch_size": 16}
    return cr.train(net, blobs(), **(settings | options))


def test_the_same_seed_gives_the_same_bits_and_another_seed_others() -> None:
    one, same, other = run(seed=1), run(seed=1), run(seed=2)
    assert_same_bits(one.net, same.net)
    assert one.metrics == same.metrics
    for name in ("loss", "held_out_loss", "accuracy", "learning_rate"):
        assert one.history[name] == same.history[name]
    first = np.asarray(one.net.layers[0].weight)
    assert not np.array_equal(first, other.net.layers[0].weight)


@pytest.mark.parametrize("seed", [0, 2**64 - 1, np.int64(7), np.uint64(2**63)])
def test_seeds_have_up_to_64_bits(seed: Any, tmp_path: Path) -> None:
    made = run(seed=seed, epochs=1, run_dir=tmp_path / "run")
    assert made.config["settings"]["seed"] == int(seed)
    assert_same_bits(made.net, run(seed=int(seed), epochs=1).net)


def test_measuring_watching_and_saving_change_no_bit(tmp_path: Path) -> None:
    events = Events()
    alone = run(measure_every=0)
    watched = run(
        measure_every=1,
        watchers=[events],
        run_dir=tmp_path / "run",
        save_every=0,
        progress=True,
    )
    assert_same_bits(alone.net, watched.net)
    measured = events.of(StepMeasured)
    assert [event.step for event in measured] == list(range(18))
    assert set(measured[0].layers) == {f"layers.{i}" for i in range(5)} | {""}
    assert set(measured[0].weights) == set(cr.nn.parameters(alone.net))


def test_about_two_hundred_steps_are_measured_unless_told() -> None:
    events = Events()
    cr.train(small(1), line(), epochs=500, batch_size=None, validation=0, watchers=[events])
    assert len(events.of(StepMeasured)) == 250  # every second of 500
    events.clear()
    cr.train(small(1), line(), epochs=9, batch_size=None, validation=0, watchers=[events])
    assert len(events.of(StepMeasured)) == 9


def test_training_goes_on_from_weights_that_are_there() -> None:
    x, y = blobs()
    first = cr.train(small(), (x, y), epochs=3)
    again = cr.train(first.net, (x, y), epochs=3)
    assert again.history["loss"][0] < first.history["loss"][-1]
    assert_same_bits(first.net, cr.train(small(), (x, y), epochs=3).net)


def test_a_thread_trains_as_the_main_thread_does() -> None:
    made: list[cr.Run] = []
    threads = [threading.Thread(target=lambda: made.append(run())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in made:
        assert_same_bits(one.net, run().net)


# --- early stopping -------------------------------------------------------------------------


def hard() -> tuple[Any, Any]:
    """Few rows and labels that are partly chance: what is learned of them soon hurts on others."""
    random = np.random.default_rng(3)
    x = random.normal(size=(40, 5))
    return x, (x[:, 0] + random.normal(size=40) > 0).astype(int)


def stopped(patience: int | None = 4, **options: Any) -> cr.Run:
    settings: dict[str, Any] = {"epochs": 60, "optimizer": optim.adam(0.02), "batch_size": 8}
    return cr.train(small(1), hard(), patience=patience, **(settings | options))


def test_early_stopping_waits_and_then_takes_back_the_best_epochs_weights() -> None:
    events = Events()
    early = stopped(watchers=[events])
    losses = early.history["held_out_loss"]
    best = int(np.argmin(losses))
    assert 0 < best, "so that there is something to take back"
    assert len(losses) == best + 1 + 4 < 60
    assert early.reason == "early stopping"
    (ended,) = events.of(RunEnded)
    assert (ended.best_epoch, ended.epoch) == (best, best + 5)
    marked = [e.epoch for e in events.of(EpochEnded) if e.best]
    assert marked == [i for i, loss in enumerate(losses) if loss < min([np.inf, *losses[:i]])]
    # The same run, had it ended after that epoch: same seed, same bits.
    assert_same_bits(early.net, stopped(None, epochs=best + 1).net)
    assert early.metrics["loss"] == losses[best]


def test_the_best_weights_are_taken_back_at_the_last_epoch_too() -> None:
    full = stopped(1000, epochs=20)
    best = int(np.argmin(full.history["held_out_loss"]))
    assert best < 19
    assert full.reason == "finished"
    assert_same_bits(full.net, stopped(None, epochs=best + 1).net)


def test_the_best_of_averaged_weights_are_averaged_weights() -> None:
    optimizer = optim.chain(optim.adam(0.05), optim.exponential_average(0.8))
    early = stopped(optimizer=optimizer)
    best = int(np.argmin(early.history["held_out_loss"]))
    assert_same_bits(early.net, stopped(None, epochs=best + 1, optimizer=optimizer).net)
    assert early.metrics["loss"] == early.history["held_out_loss"][best]


def test_without_patience_the_last_weights_are_kept() -> None:
    last = stopped(None, epochs=20)
    assert last.reason == "finished"
    assert last.metrics["loss"] == last.history["held_out_loss"][-1]
    assert last.metrics["loss"] > min(last.history["held_out_loss"])


def test_a_held_out_loss_that_is_nan_is_never_the_best() -> None:
    """A row far out overflows at evaluation alone: training itself goes on."""

    @np.errstate(all="ignore")
    def train(patience: int) -> cr.Run:
        return cr.train(net, (x, y), epochs=6, patience=patience, batch_size=None, validation=0.2)

    x, y = line(rows=30)
    x[np.setdiff1d(np.arange(30), train_rows(y))] *= np.float32(1e30)
    net = cr.nn.Sequential(cr.nn.Dense(4), np.square, cr.nn.Dense(1))
    run = train(3)
    assert run.reason == "early stopping"
    assert len(run.history["loss"]) == 3
    assert run.record.ended is not None
    assert run.record.ended.best_epoch == -1
    assert all(np.isfinite(leaf.value).all() for leaf in trees.leaves(run.net))


def train_rows(y: Any) -> Any:
    from chainrule.data import split

    return split(y, 0.2, "regression", 0)[0]


# --- what a run costs -----------------------------------------------------------------------


@pytest.mark.slow
def test_memory_does_not_grow_with_the_steps() -> None:
    """Over 2,400 steps, beside what the record keeps of each epoch."""
    sizes: list[int] = []

    def watch(event: Event) -> None:
        if isinstance(event, RunStarted):
            tracemalloc.start()
        if isinstance(event, EpochEnded) and event.epoch % 50 == 49:
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])

    x, y = blobs(rows=480, width=8)
    try:
        cr.train(
            small(3, cr.nn.Dropout(0.1)),
            (x, y),
            epochs=200,
            batch_size=32,
            measure_every=0,
            watchers=[watch],
        )
    finally:
        tracemalloc.stop()
    assert len(sizes) == 4  # after 600, 1,200, 1,800 and 2,400 steps
    # An epoch's event in the record is about 800 bytes. A leak of 200 bytes a step shows.
    assert sizes[3] - sizes[1] < 100 * 1200
