"""Plain text to learn a language model from: `TextCorpus`, and its encoder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.data.chunking import Streams, chunks, streams
from chainrule.data.dataset import JSON, Dataset
from chainrule.data.fields import Fields
from chainrule.data.labels import listed
from chainrule.data.source import Parts, Rows, Source
from chainrule.data.target import Target
from chainrule.data.vocabulary import (
    UNKNOWN,
    Vocabulary,
    check_count,
    check_level,
    fit_vocabulary,
    read_text,
)
from chainrule.errors import DataError, FileError, ShapeError, UsageError

HELD_OUT = 0.1  # of a text; its end
MOST_WORDS = 10_000
SUFFIXES = frozenset((".txt", ".text", ".md"))


@dataclass(frozen=True)
class TextCorpus(Source):
    """A text file, or a folder of them, of which a network learns to say what comes next.

    `level` is "character" or "word" (of words the `most` frequent that occur twice or more; others
    are `UNKNOWN`). Rows are `context` tokens long. With `streams` they lie for truncated
    backpropagation through time (`chainrule.data.chunking`), each file a document; without, files
    follow one another. What is held out is the end of the text, a tenth unless told otherwise:
    `held_out` characters, whatever `validation` says.
    """

    path: str | os.PathLike[str]
    level: str = "character"
    context: int = 64
    streams: int = 0
    held_out: int | None = None
    most: int = MOST_WORDS

    def __post_init__(self) -> None:
        check_level(self.level)
        check_count("context", self.context, 1)
        check_count("streams", self.streams, 0)
        check_count("most", self.most, 1)

    def parts(self, validation: float | None, seed: int) -> Parts:
        """Tokens as int32 rows [rows, context], and as targets the tokens after them; the rows of
        the held-out end are the last ones.

        `validation` is a share of the characters, or a number of them. Raises FileError
        for text that cannot be read, DataError for too little of it, UsageError for `validation`.
        """
        path = Path(self.path)
        files = text_files(path)
        texts = [read_text(file) for file in files]
        if not any(text.strip() for text in texts):
            raise DataError(f"{path} has no text in it", do="give a file of plain text")
        train, held_out = cut(texts, validation if self.held_out is None else self.held_out)
        least, most = (2, self.most) if self.level == "word" else (1, None)
        first = (UNKNOWN,) if self.level == "word" else ()
        vocabulary = fit_vocabulary(train, self.level, most=most, least=least, first=first)
        if len(vocabulary) < 2:
            raise DataError(f"{path} is one {self.level} over and over: there is nothing to learn")
        found = [self._rows(vocabulary, part, path) for part in (train, held_out) if part]
        if any(part.mask is not None for part in found):  # a single document has none
            found = [
                replace(p, mask=np.ones(p.x.shape, np.bool_)) if p.mask is None else p
                for p in found
            ]
        x, y = (np.concatenate([getattr(part, name) for part in found]) for name in "xy")
        masks = [part.mask for part in found if part.mask is not None]
        rows = len(found[0].x)
        target = Target("next", "multiclass", "text", vocabulary.symbols)
        characters = sum(map(len, texts))
        remarks = (*_beside(path, len(files)), *_remarks(vocabulary, train, held_out))
        encoder = CorpusEncoder(path.name, characters, vocabulary, self.context, target, remarks)
        source: dict[str, JSON] = {
            "kind": "text",
            "path": str(self.path),
            "level": self.level,
            "context": self.context,
            "streams": self.streams,
            "held_out": sum(map(len, held_out)),
            "most": self.most,
            "test_rows": len(x) - rows,
        }
        dataset = Dataset(
            path.name,
            x,
            y,
            "multiclass",
            vocabulary.symbols,
            source=source,
            mask=np.concatenate(masks) if masks else None,
            streams=self.streams,
            resets=np.concatenate([part.resets for part in found]) if self.streams else None,
            symbols=len(vocabulary),
        )
        return Parts(dataset, encoder, np.arange(rows), np.arange(rows, len(x)))

    def _rows(self, vocabulary: Vocabulary, texts: Sequence[str], path: Path) -> Streams:
        """The rows of a part of the text; chunks begin anew with every row."""
        try:
            if self.streams:
                return streams([vocabulary.encode(t) for t in texts], self.streams, self.context)
            x, y = chunks(vocabulary.encode("\n".join(texts)), self.context)
            return Streams(x, y, None, np.ones(len(x), np.bool_))
        except DataError as error:
            raise DataError(error.what, where=str(path), do=error.do) from None

    @classmethod
    def from_json(cls, source: dict[str, Any], path: str) -> TextCorpus:
        """The corpus that a data set's `source` tells of, where it is now."""
        names = ("level", "context", "streams", "held_out", "most")
        return cls(path, **{name: source[name] for name in names if name in source})


