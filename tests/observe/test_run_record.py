"""The record of a run holds what happened, once, whatever happened to the process."""

from __future__ import annotations

import dataclasses
import errno
import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from events_at_random import EVENTS, in_one_session
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chainrule.errors import DamagedFileError, FileError
from chainrule.observe import (
    EpochEnded,
    Evaluated,
    MemoryRecord,
    NonFinite,
    Progress,
    Record,
    RecordWriter,
    RunEnded,
    RunStarted,
    Saved,
    StepMeasured,
    read_record,
    record_of,
)

PROGRESS = Progress(1, 10, 0, 0.5, 1000.0, 3.0)
same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def started(first_step: int = 0) -> RunStarted:
    return RunStarted(
        dataset="digits",
        task="multiclass",
        net="Dense(64, 10)",
        weights=650,
        train_rows=1437,
        held_out_rows=360,
        epochs=20,
        steps_per_epoch=10,
        batch_size=32,
        seed=0,
        backend="reference",
        run_dir="runs/digits",
        first_step=first_step,
        config={"clip": math.inf, "optimizer": {"name": "adam"}},
    )


def epoch(number: int, loss: float = 0.5) -> EpochEnded:
    step = (number + 1) * 10
    held_out = {"loss": loss + 0.1, "accuracy": 0.9}
    return EpochEnded(number, step, {"loss": loss}, held_out, 1e-3, 0.25, best=True)


