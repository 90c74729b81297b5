"""Long sessions: memory stays flat, however much is compiled and however long is trained."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc"),
]

MEGABYTES = """
import gc, os, sys, numpy as np, chainrule as cr
from chainrule.observe.events import EpochEnded

def megabytes():
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
"""

COMPILING = """
for number in range(200):
    x = np.linspace(-1, 1, (number % 7 + 1) * (number // 7 + 2)).reshape(number % 7 + 1, -1)
    scale = float(number)
    function = lambda x: np.tanh(x @ x.T) * scale + np.sum(np.exp(x), axis=1)
    got = cr.compile(function, backend="native", threads=2)(x)
    assert np.allclose(got, function(x))
    if number % 2:
        cr.value_and_grad(lambda x: np.mean(function(x)))(x)
    if number in (49, 199):
        print(megabytes())
"""

TRAINING = """
def watch(event):
    if isinstance(event, EpochEnded) and event.epoch in (199, 999):
        print(megabytes())

x = np.random.default_rng(0).normal(size=(1000, 2)).astype(np.float32)
net = cr.nn.Sequential(cr.nn.Dense(8), cr.nn.tanh, cr.nn.Dense(1))
run = cr.train(
    net, (x, x[:, 0] * x[:, 1]), epochs=1000, batch_size=1, validation=0, watchers=[watch],
    run_dir=sys.argv[1], progress=False,
)
assert run.summary()["steps"] == 10**6
assert run.summary()["backend"] == "native"
assert run.metrics["r2"] > 0.9
"""

AGAIN = """
x = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
for number in range(60):
    net = cr.nn.Sequential(cr.nn.Dense(8), cr.nn.relu, cr.nn.Dense(1))
    run = cr.train(net, (x, x[:, 0]), epochs=2, seed=number)
    run.predict(x[:5])
    if number in (19, 59):
        print(megabytes())
"""

RECURRENT = """
def watch(event):
    if isinstance(event, EpochEnded) and event.epoch in (99, 499):
        print(megabytes())

x = np.random.default_rng(0).normal(size=(320, 12, 2)).astype(np.float32)
net = cr.nn.Sequential(cr.nn.LSTM(8, last=True), cr.nn.Dense(1))
run = cr.train(
    net, (x, x[:, 0, 0]), epochs=500, batch_size=8, validation=0, watchers=[watch],
    run_dir=sys.argv[1], progress=False, threads=1,
)
assert run.summary()["steps"] == 20_000
"""


def growth(program: str, *arguments: object, cache: str) -> float:
    """By how many megabytes a process grows between the two moments at which it tells."""
    done = subprocess.run(
        [sys.executable, "-c", MEGABYTES + program, *map(str, arguments)],
        env={**os.environ, "CHAINRULE_CACHE": cache},
        capture_output=True,
        text=True,
        check=True,
    )
    before, after = map(float, done.stdout.split())
    return after - before


def test_two_hundred_compilations_leave_memory_flat() -> None:
    """Without a cache: LLVM itself works each time. One program takes more than 100 kB."""
    assert growth(COMPILING, cache="off") < 6


def test_a_million_steps_leave_memory_flat(tmp_path: Path) -> None:
    """800,000 steps in 800 epochs, of each of which the record keeps about a kilobyte."""
    assert growth(TRAINING, tmp_path / "run", cache=str(tmp_path / "cache")) < 6


def test_runs_one_after_the_other_leave_memory_flat(tmp_path: Path) -> None:
    """Forty more runs, each with its programs, its helpers and its record."""
    assert growth(AGAIN, cache=str(tmp_path)) < 6


def test_twenty_thousand_recurrent_steps_leave_memory_flat(tmp_path: Path) -> None:
    """Each a loop of twelve steps there and one back."""
    assert growth(RECURRENT, tmp_path / "run", cache=str(tmp_path / "cache")) < 6
