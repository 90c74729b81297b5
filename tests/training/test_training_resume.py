"""A run that was stopped goes on, and ends in the bits of the run that never was."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from problems import Events, assert_same_bits, blobs, small
from training_process import data, net, optimizer, train

import chainrule as cr
from chainrule import optim
from chainrule.errors import DamagedFileError, FileError, UsageError
from chainrule.observe.events import EpochEnded, Event, RunEnded, RunStarted, Saved, StepMeasured
from chainrule.training import loop, stepping
from chainrule.training.rundir import RunDirectory

SHORT: dict[str, Any] = {"rows": 200, "epochs": 6, "measure_every": 1}


class Stop(Exception):
    """What a watcher raises to end a run."""


def at_step(step: int, act: Callable[[], None]) -> Callable[[Event], None]:
    """A watcher that acts once `step` steps are done."""

    def watch(event: Event) -> None:
        if isinstance(event, StepMeasured) and event.step + 1 == step:
            act()

    return watch


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def fail() -> None:
    raise Stop


@pytest.fixture(scope="module")
def whole() -> cr.Run:
    return train(None, **SHORT)


@pytest.mark.parametrize("step", [1, 7, 20, 59, 120])
def test_ctrl_c_stops_after_the_step_and_the_run_goes_on_in_the_same_bits(
    step: int, tmp_path: Path, whole: cr.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the middle of an epoch, after its last batch (20), and after the very last step (120)."""
    stopped = train(tmp_path / "run", watchers=[at_step(step, interrupt)], **SHORT)
    assert stopped.reason == "interrupted"
    assert stopped.record.ended is not None
    assert stopped.record.ended.step == step
    said = capsys.readouterr().err
    assert f"interrupted; everything so far is saved in {tmp_path / 'run'}" in said
    assert "resume=True" in said
    assert stopped.metrics, "what there is so far is evaluated"
    events = Events()
    resumed = train(tmp_path / "run", resume=True, watchers=[events], **SHORT)
    assert events.of(RunStarted)[0].first_step == step
    assert_same_bits(resumed.net, whole.net)
    assert_same_bits(cr.load_run(tmp_path / "run").net, whole.net)
    assert_same_course(resumed, whole)


def assert_same_course(one: cr.Run, other: cr.Run) -> None:
    """The records tell the same of every epoch and of the end, but for the times."""
    assert one.metrics == other.metrics
    assert one.reason == other.reason
    first, second = one.history, other.history
    assert first.keys() == second.keys()
    for name in first.keys() - {"seconds"}:
        assert first[name] == second[name], name
    measured = [[(m.step, m.loss) for m in run.record.measures] for run in (one, other)]
    assert measured[0] == measured[1]


