"""A run's last good checkpoint outlives whatever happens to the next one."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chainrule.errors import DamagedFileError, FileError
from chainrule.store import CheckpointFolder

NEVER = 10**9


def state(step: int) -> dict[str, Any]:
    return {"layers.0.weight": np.full((20, 10), step, dtype=np.float32), "count": np.array(step)}


def save(folder: CheckpointFolder, step: int, **kept: Any) -> Path:
    return folder.save(step, state(step), {"step": step, "best_loss": float("inf")}, **kept)


def assert_is(folder: CheckpointFolder, step: int) -> None:
    """The newest loadable checkpoint is that of `step`, with all it was saved with."""
    found = folder.load_latest()
    assert found.step == step == found.info["step"]
    for name, array in state(step).items():
        np.testing.assert_array_equal(found.arrays[name], array)


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_the_newest_two_and_those_asked_for_are_kept(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "checkpoints")
    assert folder.steps() == []
    for step in (10, 20, 30, 40, 50):
        path = save(folder, step, keep={20})
        assert path == folder.file(step)
        assert_is(folder, step)
    assert folder.steps() == [20, 40, 50]
    assert folder.load(20).info["step"] == 20
    save(folder, 60)  # 20 is no longer the best
    assert folder.steps() == [50, 60]


def test_a_listing_by_name_is_in_the_order_of_the_steps(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    names = [save(folder, step).name for step in (9, 10, 123456789, 1234567890)]
    assert names[:3] == sorted(names[:3])
    assert folder.steps() == [123456789, 1234567890]


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(10, {"x": np.zeros(3)}, {})
    save(folder, 10)
    assert_is(folder, 10)


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before_and_says_so(
    tmp_path: Path,
) -> None:
    folder = CheckpointFolder(tmp_path)
    save(folder, 10)
    damage(save(folder, 20))
    assert_is(folder, 10)
    note = folder.load_latest().note
    assert note is not None
    assert "000000020.safetensors is damaged" in note
    assert "step 10" in note
    save(folder, 15)  # the run goes on from 10; the damaged 20 must not stand before it
    assert folder.steps() == [10, 15]
    assert folder.load_latest().note is None


def test_when_every_checkpoint_is_damaged_or_none_is_there_the_error_says_so(
    tmp_path: Path,
) -> None:
    folder = CheckpointFolder(tmp_path / "none")
    with pytest.raises(FileError, match="there is no checkpoint"):
        folder.load_latest()
    assert not folder.path.exists()  # reading makes nothing
    damage(save(folder, 10))
    damage(save(folder, 20))
    with pytest.raises(DamagedFileError, match=r"every checkpoint is damaged.*20.*10"):
        folder.load_latest()


def test_an_unreadable_newest_checkpoint_is_an_error_and_not_passed_over(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    save(folder, 10)
    folder.file(20).mkdir()
    with pytest.raises(FileError, match="directory"):
        folder.load_latest()


def test_a_checkpoint_removed_between_the_listing_and_the_reading_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = CheckpointFolder(tmp_path)
    for step in (10, 20):
        save(folder, step)
    real = CheckpointFolder.load

    def load(self: CheckpointFolder, step: int) -> Any:
        if step == 20:  # the running process has gone on meanwhile
            save(folder, 30)
            save(folder, 40)
        return real(self, step)

    monkeypatch.setattr(CheckpointFolder, "load", load)
    assert_is(folder, 40)


def test_other_files_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    others = ["notes.txt", "best.safetensors", "7.safetensors", "000000001.safetensors.bak"]
    for name in others:
        (tmp_path / name).write_bytes(b"x")
    folder = CheckpointFolder(tmp_path)
    for step in (10, 20, 30):
        save(folder, step)
    assert folder.steps() == [20, 30]
    assert set(others) <= set(os.listdir(tmp_path))


def test_an_old_checkpoint_that_cannot_be_removed_does_not_stop_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = CheckpointFolder(tmp_path)

    def unlink(path: Any) -> None:
        raise PermissionError(errno.EPERM, "no")

    monkeypatch.setattr(os, "unlink", unlink)
    for step in (10, 20, 30):
        save(folder, step)
    assert folder.steps() == [10, 20, 30]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, None], ids=["ENOSPC", "EIO", "kill"])
@pytest.mark.tiny
def test_a_save_that_fails_at_any_call_leaves_a_checkpoint_to_go_on_from(
    code: int | None, faulty: Any, tmp_path: Path
) -> None:
    """Every open, write, fsync, close, rename and unlink of a save is made to fail in turn."""
    for number in range(100):
        path = tmp_path / str(number)
        faulty(NEVER, code)
        folder = CheckpointFolder(path)
        for step in (10, 20):
            save(folder, step)
        before = {name: (path / name).read_bytes() for name in os.listdir(path)}
        broken = faulty(number, code)
        try:
            save(folder, 30)
        except BaseException as error:  # noqa: BLE001 - a kill is one too
            assert isinstance(error, FileError) == (code is not None)  # noqa: PT017
            renamed = "replace" in broken.calls[:number]
            if code is not None:
                assert set(before) <= set(os.listdir(path))
        else:
            renamed = True
        broken.bury()
        again = CheckpointFolder(path)
        assert_is(again, 30 if renamed else 20)
        assert sorted(os.listdir(path)) == [again.file(step).name for step in again.steps()]
        for name in os.listdir(path):
            assert name == again.file(30).name or (path / name).read_bytes() == before[name]
        save(again, 40)
        assert_is(again, 40)
        if not broken.failed:
            assert number > 10
            return
    raise AssertionError("the save never finished")
