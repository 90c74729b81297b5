"""`./run bench`: chainrule and its peers side by side, in interleaved repeats.

Writes bench/results.json and bench/results.md. A ratio is a peer's time over chainrule's, taken
within one round of repeats; the table shows the median over rounds and the spread.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench.cases import CASES, Case

HERE = Path(__file__).parent
OURS = "ours"
PEERS = ("torch_eager", "torch_compiled", "jax_step", "jax_scan")
CHECKED_STEPS = 8
PAUSE = 0.3  # seconds between turns: OpenMP's threads spin for up to 0.2 s after their work


class Worker:
    """A peer's process."""

    def __init__(self, peer: str) -> None:
        environment = os.environ | {
            "OMP_NUM_THREADS": "2",
            "MKL_NUM_THREADS": "2",
            "CHAINRULE_THREADS": "2",
            "JAX_PLATFORMS": "cpu",
        }
        self.peer = peer
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.worker", peer],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=HERE.parent,
        )

    def ask(self, **command: object) -> dict:
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
        self._process.stdin.close()
        self._process.wait()


def measure(case: Case, peers: tuple[str, ...], rounds: int) -> dict:
    """All peers on one case. Their losses must agree with ours to a relative 1e-3 at first."""
    timed = max(3, min(2000, int(2e10 / case.flops)))
    workers = {name: Worker(name) for name in (OURS, *peers)}
    try:
        first = {
            name: worker.ask(do="prepare", case=case.name, steps=CHECKED_STEPS, timed=timed)
            for name, worker in workers.items()
        }
        for name in peers:
            for a, b in zip(first[OURS]["losses"], first[name]["losses"], strict=True):
                if abs(a - b) > 1e-3 * max(abs(a), 1e-6):
                    raise RuntimeError(f"{case.name}: {name} has loss {b}, ours is {a}")
        turns = [
            {name: worker.ask(do="time", timed=timed) for name, worker in workers.items()}
            for _ in range(rounds)
        ]
    finally:
        for worker in workers.values():
            worker.close()
    seconds = {n: [turn[n]["seconds"] for turn in turns] for n in workers}
    best = [min(turn[n]["seconds"] for n in peers) / turn[OURS]["seconds"] for turn in turns]
    torch = [turn["torch_eager"]["seconds"] / turn[OURS]["seconds"] for turn in turns]
    return {
        "case": case.name,
        "flops": case.flops,
        "seconds": seconds,
        "first": {n: first[n]["first"] for n in workers},
        "peak": {n: turns[-1][n]["peak"] for n in workers},
        "over_best": best,
        "over_torch": torch,
    }


def table(results: list[dict]) -> str:
    """The results as Markdown."""
    lines = [
        "| training step, float32 | ours | torch | torch.compile | jax | jax scan "
        "| over the best peer | over PyTorch | GFLOP/s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in results:
        times = [statistics.median(row["seconds"][n]) for n in (OURS, *PEERS)]
        ratios = [
            f"{statistics.median(r):.2f} ({min(r):.2f} to {max(r):.2f})"
            for r in (row["over_best"], row["over_torch"])
        ]
        rate = row["flops"] / times[0] / 1e9
        shown = " | ".join(_time(t) for t in times)
        lines.append(f"| {row['case']} | {shown} | {ratios[0]} | {ratios[1]} | {rate:.0f} |")
    return "\n".join(lines) + "\n"


def _time(seconds: float) -> str:
    return f"{seconds * 1e6:.3g} us" if seconds < 1e-3 else f"{seconds * 1e3:.3g} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="part of a case's name")
    parser.add_argument("--output", type=Path, default=HERE)
    arguments = parser.parse_args()
    results = []
    for case in CASES:
        if arguments.only not in case.name:
            continue
        results.append(measure(case, PEERS, arguments.rounds))
        print(table(results[-1:]).splitlines()[-1], flush=True)
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    told = {"date": time.strftime("%Y-%m-%d"), "machine": machine, "results": results}
    (arguments.output / "results.json").write_text(json.dumps(told, indent=1) + "\n")
    (arguments.output / "results.md").write_text(table(results))


if __name__ == "__main__":
    main()
