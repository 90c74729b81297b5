"""The cache of compiled code: private, bounded, checked, and never needed."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from chainrule import config
from chainrule.native import cache

PROGRAM = """
import numpy as np, chainrule as cr
f = cr.compile(lambda x: np.tanh(x) * 2, backend="native")
print(f(np.ones(3)).tolist())
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(config, "CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Builder:
    """Counts how often it is asked."""

    def __init__(self, code: bytes = b"code") -> None:
        self.code, self.calls = code, 0

    def __call__(self) -> bytes:
        self.calls += 1
        return self.code


def test_an_entry_is_built_once(folder: Path) -> None:
    build = Builder()
    assert [cache.get("key", build) for _ in range(3)] == [b"code"] * 3
    assert build.calls == 1
    assert cache.get("another key", build) == b"code"
    assert build.calls == 2


@pytest.mark.parametrize("damage", ["truncated", "flipped", "emptied", "foreign"])
def test_a_damaged_entry_is_rebuilt(folder: Path, damage: str) -> None:
    build = Builder(bytes(range(200)))
    cache.get("key", build)
    (path,) = folder.iterdir()
    data = path.read_bytes()
    flipped = data[:100] + bytes([data[100] ^ 1]) + data[101:]
    path.write_bytes(
        {"truncated": data[:-1], "flipped": flipped, "emptied": b"", "foreign": b"ELF"}[damage]
    )
    assert cache.get("key", build) == build.code
    assert build.calls == 2
    assert path.read_bytes() == data


def test_it_is_private_to_the_user(folder: Path) -> None:
    folder.mkdir(mode=0o755)
    cache.get("key", Builder())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_least_recently_used_entries_go_first(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = Builder(bytes(1000))
    for number in range(4):
        cache.get(str(number), build)
        for path in folder.iterdir():
            os.utime(path, (path.stat().st_mtime - 10,) * 2)
    cache.get("0", build)  # used again: now the youngest
    monkeypatch.setattr(config, "CACHE_BYTES", 3 * 1100)
    cache.get("new", build)
    assert build.calls == 5
    for key in ("0", "3", "new"):
        cache.get(key, build)
    assert build.calls == 5
    cache.get("1", build)
    assert build.calls == 6


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setattr(config, "CACHE", str(blocked / "cache"))
    assert cache.get("key", Builder()) == b"code"
    monkeypatch.setattr(config, "CACHE", "off")
    assert cache.get("key", Builder()) == b"code"
    assert cache.contents() is None


def test_contents_and_clear(folder: Path) -> None:
    for number in range(3):
        cache.get(str(number), Builder())
    found = cache.contents()
    assert found is not None
    assert (found.path, found.entries) == (folder, 3)
    assert found.size == sum(p.stat().st_size for p in folder.iterdir())
    assert cache.clear() == 3
    assert list(folder.iterdir()) == []


def test_processes_that_compile_at_once_share_it(tmp_path: Path) -> None:
    """Four processes, one empty cache: all give the result, and one entry is left, which a fifth
    process uses."""
    environment = {**os.environ, "CHAINRULE_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", PROGRAM]
    running = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    outputs = {process.communicate()[0] for process in running}
    assert len(outputs) == 1
    entries = sorted((tmp_path / "cache").glob("*"))
    assert len(entries) == 1
    before = entries[0].read_bytes()
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert {again.stdout} == outputs
    assert entries[0].read_bytes() == before
