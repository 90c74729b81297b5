"""Folders of sounds by class, as log-mel features: `SoundFolder`, and its encoder."""

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
from chainrule.data.dataset import JSON, Dataset
from chainrule.data.fields import Fields
from chainrule.data.labels import listed
from chainrule.data.log_mel import LogMel, resampled
from chainrule.data.sound_files import SUFFIXES, SoundInfo, read_sound, sound_info
from chainrule.data.source import Parts, Rows, Source, check_unreadable, divided
from chainrule.data.target import Target
from chainrule.errors import DataError, ShapeError, UsageError

_USUAL_LENGTH = 0.95  # of the training sounds are no longer; a single long one would fill up all


@dataclass(frozen=True)
class SoundFolder(Source):
    """Sounds in sub-folders that are named after their classes.

    Every sound is brought to `rate` samples a second (None: the commonest rate of the folder) and
    to `seconds` (None: as long as 95 % of the training sounds are at most): longer ones are cut,
    shorter ones end in silence. Channels are averaged. A frame of 25 ms, one every 10 ms, has
    `bands` features. `unreadable` says what happens to a file that is no sound: "fatal" or "skip".
    """

    path: str | os.PathLike[str]
    rate: int | None = None
    seconds: float | None = None
    bands: int = 40
    unreadable: str = "fatal"

    def __post_init__(self) -> None:
        check_unreadable(self.unreadable)
        if self.rate is not None and self.rate < 100:
            raise UsageError(f"the rate is {self.rate!r}", do="give samples a second, such as 8000")
        if self.seconds is not None and not 0 < self.seconds < 3600:
            raise UsageError(f"seconds are {self.seconds!r}", do="give a length above 0, such as 2")

    def parts(self, validation: float | None, seed: int) -> Parts:
        """The sounds as float32 [rows, frames, bands], standardised with the training rows, with a
        mask of the frames that hold sound. Raises DataError for folders and files that cannot be
        learned from, FileError where there is no such folder, UsageError without soundfile."""
        folder = Path(self.path)
        found = class_files(folder, SUFFIXES, "sound")
        infos, kept, skipped = _infos(found.files, self.unreadable)
        found = only_files(found, kept, folder, "sound")
        y = np.array(found.labels, np.int64)
        source: dict[str, JSON] = {
            "kind": "sounds",
            "path": str(self.path),
            "rate": self.rate,
            "seconds": self.seconds,
            "bands": self.bands,
            "unreadable": self.unreadable,
        }
        if found.test_files:
            source["test_rows"] = found.test_files
        empty = np.zeros((len(y), 0), np.float32)
        frame = Dataset(folder.name, empty, y, found.task, found.classes, source=source)
        train_rows, held_out_rows = divided(frame, validation, seed)
        rate = self.rate or Counter(i.rate for i in infos).most_common(1)[0][0]
        features = LogMel.usual(rate, self.bands)
        lengths = _lengths(infos, rate)
        samples = _samples(self.seconds, rate, lengths[train_rows], features)
        x = np.empty((len(y), features.frames(samples), self.bands), np.float32)
        for row, file in zip(x, found.files, strict=True):
            row[:] = features(_fitted(*read_sound(file), rate, samples))
        means, stds = _statistics(x, train_rows)
        x -= means
        x /= stds
        target = Target("class", found.task, "text", found.classes)
        encoder = SoundEncoder(
            folder.name,
            len(y),
            features,
            samples,
            tuple(map(float, means)),
            tuple(map(float, stds)),
            target,
            (*_remarks(infos, lengths, rate, samples), *skipped, *found.remarks),
        )
        frames = np.minimum([features.frames(int(n)) for n in lengths], x.shape[1])
        dataset = Dataset(
            folder.name,
            x,
            y,
            found.task,
            found.classes,
            source=source,
            row_names=tuple(str(file.relative_to(folder)) for file in found.files),
            mask=np.arange(x.shape[1]) < frames[:, None],
        )
        return Parts(dataset, encoder, train_rows, held_out_rows)

    @classmethod
    def from_json(cls, source: dict[str, Any], path: str) -> SoundFolder:
        """The folder that a data set's `source` tells of, where it is now."""
        names = ("rate", "seconds", "bands", "unreadable")
        return cls(path, **{name: source[name] for name in names})


