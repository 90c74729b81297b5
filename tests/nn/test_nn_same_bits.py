"""One architecture of each kind, trained: the same bits by any number of threads, watched or not,
and after a kill."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.native import schedule, threads
from chainrule.observe.events import Event, StepMeasured
from chainrule.runtime.pace import Pace
from chainrule.tracing import trees

random = np.random.default_rng(17)
ROWS, HELD_OUT, BATCH = 88, 16, 32  # two whole batches and one of 8 rows
EPOCHS, STEPS = 2, 6


@dataclass(frozen=True)
class Architecture:
    """A net with dropout, and its data."""

    net: Any
    x: Any
    y: Any


def _images(net: Any) -> Architecture:
    x = random.normal(size=(ROWS, 11, 12, 3)).astype(np.float32)
    return Architecture(net, x, random.integers(0, 5, ROWS))


def _texts(layer: Any) -> Architecture:
    x, y = random.integers(0, 11, (2, ROWS, 13))
    net = nn.Sequential(nn.Embedding(11, 24), layer, nn.Dropout(0.2), nn.Dense(11))
    return Architecture(net, x, y)


def _block() -> Any:
    return nn.TransformerEncoderBlock(32, 4, causal=True, rotary=True, dropout=0.1)


def _same(width: int) -> Any:
    return nn.Conv2d(width, kernel=3, padding="same", bias=False)


ARCHITECTURES = {
    "CNN": _images(
        nn.Sequential(
            nn.RandomShift(1),
            nn.RandomFlip(),
            nn.Conv2d(24, kernel=3, padding="same"),
            nn.relu,
            nn.MaxPool2d(2),
            nn.Conv2d(40, kernel=3, stride=2, padding=1),
            nn.gelu,
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Dense(5),
        )
    ),
    "ResNet with batch norm": _images(
        nn.Sequential(
            nn.Noise(0.1),
            nn.Cutout(3),
            _same(16),
            nn.Residual(
                nn.Sequential(
                    nn.BatchNorm(), nn.relu, _same(16), nn.BatchNorm(), nn.relu, nn.Dropout(0.2),
                    _same(16),
                )
            ),
            nn.BatchNorm(),
            nn.relu,
            nn.GlobalAvgPool(),
            nn.Dense(5),
        )
    ),
    "down and up": _images(
        nn.Sequential(
            nn.RandomCrop(9, 10),
            nn.Conv2d(16, kernel=3, stride=2, padding=1),
            nn.GroupNorm(4),
            nn.silu,
            nn.ConvTranspose2d(12, kernel=3, stride=2, padding=1, output_padding=(0, 1)),
            nn.Conv2d(24, kernel=3, groups="depthwise", dilation=2),
            nn.Upsample(2),
            nn.AvgPool2d(3, stride=2),
            nn.Dropout(0.2),
            nn.GlobalMaxPool(),
            nn.Dense(5),
        )
    ),
    "LSTM": _texts(nn.LSTM(40, layers=2, dropout=0.2)),
    "GRU": _texts(nn.GRU(36, bidirectional=True, checkpoint=4)),
    "Elman": _texts(nn.RNN(64)),
    "Equilibrium": Architecture(
        nn.Sequential(nn.Dense(48), np.tanh, nn.Dropout(0.2), nn.Equilibrium(40), nn.Dense(4)),
        random.normal(size=(ROWS, 24)).astype(np.float32),
        random.integers(0, 4, ROWS),
    ),
    "GPT": Architecture(
        nn.TiedEmbedding(
            nn.Embedding(11, 32, weight_init="normal"),
            nn.Sequential(
                nn.LearnedPositions(13), nn.Dropout(0.1), _block(), nn.LayerNorm()
            ),
        ),
        *random.integers(0, 11, (2, ROWS, 13)),
    ),
}  # fmt: skip
every_architecture = pytest.mark.parametrize("name", ARCHITECTURES)


def train(name: str, **options: Any) -> cr.Run:
    made = ARCHITECTURES[name]
    optimizer = optim.chain(optim.clip_by_global_norm(1.0), optim.adamw(0.01))
    settings: dict[str, Any] = {"epochs": EPOCHS, "batch_size": BATCH, "seed": 3}
    settings |= {"validation": HELD_OUT, "measure_every": 0}
    return cr.train(made.net, (made.x, made.y), optimizer=optimizer, **(settings | options))


def digest(run: cr.Run) -> str:
    """A hash of all weights and of the losses on the way to them."""
    found = hashlib.blake2b(digest_size=16)
    for leaf in trees.leaves(run.net):
        found.update(leaf.name.encode() + np.asarray(leaf.value).tobytes())
    for course in ("loss", "held_out_loss"):
        found.update(repr(run.history[course]).encode())
    return found.hexdigest()


_KNOWN: dict[tuple[str, str], str] = {}


def alone(name: str, backend: str = "native") -> str:
    """By one thread, watched by nobody, from beginning to end."""
    if (name, backend) not in _KNOWN:
        run = train(name, threads=1, backend=backend)
        assert np.isfinite(run.history["loss"]).all()
        assert run.history["loss"][-1] < run.history["loss"][0]
        _KNOWN[name, backend] = digest(run)
    return _KNOWN[name, backend]


@pytest.fixture
def teams(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every kernel that can be is shared out among all threads, however small it is and however
    busy the machine; how many took part in each call."""
    found: list[int] = []
    run = threads.run

    def counted(entry: Any, argument: int, team: int = 1) -> None:
        found.append(team)
        run(entry, argument, team)

    monkeypatch.setattr(threads, "run", counted)
    monkeypatch.setattr(schedule, "SHARED_FROM", -1.0)
    monkeypatch.setattr(schedule, "THREADS_FROM", 1e-9)
    monkeypatch.setattr(Pace, "next", lambda self, now, seconds: (self._most, seconds))
    return found


