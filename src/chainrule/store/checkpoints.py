"""The checkpoints of a run: one file for each saved step, the newest ones kept.

A new checkpoint is a new file, so the last good one is not touched until the new one is on disk;
only then are older ones removed.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.errors import DamagedFileError, FileError
from chainrule.store.atomic import file_error, make_directory, sweep
from chainrule.store.tensors import load_tensors, save_tensors

Array = np.ndarray[Any, Any]

_DIGITS = 9  # so that a listing by name is in the order of the steps
_NAME = re.compile(rf"([0-9]{{{_DIGITS},}})\.safetensors")
_SPARE = 1  # kept beside the newest, to go back to where the newest is damaged


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after `step` steps, as it was saved."""

    step: int
    arrays: dict[str, Array]
    info: dict[str, Any]
    path: Path
    note: str | None = None  # what was wrong with newer checkpoints, where some were damaged


class CheckpointFolder:
    """The folder of a run's checkpoints; leftovers of killed saves are swept as it is opened.

    The folder is made by the first `save`. One process saves; others may read meanwhile.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.swept = sweep(self.path)

    def steps(self) -> list[int]:
        """The steps of the checkpoints in the folder, ascending; none where it does not exist."""
        try:
            names = os.listdir(self.path)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise file_error("could not list the checkpoints", self.path, error) from error
        return sorted(int(found[1]) for name in names if (found := _NAME.fullmatch(name)))

    def file(self, step: int) -> Path:
        """The file that holds, or would hold, the checkpoint of `step`."""
        return self.path / f"{step:0{_DIGITS}d}.safetensors"

    def save(
        self,
        step: int,
        arrays: Mapping[str, Array],
        info: Mapping[str, Any],
        *,
        keep: Collection[int] = (),
    ) -> Path:
        """Save the state after `step` steps; returns the file once it is safely on disk.

        Afterwards the folder holds this checkpoint, the one before it and those of the steps in
        `keep` (the best one, say). Checkpoints of later steps go too: a run that saves step 200
        when 300 is there has gone back because 300 was damaged.

        Raises FileError; the earlier checkpoints are then all still there.
        """
        make_directory(self.path)
        path = self.file(step)
        save_tensors(path, arrays, info)
        self._prune(step, keep)
        return path

    def load(self, step: int) -> Checkpoint:
        """Load the checkpoint of `step`; raises as `load_tensors` does."""
        path = self.file(step)
        arrays, info = load_tensors(path)
        return Checkpoint(step, arrays, info, path)

    def load_latest(self) -> Checkpoint:
        """Load the newest checkpoint that is whole; `note` says which newer ones were damaged.

        Raises FileError where there is none, or one cannot be read (for want of permission, say);
        DamagedFileError where all of them are damaged.
        """
        tried: set[int] = set()
        troubles: list[str] = []
        # Listed anew each time: a running process may have replaced what the last listing showed.
        while left := [step for step in self.steps() if step not in tried]:
            step = left[-1]
            tried.add(step)
            try:
                found = self.load(step)
            except DamagedFileError as error:
                troubles.append(error.what)
                continue
            except FileError:
                if self.file(step).exists():
                    raise
                continue
            return Checkpoint(step, found.arrays, found.info, found.path, _note(step, troubles))
        if troubles:
            raise DamagedFileError(
                f"every checkpoint is damaged: {'; '.join(troubles)}",
                where=str(self.path),
                do="start the run again",
            )
        raise FileError("there is no checkpoint", where=str(self.path), do="start the run again")

    def _prune(self, newest: int, keep: Collection[int]) -> None:
        # What cannot be listed or removed takes space, and is no reason to stop a run.
        with contextlib.suppress(OSError):
            steps = self.steps()
            earlier = [step for step in steps if step < newest]
            for step in set(steps) - {newest, *earlier[-_SPARE:], *keep}:
                with contextlib.suppress(OSError):
                    os.unlink(self.file(step))


def _note(step: int, troubles: list[str]) -> str | None:
    return f"{'; '.join(troubles)}; went back to step {step}" if troubles else None