@dataclass(frozen=True)
class CorpusEncoder:
    """Reads text as the symbols that a network was trained on."""

    name: str
    characters: int
    vocabulary: Vocabulary
    context: int
    target: Target
    remarks: tuple[str, ...] = ()

    def read(self, data: object, notes: list[str], unreadable: str = "fatal") -> Rows:
        """Rows of `context` symbols of a text file or of each in a folder (int32), what is left
        over at the end as well: its last row overlaps the one before. An array of symbols [rows,
        any length] is taken as it is. Raises FileError, and DataError for a text shorter than the
        context; in a folder such texts are left out, and said."""
        if isinstance(data, np.ndarray):
            if data.ndim != 2 or data.dtype.kind not in "iu":
                raise ShapeError(
                    f"the symbols have the shape {data.shape} and the dtype {data.dtype}",
                    do="give whole numbers [rows, symbols]",
                )
            return Rows(data.astype(np.int32))
        if not isinstance(data, str | os.PathLike):
            raise UsageError(
                f"text does not come as a {type(data).__name__}", do="give the path of a text file"
            )
        files = text_files(Path(data))
        texts = [read_text(file) for file in files]
        missing = self.vocabulary.missing("\n".join(texts))
        if missing:
            notes.append(_unseen(missing, UNKNOWN in self.vocabulary.index))
        found = [self.vocabulary.encode(text) for text in texts]
        most = max(map(len, found))
        if most < self.context:
            longest = "" if len(found) == 1 else "at most "
            raise DataError(
                f"{data} has {longest}{most} symbols, and the network reads {self.context} at a "
                "time",
                do="give a longer text",
            )
        parts = [self._windows(ids) for ids in found]
        short = sum(not len(part) for part in parts)
        if short:
            notes.append(f"left out, with fewer than {self.context} symbols: {short} of the texts")
        x = np.concatenate(parts)
        names = [file.name for file, part in zip(files, parts, strict=True) for _ in part]
        labels = {"file": names} if Path(data).is_dir() else {}
        return Rows(x, labels | {"text": [self.vocabulary.decode(row) for row in x.tolist()]})

    def _windows(self, ids: NDArray[np.int32]) -> NDArray[np.int32]:
        """The rows of one text, none where it is shorter than a row."""
        last = len(ids) - self.context
        starts = [*range(0, last + 1, self.context)]
        if starts and starts[-1] < last:
            starts.append(last)
        places = np.array(starts, int)[:, None] + np.arange(self.context)
        return ids[places]

    def decode(self, outputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """What comes after each row, the likeliest symbol and its probability, from logits
        [rows, time, symbols]."""
        last = np.asarray(outputs, np.float64)[:, -1]
        weight = np.exp(last - last.max(axis=1, keepdims=True))
        share = weight / weight.sum(axis=1, keepdims=True)
        symbols = np.array(self.vocabulary.symbols, dtype=object)
        return {"next": symbols[last.argmax(axis=1)], "p": share.max(axis=1)}

    def describe(self) -> str:
        """One line: the text, its size, what is predicted."""
        symbols = len(self.vocabulary)
        return (
            f"{self.name}: {self.characters:,} characters, in rows of {self.context} "
            f"{self.vocabulary.level}s -> the next of {symbols:,} different ones"
        )

    def notes(self) -> tuple[str, ...]:
        """What is held out, and what has no number, a line each."""
        return self.remarks

    def to_json(self) -> dict[str, JSON]:
        """The encoder as JSON values."""
        return {
            "kind": "text",
            "name": self.name,
            "characters": self.characters,
            "vocabulary": self.vocabulary.to_json(),
            "context": self.context,
            "remarks": list(self.remarks),
        }

    @classmethod
    def from_json(cls, json: JSON) -> CorpusEncoder:
        """The inverse of `to_json`; raises DamagedFileError for anything else."""
        fields = Fields(json, "the text encoder")
        vocabulary = Vocabulary.from_json(fields.object("vocabulary"))
        context = fields.count("context")
        fields.check(context > 0, "context")
        target = Target("next", "multiclass", "text", vocabulary.symbols)
        name, characters = fields.text("name"), fields.count("characters")
        return cls(name, characters, vocabulary, context, target, fields.names("remarks"))


def text_files(path: Path) -> list[Path]:
    """The file at a path, or the texts in the folder there, in order of name. Raises DataError for
    a folder without any, FileError for one that cannot be read."""
    if not path.is_dir():
        return [path]
    try:
        inside = sorted(p for p in path.iterdir() if p.name[0] != ".")
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}") from None
    found = [p for p in inside if p.suffix.lower() in SUFFIXES and p.is_file()]
    if found:
        return found
    deeper = next((p for p in inside if p.is_dir() and any(map(_is_text, p.glob("*")))), None)
    if deeper is not None:
        raise DataError(
            f"there is no text file in {path} itself, but in {deeper}",
            do="for a language model put the texts side by side into one folder; to tell classes "
            "of texts apart make a table of them: --target CLASS --text COLUMN",
        )
    raise DataError(
        f"there is no text file in {path}",
        where=f"it holds {listed([p.name for p in inside], 3)}" if inside else "it is empty",
        do=f"known by their names: {', '.join(sorted(SUFFIXES))}",
    )


