"""Native training: the same bits whatever is asked for besides, and Ctrl-C that is answered."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from problems import Events, blobs

import chainrule as cr
from chainrule import config, nn, optim
from chainrule.native import schedule
from chainrule.observe.events import Event, StepMeasured
from chainrule.tracing import trees

Array = np.ndarray


class Stop(Exception):
    """What a watcher raises to end a run."""


def train(**options: Any) -> cr.Run:
    """A run in which everything that is compiled takes part: weights of odd sizes, a short last
    batch, random masks, running statistics, a schedule, clipping, averages."""
    net = nn.Sequential(
        nn.Dense(33), nn.BatchNorm(), nn.relu, nn.Dropout(0.2), nn.Dense(17), nn.LayerNorm(),
        nn.gelu, nn.Dense(3),
    )  # fmt: skip
    optimizer = optim.chain(
        optim.clip_by_global_norm(1.0),
        optim.adamw(optim.schedules.cosine(0.01, 60)),
        optim.exponential_average(0.9),
    )
    settings = {"epochs": 5, "batch_size": 32, "validation": 0.2, "seed": 5, "measure_every": 7}
    x, y = blobs(rows=140, classes=3, width=13)
    return cr.train(net, (x, y), optimizer=optimizer, **(settings | options))


def digest(run: cr.Run) -> str:
    """A hash of all weights and of the losses on the way to them."""
    found = hashlib.blake2b(digest_size=16)
    for leaf in trees.leaves(run.net):
        found.update(leaf.name.encode() + np.asarray(leaf.value).tobytes())
    for name in ("loss", "held_out_loss", "accuracy"):
        found.update(repr(run.history[name]).encode())
    return found.hexdigest()


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every kernel that can be is shared out among all threads, however small."""
    monkeypatch.setattr(schedule, "SHARED_FROM", -1.0)
    monkeypatch.setattr(schedule, "THREADS_FROM", 1e-9)


@pytest.fixture(scope="module")
def want() -> str:
    return digest(train(threads=1, measure_every=0))


# --- the same bits --------------------------------------------------------------------------


@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_threads_change_no_bit(threads: int, want: str) -> None:
    assert digest(train(threads=threads)) == want


@pytest.mark.parametrize("every", [0, 1, 2, 5, None])
def test_watching_changes_no_bit(every: int | None, want: str, tmp_path: Path) -> None:
    """A run without a watcher against one with some, a directory, and a checkpoint a moment."""
    events = Events()
    run = train(
        measure_every=every, watchers=[events], run_dir=tmp_path, save_every=0, progress=True
    )
    assert digest(run) == want
    steps = [event.step for event in events.of(StepMeasured)]
    assert steps == ([] if every == 0 else list(range(0, 20, every or 1)))


@pytest.mark.usefixtures("shared")
def test_a_run_stopped_again_and_again_on_other_numbers_of_threads_ends_in_the_same_bits(
    want: str, tmp_path: Path
) -> None:
    """Stopped in the middle of epochs and between them, then resumed with one thread more."""
    for session, stop in enumerate([3, 4, 9, 16]):

        def watch(event: Event, stop: int = stop) -> None:
            if isinstance(event, StepMeasured) and event.step == stop:
                raise Stop

        with pytest.raises(Stop):
            train(
                threads=1 + session,
                run_dir=tmp_path,
                resume=session > 0,
                watchers=[watch],
                measure_every=1,
            )
    done = train(threads=2, run_dir=tmp_path, resume=True)
    assert digest(done) == want
    assert digest(cr.load_run(tmp_path)) == want


def test_compiled_anew_or_loaded_from_the_cache_the_bits_are_the_same(
    want: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "CACHE", "off")
    assert digest(train()) == want
    monkeypatch.setattr(config, "CACHE", str(tmp_path))
    assert digest(train()) == want
    entries = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert entries
    assert digest(train()) == want
    assert set(tmp_path.iterdir()) == set(entries), "all of it was loaded"


