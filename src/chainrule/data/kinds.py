"""The kinds of data there are: which one lies at a path, and each one back from what was saved."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from chainrule.data.corpus import SUFFIXES as TEXTS
from chainrule.data.corpus import CorpusEncoder, TextCorpus
from chainrule.data.dataset import JSON
from chainrule.data.encode import TableEncoder
from chainrule.data.images import ImageEncoder, ImageFolder
from chainrule.data.pictures import SUFFIXES as PICTURES
from chainrule.data.series import Forecast, ForecastEncoder
from chainrule.data.sound_files import SUFFIXES as SOUNDS
from chainrule.data.sounds import SoundEncoder, SoundFolder
from chainrule.data.source import Encoder, Source
from chainrule.data.text_table import SequenceEncoder, TextTable
from chainrule.errors import DamagedFileError, DataError

_ENCODERS: dict[str, Callable[[JSON], Encoder]] = {
    "table": TableEncoder.from_json,
    "images": ImageEncoder.from_json,
    "text": CorpusEncoder.from_json,
    "forecast": ForecastEncoder.from_json,
    "sounds": SoundEncoder.from_json,
    "sequence": SequenceEncoder.from_json,
}
_SOURCES: dict[str, Callable[[dict[str, Any], str], Source]] = {
    "images": ImageFolder.from_json,
    "text": TextCorpus.from_json,
    "text table": TextTable.from_json,
    "forecast": Forecast.from_json,
    "sounds": SoundFolder.from_json,
}


def encoder_from_json(json: Any) -> Encoder:
    """The encoder that was saved; raises DamagedFileError where it is none of ours."""
    kind = json.get("kind", "table") if isinstance(json, dict) else None
    if kind not in _ENCODERS:
        raise DamagedFileError(f"the encoder is damaged: its kind is {kind!r}")
    return _ENCODERS[kind](json)


def source_from_json(source: Mapping[str, Any], path: str) -> Source | None:
    """The source that a data set's `source` tells of, at the path where it is now; None for data
    that a path and a target say all about (tables), or nothing does (arrays)."""
    make = _SOURCES.get(str(source.get("kind")))
    return None if make is None else make(dict(source), path)


def kind_at(path: str | os.PathLike[str]) -> str:
    """What lies at a path: "images", "sounds", "text", or else what is read as a "table".

    A folder is what most of its files are, by their names; texts in it count only where there is
    nothing else, since notes lie beside everything, or where there are more of them than of
    pictures and sounds that lie in no sub-folder. Raises DataError for a folder without any.
    """
    place = Path(path)
    if not place.is_dir():
        return "text" if place.suffix.lower() in TEXTS else "table"
    counts: Counter[str] = Counter()
    flat: Counter[str] | None = None
    for _, folders, files in os.walk(place):
        folders[:] = [name for name in folders if not name.startswith(".")]
        kept = (name for name in files if not name.startswith("."))
        here = Counter(_KIND_OF.get(Path(name).suffix.lower(), "other") for name in kept)
        counts += here
        flat = here if flat is None else flat
    found = max(("images", "sounds"), key=lambda kind: counts[kind])
    if not counts[found] or (flat and counts[found] == flat[found] < flat["text"]):
        found = "text"
    if not counts[found]:
        raise DataError(
            f"there is nothing to learn from in the folder {path}",
            do="give a folder with a sub-folder of pictures or sounds for each class, or one of "
            "texts",
        )
    return found


def source_at(path: str | os.PathLike[str]) -> Source | None:
    """The source for a path, with its defaults; None for what is read as a table. Errors as in
    `kind_at`."""
    make = _MAKE.get(kind_at(path))
    return None if make is None else make(path)


_MAKE: dict[str, Callable[[Any], Source]] = {
    "images": ImageFolder,
    "sounds": SoundFolder,
    "text": TextCorpus,
}
_KIND_OF = {
    suffix: kind
    for kind, suffixes in (("images", PICTURES), ("sounds", SOUNDS), ("text", TEXTS))
    for suffix in suffixes
}
