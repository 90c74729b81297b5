"""Files in folders by class: which file belongs to which class, and which are a test set."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from chainrule.data.labels import class_task, listed
from chainrule.errors import CHECK_PATH, DataError, FileError, UsageError

_TRAINING = ("train", "training")
_HELD_OUT = ("val", "valid", "validation", "test", "testing")  # the first one there is held out
_LITTER = ("thumbs.db", "desktop.ini")


@dataclass(frozen=True)
class ClassFiles:
    """The files of a folder in a fixed order: by class, then by path; test files last."""

    files: tuple[Path, ...]
    labels: tuple[int, ...]
    classes: tuple[str, ...]
    task: str
    test_files: int  # how many of them, at the end, are in a folder for held-out files
    remarks: tuple[str, ...]


def class_files(folder: Path, suffixes: Collection[str], noun: str) -> ClassFiles:
    """Every file below `folder` whose name ends in one of `suffixes`, by class.

    Each sub-folder is a class. Sub-folders named train and test (or val), or train alone, hold the
    classes one level deeper. `noun` is what a file is called in messages. Raises FileError where
    the folder is not there, DataError where it has no sub-folders, one of them is empty, or there
    is one class.
    """
    parts = _folders(folder, noun)
    training = next((part for part in parts if part.name.lower() in _TRAINING), None)
    test = next((p for name in _HELD_OUT for p in parts if p.name.lower() == name), None)
    remarks: list[str] = []
    loose = _loose(folder, suffixes)
    if training is not None and len(parts) == 1:  # without a test folder beside it
        loose += _loose(training, suffixes)
        parts = _folders(training, noun)
    if training is None or test is None:
        files, names, ignored = _labelled(parts, suffixes, noun)
        test_count = 0
    else:
        files, names, ignored = _labelled(_folders(training, noun), suffixes, noun)
        more, more_names, more_ignored = _labelled(_folders(test, noun), suffixes, noun)
        loose += _loose(training, suffixes) + _loose(test, suffixes)
        extra = sorted(set(more_names) - set(names))
        if extra:
            raise DataError(
                f"{test} has the class {extra[0]!r}, which {training} does not have",
                do="give both folders the same classes",
            )
        remarks.append(f"held out: the {len(more)} {noun}s of {test.name}/")
        unseen = [p.name for p in parts if p not in (training, test)]
        if unseen:
            remarks.append(f"not looked at: {listed(unseen)}")
        files, names, ignored = files + more, names + more_names, ignored + more_ignored
        test_count = len(more)
    if loose:
        plural = "" if len(loose) == 1 else "s"
        remarks.append(
            f"left out {len(loose)} {noun}{plural} in no folder of a class ({loose[0].name}"
            f"{', ...' * (len(loose) > 1)})"
        )
    if ignored:
        kinds = sorted({file.suffix or file.name for file in ignored})
        plural = "" if len(ignored) == 1 else "s"
        count = f"{len(ignored)} file{plural} that {'is' if not plural else 'are'} no {noun}"
        remarks.append(f"ignored {count}{plural} ({listed(kinds)})")
    classes = tuple(sorted(set(names)))
    task = class_task(classes, None, str(folder))
    index = {name: i for i, name in enumerate(classes)}
    labels = tuple(index[name] for name in names)
    return ClassFiles(tuple(files), labels, classes, task, test_count, tuple(remarks))


def only_files(found: ClassFiles, kept: list[int], folder: Path, noun: str) -> ClassFiles:
    """Those files that could be read, by their places; every class must have one to be trained
    on. Raises DataError where one has none."""
    if len(kept) == len(found.files):
        return found
    first_test = len(found.files) - found.test_files
    labels = tuple(found.labels[i] for i in kept)
    seen = {found.labels[i] for i in kept if i < first_test}
    for index, name in enumerate(found.classes):
        if index not in seen:
            raise DataError(
                f"no {noun} of the class {name!r} can be read",
                where=str(folder),
                do=f"mend the {noun}s, or remove the folder of the class",
            )
    files = tuple(found.files[i] for i in kept)
    test_files = sum(i >= first_test for i in kept)
    return ClassFiles(files, labels, found.classes, found.task, test_files, found.remarks)


def named_files(data: object, suffixes: Collection[str], noun: str) -> list[Path]:
    """The files that a path, a folder or a list of paths names. Raises FileError where there is
    none, DataError for a folder without such files, UsageError for anything else."""
    if isinstance(data, str | os.PathLike):
        path = Path(data)
        if path.is_dir():
            return _files_below(path, suffixes, noun)
        if not path.exists():
            raise FileError(f"there is no file or folder {path}", do=CHECK_PATH)
        return [path]
    if isinstance(data, list | tuple) and all(isinstance(d, str | os.PathLike) for d in data):
        return [Path(d) for d in data]
    raise UsageError(
        f"{noun}s do not come as a {type(data).__name__}",
        do=f"give a {noun}, a folder of {noun}s, a list of paths, or an array",
    )


def _files_below(folder: Path, suffixes: Collection[str], noun: str) -> list[Path]:
    """Every file of the kind below a folder, in order of path; DataError where there is none."""
    found = [file for file in _visible(folder) if file.suffix.lower() in suffixes]
    if not found:
        raise DataError(
            f"there is no {noun} in {folder}",
            do=f"known by their names: {listed(sorted(suffixes))}",
        )
    return found


def _folders(folder: Path, noun: str) -> list[Path]:
    try:
        inside = sorted(folder.iterdir())
    except FileNotFoundError:
        raise FileError(f"there is no folder {folder}") from None
    except OSError as error:
        raise FileError(f"{folder} cannot be read: {error.strerror or error}") from None
    found = [path for path in inside if path.is_dir() and not path.name.startswith(".")]
    if not found:
        raise DataError(
            f"{folder} has no sub-folders, whose names would be the classes",
            do=f"put the {noun}s of each class into a folder of their own: "
            f"{folder.name}/CLASS/{noun}s",
        )
    return found


def _loose(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """The files that lie beside the folders of the classes."""
    inside = sorted(folder.iterdir())
    return [p for p in inside if p.suffix.lower() in suffixes and p.is_file() and p.name[0] != "."]


def _labelled(
    folders: list[Path], suffixes: Collection[str], noun: str
) -> tuple[list[Path], list[str], list[Path]]:
    files: list[Path] = []
    names: list[str] = []
    ignored: list[Path] = []
    for folder in folders:
        inside = _visible(folder)
        own = [file for file in inside if file.suffix.lower() in suffixes]
        if not own:
            held = f"it holds {inside[0].name}" if inside else "it is empty"
            raise DataError(
                f"the folder {folder} has no {noun} in it",
                where=f"{held}; known by their names: {listed(sorted(suffixes))}",
                do=f"put {noun}s of the class {folder.name!r} into it, or remove it",
            )
        files += own
        names += [folder.name] * len(own)
        ignored += [file for file in inside if file not in set(own)]
    return files, names, ignored


def _visible(folder: Path) -> list[Path]:
    """The files below a folder in a fixed order, without hidden ones and what file managers
    leave behind."""
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        kept = (n for n in files if not n.startswith(".") and n.lower() not in _LITTER)
        found += [Path(place, name) for name in kept]
    return sorted(found)
