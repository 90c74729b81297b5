"""Public data sets that do not come with the package: found on this machine, or downloaded.

A set lies in a folder of its own name below a directory that `CHAINRULE_DATA` names, or below
the user's cache, where `download` puts it. Whatever a file is called and wherever it came from, it
must hold the bytes that were published: their sha256 is compared each time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule import config
from chainrule.data.dataset import Dataset
from chainrule.data.fetching import fetched
from chainrule.data.idx import parse_idx, plain_bytes
from chainrule.errors import DamagedFileError, FileError, unknown
from chainrule.store import make_directory, write_atomic


@dataclass(frozen=True)
class NamedSet:
    """Images and labels in four IDX files, and where they are published.

    `files` maps "train-images" and so on to the sha256 of what the file holds, not compressed.
    """

    name: str
    about: str
    licence: str
    size: str  # of all files, as they are downloaded
    classes: tuple[str, ...]
    folders: tuple[str, ...]  # where it may lie below a data directory
    homes: tuple[str, ...]  # addresses that the names of the files are put behind
    files: dict[str, str]


_FILE_NAMES = {
    "train-images": "train-images-idx3-ubyte",
    "train-labels": "train-labels-idx1-ubyte",
    "test-images": "t10k-images-idx3-ubyte",
    "test-labels": "t10k-labels-idx1-ubyte",
}

SETS: dict[str, NamedSet] = {
    "mnist": NamedSet(
        "mnist",
        "70,000 handwritten digits, 28 x 28 pixels, 10 classes (LeCun, Cortes and Burges 1998)",
        "CC BY-SA 3.0",
        "11 MB",
        tuple("0123456789"),
        ("mnist", "MNIST/raw"),
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        {
            "train-images": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train-labels": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "test-images": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "test-labels": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
    ),
    "fashion-mnist": NamedSet(
        "fashion-mnist",
        "70,000 pictures of clothes, 28 x 28 pixels, 10 classes (Xiao, Rasul and Vollgraf 2017)",
        "MIT",
        "30 MB",
        tuple(
            "T-shirt/top,trouser,pullover,dress,coat,sandal,shirt,sneaker,bag,ankle boot".split(",")
        ),
        ("fashion-mnist", "FashionMNIST/raw"),
        ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        {
            "train-images": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "train-labels": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "test-images": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "test-labels": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
    ),
}

NAMED: dict[str, str] = {name: one.about for name, one in SETS.items()}


def load_named(name: str) -> Dataset:
    """One of the sets in `NAMED`, from this machine: nothing is downloaded.

    `x` is float32 [70000, 28, 28, 1], 0 (paper) to 1 (ink), 220 MB for these sets, four times the
    bytes of the files, which spares every step the division. `source["test_rows"]` counts the
    rows of the official test set, the last ones, which `train` holds out. Raises FileError, which
    says how to get the files, where they are not here, DamagedFileError for a file that does not
    hold what was published, UsageError for an unknown name.
    """
    chosen = _set(name)
    paths = {role: _find(chosen, role) for role in chosen.files}
    arrays = {role: _checked(path, chosen.files[role]) for role, path in paths.items()}
    parts = arrays["train-images"], arrays["test-images"]
    rows = [len(part) for part in parts]
    x = np.empty((sum(rows), *parts[0].shape[1:], 1), np.float32)
    for part, place in zip(parts, (x[: rows[0]], x[rows[0] :]), strict=True):
        np.divide(part, np.float32(255), out=place[..., 0], dtype=np.float32)
    y = np.concatenate([arrays["train-labels"], arrays["test-labels"]]).astype(np.int64)
    shape = list(x.shape[1:3])
    return Dataset(
        name,
        x,
        y,
        "multiclass",
        chosen.classes,
        (),
        {
            "kind": "named",
            "name": name,
            "about": chosen.about,
            "licence": chosen.licence,
            "image_shape": [*shape, 1],
            "test_rows": rows[1],
        },
    )


def download(name: str, say: Callable[[str], Any] = lambda line: None) -> Path:
    """Fetches what of a named set is not on this machine into the user's cache; its folder there.

    `say` receives a line for each file. Raises FileError where no home of the set answers, or none
    has the published file, UsageError for an unknown name.
    """
    chosen = _set(name)
    folder = config.user_cache() / "data" / name
    for role in chosen.files:
        if next(_places(chosen, role), None) is None:
            make_directory(folder)
            _fetch(chosen, role, folder / f"{_FILE_NAMES[role]}.gz", say)
    return folder


def _set(name: str) -> NamedSet:
    if name not in SETS:
        raise unknown("data set", name, SETS)
    return SETS[name]


def _places(chosen: NamedSet, role: str) -> Iterator[Path]:
    """The files there are for a role, the first to be taken."""
    below = [Path(base) / folder for base in config.DATA for folder in chosen.folders]
    itself = [Path(base) for base in config.DATA if Path(base).name == chosen.name]
    stem = _FILE_NAMES[role]
    for folder in (*below, *itself, config.user_cache() / "data" / chosen.name):
        for file in (stem, f"{stem}.gz", stem.replace("-idx", ".idx")):
            if (folder / file).is_file():
                yield folder / file


def _find(chosen: NamedSet, role: str) -> Path:
    found = next(_places(chosen, role), None)
    if found is None:
        looked = ", ".join([*config.DATA, str(config.user_cache() / "data")])
        raise FileError(
            f"{chosen.name} is not on this machine: there is no {chosen.name}/{_FILE_NAMES[role]}"
            "(.gz)",
            where=f"looked in {looked}",
            do=f"download it ({chosen.size}): chainrule train {chosen.name} --download; in Python: "
            f"chainrule.data.download({chosen.name!r}); or name the directory that holds the "
            f"folder {chosen.name} in CHAINRULE_DATA",
        )
    return found


def _checked(path: Path, digest: str) -> NDArray[Any]:
    """The array in a file that must hold the published bytes."""
    content = plain_bytes(path)
    array = parse_idx(content, str(path))
    if hashlib.sha256(content).hexdigest() != digest:
        raise DamagedFileError(
            f"{path} does not hold what was published: its checksum is another",
            do="remove it and download the set again (--download), or train on files of your own "
            "as a folder of images or as arrays",
        )
    return array


def _fetch(chosen: NamedSet, role: str, target: Path, say: Callable[[str], Any]) -> None:
    """Downloads one file, from the first home that has it; it is kept only when its checksum is
    right."""
    why = ""
    for home in chosen.homes:
        say(f"downloading {home}{target.name}")
        try:
            write_atomic(target, fetched(f"{home}{target.name}"))
            _checked(target, chosen.files[role])
        except FileError as error:
            target.unlink(missing_ok=True)
            why = error.what
        else:
            return
    raise FileError(
        f"{chosen.name} could not be downloaded",
        where=why,
        do=f"try again later, or put the files into a folder {chosen.name} below a directory that "
        "CHAINRULE_DATA names",
    )
