"""Text as whole numbers: characters or words, and the vocabulary of a training text.

A word is a run of letters and digits, with apostrophes inside it (don't); every other character
that is no space is a token of its own, and so is a line break. Runs of spaces only divide.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chainrule.data.dataset import JSON
from chainrule.data.fields import Fields
from chainrule.errors import CHECK_PATH, DataError, FileError, UsageError, unknown

Ids = NDArray[np.int32]
LEVELS = ("character", "word")
UNKNOWN = "<unknown>"
PADDING = "<padding>"
_TOKEN = re.compile(r"[^\W_]+(?:['’][^\W_]+)*|\n|[^\s]")
_CLOSING = frozenset(".,;:!?)]}%”’…-–—\n")  # no space before these,
_OPENING = frozenset("([{“‘-–—\n")  # and none after these
_PAIRED = frozenset("\"'")  # the one or the other


@dataclass(frozen=True)
class Vocabulary:
    """The symbols of a text, each with its number: its place in `symbols`.

    `level` is "character" or "word". `UNKNOWN` and `PADDING` are symbols like others where they
    are there at all; what is not among the symbols becomes `UNKNOWN`, or is left out.
    """

    level: str
    symbols: tuple[str, ...]
    lower: bool = False  # whether capitals count as small letters

    @cached_property
    def index(self) -> dict[str, int]:
        """The number of each symbol."""
        return {symbol: number for number, symbol in enumerate(self.symbols)}

    def __len__(self) -> int:
        return len(self.symbols)

    def encode(self, text: str) -> Ids:
        """The numbers of a text's symbols, int32 [n]."""
        text = text.lower() if self.lower else text
        if self.level == "character":
            return self._characters(text)
        other = self.index.get(UNKNOWN)
        found = (self.index.get(token, other) for token in _TOKEN.findall(text))
        return np.array([number for number in found if number is not None], np.int32)

    def _characters(self, text: str) -> Ids:
        codes = _codes(text)
        own = [s for s in self.symbols if len(s) == 1]
        known = np.array([ord(symbol) for symbol in own], np.uint32)
        numbers = np.array([self.index[symbol] for symbol in own], np.int32)
        order = np.argsort(known)
        place = np.minimum(np.searchsorted(known, codes, sorter=order), len(known) - 1)
        hit = known[order[place]] == codes
        found: Ids = numbers[order[place]]
        if UNKNOWN in self.index:
            found[~hit] = self.index[UNKNOWN]
            return found
        kept: Ids = found[hit]
        return kept

    def missing(self, text: str) -> Counter[str]:
        """The symbols of a text that have no number, and how often they occur."""
        text = text.lower() if self.lower else text
        counts = Counter(text if self.level == "character" else _TOKEN.findall(text))
        return Counter({symbol: n for symbol, n in counts.items() if symbol not in self.index})

    def decode(self, ids: Iterable[int]) -> str:
        """The text of these numbers; words are put together as prose is written. Padding is left
        out."""
        found = [self.symbols[i] for i in ids]
        tokens = [token for token in found if token != PADDING]
        if self.level == "character":
            return "".join(tokens)
        joined = Joined()
        return "".join(joined.add(word) for word in tokens)

    def to_json(self) -> dict[str, JSON]:
        """The vocabulary as JSON values."""
        return {"level": self.level, "symbols": list(self.symbols), "lower": self.lower}

    @classmethod
    def from_json(cls, fields: Fields) -> Vocabulary:
        """The inverse of `to_json`; raises DamagedFileError for anything else."""
        level, symbols = fields.text("level"), fields.names("symbols")
        fields.check(level in LEVELS, "level")
        fields.check(len(symbols) == len(set(symbols)) > 0, "symbols")
        return cls(level, symbols, bool(fields.json.get("lower")))


class Joined:
    """Words put together as prose is written, one after the other. Quotation marks that are the
    same on both sides open and close in turn, anew after a blank line."""

    def __init__(self) -> None:
        self._last, self._tight = "", True
        self._open: set[str] = set()

    def add(self, word: str) -> str:
        """What a further word adds to the text: itself, with a space before it where one goes."""
        opens, closes = word in _OPENING, word in _CLOSING
        if word in _PAIRED:
            closes = word in self._open
            opens = not closes
            self._open ^= {word}
        elif word == self._last == "\n":
            self._open = set()
        text = word if closes or self._tight else f" {word}"
        self._last, self._tight = word, opens
        return text


def fit_vocabulary(
    texts: Iterable[str],
    level: str = "character",
    *,
    most: int | None = None,
    least: int = 1,
    lower: bool = False,
    first: Sequence[str] = (),
) -> Vocabulary:
    """The vocabulary of texts: of the symbols that occur `least` times or more the `most` frequent,
    in order of code point, after those of `first`.

    Give it training texts alone: a symbol that only held-out text has must stay unknown. Raises
    UsageError for an unknown level, DataError where no symbol is left.
    """
    if level not in LEVELS:
        raise unknown("level of text", level, LEVELS)
    counts: Counter[str] = Counter()
    for text in texts:
        text = text.lower() if lower else text
        if level == "word":
            counts.update(_TOKEN.findall(text))
        else:
            codes, numbers = np.unique(_codes(text), return_counts=True)
            counts.update({chr(c): int(n) for c, n in zip(codes, numbers, strict=True)})
    kept = [symbol for symbol, n in counts.items() if n >= least and symbol not in first]
    kept = sorted(kept, key=lambda symbol: (-counts[symbol], symbol))[:most]
    if not kept:
        raise DataError(
            f"the training text has no {level} that occurs {least} times or more",
            do="give more text",
        )
    return Vocabulary(level, (*first, *sorted(kept)), lower)


def words_of(text: str) -> list[str]:
    """The words of a text in small letters, without marks and line breaks: what a bag holds."""
    return [token for token in _TOKEN.findall(text.lower()) if token[0].isalnum()]


def read_text(path: Path) -> str:
    """A text file: UTF-8, with or without a byte order mark, lines ended by a newline.

    Raises FileError where it cannot be read or is not UTF-8, with the byte and the line at which
    it stops being so.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise FileError(f"there is no file {path}", do=CHECK_PATH) from None
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}") from None
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise _not_utf8(path, content, 0, "utf-16")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _not_utf8(path, content, error.start, "latin1") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _not_utf8(path: Path, content: bytes, start: int, perhaps: str) -> FileError:
    line = content.count(b"\n", 0, start) + 1
    return FileError(
        f"{path} is not UTF-8 text",
        where=f"byte {start:,} (line {line:,}) is 0x{content[start]:02x}; bytes are counted from 0",
        do=f"save it as UTF-8, perhaps by: iconv -f {perhaps} -t utf-8 OLD.txt > NEW.txt",
    )


def check_level(level: str) -> None:
    """Raises UsageError unless `level` is one of `LEVELS`."""
    if level not in LEVELS:
        raise unknown("level of text", level, LEVELS)


def check_count(name: str, value: object, least: int) -> None:
    """Raises UsageError unless `value` is a whole number, `least` or more."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UsageError(f"{name} is {value!r}", do=f"give a whole number, {least} or more")


def _codes(text: str) -> NDArray[np.uint32]:
    """The code points of a text."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
