"""Real processes, really stopped, killed and starved of space: each goes on, and ends in the bits
of the run that never was."""

from __future__ import annotations

import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import streams
from problems import assert_same_bits
from training_process import train

import chainrule as cr
from chainrule.training.rundir import RunDirectory

TRAINING = str(Path(__file__).with_name("training_process.py"))
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(sys.path),
    "PYTHONDONTWRITEBYTECODE": "1",
}


def training(run_dir: Path, *options: object) -> list[str]:
    """The command that begins the run, or goes on with it where there is one."""
    resume = ["--resume"] if (run_dir / "config.json").exists() else []
    return [sys.executable, TRAINING, str(run_dir), *resume, *map(str, options)]


@contextmanager
def running(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    settings: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 120}
    return subprocess.run(command, check=False, env=ENVIRONMENT, **settings, **options)


@pytest.fixture(scope="module")
def whole() -> cr.Run:
    made = train(None)
    assert made.reason == "early stopping", "so that stopping early is part of what is repeated"
    return made


def assert_ended_like(run_dir: Path, whole: cr.Run) -> None:
    made = cr.load_run(run_dir)
    assert_same_bits(made.net, whole.net)
    assert (made.reason, made.metrics) == (whole.reason, whole.metrics)
    for name, course in whole.history.items():
        assert name == "seconds" or made.history[name] == course
    assert not list(run_dir.rglob(".partial-*"))


def batches_done(run_dir: Path) -> int:
    """How far into an epoch the newest checkpoint is."""
    found = RunDirectory(run_dir).checkpoints().load_latest()
    assert found.note is None, "the last checkpoint saved is whole"
    return int(found.info["standing"]["batch"])


@pytest.mark.slow
@pytest.mark.parametrize(("told_every", "save_every", "kills"), [(0.05, 0, 12), (0.2, 0.3, 8)])
def test_a_run_killed_at_random_moments_goes_on_in_the_same_bits(
    told_every: float, save_every: float, kills: int, tmp_path: Path, whole: cr.Run
) -> None:
    """Twenty kills in two run directories: while it trains, and while it starts."""
    moments = random.Random(kills)
    place, in_epochs = tmp_path / "run", 0
    options = ["--told-every", told_every, "--save-every", save_every]
    for kill in range(kills):
        with running(training(place, *options)) as process:
            if kill % 4:
                assert process.stdout is not None
                assert process.stdout.readline() == "started\n"
                time.sleep(moments.uniform(0, 0.4))
            else:
                time.sleep(moments.uniform(0.1, 0.8))
            process.kill()
        if (place / "config.json").exists():
            in_epochs += batches_done(place) > 0
    if save_every == 0:
        assert in_epochs, "some of the checkpoints were in the middle of an epoch"
    done = run(training(place, "--save-every", 1e6))
    assert done.stdout.split("\n")[-2] == "early stopping", done.stderr
    assert_ended_like(place, whole)


@pytest.mark.slow
def test_a_run_on_streams_killed_at_random_moments_goes_on_in_the_same_bits(tmp_path: Path) -> None:
    """What is carried from chunk to chunk is in its checkpoints."""
    whole = streams.train(epochs=30)
    moments, place, in_epochs = random.Random(1), tmp_path / "run", 0
    for _ in range(5):
        before = sorted(place.glob("checkpoints/*"))
        with running(training(place, "--streams", "--told-every", 0.05)) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "started\n"
            while sorted(place.glob("checkpoints/*")) in (before, []) and process.poll() is None:
                time.sleep(0.01)  # however busy the machine is
            time.sleep(moments.uniform(0.0, 0.3))
            process.kill()
        in_epochs += batches_done(place) > 0
    assert in_epochs, "some of the checkpoints were in the middle of an epoch"
    assert run(training(place, "--streams")).returncode == 0
    assert_ended_like(place, whole)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_a_polite_kill_save_and_the_run_goes_on_in_the_same_bits(
    number: signal.Signals, tmp_path: Path, whole: cr.Run
) -> None:
    moments = random.Random(number)
    place = tmp_path / "run"
    for _ in range(2):
        with running(training(place, "--save-every", 1e6)) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "started\n"
            time.sleep(moments.uniform(0, 0.4))
            process.send_signal(number)
            said, remarks = process.communicate(timeout=60)
        assert (process.returncode, said) == (0, "interrupted\n")
        assert f"everything so far is saved in {place}" in remarks
        assert cr.load_run(place).reason == "interrupted"
    assert run(training(place)).returncode == 0
    assert_ended_like(place, whole)


