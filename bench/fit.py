"""Training on digits end to end: `cr.train` against scikit-learn's `MLPClassifier.fit`."""

from __future__ import annotations

import statistics

import numpy as np

from bench.cases import TINY
from bench.processes import workers
from bench.targets import Check, check

HIDDEN = (128, 64)
EPOCHS, BATCH, RATE = 20, 32, 1e-3
HELD_OUT = 360
ALIKE = 0.03  # both end within this accuracy of each other: 360 digits, another shuffle

Rows = tuple[np.ndarray, np.ndarray]


def digits() -> tuple[Rows, Rows]:
    """(x, y) to train on and held out; the same rows for everybody, pixels from 0 to 1."""
    from chainrule.data.builtin import load

    found = load("digits")
    order = np.random.default_rng(0).permutation(len(found.y))
    x, y = np.asarray(found.x, np.float32)[order], np.asarray(found.y)[order]
    return (x[HELD_OUT:], y[HELD_OUT:]), (x[:HELD_OUT], y[:HELD_OUT])


def measure(peers: tuple[str, ...], rounds: int) -> dict:
    """Seconds for a call that is not the first of its process, by round, and the accuracies."""
    names = ("fit_ours", *(["fit_sklearn"] if peers else []))
    with workers(names) as found:
        first = {n: w.ask(do="prepare", case=TINY.name, steps=1) for n, w in found.items()}
        for worker in found.values():
            worker.ask(do="pace", seconds=0.0, fewest=1)
        turns = []
        for number in range(rounds):
            order = names if number % 2 else names[::-1]
            turns.append({n: found[n].ask(do="time")["seconds"] for n in order})
    row: dict = {
        "first_seconds": {n: answer["first"] for n, answer in first.items()},
        "seconds": {n: [turn[n] for turn in turns] for n in names},
        "accuracy": {n: answer["losses"][0] for n, answer in first.items()},
    }
    if peers:
        a, b = row["accuracy"].values()
        if abs(a - b) > ALIKE:
            raise RuntimeError(f"digits: ours reaches {a:.3f}, scikit-learn {b:.3f}")
        row["ratio"] = [turn["fit_sklearn"] / turn["fit_ours"] for turn in turns]
    return row


def checks(row: dict) -> list[Check]:
    """The row against its target."""
    if "ratio" not in row:
        return []
    return [check("digits, 20 epochs", "fit", statistics.median(row["ratio"]))]
