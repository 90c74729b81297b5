"""Folders of pictures by class, as arrays: `ImageFolder`, and its encoder."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.data.class_folders import class_files, named_files, only_files
from chainrule.data.dataset import JSON, Dataset, numbers
from chainrule.data.fields import Fields
from chainrule.data.labels import listed
from chainrule.data.pictures import SUFFIXES, Picture, read_picture
from chainrule.data.source import Parts, Rows, Source, check_unreadable, divided
from chainrule.data.target import Target
from chainrule.errors import DataError, ShapeError, UsageError

Size = tuple[int, int]
_KINDS = {1: "grey", 3: "colour"}


@dataclass(frozen=True)
class ImageFolder(Source):
    """Pictures in sub-folders that are named after their classes.

    `size` is the height and width that every picture is brought to (one number for a square): it
    is scaled until it covers that, and its centre is cut out. Without it all must be of one size.
    `unreadable` says what happens to a file that is no whole picture: "fatal" or "skip". Where a
    single picture is in colour all have three channels, else one.
    """

    path: str | os.PathLike[str]
    size: int | Size | None = None
    unreadable: str = "fatal"

    def __post_init__(self) -> None:
        check_unreadable(self.unreadable)
        if isinstance(self.size, int):
            object.__setattr__(self, "size", (self.size, self.size))
        given: tuple[Any, ...] = self.box or ()
        whole = len(given) == 2 and all(isinstance(n, int) and n > 0 for n in given)
        if self.size is not None and not whole:
            raise UsageError(f"the size of images is {self.size!r}", do="give (height, width)")

    @property
    def box(self) -> Size | None:
        """The size as (height, width)."""
        return None if self.size is None or isinstance(self.size, int) else self.size

    def parts(self, validation: float | None, seed: int) -> Parts:
        """The pictures as float32 [rows, height, width, channels], 0 to 1, in order of class and
        path. Raises DataError for folders and files that cannot be learned from, FileError where
        there is no such folder, UsageError without Pillow."""
        folder = Path(self.path)
        found = class_files(folder, SUFFIXES, "picture")
        pictures, kept, skipped = _read_all(found.files, self.box, self.unreadable)
        found = only_files(found, kept, folder, "picture")
        pixels = _stacked(pictures, found.files, self.box)
        shape = pixels.shape[1:]
        target = Target("class", found.task, "text", found.classes)
        remarks = (*_remarks(pictures, shape[2], self.box), *skipped, *found.remarks)
        encoder = ImageEncoder(
            folder.name, len(pixels), shape[:2], shape[2], self.box is not None, target, remarks
        )
        source: dict[str, JSON] = {
            "kind": "images",
            "path": str(self.path),
            "size": None if self.box is None else list(self.box),
            "unreadable": self.unreadable,
            "image_shape": list(shape),
        }
        if found.test_files:
            source["test_rows"] = found.test_files
        names = tuple(str(file.relative_to(folder)) for file in found.files)
        y = np.array(found.labels, np.int64)
        dataset = Dataset(
            folder.name, scaled(pixels), y, found.task, found.classes, (), source, names
        )
        return Parts(dataset, encoder, *divided(dataset, validation, seed))

    @classmethod
    def from_json(cls, source: dict[str, Any], path: str) -> ImageFolder:
        """The folder that a data set's `source` tells of, where it is now."""
        return cls(
            path, None if source["size"] is None else tuple(source["size"]), source["unreadable"]
        )


