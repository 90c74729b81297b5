"""Where a new run is kept, and which files may be written to."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from chainrule.errors import FileError, UsageError
from chainrule.training.rundir import CHECKPOINTS, CONFIG

_MOST = 99_999


@contextmanager
def run_directory(wanted: str | None, name: str) -> Iterator[str]:
    """The directory for a new run: `wanted`, or runs/NAME-NNN.

    What was made for it goes again where nothing was put into it. Raises UsageError where `wanted`
    holds something already, FileError where it cannot be made.
    """
    made: list[Path] = []
    path = _numbered(name, made) if wanted is None else _given(Path(wanted), made)
    try:
        yield path
    finally:
        for directory in reversed(made):
            with suppress(OSError):  # it holds something
                directory.rmdir()


def check_output(path: str, table: str | None = None) -> None:
    """Raises UsageError for a file that should not be replaced by what a command writes."""
    target = Path(path)
    if target.exists() and not target.is_file():
        what = "a directory" if target.is_dir() else "no regular file"
        raise UsageError(f"{path} is {what}", where="--output", do="give the name of a file")
    with suppress(OSError):
        if table is not None and os.path.samefile(target, table):
            raise UsageError(
                f"{path} is the table itself, which would be lost",
                where="--output",
                do="give the name of another file",
            )


def _given(path: Path, made: list[Path]) -> str:
    try:
        held = sorted(os.listdir(path)) if path.exists() else []
        if CONFIG not in held:  # which has an error of its own, that says how to go on
            _check_empty(path, held)
        _make(path, made)
    except OSError as error:
        if isinstance(error, FileError):
            raise
        raise _refused(path, error) from None
    return str(path)


def _check_empty(path: Path, held: list[str]) -> None:
    # The first checkpoint of a run that was killed before it had a configuration is no one's.
    others = [name for name in held if name != CHECKPOINTS and not name.startswith(".")]
    if others:
        raise UsageError(
            f"{path} is not empty: it holds {others[0]}",
            where="--run-dir",
            do="name a directory that is empty, or that does not exist yet",
        )


def _numbered(name: str, made: list[Path]) -> str:
    """runs/NAME-NNN, one after the last that exists; made at once, so that two runs that start
    together do not share it."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(name).stem).strip("-.")[:60] or "run"
    runs = Path("runs")
    for number in range(_last(runs, stem) + 1, _MOST + 1):
        path = runs / f"{stem}-{number:03d}"
        try:
            _make(runs, made)
            path.mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise _refused(path, error) from None
        made.append(path)
        return str(path)
    raise FileError(f"runs/ is full of runs named {stem}", do="name a directory with --run-dir")


def _last(runs: Path, stem: str) -> int:
    """The highest number among the runs of this name, 0 where there is none."""
    names = os.listdir(runs) if runs.is_dir() else []
    pattern = re.compile(re.escape(stem) + r"-(\d{3,5})")
    return max((int(found[1]) for n in names if (found := pattern.fullmatch(n))), default=0)


def _make(path: Path, made: list[Path]) -> None:
    """Makes a directory and those above it; `made` receives the new ones, the highest first."""
    missing = [place for place in (path, *path.parents) if not place.exists()]
    for place in reversed(missing):
        with suppress(FileExistsError):  # another run was faster
            place.mkdir()
            made.append(place)
    if not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "it is a file")


def _refused(path: Path, error: OSError) -> FileError:
    return FileError(
        f"the run directory {path} cannot be made: {error.strerror or error}",
        where=os.path.abspath(path),
        do="name one that can be written with --run-dir",
    )
