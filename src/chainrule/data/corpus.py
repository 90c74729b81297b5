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
from chainrule.errors import DataError, ShapeError, UsageError

HELD_OUT = 0.1  # of a text; its end
MOST_WORDS = 10_000
SUFFIXES = frozenset((".txt", ".text", ".md"))


@dataclass(frozen=True)
class TextCorpus(Source):
    """A text file, or a folder of them, of which a network learns to say what comes next.

    `level` is "character" or "word" (of words the 10,000 most frequent that occur twice or more;
    others are `UNKNOWN`). Rows are `context` tokens long. With `streams` they lie for truncated
    backpropagation through time (`chainrule.data.chunking`), each file a document; without, files
    follow one another. What is held out is the end of the text, a tenth unless told otherwise:
    `held_out` characters, whatever `validation` says.
    """

    path: str | os.PathLike[str]
    level: str = "character"
    context: int = 64
    streams: int = 0
    held_out: int | None = None

    def __post_init__(self) -> None:
        check_level(self.level)
        check_count("context", self.context, 1)
        check_count("streams", self.streams, 0)

    def parts(self, validation: float | None, seed: int) -> Parts:
        """Tokens as int32 rows [rows, context], and as targets the tokens after them; the rows of
        the held-out end are the last ones.

        `validation` is a share of the characters, or a number of them. Raises FileError
        for text that cannot be read, DataError for too little of it, UsageError for `validation`.
        """
        path = Path(self.path)
        files = _files(path)
        texts = [read_text(file) for file in files]
        if not any(text.strip() for text in texts):
            raise DataError(f"{path} has no text in it", do="give a file of plain text")
        train, held_out = _cut(texts, validation if self.held_out is None else self.held_out)
        least, most = (2, MOST_WORDS) if self.level == "word" else (1, None)
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
        remarks = _remarks(vocabulary, train, held_out)
        encoder = CorpusEncoder(path.name, characters, vocabulary, self.context, target, remarks)
        source: dict[str, JSON] = {
            "kind": "text",
            "path": str(self.path),
            "level": self.level,
            "context": self.context,
            "streams": self.streams,
            "held_out": sum(map(len, held_out)),
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
        return cls(path, source["level"], source["context"], source["streams"], source["held_out"])


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
        """Rows of `context` symbols of a text file (int32), what is left over at the end as well:
        its last row overlaps the one before. An array of symbols [rows, any length] is taken as
        it is. Raises FileError, and DataError for a text shorter than the context."""
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
        text = read_text(Path(data))
        missing = self.vocabulary.missing(text)
        if missing:
            notes.append(_unseen(missing, UNKNOWN in self.vocabulary.index))
        ids = self.vocabulary.encode(text)
        if len(ids) < self.context:
            raise DataError(
                f"{data} has {len(ids)} symbols, and the network reads {self.context} at a time",
                do="give a longer text",
            )
        starts = [*range(0, len(ids) - self.context + 1, self.context)]
        if starts[-1] + self.context < len(ids):
            starts.append(len(ids) - self.context)
        x = np.stack([ids[start : start + self.context] for start in starts])
        return Rows(x, {"text": [self.vocabulary.decode(row) for row in x.tolist()]})

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


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = [p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and p.name[0] != "."]
    if not found:
        raise DataError(
            f"there is no text file in {path}",
            do=f"known by their names: {', '.join(sorted(SUFFIXES))}",
        )
    return sorted(found)


def _cut(texts: list[str], validation: float | None) -> tuple[list[str], list[str]]:
    """The training texts and the held-out ones: the end, by characters."""
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