def test_another_process_comes_to_the_same_bits(want: str) -> None:
    code = (
        f"import sys; sys.path[:0] = {sys.path!r}\nfrom {__name__} import *\nprint(digest(train()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split()[-1:] == [want], done.stderr


# --- rows alone and together ----------------------------------------------------------------

ROWS = 23
NETS = {
    "regression": (nn.Sequential(nn.Dense(32), nn.tanh, nn.Dense(1)), "regression"),
    "two outputs": (nn.Sequential(nn.Dense(19), nn.silu, nn.Dense(2)), "regression"),
    "classifier": (
        nn.Sequential(nn.Dense(64), nn.relu, nn.Dense(32), nn.tanh, nn.Dense(4)), "many"
    ),
    "yes or no": (nn.Sequential(nn.Dense(8), nn.elu, nn.Dense(1)), "binary"),
    "layer norm": (
        nn.Sequential(nn.Dense(40), nn.LayerNorm(), nn.gelu, nn.Dense(4)), "many"
    ),
    "batch norm": (nn.Sequential(nn.Dense(24), nn.BatchNorm(), nn.relu, nn.Dense(4)), "many"),
    "no hidden layer": (nn.Sequential(nn.Dense(4)), "many"),
    "float64": (nn.Sequential(nn.Dense(16), nn.tanh, nn.Dense(3)), "float64"),
}  # fmt: skip


def trained(name: str) -> tuple[cr.Run, Array]:
    net, task = NETS[name]
    random = np.random.default_rng(1)
    x = random.normal(size=(60, 11)).astype(np.float64 if task == "float64" else np.float32)
    y: Array = random.normal(
        size=(60, 2 if name == "two outputs" else 3 if task == "float64" else 1)
    )
    if task in ("many", "binary"):
        y = random.integers(0, 4 if task == "many" else 2, 60)
    if task == "float64":
        net = nn.init(net, x[:1], 0, dtype=np.float64)
    return cr.train(net, (x, y), epochs=2, validation=0, measure_every=0), x


@pytest.mark.parametrize("name", NETS)
def test_a_row_predicted_alone_is_the_row_predicted_with_others(name: str) -> None:
    """To the bit, in parts of any size."""
    run, x = trained(name)
    assert run.summary()["backend"] == "native"
    together = run.outputs(x[:ROWS])
    for size in (1, 2, 3, 7, 16):
        parts = [run.outputs(x[i : min(i + size, ROWS)]) for i in range(0, ROWS, size)]
        np.testing.assert_array_equal(np.concatenate(parts), together)
    if run.task != "regression":
        alone = np.concatenate([run.predict_probabilities(x[i : i + 1]) for i in range(ROWS)])
        np.testing.assert_array_equal(alone, run.predict_probabilities(x[:ROWS]))


# --- Ctrl-C ---------------------------------------------------------------------------------

LONG = """
import sys, time, numpy as np, chainrule as cr

def watch(event):
    if type(event).__name__ == "Progress":
        print("trains", flush=True)

x = np.random.default_rng(0).normal(size=(20_000, 64)).astype(np.float32)
net = cr.nn.Sequential(cr.nn.Dense(int(sys.argv[1])), cr.nn.relu, cr.nn.Dense(1))
run = cr.train(net, (x, x[:, 0]), epochs=10**6, watchers=[watch], run_dir=sys.argv[2], threads=1)
print(run.reason, flush=True)
"""


def cpu_seconds(process: int) -> float:
    """What a process has used of the processors so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def seconds_to_end(width: int, run_dir: Path) -> float:
    """Processor time between Ctrl-C and the end of a run, which is saved, evaluated and reported
    by then."""
    command = [sys.executable, "-c", LONG, str(width), str(run_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "trains\n"
        before = cpu_seconds(process.pid)
        process.send_signal(signal.SIGINT)
        said = process.stdout.read().split()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert (process.returncode, said[-1]) == (0, "interrupted")
    return used.ru_utime + used.ru_stime - before


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="time is read from /proc")
@pytest.mark.parametrize("width", [4, 512])
def test_ctrl_c_is_answered_within_half_a_second(width: int, tmp_path: Path) -> None:
    """It is time of the processor that counts, and the shortest of a few: the machine may be busy
    with other things, and what shares a core slows it down."""
    tries = (seconds_to_end(width, tmp_path / f"run{n}") for n in range(4))
    assert any(seconds < 0.5 for seconds in tries)
