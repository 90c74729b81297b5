"""The record of a run: what its events come to, in memory and on disk.

On disk it is one JSON object a line, only ever appended to. A process that is killed while it
writes leaves at worst one torn line, which the reader passes over.
"""

from __future__ import annotations

import errno
import json
import math
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from chainrule.errors import DamagedFileError, FileError
from chainrule.observe.encoding import decode, encode, number
from chainrule.observe.events import (
    EpochEnded,
    Evaluated,
    Event,
    NonFinite,
    Progress,
    RunEnded,
    RunStarted,
    Saved,
    StepMeasured,
)

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Record:
    """What is known of a run.

    A run that was killed and resumed repeats the steps after its checkpoint; what it told of them
    the first time is left out. `started`, `non_finite`, `evaluated` and `ended` are those of the
    latest session: a run that goes on has not ended.
    """

    started: RunStarted | None = None
    epochs: tuple[EpochEnded, ...] = ()
    measures: tuple[StepMeasured, ...] = ()
    non_finite: NonFinite | None = None
    evaluated: Evaluated | None = None
    ended: RunEnded | None = None
    events: tuple[Event, ...] = ()  # all of them, in the order they happened
    times: tuple[float, ...] = field(default=(), compare=False)  # of each event, in unix seconds
    skipped: int = field(default=0, compare=False)  # events of a kind not known here
    damaged: int = field(default=0, compare=False)  # lines that could not be read

    def history(self) -> dict[str, list[float]]:
        """The course of the run: one list a quantity, one entry an epoch.

        "epoch" (0-based), "step", "learning_rate" and "seconds"; "loss" and the other metrics of
        the training rows by their names; those of the held-out rows with "held_out_" before them.
        NaN where an epoch has no such metric.
        """
        columns: dict[str, list[float]] = {
            "epoch": [epoch.epoch for epoch in self.epochs],
            "step": [epoch.step for epoch in self.epochs],
            "learning_rate": [epoch.learning_rate for epoch in self.epochs],
            "seconds": [epoch.seconds for epoch in self.epochs],
        }
        for prefix, metrics in (
            ("", [epoch.train for epoch in self.epochs]),
            ("held_out_", [epoch.held_out for epoch in self.epochs]),
        ):
            for name in dict.fromkeys(name for values in metrics for name in values):
                columns[prefix + name] = [values.get(name, math.nan) for values in metrics]
        return columns


def record_of(
    events: Sequence[Event], times: Iterable[float] = (), *, skipped: int = 0, damaged: int = 0
) -> Record:
    """The record that a run's events make; `times` are their unix seconds, where known."""
    kept = _without_replayed(events)
    session = _latest_session([events[index] for index in kept])
    when = tuple(times)
    return Record(
        started=_last(session, RunStarted),
        epochs=tuple(event for i in kept if isinstance(event := events[i], EpochEnded)),
        measures=tuple(event for i in kept if isinstance(event := events[i], StepMeasured)),
        non_finite=_last(session, NonFinite),
        evaluated=_last(session, Evaluated),
        ended=_last(session, RunEnded),
        events=tuple(events[index] for index in kept),
        times=tuple(when[index] for index in kept) if when else (),
        skipped=skipped,
        damaged=damaged,
    )


class MemoryRecord:
    """A watcher that keeps the events of a run; `record` is what they come to so far."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._times: list[float] = []

    def __call__(self, event: Event) -> None:
        if not isinstance(event, Progress):
            self._events.append(event)
            self._times.append(time.time())

    @property
    def record(self) -> Record:
        return record_of(self._events, self._times)


class RecordWriter:
    """A watcher that appends each event but `Progress` to a file, as one line of JSON.

    Each line is handed to the operating system at once, so a kill loses none; after a checkpoint
    and at the end the file is synced, so that a power cut loses nothing from before them.

    Raises FileError where the file cannot be opened or written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            self._file = open(self.path, "a+b", buffering=0)  # noqa: SIM115 - open for the run
            self._torn = self._ends_torn()
        except OSError as error:
            raise self._refused(error) from error

    def __call__(self, event: Event) -> None:
        if isinstance(event, Progress):
            return
        line = json.dumps({"time": time.time(), **encode(event)}).encode() + b"\n"
        try:
            self._append(b"\n" + line if self._torn else line)
            if isinstance(event, Saved | RunEnded):
                os.fsync(self._file.fileno())
        except OSError as error:
            raise self._refused(error) from error

    def close(self) -> None:
        """Close the file; a writer that is closed takes no more events."""
        self._file.close()

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _ends_torn(self) -> bool:
        """Whether the last line was left unfinished by a process that was killed."""
        if self._file.seek(0, os.SEEK_END) == 0:
            return False
        self._file.seek(-1, os.SEEK_END)
        return self._file.read(1) != b"\n"

    def _append(self, data: bytes) -> None:
        self._torn = True  # until the end of the line is written
        rest = memoryview(data)
        while rest:
            written = self._file.write(rest)
            if not written:
                raise OSError(errno.EIO, "the disk took no bytes")
            rest = rest[written:]
        self._torn = False

    def _refused(self, error: OSError) -> FileError:
        return FileError(
            f"the run's record cannot be written: {error.strerror or error}",
            where=str(self.path),
            do="check that the directory exists, may be written to and has space left",
        )


def read_record(path: str | os.PathLike[str]) -> Record:
    """Read the record that a `RecordWriter` wrote, of a run that ended or still goes on.

    Torn lines are passed over and counted (`damaged`), so are events of kinds that this version
    does not know (`skipped`).

    Raises FileError for a file that cannot be read, DamagedFileError for one that is no record.
    """
    source = Path(path)
    try:
        lines = source.read_bytes().split(b"\n")
    except OSError as error:
        raise FileError(
            f"the run's record cannot be read: {error.strerror or error}",
            where=str(source),
            do="give the directory of a run that `chainrule train` made",
        ) from error
    events: list[Event] = []
    times: list[float] = []
    skipped = damaged = 0
    for line in filter(None, lines):
        try:
            entry = _parse(line)
            event, when = decode(entry), number(entry.get("time"))
        except ValueError:
            damaged += 1
            continue
        if event is None:
            skipped += 1
        else:
            events.append(event)
            times.append(when)
    if damaged > 1 and not events and not skipped:  # one may be a record torn at its first line
        raise DamagedFileError(
            f"{source.name} is not the record of a run",
            where=str(source),
            do="give the directory of a run that `chainrule train` made",
        )
    return record_of(events, times, skipped=skipped, damaged=damaged)


def _parse(line: bytes) -> dict[str, Any]:
    try:
        entry = json.loads(line.decode())
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(entry, dict):
        raise ValueError("no object")
    return entry


def _without_replayed(events: Sequence[Event]) -> list[int]:
    """The places of the events that no later session repeats."""
    kept: dict[int, int] = {}  # place -> how many steps were done by then
    done = 0
    for place, event in enumerate(events):
        if isinstance(event, RunStarted):
            done = event.first_step
            kept = {earlier: steps for earlier, steps in kept.items() if steps <= done}
        elif isinstance(event, StepMeasured):
            done = event.step + 1
        elif not isinstance(event, Evaluated):  # which comes after the last step
            done = event.step
        kept[place] = done
    return list(kept)


def _latest_session(events: Sequence[Event]) -> Sequence[Event]:
    starts = [place for place, event in enumerate(events) if isinstance(event, RunStarted)]
    return events[starts[-1] :] if starts else events


def _last(events: Sequence[Event], kind: type[Kind]) -> Kind | None:
    found = [event for event in events if isinstance(event, kind)]
    return found[-1] if found else None