def _is_text(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _beside(path: Path, files: int) -> tuple[str, ...]:
    """What is to be said of a folder: how many texts, and what else lies in it."""
    if not path.is_dir():
        return ()
    others = sorted(
        f"{p.name}/" if p.is_dir() else p.suffix or p.name
        for p in path.iterdir()
        if p.name[0] != "." and (p.is_dir() or not _is_text(p))
    )
    told = f"{files} {'text' if files == 1 else 'texts'}, in order of name"
    return (
        (told, f"ignored what is no text: {listed(sorted(set(others)), 5)}") if others else (told,)
    )


def cut(texts: list[str], validation: float | None) -> tuple[list[str], list[str]]:
    """The training texts and the held-out ones: the end, by characters, a share or a number of
    them. Raises UsageError for any other `validation`."""
    total = sum(map(len, texts))
    share = HELD_OUT if validation is None else validation
    limit = total if isinstance(share, int) else 1
    if isinstance(share, bool) or not 0 <= share < limit:
        raise UsageError(
            f"validation is {validation!r}",
            do=f"give a share of the text such as 0.1, or a number of its {total:,} characters (0 "
            "for none)",
        )
    train: list[str] = []
    held_out: list[str] = []
    left = total - (share if isinstance(share, int) else round(total * share))
    for text in texts:
        head, tail = text[: max(left, 0)], text[max(left, 0) :]
        train += [head] if head else []
        held_out += [tail] if tail else []
        left -= len(text)
    return train, held_out


def _remarks(
    vocabulary: Vocabulary, train: Sequence[str], held_out: Sequence[str]
) -> tuple[str, ...]:
    remarks = []
    if held_out:
        count = sum(map(len, held_out))
        remarks.append(f"held out: the end of the text, {count:,} characters")
    missing = vocabulary.missing("".join((*train, *held_out)))
    if missing:
        remarks.append(_unseen(missing, UNKNOWN in vocabulary.index))
    return tuple(remarks)


def _unseen(missing: dict[str, int], has_unknown: bool) -> str:
    kinds, count = sorted(missing, key=lambda s: (-missing[s], s)), sum(missing.values())
    what = f"read as {UNKNOWN}" if has_unknown else "left out"
    shown = listed([repr(kind) for kind in kinds], 5)
    return f"{what}, since the training text has none or too few of them: {count:,} of {shown}"
