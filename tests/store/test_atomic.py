"""A write either happened or did not, whatever fails."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chainrule.errors import FileError
from chainrule.store import make_directory, sweep, write_atomic
from chainrule.store.atomic import PARTIAL

OLD, NEW = b"old" * 1000, b"new" * 1000


NEVER = 10**9


def faults(faulty: Any, tmp_path: Path, code: int | None) -> Iterator[Any]:
    """One save over OLD for each call that can fail; yields after each failure."""
    target = tmp_path / "net"
    for number in range(100):
        target.write_bytes(OLD)
        broken = faulty(number, code)
        raised = None
        try:
            write_atomic(target, [NEW[:1300], b"", memoryview(NEW)[1300:]])
        except BaseException as problem:  # noqa: BLE001 - a kill is one too
            raised = problem
        broken.bury()
        if not broken.failed:
            assert raised is None
            assert target.read_bytes() == NEW
            assert number > 10  # open, dup, at least seven short writes, fsync, close, replace, ...
            return
        yield broken.calls[number], target.read_bytes(), raised
    raise AssertionError("the save never finished")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_an_error_at_any_call_leaves_the_old_file_and_no_leftover(
    code: int, faulty: Any, tmp_path: Path
) -> None:
    renamed = False
    for call, left, raised in faults(faulty, tmp_path, code):
        assert left == (NEW if renamed else OLD)
        renamed = renamed or call == "replace"
        if call not in ("dup", "close") or raised is not None:
            assert isinstance(raised, FileError)
            assert raised.where == str(tmp_path / "net")
            assert raised.do
        assert os.listdir(tmp_path) == ["net"], call
    assert renamed


def test_a_kill_at_any_call_leaves_the_old_or_the_new_file_whole(
    faulty: Any, tmp_path: Path
) -> None:
    leftovers = 0
    for _, left, _ in faults(faulty, tmp_path, None):
        assert left in (OLD, NEW)
        leftovers += len(sweep(tmp_path))
        assert os.listdir(tmp_path) == ["net"]
    assert leftovers > 5  # so the sweep had something to do


def test_every_byte_is_written_when_the_system_takes_one_at_a_time(
    faulty: Any, tmp_path: Path
) -> None:
    faulty(NEVER, None, shortest=1)
    write_atomic(tmp_path / "f", NEW)
    assert (tmp_path / "f").read_bytes() == NEW


def test_the_bytes_are_synced_before_the_rename_and_the_directory_after(
    faulty: Any, tmp_path: Path
) -> None:
    log = faulty(NEVER, None)
    write_atomic(tmp_path / "f", NEW)
    important = [call for call in log.calls if call in ("fsync", "replace")]
    assert important == ["fsync", "replace", "fsync"]


def test_a_write_that_takes_nothing_is_an_error_not_an_endless_loop(
    faulty: Any, tmp_path: Path
) -> None:
    faulty(NEVER, None, shortest=0)
    with pytest.raises(FileError, match="took no bytes"):
        write_atomic(tmp_path / "f", NEW)


@pytest.mark.parametrize("data", [b"", bytearray(b"ab"), memoryview(b"ab"), [], [b"a", b"b"]])
def test_bytes_and_iterables_of_bytes_are_written(data: Any, tmp_path: Path) -> None:
    write_atomic(tmp_path / "f", data)
    pieces = [data] if isinstance(data, bytes | bytearray | memoryview) else data
    assert (tmp_path / "f").read_bytes() == b"".join(bytes(piece) for piece in pieces)


def test_an_error_of_the_iterable_comes_through_and_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "f"
    target.write_bytes(OLD)

    def pieces() -> Iterator[bytes]:
        yield NEW
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomic(target, pieces())
    assert target.read_bytes() == OLD
    assert os.listdir(tmp_path) == ["f"]


@pytest.mark.parametrize(
    ("place", "do"),
    [("missing/f", "create the directory"), ("file/f", "a part of the path"), ("full", "name of")],
)
def test_a_path_that_cannot_be_written_says_what_to_do(place: str, do: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(OLD)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_bytes(OLD)
    with pytest.raises(FileError, match=do):
        write_atomic(tmp_path / place, NEW)
    assert sorted(os.listdir(tmp_path)) == ["file", "full"]


def test_a_path_without_a_name_is_a_file_error() -> None:
    for path in ("", "/"):
        with pytest.raises(FileError, match="no file name"):
            write_atomic(path, NEW)


def test_a_file_system_that_cannot_sync_directories_is_no_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").is_dir():
            raise OSError(errno.EINVAL, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_atomic(tmp_path / "f", NEW)
    assert (tmp_path / "f").read_bytes() == NEW


def test_a_sweep_removes_our_temporary_names_and_nothing_else(tmp_path: Path) -> None:
    ours = tmp_path / f"{PARTIAL}0123456789abcdef"
    others = [f"{PARTIAL}notes", ".partial", "net.safetensors", f"x{PARTIAL}0123456789abcdef"]
    for name in [ours.name, *others]:
        (tmp_path / name).write_bytes(b"x")
    assert sweep(tmp_path) == [ours]
    assert sorted(os.listdir(tmp_path)) == sorted(others)
    assert sweep(tmp_path / "missing") == []


def test_a_sweep_leaves_what_another_process_is_writing_until_that_is_killed(
    tmp_path: Path,
) -> None:
    code = """
import sys, time
from chainrule.store import write_atomic
def pieces():
    yield b"half"
    print("writing", flush=True)
    time.sleep(60)
write_atomic(sys.argv[1], pieces())
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, str(tmp_path / "f")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=env) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"writing\n"
            assert sweep(tmp_path) == []
        finally:
            writer.kill()
            writer.wait()
    assert len(sweep(tmp_path)) == 1
    assert os.listdir(tmp_path) == []


def test_directories_are_made_and_may_exist(tmp_path: Path) -> None:
    make_directory(tmp_path / "a" / "b")
    make_directory(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FileError, match="file"):
        make_directory(tmp_path / "file" / "c")