def test_ctrl_c_without_a_directory_returns_the_run_so_far(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stopped = train(None, watchers=[at_step(5, interrupt)], **SHORT)
    assert (stopped.reason, stopped.run_dir) == ("interrupted", None)
    assert "the weights so far are in the run that is returned" in capsys.readouterr().err


def test_the_handlers_of_signals_are_put_back() -> None:
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    train(None, **SHORT)
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before
    with pytest.raises(Stop):
        train(None, watchers=[at_step(3, fail)], **SHORT)
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_signal_that_was_ignored_stays_ignored() -> None:
    """As for a job in the background of a shell, whose Ctrl-C is meant for another."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert train(None, watchers=[at_step(5, interrupt)], **SHORT).reason != "interrupted"
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_second_ctrl_c_ends_at_once_and_what_was_saved_goes_on(
    tmp_path: Path, whole: cr.Run
) -> None:
    def twice() -> None:
        interrupt()
        interrupt()

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, watchers=[at_step(30, twice)], **SHORT)
    assert_same_bits(train(tmp_path, resume=True, **SHORT).net, whole.net)


@pytest.mark.parametrize("step", [1, 19, 20, 21, 54, 101, 119, 120])
def test_a_watcher_that_fails_loses_nothing(step: int, tmp_path: Path, whole: cr.Run) -> None:
    """The run is saved as it was when the watcher failed, between any two batches, and goes on
    from there; then the watcher's error is raised."""
    with pytest.raises(Stop):
        train(tmp_path, watchers=[at_step(step, fail)], save_every=1e6, **SHORT)
    found = RunDirectory(tmp_path).checkpoints().load_latest()
    assert found.step == step
    resumed = train(tmp_path, resume=True, **SHORT)
    assert_same_bits(resumed.net, whole.net)
    assert_same_course(resumed, whole)


@pytest.mark.parametrize("kind", [RunStarted, EpochEnded, Saved, RunEnded])
def test_a_watcher_may_fail_at_any_event(kind: type, tmp_path: Path, whole: cr.Run) -> None:
    def watch(event: Event) -> None:
        if isinstance(event, kind):
            raise Stop

    for session in range(3):
        with suppress(Stop):
            train(tmp_path, watchers=[watch], resume=session > 0, **SHORT)
    assert_same_bits(train(tmp_path, resume=True, **SHORT).net, whole.net)


def test_early_stopping_is_decided_before_its_epoch_is_told(tmp_path: Path) -> None:
    """A watcher that fails at the last epoch's event must not give the run one more epoch."""
    full = train(None, rows=200, epochs=40, patience=2)
    epochs = len(full.history["loss"])
    assert full.reason == "early stopping"

    def watch(event: Event) -> None:
        if isinstance(event, EpochEnded) and event.epoch == epochs - 1:
            raise Stop

    with pytest.raises(Stop):
        train(tmp_path, rows=200, epochs=40, patience=2, watchers=[watch])
    resumed = train(tmp_path, rows=200, epochs=40, patience=2, resume=True)
    assert len(resumed.history["loss"]) == epochs
    assert_same_bits(resumed.net, full.net)


# --- an ended run ---------------------------------------------------------------------------


def files(folder: Path) -> dict[str, bytes]:
    """All files but the report, which tells how long ago things were."""
    found = {str(p.relative_to(folder)): p for p in folder.rglob("*") if p.is_file()}
    return {name: p.read_bytes() for name, p in found.items() if name != "report.html"}


def test_resuming_an_ended_run_does_nothing_and_says_so(
    tmp_path: Path, whole: cr.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path, **SHORT)
    before = files(tmp_path)
    events = Events()
    again = train(tmp_path, resume=True, watchers=[events], **SHORT)
    assert "had ended (finished, epoch 6): nothing to do" in capsys.readouterr().err
    assert events == []
    assert files(tmp_path) == before
    assert_same_bits(again.net, whole.net)
    assert_same_course(again, whole)


def test_a_finished_run_goes_on_when_more_epochs_are_asked_for(tmp_path: Path) -> None:
    options = SHORT | {"patience": None}
    long = train(None, **(options | {"epochs": 9}))
    train(tmp_path, **options)
    resumed = train(tmp_path, resume=True, **(options | {"epochs": 9}))
    assert_same_bits(resumed.net, long.net)
    assert len(resumed.history["loss"]) == 9


def test_a_run_killed_between_its_last_checkpoint_and_its_last_word_is_closed(
    tmp_path: Path, whole: cr.Run
) -> None:
    train(tmp_path, **SHORT)
    directory = RunDirectory(tmp_path)
    for lines in (1, 2):  # without RunEnded; without Evaluated too
        told = directory.record.read_text().splitlines(keepends=True)
        directory.record.write_text("".join(told[:-lines]) + told[-lines][:40])
        directory.network.unlink()
        with pytest.raises(FileError, match="no network yet"):
            cr.load_run(tmp_path)
        again = train(tmp_path, resume=True, **SHORT)
        assert again.reason == "finished"
        assert_same_course(again, whole)
        assert_same_bits(cr.load_run(tmp_path).net, whole.net)


# --- what was on disk -----------------------------------------------------------------------


def test_a_directory_without_a_configuration_holds_no_run_yet(
    tmp_path: Path, whole: cr.Run
) -> None:
    """Killed before config.json was there: the same call again starts anew."""
    train(tmp_path, **(SHORT | {"epochs": 1}))
    (tmp_path / "config.json").unlink()
    (tmp_path / ".partial-0123456789abcdef").write_text("{")
    (tmp_path / "checkpoints" / ".partial-0123456789abcdef").write_text("{")
    (tmp_path / "record.jsonl").write_text("")
    with pytest.raises(FileError, match="not a run directory"):
        train(tmp_path, resume=True, **SHORT)
    made = train(tmp_path, **SHORT)
    assert_same_bits(made.net, whole.net)
    assert_same_course(made, whole)
    assert not list(tmp_path.rglob(".partial-*"))


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    tmp_path: Path, whole: cr.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Stop):
        train(tmp_path, watchers=[at_step(50, fail)], **SHORT)
    newest = RunDirectory(tmp_path).checkpoints().load_latest().path
    content = bytearray(newest.read_bytes())
    content[-5] ^= 1
    newest.write_bytes(content)
    resumed = train(tmp_path, resume=True, **SHORT)
    said = capsys.readouterr().err
    assert re.search(r"is damaged: its checksum differs; went back to step \d+\n", said)
    assert_same_bits(resumed.net, whole.net)


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    train(tmp_path / "one", **SHORT)
    cr.train(small(), blobs(), epochs=1, run_dir=tmp_path / "other")
    shutil.rmtree(tmp_path / "one" / "checkpoints")
    shutil.copytree(tmp_path / "other" / "checkpoints", tmp_path / "one" / "checkpoints")
    with pytest.raises(DamagedFileError, match=r"of another network .* weights\.layers\.0\.weight"):
        train(tmp_path / "one", resume=True, **SHORT)