@dataclass(frozen=True)
class SoundEncoder:
    """Reads sounds as those that a network was trained on."""

    name: str
    rows: int
    features: LogMel
    samples: int  # of every sound
    means: tuple[float, ...]  # of each band
    stds: tuple[float, ...]
    target: Target
    remarks: tuple[str, ...] = ()

    def read(self, data: object, notes: list[str], unreadable: str = "fatal") -> Rows:
        """float32 [rows, frames, bands] from a sound file, a folder of them, a list of paths, or an
        array of samples [rows, any number] at the encoder's rate, between -1 and 1. Raises
        DataError for what cannot be read, FileError for a path that is not there."""
        rate = self.features.rate
        if isinstance(data, np.ndarray):
            if data.ndim != 2 or data.dtype.kind != "f":
                raise ShapeError(
                    f"the samples have the shape {data.shape} and the dtype {data.dtype}",
                    do="give floats [rows, samples] between -1 and 1",
                )
            if data.shape[1] > self.samples:
                notes.append(f"sounds: all cut to {self.samples / rate:.3g} s")
            return Rows(np.stack([self._of(samples, rate) for samples in data]))
        files = named_files(data, SUFFIXES, "sound")
        infos, kept, skipped = _infos(files, unreadable)
        notes += [*_remarks(infos, _lengths(infos, rate), rate, self.samples), *skipped]
        files = [files[i] for i in kept]
        return Rows(
            np.stack([self._of(*read_sound(file)) for file in files]),
            {"file": [str(file) for file in files]},
        )

    def _of(self, samples: NDArray[np.floating], rate: int) -> NDArray[np.float32]:
        features = self.features(_fitted(samples, rate, self.features.rate, self.samples))
        features -= np.array(self.means, np.float32)
        features /= np.array(self.stds, np.float32)
        return features

    def decode(self, outputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """The class and the probability of each; see `Target.decode`."""
        return self.target.decode(outputs)

    def describe(self) -> str:
        """One line: the sounds, their length, the classes."""
        classes = self.target.classes
        return (
            f"{self.name}: {self.rows} sounds, {self.samples / self.features.rate:.3g} s at "
            f"{self.features.rate} Hz, {self.features.frames(self.samples)} frames of "
            f"{self.features.bands} bands -> {len(classes)} classes: {listed(classes)}"
        )

    def notes(self) -> tuple[str, ...]:
        """What was resampled, cut or left out, a line each."""
        return self.remarks

    def to_json(self) -> dict[str, JSON]:
        """The encoder as JSON values."""
        return {
            "kind": "sounds",
            "name": self.name,
            "rows": self.rows,
            "rate": self.features.rate,
            "frame": self.features.frame,
            "hop": self.features.hop,
            "samples": self.samples,
            "means": list(self.means),
            "stds": list(self.stds),
            "target": self.target.to_json(),
            "remarks": list(self.remarks),
        }

    @classmethod
    def from_json(cls, json: JSON) -> SoundEncoder:
        """The inverse of `to_json`; raises DamagedFileError for anything else."""
        fields = Fields(json, "the sound encoder")
        means, stds = fields.list("means"), fields.list("stds")
        fields.check(all(isinstance(mean, float) for mean in means), "means")
        fields.check(all(isinstance(std, float) and std > 0 for std in stds), "stds")
        fields.check(len(means) == len(stds) > 0, "stds")
        sizes = {name: fields.count(name) for name in ("rate", "frame", "hop", "samples")}
        for name, size in sizes.items():
            fields.check(size > 0, name)
        samples = sizes.pop("samples")
        return cls(
            fields.text("name"),
            fields.count("rows"),
            LogMel(**sizes, bands=len(means)),
            samples,
            tuple(means),
            tuple(stds),
            Target.from_json(fields.object("target")),
            fields.names("remarks"),
        )


def _infos(files: Sequence[Path], unreadable: str) -> tuple[list[SoundInfo], list[int], list[str]]:
    """The headers of the sounds that can be read, their places in `files`, and a remark on the
    others; each is read once, so that nothing is found out later."""
    infos, kept, bad = [], [], []
    for place, file in enumerate(files):
        try:
            info = sound_info(file)
            read_sound(file)
            infos.append(info)
            kept.append(place)
        except DataError:
            if unreadable == "fatal":
                raise
            bad.append(str(file))
    if not infos:
        raise DataError(f"none of the {len(files)} sounds can be read", where=listed(bad, 3))
    left_out = f"{len(bad)} sound{'' if len(bad) == 1 else 's'} that cannot be read"
    return infos, kept, [f"left out {left_out}: {listed(bad, 5)}"] if bad else []


def _lengths(infos: Sequence[SoundInfo], rate: int) -> NDArray[np.int64]:
    """How many samples each sound has at this rate."""
    return np.array([-(-info.samples * rate // info.rate) for info in infos])


def _samples(seconds: float | None, rate: int, lengths: NDArray[np.int64], features: LogMel) -> int:
    """How many samples every sound is brought to, at least one frame."""
    if seconds is not None:
        return max(features.frame, round(seconds * rate))
    usual = int(np.sort(lengths)[int(_USUAL_LENGTH * (len(lengths) - 1))])
    return max(features.frame, usual)


def _fitted(
    samples: NDArray[np.floating], rate: int, wanted: int, count: int
) -> NDArray[np.float64]:
    """Samples at the wanted rate and of the wanted number: the beginning, or silence behind."""
    found = resampled(samples[: -(-count * rate // wanted) + rate], rate, wanted)[:count]
    return np.pad(found, (0, count - len(found)))


def _statistics(
    x: NDArray[np.float32], rows: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The mean and the standard deviation of each band over the training rows, silence with it."""
    total = np.zeros(x.shape[2])
    squares = np.zeros(x.shape[2])
    for row in rows.tolist():  # in float64 without a copy of all
        values = x[row].astype(np.float64)
        total += values.sum(axis=0)
        squares += (values**2).sum(axis=0)
    count = len(rows) * x.shape[1]
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return mean.astype(np.float32), np.where(std > 1e-6, std, 1).astype(np.float32)


def _remarks(
    infos: Sequence[SoundInfo], lengths: NDArray[np.int64], rate: int, samples: int
) -> list[str]:
    """One line on what was done to the sounds."""
    other = sum(info.rate != rate for info in infos)
    several = sum(info.channels > 1 for info in infos)
    long = int((lengths > samples).sum())
    parts = [f"{other} resampled to {rate} Hz"] if other else []
    parts += [f"{several} of several channels averaged"] if several else []
    parts += [f"{long} cut to {samples / rate:.3g} s"] if long else []
    return [f"sounds: {', '.join(parts)}"] if parts else []
