"""The cache of compiled code: private, bounded, checked, and never needed."""

from __future__ import annotations

import json
import os
import random
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import pytest

from chainrule import config
from chainrule.cli import main
from chainrule.native import cache, target

HOST = target.host()
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


# --- what an entry follows from -------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda patch: patch(target, "host", lambda: replace(HOST, name="another")),
        lambda patch: patch(target, "host", lambda: replace(HOST, features="+avx2")),
        lambda patch: patch(llvm, "llvm_version_info", (99, 0, 0)),
        lambda patch: patch(target.llvmlite, "__version__", "99"),
        lambda patch: patch(config, "VERSION", "99"),
    ],
    ids=["processor", "features", "llvm", "llvmlite", "chainrule"],
)
def test_code_for_another_machine_or_version_is_another_entry(
    change: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = target.cache_key("text", 3)
    assert before == target.cache_key("text", 3)
    change(monkeypatch.setattr)
    assert target.cache_key("text", 3) != before


def test_so_are_another_text_and_another_level() -> None:
    assert len({target.cache_key(text, level) for text in "ab" for level in (2, 3)}) == 4


# --- what can go wrong ----------------------------------------------------------------------


def test_what_others_could_have_written_is_not_run(folder: Path) -> None:
    """A folder that others may write to holds nothing to be trusted, however whole it looks."""
    cache.get("key", Builder(b"planted"))
    for mode in (0o777, 0o770, 0o702):
        folder.chmod(mode)
        build = Builder()
        assert cache.get("key", build) == b"code"
        assert build.calls == 1
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert cache.get("key", build) == b"code"
        assert build.calls == 1, "what was written since then is our own"


def test_a_folder_of_another_user_is_left_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.get("key", Builder(b"theirs"))
    before = sorted(folder.iterdir())
    monkeypatch.setattr(os, "getuid", lambda: os.geteuid() + 1)
    assert cache.get("key", Builder()) == b"code"
    assert cache.get("other", Builder()) == b"code"
    assert sorted(folder.iterdir()) == before


def test_a_user_without_a_home_has_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(config, "CACHE", "")
    monkeypatch.setattr(Path, "home", none)
    assert cache.folder() is None
    assert cache.get("key", Builder()) == b"code"


def test_a_full_disk_costs_time_and_never_a_result(tmp_path: Path) -> None:
    """No file of the process can take more than 100 bytes; nothing is left of the attempts."""
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n" + PROGRAM
    place = tmp_path / "cache"
    environment = {**os.environ, "CHAINRULE_CACHE": str(place)}
    command = [sys.executable, "-c", limited]
    for _ in range(2):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("[1.52")
    assert list(place.iterdir()) == []


@pytest.mark.slow
def test_a_process_killed_at_any_moment_leaves_no_entry_that_harms(tmp_path: Path) -> None:
    """Killed while it compiles and writes; then all entries are whole, the next process has its
    result, and what was left half written is gone."""
    place = tmp_path / "cache"
    environment = {**os.environ, "CHAINRULE_CACHE": str(place)}
    many = """
import numpy as np, chainrule as cr
for number in range(10**6):
    cr.compile(lambda x, n=float(number): np.tanh(x) * n, backend="native")(np.ones(3))
"""
    moments = random.Random(3)
    for _ in range(12):
        running = subprocess.Popen([sys.executable, "-c", many], env=environment)
        time.sleep(moments.uniform(0.3, 1.0))
        running.kill()
        running.wait()
    entries = sorted(place.glob("*.object"))
    assert len(entries) > 3
    for path in entries:
        assert cache._read(path) is not None, path
    (place / ".partial-0123456789abcdef").write_bytes(b"half")  # as a kill would leave it
    command = [sys.executable, "-c", PROGRAM.replace("* 2", "* 0.5")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("[0.38")
    assert not list(place.glob(".partial-*"))


# --- the command ----------------------------------------------------------------------------


def test_the_command_shows_what_is_kept_and_removes_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        cache.get(str(number), Builder(bytes(10**6)))
    size = sum(path.stat().st_size for path in folder.iterdir())
    assert main(["cache"]) == 0
    said = capsys.readouterr().out
    assert str(folder) in said
    assert "entries  3\n" in said
    assert "size     3.0 MB of at most 268.4 MB" in said
    assert main(["cache", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["path"], told["entries"], told["bytes"]) == (str(folder), 3, size)
    assert main(["cache", "--clear"]) == 0
    assert capsys.readouterr().out == f"removed 3 entries (3.0 MB) from {folder}\n"
    assert list(folder.iterdir()) == []
    assert main(["cache", "--clear", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["removed"], told["entries"], told["bytes"]) == (0, 0, 0)


def test_the_command_says_when_there_is_no_cache(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(config, "CACHE", "off")
    assert main(["cache"]) == 0
    assert "off" in capsys.readouterr().out
    assert main(["cache", "--clear", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["path"] is None