@dataclass(frozen=True)
class ImageEncoder:
    """Reads pictures as those that a network was trained on."""

    name: str
    rows: int
    size: Size  # height, width
    channels: int  # 1 or 3
    fits: bool  # whether pictures of another size are scaled and cut
    target: Target
    remarks: tuple[str, ...] = ()

    def read(self, data: object, notes: list[str], unreadable: str = "fatal") -> Rows:
        """float32 [rows, height, width, channels] from a picture, a folder of them, a list of
        paths, or an array [rows, height, width(, channels)] of bytes or of shares of 1.

        Raises DataError for what cannot be read or is of another size, FileError for a path that
        is not there, ShapeError for an array of another shape.
        """
        if isinstance(data, np.ndarray):
            return Rows(self._from_array(data))
        files = named_files(data, SUFFIXES, "picture")
        pictures, kept, skipped = _read_all(files, self.size if self.fits else None, unreadable)
        notes += [*_remarks(pictures, self.channels, None), *skipped]
        files = [files[i] for i in kept]
        for file, picture in zip(files, pictures, strict=True):
            if picture.pixels.shape[:2] != self.size:
                raise DataError(
                    f"the picture {file} is {_by(picture.pixels.shape)} pixels, and the network "
                    f"takes {_by(self.size)}",
                    do="scale it, or train with a size that every picture is brought to "
                    "(--image-size)",
                )
        colour = sum(picture.pixels.shape[2] > self.channels for picture in pictures)
        if colour:
            notes.append(f"{colour} of {len(files)} pictures are in colour; read as grey")
        pixels = np.stack([as_channels(p.pixels, self.channels) for p in pictures])
        return Rows(scaled(pixels), {"file": [str(file) for file in files]})

    def _from_array(self, array: NDArray[Any]) -> NDArray[np.float32]:
        shape = (*self.size, self.channels)
        if array.shape[1:] == shape[:2] and self.channels == 1:
            array = array[..., None]
        if array.shape[1:] != shape:
            raise ShapeError(
                f"the array has rows of shape {array.shape[1:]}, and the network takes {shape}",
                do="give [rows, height, width, channels]",
            )
        return scaled(array) if array.dtype == np.uint8 else numbers(array, "X")

    def decode(self, outputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """The class and the probability of each; see `Target.decode`."""
        return self.target.decode(outputs)

    def describe(self) -> str:
        """One line: the pictures, their size, the classes."""
        classes = self.target.classes
        return (
            f"{self.name}: {self.rows} pictures, {_by(self.size)} pixels, "
            f"{_KINDS[self.channels]} -> {len(classes)} classes: {listed(classes)}"
        )

    def notes(self) -> tuple[str, ...]:
        """What was converted or left out, a line each."""
        return self.remarks

    def to_json(self) -> dict[str, JSON]:
        """The encoder as JSON values."""
        return {
            "kind": "images",
            "name": self.name,
            "rows": self.rows,
            "size": list(self.size),
            "channels": self.channels,
            "fits": self.fits,
            "target": self.target.to_json(),
            "remarks": list(self.remarks),
        }

    @classmethod
    def from_json(cls, json: JSON) -> ImageEncoder:
        """The inverse of `to_json`; raises DamagedFileError for anything else."""
        fields = Fields(json, "the image encoder")
        size, channels = fields.list("size"), fields.count("channels")
        whole = all(isinstance(n, int) and n > 0 for n in size)
        fields.check(len(size) == 2 and whole, "size")
        fields.check(channels in _KINDS, "channels")
        target = Target.from_json(fields.object("target"))
        name, rows, remarks = fields.text("name"), fields.count("rows"), fields.names("remarks")
        fits = bool(fields.json.get("fits"))
        return cls(name, rows, (size[0], size[1]), channels, fits, target, remarks)


def image_encoder(dataset: Dataset) -> ImageEncoder | None:
    """The encoder for a set that has a name and holds pictures [rows, height, width, channels] of
    classes; None for another one."""
    if dataset.x.ndim != 4 or not dataset.classes:
        return None
    height, width, channels = dataset.x.shape[1:]
    target = Target("class", dataset.task, "text", dataset.classes)
    return ImageEncoder(dataset.name, dataset.rows, (height, width), channels, False, target)


def scaled(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Bytes as shares of 1, float32 of the same shape."""
    return np.divide(pixels, np.float32(255), dtype=np.float32)


def as_channels(pixels: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """Pixels [height, width, 1 or 3] with 1 or 3 channels; grey is the luma of ITU-R BT.601."""
    if pixels.shape[2] == channels:
        return pixels
    if channels == 3:
        return np.concatenate([pixels] * 3, axis=2)
    luma: NDArray[np.float64] = pixels @ np.array([0.299, 0.587, 0.114])
    return np.rint(luma).astype(np.uint8)[..., None]


def _read_all(
    files: Sequence[Path], size: Size | None, unreadable: str
) -> tuple[list[Picture], list[int], list[str]]:
    """The pictures that can be read, their places in `files`, and a remark on the others."""
    pictures, kept, bad = [], [], []
    for place, file in enumerate(files):
        try:
            pictures.append(read_picture(file, size))
            kept.append(place)
        except DataError:
            if unreadable == "fatal":
                raise
            bad.append(str(file))
    if not pictures:
        raise DataError(f"none of the {len(files)} pictures can be read", where=listed(bad, 3))
    left_out = f"{len(bad)} picture{'' if len(bad) == 1 else 's'} that cannot be read"
    return pictures, kept, [f"left out {left_out}: {listed(bad, 5)}"] if bad else []


def _stacked(
    pictures: list[Picture], files: Sequence[Path], size: Size | None
) -> NDArray[np.uint8]:
    """One array of all pictures; DataError, which names two of them, where sizes differ."""
    shapes = Counter(picture.pixels.shape[:2] for picture in pictures)
    if len(shapes) > 1:
        (common, _), *_ = shapes.most_common()
        places = [p.pixels.shape[:2] for p in pictures]
        odd = next(i for i, shape in enumerate(places) if shape != common)
        raise DataError(
            f"the pictures differ in size: {files[odd]} is {_by(places[odd])} pixels, and "
            f"{files[places.index(common)]} is {_by(common)}",
            where=f"{len(shapes)} different sizes in {len(files)} pictures",
            do="bring them to one size, such as --image-size 64x64 (in Python: size=(64, 64)): "
            "each is scaled until it covers that, and its centre is cut out",
        )
    channels = max(picture.pixels.shape[2] for picture in pictures)
    pixels = np.empty((len(pictures), *pictures[0].pixels.shape[:2], channels), np.uint8)
    for row, picture in zip(pixels, pictures, strict=True):
        row[:] = as_channels(picture.pixels, channels)
    return pixels


def _remarks(pictures: list[Picture], channels: int, size: Size | None) -> list[str]:
    """One line on what the pictures were and what was done to them."""
    done = Counter(what for picture in pictures for what in picture.done)
    grey = sum(picture.pixels.shape[2] == 1 for picture in pictures)
    parts = [f"{grey} grey ones in three channels"] if channels == 3 and grey else []
    words = {
        "turned": "turned as their EXIF tags say",
        "alpha over white": "with transparency, laid over white",
        "16 to 8 bits": "of 16 bits, taken as 8",
        "first frame": "of several frames, of which the first counts",
    }
    parts += [f"{done[what]} {text}" for what, text in words.items() if done[what]]
    if size is not None:
        parts.append(f"all scaled and cut to {_by(size)}")
    return [f"pictures: {', '.join(parts)}"] if parts else []


def _by(shape: Sequence[int]) -> str:
    return f"{shape[1]} x {shape[0]}"  # width first, as people say it
