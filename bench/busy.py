"""A step beside another program that takes one of the two cores, over the same step alone."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from bench.cases import find
from bench.processes import OURS, neighbour, workers
from bench.steps import prepare, rounds_of
from bench.targets import Check, check

CASES = ("784-128-64-10, batch 32, sgd", "LSTM 128, 64 steps, batch 32")
# Longer turns than alone: who runs where is decided anew every few milliseconds.
TURN = 0.5


def measure(peers: tuple[str, ...], rounds: int) -> list[dict]:
    """For each case, seconds for a step, by peer and round, alone and beside the other program in
    turns."""
    return [_measure(case, peers, rounds) for case in CASES]


def _measure(case: str, peers: tuple[str, ...], rounds: int) -> dict:
    alone, beside = [], []
    names = (OURS, *(p for p in peers if p in ("torch_eager", "jax_scan")))
    with workers(names) as found:
        prepare(found, find(case), TURN)
        for _ in range(rounds):
            alone += rounds_of(found, 1)
            with neighbour():
                beside += rounds_of(found, 1)
    return {
        "case": case,
        "alone": {n: [turn[n] for turn in alone] for n in names},
        "beside": {n: [turn[n] for turn in beside] for n in names},
        "slowdown": {n: [b[n] / a[n] for a, b in zip(alone, beside, strict=True)] for n in names},
    }


def checks(rows: Sequence[dict]) -> list[Check]:
    """Each row against its target."""
    return [
        check(f"{row['case']}, busy machine", "busy", statistics.median(row["slowdown"][OURS]))
        for row in rows
    ]
