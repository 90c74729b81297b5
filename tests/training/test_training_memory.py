"""Training on files takes as much memory for many rows as for few: they stay on disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

WIDTH = 1024
FEW, MANY = 4096, 65_536  # rows of 4 kB: 16 MB and 256 MB
SPARE = 40 << 20  # bytes: what the order of the rows and pieces of some MB may take

# Trains on the few rows, then on the many, and prints by how many bytes the second time took more.
# What counts is memory that is not the file's own pages, which the system takes back at will.
PROGRAM = """
import re, sys, threading
import numpy as np
import chainrule as cr
from chainrule import nn

folder, validation = sys.argv[1], float(sys.argv[2])

def anonymous():
    with open("/proc/self/status") as status:
        return 1024 * int(re.search(r"RssAnon:\\s+(\\d+)", status.read())[1])

def highest(rows):
    peak, over = [anonymous()], threading.Event()
    def watch():
        while not over.wait(0.002):
            peak.append(anonymous())
    watcher = threading.Thread(target=watch)
    watcher.start()
    files = f"{folder}/x{rows}.npy", f"{folder}/y{rows}.npy"
    net = nn.Sequential(nn.Dense(16), nn.relu, nn.Dense(1))
    cr.train(net, files, epochs=2, batch_size=64, validation=validation, backend=sys.argv[3])
    over.set()
    watcher.join()
    return max(peak)

few, many = (int(rows) for rows in sys.argv[4:])
first = highest(few)
print(highest(many) - first)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """x and y of few and of many rows; most of x is holes in the file, which read as zeros."""
    import numpy as np

    place = tmp_path_factory.mktemp("rows")
    for rows in (FEW, MANY):
        x = np.lib.format.open_memmap(place / f"x{rows}.npy", "w+", np.float32, (rows, WIDTH))
        x[::512] = np.random.default_rng(0).normal(size=(rows // 512, WIDTH))
        x.flush()
        np.save(place / f"y{rows}.npy", np.arange(rows) % 2)
    return place


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("validation", ["0", "0.25"])
def test_many_rows_on_disk_take_no_more_memory_than_few(
    folder: Path, validation: str, backend: str
) -> None:
    """Whether rows are held out or the training rows themselves are evaluated."""
    arguments = [str(folder), validation, backend, str(FEW), str(MANY)]
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        check=False,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    assert found.returncode == 0, found.stderr
    assert int(found.stdout) < SPARE
