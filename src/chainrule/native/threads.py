"""Threads that run one program together.

Every thread runs the whole program on its share of each kernel and waits at a barrier between
phases. A waiting thread spins for a moment, since the others are usually only microseconds away,
and then yields its core: on a busy machine spinning would take the time of the very thread that is
waited for. Between calls threads sleep.

The number of threads never changes a bit of the results, so a call that finds the helpers busy
with another call simply runs alone.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import queue
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule import config

# A program takes: its table of addresses, this thread's number, how many threads, the barrier.
ENTRY = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
SPINS = 2000

# The barrier holds two numbers, on cache lines of their own: how many threads have arrived, and how
# often all had. Whoever arrives last lets the others go.
BARRIER = f"""define internal void @wait(ptr %barrier, i64 %threads) {{
entry:
  %alone = icmp eq i64 %threads, 1
  br i1 %alone, label %done, label %arrive
arrive:
  %round.at = getelementptr i8, ptr %barrier, i64 64
  %round = load atomic i64, ptr %round.at acquire, align 8
  %before = atomicrmw add ptr %barrier, i64 1 acq_rel
  %arrived = add i64 %before, 1
  %last = icmp eq i64 %arrived, %threads
  br i1 %last, label %release, label %spin
release:
  store atomic i64 0, ptr %barrier monotonic, align 8
  %next = add i64 %round, 1
  store atomic i64 %next, ptr %round.at release, align 8
  br label %done
spin:
  %count = phi i64 [ 0, %arrive ], [ %count.next, %again ]
  %now = load atomic i64, ptr %round.at acquire, align 8
  %gone = icmp ne i64 %now, %round
  br i1 %gone, label %done, label %pause
pause:
  %patient = icmp ult i64 %count, {SPINS}
  br i1 %patient, label %again, label %yield
yield:
  %ignored = call i32 @sched_yield()
  br label %again
again:
  %count.next = add i64 %count, 1
  br label %spin
done:
  ret void
}}

declare i32 @sched_yield()"""


class _Team:
    """Helper threads of this process, and the one barrier they share with the caller."""

    def __init__(self, size: int) -> None:
        self.process = os.getpid()
        self.size = size
        self.busy = threading.Lock()
        raw = np.zeros(128 + 64, np.uint8)
        self._memory = raw
        self.barrier = raw.ctypes.data + (-raw.ctypes.data % 64)
        self._jobs = [queue.SimpleQueue[Any]() for _ in range(size - 1)]
        self._done: queue.SimpleQueue[None] = queue.SimpleQueue()
        for number, jobs in enumerate(self._jobs, start=1):
            name = f"chainrule-{number}"
            threading.Thread(target=self._work, args=(number, jobs), name=name, daemon=True).start()

    def _work(self, number: int, jobs: queue.SimpleQueue[Any]) -> None:
        while (job := jobs.get()) is not None:
            entry, argument = job
            entry(argument, number, self.size, self.barrier)
            self._done.put(None)

    def run(self, entry: Callable[..., None], argument: int) -> None:
        for jobs in self._jobs:
            jobs.put((entry, argument))
        try:
            entry(argument, 0, self.size, self.barrier)
        finally:
            self._gather()

    def _gather(self) -> None:
        """Waits for every helper, also when the wait is interrupted: none may be left running."""
        interrupted: BaseException | None = None
        left = len(self._jobs)
        while left:
            try:
                self._done.get()
                left -= 1
            except KeyboardInterrupt as error:
                interrupted = error
        if interrupted is not None:
            raise interrupted

    def stop(self) -> None:
        for jobs in self._jobs:
            jobs.put(None)


class _Teams:
    """The team of this process; made anew after a fork, which does not copy threads."""

    def __init__(self) -> None:
        self._team: _Team | None = None
        self._making = threading.Lock()
        atexit.register(self.stop)

    def get(self, size: int) -> _Team:
        """A team of this size."""
        with self._making:
            team = self._team
            if team is None or team.process != os.getpid() or team.size != size:
                self.stop()
                team = self._team = _Team(size)
            return team

    def stop(self) -> None:
        """Lets the helpers end."""
        if self._team is not None and self._team.process == os.getpid():
            self._team.stop()


_teams = _Teams()


def count() -> int:
    """How many threads a program may use: `CHAINRULE_THREADS`, else all cores of this process."""
    if config.THREADS:
        return config.THREADS
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run(
    entry: Callable[..., None], argument: int, several: bool, threads: int | None = None
) -> None:
    """Calls a program; with `several`, by as many threads as there are, or `threads`."""
    wanted = threads or (count() if several else 1)
    team = _teams.get(wanted) if wanted > 1 else None
    if team is not None and team.busy.acquire(blocking=False):
        try:
            team.run(entry, argument)
        finally:
            team.busy.release()
    else:
        entry(argument, 0, 1, None)
