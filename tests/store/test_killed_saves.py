"""Real processes, really killed, on really full disks: the last checkpoint saved can be loaded."""

from __future__ import annotations

import os
import random
import re
import resource
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from saving import state

from chainrule.store import Checkpoint, CheckpointFolder

SAVING = str(Path(__file__).with_name("saving.py"))
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(sys.path),
    "PYTHONDONTWRITEBYTECODE": "1",
}


def saving(*arguments: object) -> list[str]:
    return [sys.executable, SAVING, *map(str, arguments)]


def run(
    command: list[str], check: bool = False, setup: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        check=check,
        preexec_fn=setup,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
    )


def loaded(folder: CheckpointFolder) -> Checkpoint:
    """The newest checkpoint: whole, undamaged, and with every number of its step."""
    found = folder.load_latest()
    assert found.note is None
    assert found.step == found.info["step"]
    for name, array in state(found.step, found.info["floats"]).items():
        np.testing.assert_array_equal(found.arrays[name], array)
    return found


def test_a_process_killed_at_twenty_random_moments_always_leaves_its_last_checkpoint(
    tmp_path: Path,
) -> None:
    moments = random.Random(0)
    step, leftovers = 1, 0
    for _ in range(20):
        with subprocess.Popen(
            saving(tmp_path, step, 0), stdout=subprocess.PIPE, env=ENVIRONMENT, text=True
        ) as process:
            assert process.stdout is not None
            acknowledged = int(process.stdout.readline())
            time.sleep(moments.uniform(0, 0.05))
            process.kill()
            acknowledged = int((process.stdout.read().split() or [acknowledged])[-1])
        assert process.returncode == -9
        folder = CheckpointFolder(tmp_path)
        leftovers += len(folder.swept)
        # The kill may have come after the rename and before the step was printed.
        step = loaded(folder).step
        assert step in (acknowledged, acknowledged + 1)
        assert sorted(os.listdir(tmp_path)) == [folder.file(kept).name for kept in folder.steps()]
    assert leftovers > 0  # so kills did come in the middle of a save


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


def test_a_process_killed_before_each_write_fsync_rename_and_unlink_leaves_a_checkpoint(
    tmp_path: Path,
) -> None:
    if not injecting_works(tmp_path):
        pytest.skip("strace is not here, or may not trace")
    before = tmp_path / "before"
    assert run(saving(before, 1, 2, 1000)).stdout.split() == ["1", "2"]

    log = tmp_path / "calls"
    shutil.copytree(before, tmp_path / "whole")
    run([*strace(log), *saving(tmp_path / "whole", 3, 1, 1000)], check=True)
    calls = Counter(re.findall(r"^\d+ +(\w+)\(", log.read_text(), re.MULTILINE))
    renames = calls["rename"] + calls["renameat"] + calls["renameat2"]
    assert (calls["fsync"], renames) == (2, 1)
    assert calls["write"] >= 2  # the tensors, and the step that is printed
    assert calls["unlink"] + calls["unlinkat"] == 1  # the oldest of three

    steps = set()
    for name, count in calls.items():
        for when in range(1, count + 1):
            place = tmp_path / f"{name}{when}"
            shutil.copytree(before, place)
            inject = ["-e", f"inject={name}:signal=KILL:when={when}"]
            done = run([*strace(log, *inject), *saving(place, 3, 1, 1000)])
            assert done.returncode in (-9, 137)
            folder = CheckpointFolder(place)
            steps.add(loaded(folder).step)
            assert not any(entry.startswith(".partial") for entry in os.listdir(place))
    assert steps == {2, 3}  # kills before the rename, and after it


def test_a_disk_that_fills_up_leaves_the_checkpoints_and_says_what_to_do(tmp_path: Path) -> None:
    """A file system of 1 MiB in memory, seen by the saving process alone."""
    disk, copy = tmp_path / "disk", tmp_path / "copy"
    disk.mkdir()
    # Two checkpoints of 300 kB fit beside each other, with a third that is being written; then
    # one of 600 kB does not.
    script = """
mount -t tmpfs -o size=1m tmpfs "$1" || exit 77
"$3" "$4" "$1" 1 3 75000; echo "$?"
"$3" "$4" "$1" 4 1 150000; echo "$?"
ls -A "$1"
cp -r "$1" "$2"
"""
    arguments = ["full", str(disk), str(copy), sys.executable, SAVING]
    try:
        done = run(
            ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, *arguments]
        )
    except FileNotFoundError:
        pytest.skip("there is no unshare here")
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")
    assert done.stdout.splitlines() == [
        *("1", "2", "3", "0"),
        "could not write 000000004.safetensors: No space left on device; "
        "free some space on this disk, then try again",
        "1",
        *("000000002.safetensors", "000000003.safetensors"),
    ]
    assert loaded(CheckpointFolder(copy)).step == 3


def test_a_file_over_the_limit_of_its_size_leaves_the_checkpoints(tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    assert run(saving(tmp_path, 1, 2, 1000)).stdout.split() == ["1", "2"]
    done = run(saving(tmp_path, 3, 1, 50_000), setup=limit)
    assert done.returncode == 1
    assert "File too large" in done.stdout
    assert "ulimit -f" in done.stdout
    folder = CheckpointFolder(tmp_path)
    assert folder.swept == []
    assert folder.steps() == [1, 2]
    assert loaded(folder).step == 2
