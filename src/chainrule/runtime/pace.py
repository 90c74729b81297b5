"""How many threads to take steps with, as the machine is now.

A step whose threads wait for each other is only as fast as the slowest, and on a busy machine that
one may be waiting for its core. So now and then a few steps are taken by one thread alone, or by
all when one is doing better, and whoever is faster goes on. The number of threads changes no bit.
"""

from __future__ import annotations

PROBE_EVERY = 1.0  # seconds
PROBE_FOR = 0.01  # seconds
PROBE_SHARE = 0.05  # of the time at most, where a single step takes longer than that
PROBE_CALLS = 2  # of which the first does not count: it meets sleeping threads and cold caches
CLEAR = 0.7  # of one thread's time: what is below that is not likely to change
PATIENCE = 3  # calls that must be slower than that: the first after a pause always is
SELDOM = 10  # times as long until the next trial, where it is clear who is faster
WARM = 3  # calls until what a step takes says something


class Pace:
    """What steps take by one thread and by `most`, as far as was seen lately."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._seconds: dict[int, float] = {}  # of a step, by the number of threads
        self._probed = float("-inf")
        self._pause = PROBE_EVERY
        self._calls = 0
        self._tried = most
        self._trials = 0  # calls left of the one that is being made
        self._slow = 0  # calls of all threads in a row that were not clearly faster than one

    def next(self, now: float, seconds: float) -> tuple[int, float]:
        """How many threads to use next, and for how long at most."""
        if self._most < 2 or self._calls < WARM:
            return self._most, seconds
        if not self._trials:
            best = min(self._seconds, key=lambda team: self._seconds[team])
            pause = self._pause * (SELDOM if self._is_clear(best) else 1)
            if now - self._probed < pause:
                return best, seconds
            self._probed, self._trials = now, PROBE_CALLS
            self._tried = self._most if best == 1 else 1
        return self._tried, min(seconds, PROBE_FOR)

    def _is_clear(self, best: int) -> bool:
        """Whether all threads are so much faster than one was that a trial would be lost time. They
        slow down as soon as one waits for its core, and soon it is clear no longer; one thread
        alone tells nothing of the others."""
        return best != 1 and 1 in self._seconds and self._slow < PATIENCE

    def note(self, team: int, seconds: float) -> None:
        """A step took so long. A shorter time counts at once, and a longer one by half: the first
        steps are slow, and any may be disturbed."""
        self._calls += 1
        if team != 1:
            is_fast = seconds < CLEAR * self._seconds.get(1, 0.0)
            self._slow = 0 if is_fast else self._slow + 1
        if self._trials:
            self._trials -= 1
            self._pause = max(PROBE_EVERY, PROBE_CALLS * seconds / PROBE_SHARE)
            if self._trials:
                return
        before = self._seconds.get(team, seconds)
        self._seconds[team] = min(seconds, (before + seconds) / 2)