def measured(step: int, loss: float = 0.5) -> StepMeasured:
    layers = {"layers.0": {"delta_rms": 0.1}}
    weights = {"layers.0.weight": {"update_ratio": math.nan}}
    return StepMeasured(step, step // 10, loss, 1.5, layers, weights)


def ended(step: int, reason: str = "finished") -> RunEnded:
    return RunEnded(reason, step, step // 10, 0, 3.5, {"accuracy": 0.97})


def write(path: Path, *events: Any) -> None:
    with RecordWriter(path) as writer:
        for event in events:
            writer(event)


def alike(left: Any, right: Any) -> bool:
    """Equal types and values throughout, where NaN equals NaN and 0.0 is not -0.0."""
    if isinstance(left, float) and isinstance(right, float):
        return repr(left) == repr(right)
    if dataclasses.is_dataclass(left):
        names = [field.name for field in dataclasses.fields(left)]
        return type(left) is type(right) and all(
            alike(getattr(left, name), getattr(right, name)) for name in names
        )
    if isinstance(left, Mapping):
        return list(left) == list(right) and all(alike(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(alike, left, right))
    return type(left) is type(right) and bool(left == right)


@same_folder
@given(events=st.lists(EVENTS, max_size=6).map(in_one_session))
def test_every_event_comes_back_as_it_was(events: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    path.unlink(missing_ok=True)
    write(path, *events)
    record = read_record(path)
    assert alike(list(record.events), events)
    assert (record.skipped, record.damaged) == (0, 0)


@same_folder
@given(events=st.lists(EVENTS, max_size=6).map(in_one_session))
def test_a_record_in_memory_is_the_one_read_from_disk(events: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    path.unlink(missing_ok=True)
    memory = MemoryRecord()
    with RecordWriter(path) as writer:
        for event in [PROGRESS, *events, PROGRESS]:
            writer(event)
            memory(event)
    read, kept = read_record(path), memory.record
    names = {field.name for field in dataclasses.fields(Record)} - {"times"}
    assert all(alike(getattr(read, name), getattr(kept, name)) for name in names)
    assert len(read.times) == len(kept.times) == len(events)


def test_each_line_is_one_json_object_with_its_kind_and_time(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    write(path, started(), PROGRESS, measured(5), epoch(0), ended(10))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    kinds = ["RunStarted", "StepMeasured", "EpochEnded", "RunEnded"]
    assert [line["event"] for line in lines] == kinds
    times = [line["time"] for line in lines]
    assert times == sorted(times)
    assert times[0] > 1.7e9  # seconds since 1970
    assert lines[0]["config"]["clip"] == "inf"  # and not the bare Infinity that is no JSON


def test_numpy_numbers_are_written_as_numbers(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    event = EpochEnded(
        np.int64(1), np.int32(20), {"loss": np.float32(0.5)}, {}, np.float64(0.1), 1.0, np.True_
    )
    write(path, dataclasses.replace(started(), config={"rate": np.float32(0.5)}), event)
    record = read_record(path)
    assert alike(record.epochs[0], EpochEnded(1, 20, {"loss": 0.5}, {}, 0.1, 1.0, True))
    assert record.started is not None
    assert record.started.config == {"rate": 0.5}


def test_a_record_tells_its_parts() -> None:
    last = Evaluated("held-out", {"accuracy": 0.97}, ("0", "1"), ((3, 0), (1, 2)))
    events = [started(), measured(5), epoch(0), Saved(10, 0, "x"), measured(15), last, ended(20)]
    record = record_of(events)
    assert record.started == started()
    assert [event.step for event in record.measures] == [5, 15]
    assert record.epochs == (epoch(0),)
    assert record.evaluated == last
    assert record.ended == ended(20)
    assert record.non_finite is None
    assert record.events == tuple(events)
    assert Record().started is None
    assert record_of([NonFinite(3, 0, "layers.0", 0.5)]).non_finite is not None


def test_the_history_has_one_entry_an_epoch_in_each_list() -> None:
    without = EpochEnded(1, 20, {"loss": 0.25, "accuracy": 0.5}, {}, 5e-4, 0.5, best=False)
    history = record_of([started(), epoch(0), without]).history()
    assert history["epoch"] == [0, 1]
    assert history["step"] == [10, 20]
    assert history["loss"] == [0.5, 0.25]
    assert history["learning_rate"] == [1e-3, 5e-4]
    assert history["seconds"] == [0.25, 0.5]
    np.testing.assert_equal(history["accuracy"], [math.nan, 0.5])
    np.testing.assert_equal(history["held_out_loss"], [0.6, math.nan])
    np.testing.assert_equal(history["held_out_accuracy"], [0.9, math.nan])


@pytest.mark.tiny
def test_steps_repeated_after_a_resume_are_told_once(tmp_path: Path) -> None:
    """Killed in epoch 3, resumed from the checkpoint after 20 steps, killed, resumed from 30."""
    path = tmp_path / "record.jsonl"
    write(path, started(), measured(5), epoch(0), epoch(1), Saved(20, 1, "a"), measured(20, 9.0))
    write(path, epoch(2, 9.0), measured(30, 9.0))
    write(path, started(first_step=20), measured(20), measured(29), epoch(2), Saved(30, 2, "b"))
    write(path, measured(30, 9.0), epoch(3, 9.0))
    write(path, started(first_step=30), measured(30), epoch(3), ended(40))
    record = read_record(path)
    assert record.history()["step"] == [10, 20, 30, 40]
    assert record.history()["loss"] == [0.5] * 4
    assert [event.step for event in record.measures] == [5, 20, 29, 30]
    assert {event.loss for event in record.measures} == {0.5}
    assert [event.step for event in record.events if isinstance(event, Saved)] == [20, 30]
    assert record.started == started(first_step=30)
    assert len(record.times) == len(record.events)


def test_going_back_past_an_earlier_resume_forgets_that_resume() -> None:
    """The checkpoint of step 30 was damaged, so the second resume is from step 20."""
    record = record_of(
        [started(), epoch(0), epoch(1), started(30), epoch(3), started(20), epoch(2), epoch(3)]
    )
    starts = [event.first_step for event in record.events if isinstance(event, RunStarted)]
    assert starts == [0, 20]
    assert record.history()["step"] == [10, 20, 30, 40]


def test_a_resumed_run_has_not_ended_until_it_ends_again() -> None:
    last = Evaluated("held-out", {"accuracy": 0.5})
    first = [started(), epoch(0), epoch(1), last, ended(20, "interrupted")]
    again = [*first, started(first_step=20), epoch(2)]
    assert record_of(first).ended == ended(20, "interrupted")
    assert record_of(again).ended is None
    assert record_of(again).evaluated is None
    assert record_of([*again, ended(30)]).ended == ended(30)


def test_a_run_begun_again_from_its_first_step_forgets_all_it_told() -> None:
    stopped = NonFinite(11, 1, "layers.0", 0.5)
    lost = Evaluated("held-out", {"accuracy": 0.5})
    events = [started(), epoch(0, 9.0), stopped, lost, ended(11), started(), epoch(0)]
    record = record_of(events)
    assert record.events == (started(), started(), epoch(0))
    assert record.non_finite is None


@pytest.mark.parametrize("cut", [1, 20, 100])
def test_a_torn_last_line_is_passed_over_and_the_next_event_starts_a_fresh_one(
    cut: int, tmp_path: Path
) -> None:
    path = tmp_path / "record.jsonl"
    write(path, started(), epoch(0), epoch(1))
    os.truncate(path, path.stat().st_size - 1 - cut)
    record = read_record(path)
    assert (record.epochs, record.damaged) == ((epoch(0),), 1)
    write(path, started(first_step=10), epoch(1), epoch(2))
    record = read_record(path)
    assert record.epochs == (epoch(0), epoch(1), epoch(2))
    assert record.damaged == 1


def test_a_last_line_that_lacks_only_its_end_counts(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    write(path, started(), epoch(0))
    os.truncate(path, path.stat().st_size - 1)
    assert read_record(path).epochs == (epoch(0),)
    write(path, epoch(1))
    assert read_record(path).epochs == (epoch(0), epoch(1))


def test_a_record_cut_anywhere_keeps_its_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    events = [started(), epoch(0), measured(15), epoch(1), ended(20)]
    write(path, *events)
    content = path.read_bytes()
    for cut in range(len(content) + 1):
        path.write_bytes(content[:cut])
        whole = content[: cut + 1].count(b"\n")  # the end of a line may be what was cut
        assert alike(list(read_record(path).events), events[:whole])
        write(path, epoch(7))
        assert read_record(path).events[-1] == epoch(7)


def test_what_a_killed_process_told_is_in_the_record(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from chainrule.observe import EpochEnded, RecordWriter
writer = RecordWriter(sys.argv[1])
for n in range(100):
    writer(EpochEnded(n, n, {"loss": 1.0}, {}, 0.1, 1.0, True))
os.kill(os.getpid(), signal.SIGKILL)
"""
    path = tmp_path / "record.jsonl"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code, str(path)], env=env, check=False)
    assert done.returncode == -9
    assert len(read_record(path).epochs) == 100


def test_kinds_and_fields_of_a_later_version_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    write(path, started(), epoch(0))
    lines = path.read_text().splitlines()
    more = json.dumps(json.loads(lines[1]) | {"watts": 3.0, "epoch": 1})
    path.write_text("\n".join([*lines, '{"event": "Moved", "time": 1.0}', more]) + "\n")
    record = read_record(path)
    assert [event.epoch for event in record.epochs] == [0, 1]
    assert (record.skipped, record.damaged) == (1, 0)


@pytest.mark.parametrize(
    "line",
    [
        "\0" * 300,
        '{"event": "Saved", "time": 1.0, "step": 3, "epoch": 0}',
        '{"event": "Saved", "time": 1.0, "step": "3", "epoch": 0, "path": "x"}',
        '{"event": "Saved", "time": 1.0, "step": true, "epoch": 0, "path": "x"}',
        '{"event": "Saved", "step": 3, "epoch": 0, "path": "x"}',
        '{"event": ["Saved"], "time": 1.0}',
        '["Saved"]',
        "[" * 100_000,
        '{"event": "NonFinite", "time": 1, "step": 3, "epoch": 0, "where": "x", "last_loss": "1"}',
        '{"event": "Evaluated", "time": 1.0, "rows": "x", "metrics": []}',
        '{"event": "Evaluated", "time": 1.0, "rows": "x", "metrics": {}, "classes": "ab"}',
        '{"event": "NonFinite", "time": 1, "step": 3, "epoch": 0, "where": "x", "last_loss": 1'
        + "0" * 400
        + "}",
        "\udcff",
    ],
    ids=range(13),
)
def test_a_line_that_is_no_event_is_counted_and_passed_over(line: str, tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    write(path, started(), epoch(0))
    with path.open("ab") as file:
        file.write(line.encode(errors="surrogateescape") + b"\n")
    write(path, epoch(1))
    record = read_record(path)
    assert record.epochs == (epoch(0), epoch(1))
    assert record.damaged == 1


def test_a_file_that_is_no_record_is_said_to_be_none(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("a,b\n1,2\n3,4\n")
    with pytest.raises(DamagedFileError, match=r"table.csv is not the record of a run"):
        read_record(path)
    path.write_text("")
    assert read_record(path) == Record()
    path.write_text('{"event": "RunSt')  # killed while it wrote its first line
    assert read_record(path).damaged == 1


def test_what_cannot_be_read_or_written_is_a_file_error(tmp_path: Path) -> None:
    for path in (tmp_path / "none" / "record.jsonl", tmp_path):
        with pytest.raises(FileError, match="cannot be written"):
            RecordWriter(path)
        with pytest.raises(FileError, match="cannot be read"):
            read_record(path)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_a_file_error_that_says_where() -> None:
    with (
        RecordWriter("/dev/full") as writer,
        pytest.raises(FileError, match="No space left") as caught,
    ):
        writer(started())
    assert caught.value.where == "/dev/full"


def test_an_event_that_was_half_written_does_not_spoil_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "record.jsonl"
    writer = RecordWriter(path)
    writer(epoch(0))

    class FullDisk:
        """Takes half of a line, then nothing."""

        def __init__(self, file: Any) -> None:
            self.file = file
            self.full = False

        def write(self, data: memoryview) -> int:
            if self.full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.full = True
            return int(self.file.write(data[: len(data) // 2]))

    monkeypatch.setattr(writer, "_file", FullDisk(writer._file))
    with pytest.raises(FileError, match="No space left"):
        writer(epoch(1))
    monkeypatch.undo()
    writer(epoch(2))
    writer.close()
    record = read_record(path)
    assert record.epochs == (epoch(0), epoch(2))
    assert record.damaged == 1


def test_the_record_is_on_disk_when_a_checkpoint_is_told_of_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    with RecordWriter(tmp_path / "record.jsonl") as writer:
        for event, syncs in [(started(), 0), (epoch(0), 0), (Saved(10, 0, "x"), 1), (ended(10), 2)]:
            writer(event)
            assert len(synced) == syncs