# Measured never, sometimes, and at every step, so that both programs of a step are run by teams.
@pytest.mark.parametrize(("count", "every"), [(2, 0), (3, 4), (4, 1)])
@every_architecture
def test_neither_threads_nor_watchers_change_a_bit(
    name: str, count: int, every: int, teams: list[int]
) -> None:
    want = alone(name)
    teams.clear()
    seen: list[Event] = []
    run = train(name, threads=count, measure_every=every, watchers=[seen.append])
    assert max(teams) == count
    assert digest(run) == want
    measured = [event.step for event in seen if isinstance(event, StepMeasured)]
    assert measured == (list(range(0, STEPS, every)) if every else [])


def test_the_usual_way_shares_work_out_too() -> None:
    """Of the size that the test above makes threads share, some are shared out anyway."""
    assert any(_useful(name) > 1 for name in ("CNN", "ResNet with batch norm", "GPT"))


def _useful(name: str) -> int:
    """How many threads make a forward and backward pass of a batch faster."""
    from chainrule.native.program import NativeProgram
    from chainrule.rewrite import rewrite

    made = ARCHITECTURES[name]
    x, y = made.x[:BATCH], made.y[:BATCH]
    net = nn.init(made.net, x)

    def loss(net: Any, x: Any, y: Any) -> Any:
        return nn.losses.cross_entropy(net(x), y)

    return NativeProgram(rewrite(cr.trace(cr.grad(loss), net, x, y))).useful_threads


# --- rows alone and together --------------------------------------------------------------------


@every_architecture
def test_a_row_predicted_alone_is_the_row_predicted_with_others(name: str) -> None:
    """To the bit; but the rows of an Equilibrium come to rest together, so that one alone may make
    fewer steps: there it is to its tolerance."""
    made = ARCHITECTURES[name]
    net, x = nn.init(made.net, made.x[:2], seed=1), made.x[:9]
    predict = cr.compile(lambda net, x: net(x), backend="native")
    together = predict(net, x)
    for size in (1, 2, 4):
        parts = np.concatenate([predict(net, x[i : i + size]) for i in range(0, 9, size)])
        if name == "Equilibrium":
            np.testing.assert_allclose(parts, together, rtol=0, atol=1e-4)
        else:
            np.testing.assert_array_equal(parts, together)


# --- after a kill -------------------------------------------------------------------------------


def killer(step: int) -> Callable[[Event], None]:
    """A watcher that ends its process at that step, as a machine that loses its power does."""

    def watch(event: Event) -> None:
        if isinstance(event, StepMeasured) and event.step == step:
            os.kill(os.getpid(), signal.SIGKILL)

    return watch


def killed_at(step: int, name: str, run_dir: Path, **options: Any) -> None:
    settings = {"run_dir": str(run_dir), "save_every": 0, "measure_every": 1, **options}
    code = (
        f"import sys; sys.path[:0] = {sys.path!r}\nfrom {__name__} import *\n"
        f"train({name!r}, watchers=[killer({step})], resume={step > 1}, **{settings!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["native", "reference"])
@every_architecture
def test_a_run_that_was_killed_twice_ends_in_the_same_bits(
    name: str, backend: str, tmp_path: Path
) -> None:
    """In the first epoch and in the last, and by another number of threads each time."""
    place = tmp_path / "run"
    for number, step in enumerate((1, 4)):
        killed_at(step, name, place, backend=backend, threads=2 - number)
    done = train(name, run_dir=place, resume=True, backend=backend, threads=2)
    assert digest(done) == alone(name, backend)
    assert digest(cr.load_run(place)) == digest(done)
