"""What happens in a run, told to whoever watches.

Receives: the events of a training run, one at a time. Returns: a line of progress (`Console`), a
file that outlives the process (`RecordWriter`, read back by `read_record`), or a record in memory
(`MemoryRecord`). Next: the report, which draws a `Record`; `history()`, for Python.
"""

from __future__ import annotations

from chainrule.observe.console import Console
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
    Watcher,
)
from chainrule.observe.fanout import fan_out
from chainrule.observe.record import (
    MemoryRecord,
    Record,
    RecordWriter,
    read_record,
    record_of,
)

__all__ = [
    "Console",
    "EpochEnded",
    "Evaluated",
    "Event",
    "MemoryRecord",
    "NonFinite",
    "Progress",
    "Record",
    "RecordWriter",
    "RunEnded",
    "RunStarted",
    "Saved",
    "StepMeasured",
    "Watcher",
    "fan_out",
    "read_record",
    "record_of",
]
