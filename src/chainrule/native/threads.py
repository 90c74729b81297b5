"""Threads that run one program together.

Every thread runs the whole program on its share of each kernel and waits at a barrier between
phases. A waiting thread spins for a moment, since the others are usually only microseconds away,
and then yields its core: on a busy machine spinning would take the time of the very thread that is
waited for. Between calls threads sleep.

The number of threads never changes a bit of the results, so a call that finds helpers busy with
other calls takes those that are idle, or runs alone. A fork copies no threads, so a child begins
without helpers. They are daemons: the process ends without waiting for them.
"""

from __future__ import annotations

import ctypes
import operator
import os
import queue
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from itertools import repeat, starmap
from pathlib import Path
from typing import Any

import numpy as np

from chainrule import config

# A program takes: its table of addresses, this thread's number, how many threads, the barrier.
ENTRY = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
SPINS = 2000
QUOTA = Path("/sys/fs/cgroup/cpu.max")

# The barrier holds two numbers, on cache lines of their own: how many threads have arrived, and how
# often all had. Whoever arrives last lets the others go.
BARRIER = f"""define internal void @wait(ptr %barrier, i64 %threads) #0 {{
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


class _Call:
    """One call of a program, shared out among a team."""

    def __init__(self, entry: Callable[..., None], argument: int, size: int, barrier: int) -> None:
        self.entry, self.argument, self.size, self.barrier = entry, argument, size, barrier
        self.begun: list[bool] = []
        self.done: list[int] = []  # the helpers that have done their part
        self.news: queue.SimpleQueue[None] = queue.SimpleQueue()

    def help(self, number: int) -> None:
        """A helper's part."""
        self.entry(self.argument, number, self.size, self.barrier)
        self.done.append(number)
        self.news.put(None)

    def wait(self) -> None:
        """Returns when no helper is left running, also when the wait is interrupted."""
        interrupted: BaseException | None = None
        while len(self.done) < self.size - 1:  # news that an interrupt swallows is not missed
            try:
                self.news.get()
            except KeyboardInterrupt as error:
                interrupted = error
        if interrupted is not None:
            raise interrupted


class _Helper:
    """A thread that sleeps until it is given a part of a call."""

    def __init__(self) -> None:
        self._parts: queue.SimpleQueue[tuple[_Call, int]] = queue.SimpleQueue()
        self._memory = np.zeros(128 + 64, np.uint8)
        self.barrier = self._memory.ctypes.data + (-self._memory.ctypes.data % 64)
        self.give = self._parts.put
        threading.Thread(target=self._work, name="chainrule", daemon=True).start()

    def _work(self) -> None:
        while True:
            call, number = self._parts.get()
            call.help(number)
            del call  # an idle helper keeps no program alive


class _Pool:
    """The idle helpers of this process. Lists are changed in single steps, so this needs no lock,
    which a fork could leave locked."""

    def __init__(self) -> None:
        self.idle: list[_Helper] = []
        self._made = 0

    def forget(self) -> None:
        """Helpers are threads, and a fork has left them behind."""
        self.idle, self._made = [], 0

    def take(self, wanted: int, taken: list[_Helper]) -> None:
        """Moves idle helpers into `taken`; makes new ones as long as there are not as many."""
        with suppress(IndexError):  # there are not so many
            # One step for Python: an interrupt between taking one and keeping it would lose it.
            taken.extend(starmap(self.idle.pop, repeat((), wanted)))
        while len(taken) < wanted and self._made < wanted:
            try:
                taken.append(_Helper())
            except RuntimeError:  # the system gives no more threads, or Python is ending
                return
            self._made += 1


_pool = _Pool()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.forget)


def cores() -> int:
    """How many cores this process may use: those that it may run on, and in a container that is
    given less time than all of them have, as many as that time is worth."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, min(len(os.sched_getaffinity(0)), _quota()))
    return os.cpu_count() or 1


@lru_cache(maxsize=1)
def _quota() -> int:
    """The cores' worth of time that a control group of Linux grants; very many where it says
    nothing."""
    try:
        time, period = QUOTA.read_text(encoding="ascii").split()
        return -(-int(time) // int(period))
    except (OSError, ValueError):  # there is none, or it is "max"
        return 2**31


def team_size(useful: int, most: int | None = None) -> int:
    """By how many threads a program is run of which `useful` make it faster: at most `most`, else
    as many as `CHAINRULE_THREADS` says, else one for each core."""
    if useful < 2:
        return 1
    return min(useful, config.check_threads(most) or cores())


def run(entry: Callable[..., None], argument: int, team: int = 1) -> None:
    """Calls a program, by at most so many threads."""
    if team < 2:
        entry(argument, 0, 1, None)
        return
    taken: list[_Helper] = []
    try:
        _pool.take(team - 1, taken)
        _run(entry, argument, taken)
    finally:
        _pool.idle.extend(taken)


def _run(entry: Callable[..., None], argument: int, helpers: list[_Helper]) -> None:
    if not helpers:
        entry(argument, 0, 1, None)
        return
    call = _Call(entry, argument, len(helpers) + 1, helpers[0].barrier)
    steps: list[tuple[Any, ...]] = [(call.begun.append, True)]
    steps += [(h.give, (call, n)) for n, h in enumerate(helpers, start=1)]
    steps += [(entry, argument, 0, call.size, call.barrier)]
    try:
        # One step for Python: an interrupt comes before it, and no helper has begun, or after it,
        # and none is left waiting at a barrier for a caller that never comes.
        deque(starmap(operator.call, steps), maxlen=0)
    finally:
        if call.begun:
            call.wait()
