"""Processes to measure: peers that answer commands, programs that run once, a busy neighbour."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
THREADS = 2
OURS = "ours"
PEERS = ("torch_eager", "torch_channels_last", "torch_compiled", "jax_step", "jax_scan")
PAUSE = 0.3  # seconds between turns: OpenMP's threads spin for up to 0.2 s after their work


def cores() -> list[int]:
    """The cores that everything is measured on: of two that share a core's units, only one is
    taken, where there are enough."""
    allowed = sorted(os.sched_getaffinity(0))
    apart: dict[str, int] = {}
    for core in allowed:
        place = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
        apart.setdefault(place.read_text() if place.exists() else str(core), core)
    chosen = list(apart.values())
    return (chosen if len(chosen) >= THREADS else allowed)[:THREADS]


def environment(**more: str) -> dict[str, str]:
    """The same for every process that is measured: two threads, and this checkout first."""
    threads = str(THREADS)
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    # Byte code is kept, as Python does unless told otherwise.
    kept = {n: v for n, v in os.environ.items() if n != "PYTHONDONTWRITEBYTECODE"}
    return kept | {
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "CHAINRULE_THREADS": threads,
        "JAX_PLATFORMS": "cpu",
        "BENCH_CORES": ",".join(map(str, cores())),
        "PYTHONPATH": path,
        **more,
    }


class Worker:
    """A peer's process (see bench/worker.py)."""

    def __init__(self, peer: str, **more: str) -> None:
        self.peer = peer
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.worker", peer],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(**more),
            cwd=ROOT,
        )

    def ask(self, **command: object) -> dict:
        """The answer to a command; then a pause, so that the next peer finds the cores free."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.peer} ended with {self._process.wait()}")
        time.sleep(PAUSE)
        return json.loads(line)

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


@contextmanager
def workers(names: tuple[str, ...]) -> Iterator[dict[str, Worker]]:
    """A process for each peer, until the block ends."""
    found = {name: Worker(name) for name in names}
    try:
        yield found
    finally:
        for worker in found.values():
            worker.close()


def program(name: str, *arguments: str, **more: str) -> tuple[float, dict]:
    """Runs bench/programs/`name`.py in a new process. Returns the seconds from its start to its
    end, Python's own included, and the JSON that it printed last, with its "cpu" seconds."""
    command = [sys.executable, str(ROOT / "bench" / "programs" / f"{name}.py"), *arguments]
    began, before = time.perf_counter(), _cpu_of_children()
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, env=environment(**more), cwd=ROOT, check=True
    )
    seconds = time.perf_counter() - began
    told = json.loads(done.stdout.splitlines()[-1])
    return seconds, told | {"cpu": _cpu_of_children() - before}


def _cpu_of_children() -> float:
    """Processor time of the processes that have ended: what waiting for a core does not change."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextmanager
def neighbour() -> Iterator[None]:
    """Another program that takes as much of a core as it can get, on the cores measured on."""
    told = environment()["BENCH_CORES"]
    # It ends with this process, however that ends.
    busy = f"""import os
os.sched_setaffinity(0, {{{told}}})
while os.getppid() == {os.getpid()}:
    for _ in range(10**6): pass
"""
    process = subprocess.Popen([sys.executable, "-c", busy])
    try:
        time.sleep(PAUSE)
        yield
    finally:
        process.kill()
        process.wait()