def test_a_checkpoint_that_is_not_of_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        train(tmp_path, watchers=[at_step(50, fail)], **SHORT)
    folder = RunDirectory(tmp_path).checkpoints()
    found = folder.load_latest()
    for info in ({}, {"standing": 5}, {"standing": {"stepp": 1}}):
        folder.save(found.step, found.arrays, info)
        with pytest.raises(DamagedFileError, match="describes no training run"):
            train(tmp_path, resume=True, **SHORT)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 99}', "\x00", '"format"'])
def test_a_damaged_configuration_is_named(text: str, tmp_path: Path) -> None:
    train(tmp_path, **SHORT)
    (tmp_path / "config.json").write_text(text)
    for call in (lambda: cr.load_run(tmp_path), lambda: train(tmp_path, resume=True, **SHORT)):
        with pytest.raises(DamagedFileError, match=r"config\.json"):
            call()


def test_the_layout_of_the_data_in_memory_does_not_matter(tmp_path: Path) -> None:
    x, y = data(200)
    options: dict[str, Any] = {"optimizer": optimizer(), "epochs": 3, "run_dir": tmp_path}
    plain = cr.train(net(), (x, y), **(options | {"run_dir": None}))
    with pytest.raises(Stop):
        cr.train(net(), (x, y), measure_every=1, watchers=[at_step(7, fail)], **options)
    turned = np.asfortranarray(x)[:, :], np.ascontiguousarray(np.stack([y, y])[:, ::-1])[0, ::-1]
    assert_same_bits(cr.train(net(), turned, resume=True, **options).net, plain.net)


# --- what may not change --------------------------------------------------------------------