# --- before each call that saves ------------------------------------------------------------

SHORT: dict[str, Any] = {"rows": 100, "epochs": 2}
WATCHED = "write,fsync,rename,renameat,renameat2,unlink,unlinkat"


def strace(log: Path, *options: str) -> list[str]:
    return ["strace", "-f", "-o", str(log), "-e", f"trace={WATCHED}", *options]


def injecting_works(tmp_path: Path) -> bool:
    """Whether strace is here and may trace, and a kill comes before the call, not after it."""
    if shutil.which("strace") is None:
        return False
    code = "import os; os.write(1, b'one'); os.write(1, b'two')"
    inject = ["-e", "inject=write:signal=KILL:when=2"]
    done = run([*strace(tmp_path / "log", *inject), sys.executable, "-c", code])
    return done.stdout == "one" and done.returncode in (-9, 137)


@pytest.mark.slow
def test_a_run_killed_before_a_write_a_sync_or_a_rename_goes_on_in_the_same_bits(
    tmp_path: Path,
) -> None:
    """Of the calls of a whole short run, some of each kind, the first and the last among them."""
    if not injecting_works(tmp_path):
        pytest.skip("strace is not here, or may not trace")
    log = tmp_path / "calls"
    # Saves that depend on the clock would make another number of calls each time.
    options = ["--rows", SHORT["rows"], "--epochs", SHORT["epochs"], "--told-every", "inf"]
    run(training(tmp_path / "first", *options))  # keeps compiled code: later ones only read it
    assert run([*strace(log), *training(tmp_path / "whole", *options)]).returncode == 0
    short = cr.load_run(tmp_path / "whole")
    calls = Counter(re.findall(r"^\d+ +(\w+)\(", log.read_text(), re.MULTILINE))
    saves = 1 + SHORT["epochs"] + 1  # at the start, after each epoch, at the end
    assert calls["rename"] == saves + 3  # config.json, net.safetensors, report.html
    assert calls["fsync"] > 2 * saves
    assert calls["unlink"] >= 1

    seen = Counter()
    for name, count in calls.items():
        middle = random.Random(count).sample(range(2, count), min(1, max(count - 2, 0)))
        for when in sorted({1, *middle, count}):
            place = tmp_path / f"{name}{when}"
            inject = ["-e", f"inject={name}:signal=KILL:when={when}"]
            done = run([*strace(log, *inject), *training(place, *options)])
            assert done.returncode in (-9, 137), (name, when)
            begun = (place / "config.json").exists()
            seen[begun] += 1
            made = train(place, resume=begun, **SHORT)
            assert_same_bits(made.net, short.net)
            assert_ended_like(place, short)
    assert all(seen[begun] for begun in (False, True)), "before there was a run, and after"


# --- no space -------------------------------------------------------------------------------


def assert_goes_on(place: Path, whole: cr.Run) -> None:
    batches_done(place)  # the last checkpoint loads
    assert train(place, resume=True).reason == whole.reason
    assert_ended_like(place, whole)


@pytest.mark.slow
def test_a_disk_that_fills_up_stops_the_run_which_goes_on_where_there_is_space(
    tmp_path: Path, whole: cr.Run
) -> None:
    """A file system of 200 kB in memory, seen by the training process alone."""
    disk, copy = tmp_path / "disk", tmp_path / "copy"
    disk.mkdir()
    script = """
mount -t tmpfs -o size=200k tmpfs "$1" || exit 77
"$3" "$4" "$1/run"; echo "$?"
cp -r "$1/run" "$2"
"""
    arguments = ["full", str(disk), str(copy), sys.executable, TRAINING]
    try:
        done = run(
            ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, *arguments]
        )
    except FileNotFoundError:
        pytest.skip("there is no unshare here")
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")
    assert done.stderr == "", "no traceback"
    said = done.stdout.splitlines()
    assert said[0] == "started"
    assert re.match("FileError: .*No space left on device", said[1])
    assert said[-1] == "1"
    assert "do:" in done.stdout
    assert_goes_on(copy, whole)


@pytest.mark.slow
@pytest.mark.parametrize("most", [25_000, 150_000])
def test_a_file_over_the_limit_of_its_size_stops_the_run_which_goes_on_without_it(
    most: int, tmp_path: Path, whole: cr.Run
) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    done = run(training(tmp_path), preexec_fn=limit)
    assert (done.returncode, done.stderr) == (1, "")
    assert re.search("^FileError: .*File too large", done.stdout, re.MULTILINE)
    assert_goes_on(tmp_path, whole)
