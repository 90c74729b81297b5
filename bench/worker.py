"""One peer in a process of its own: reads commands, one JSON object a line, and answers likewise.

Between commands it waits for the next line, so that it takes no time from the others.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from bench.cases import Case, find

GROWS = 8  # by how much the number of steps grows until a turn is long enough to be timed
LEAD = 0.1  # this part of a turn again, before it and not timed: threads and caches wake up


class Turns:
    """A peer on a case, and the steps of its turns."""

    def __init__(self, module: Any, case: Case, steps: int) -> None:
        self.case = case
        began = time.perf_counter()
        self.peer = module.Peer(case)
        self.losses = self._take(steps)[1]
        self.first = time.perf_counter() - began

    def _take(self, steps: int) -> tuple[float, list[float]]:
        """Seconds for so many steps, and their losses. The rows' numbers are at hand as the peer
        likes them; selecting the rows is part of the step."""
        return self._timed(self.peer.prepare(self.case.batches(steps)))

    def _timed(self, prepared: object) -> tuple[float, list[float]]:
        began = time.perf_counter()
        told = self.peer.run(prepared)
        return time.perf_counter() - began, self.peer.losses(told)

    def pace(self, seconds: float, fewest: int) -> int:
        """Fits the number of steps of a turn to about so many seconds. Counted twice: what runs
        for the first time takes longer."""
        steps = fewest
        while True:
            self._take(steps)
            spent, _ = self._take(steps)
            if spent >= seconds / GROWS:
                break
            steps *= GROWS
        self.steps = max(fewest, round(steps * seconds / spent))
        lead = max(1, round(self.steps * LEAD))
        self._prepared = [self.peer.prepare(self.case.batches(n)) for n in (lead, self.steps)]
        for prepared in self._prepared:  # a number of steps may be a program of its own
            self._timed(prepared)
        return self.steps

    def turn(self) -> float:
        """Seconds for a step."""
        gc.collect()
        lead, prepared = self._prepared
        self._timed(lead)
        return self._timed(prepared)[0] / self.steps


def peak_memory() -> int:
    """The most memory this process has had, in bytes; what its parent had does not count."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def main() -> None:
    answers = sys.stdout
    sys.stdout = sys.stderr
    if cores := os.environ.get("BENCH_CORES"):
        os.sched_setaffinity(0, {int(c) for c in cores.split(",")})
    module = importlib.import_module(f"bench.peers.{sys.argv[1]}")
    turns: Turns | None = None
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "prepare":
            turns = Turns(module, find(command["case"]), command["steps"])
            answer = {"losses": turns.losses, "first": turns.first}
        elif command["do"] == "pace":
            assert turns is not None
            answer = {"steps": turns.pace(command["seconds"], command["fewest"])}
        else:
            assert turns is not None
            answer = {"seconds": turns.turn()}
        answer["peak"] = peak_memory()
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