def base(**options: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {"optimizer": "adam", "epochs": 2, "sample_weights": np.ones(60)}
    return settings | options


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"batch_size": 16}, "another batch_size: 32, now 16"),
        ({"batch_size": None}, "another batch_size: 32, now None"),
        ({"seed": 1}, "another seed: 0, now 1"),
        ({"validation": 0.3}, "another validation: 12, now 18"),
        ({"patience": 5}, "another patience: None, now 5"),
        ({"class_weights": "balanced"}, "another class_weights: None, now"),
        ({"optimizer": "sgd"}, "another optimizer:"),
        ({"optimizer": optim.adam(0.01)}, "another optimizer:"),
        ({"loss": "hinge"}, "another loss: cross_entropy, now hinge"),
        ({"sample_weights": np.arange(60)}, "another row_weights:"),
        ({"sample_weights": None}, "another row_weights:"),
    ],
)
def test_a_resumed_run_keeps_its_settings(
    changed: dict[str, Any], named: str, tmp_path: Path
) -> None:
    cr.train(small(), blobs(), run_dir=tmp_path, **base())
    with pytest.raises(UsageError) as caught:
        cr.train(small(), blobs(), run_dir=tmp_path, resume=True, **base(**changed))
    assert named in str(caught.value)
    assert "start a new run" in str(caught.value)


def test_a_resumed_run_keeps_its_network_and_its_data(tmp_path: Path) -> None:
    cr.train(small(), blobs(), run_dir=tmp_path, **base())
    with pytest.raises(UsageError, match="another net"):
        cr.train(small(3, cr.nn.Dropout(0.1)), blobs(), run_dir=tmp_path, resume=True, **base())
    x, y = blobs()
    x[17, 1] += 1e-6
    with pytest.raises(UsageError, match="the data of arrays are not those"):
        cr.train(small(), (x, y), run_dir=tmp_path, resume=True, **base())


def test_what_does_not_touch_the_bits_may_change(tmp_path: Path, whole: cr.Run) -> None:
    with pytest.raises(Stop):
        train(tmp_path, watchers=[at_step(33, fail)], **SHORT)
    resumed = train(tmp_path, resume=True, save_every=9.0, **(SHORT | {"measure_every": 0}))
    assert_same_bits(resumed.net, whole.net)


# --- what is saved, and when ----------------------------------------------------------------


def test_checkpoints_are_as_far_apart_as_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two steps as well as between two epochs, and always at the end."""
    monkeypatch.setattr(loop, "TOLD_EVERY", 0.0)
    monkeypatch.setattr(stepping, "MOMENT", 0.0)
    often, seldom = Events(), Events()
    train(tmp_path / "often", watchers=[often], rows=50, epochs=4, save_every=0)
    train(tmp_path / "seldom", watchers=[seldom], rows=50, epochs=4, save_every=1e6)
    assert [e.step for e in often.of(Saved)] == [*range(1, 21), 20]
    assert [e.step for e in seldom.of(Saved)] == [20]
    kept = sorted(p.name for p in (tmp_path / "often" / "checkpoints").iterdir())
    assert kept == ["000000019.safetensors", "000000020.safetensors"]
    assert_same_bits(cr.load_run(tmp_path / "often").net, cr.load_run(tmp_path / "seldom").net)


def test_a_run_is_read_back_whole(tmp_path: Path) -> None:
    made = train(tmp_path, **SHORT)
    read = cr.load_run(tmp_path)
    assert_same_bits(read.net, made.net)
    assert read.record == made.record
    assert read.summary() == made.summary()
    assert json.loads(json.dumps(read.summary()))["run_dir"] == str(tmp_path)
    np.testing.assert_array_equal(read.predict(data(20)[0]), made.predict(data(20)[0]))
    assert repr(read).startswith("Run(arrays: loss ")
    page = read.report(tmp_path / "elsewhere.html")
    assert page.read_text().startswith("<!doctype html>")


def test_a_resumed_run_stays_on_its_backend_unless_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the default is by then."""
    native = train(None, backend="native", **SHORT)
    for step in (7, 33):
        place = tmp_path / str(step)
        with pytest.raises(Stop):
            train(place, backend="native", watchers=[at_step(step, fail)], **SHORT)
        assert_same_bits(train(place, resume=True, **SHORT).net, native.net)
    with pytest.raises(Stop):
        train(tmp_path / "run", backend="reference", watchers=[at_step(7, fail)], **SHORT)
    capsys.readouterr()
    train(tmp_path / "run", backend="native", resume=True, **SHORT)
    assert "started on the reference backend: on the native one" in capsys.readouterr().err
