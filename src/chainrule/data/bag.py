"""A column of texts as a bag of words: a number for each word of the training rows, TF-IDF."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from chainrule.data.columns import Column
from chainrule.data.fields import Fields
from chainrule.data.tables import Table
from chainrule.data.vocabulary import words_of

Floats = NDArray[np.float64]

MOST_WORDS = 2_000
_LEAST_ROWS = 2  # a word of one row tells about that row, not about the word


@dataclass(frozen=True)
class BagFeature:
    """How often each word occurs in a text, without its order.

    The number of a word in a row is (1 + log count) * weight, and each row is scaled to length 1;
    weight is 1 + log((1 + rows) / (1 + rows with the word)), of the training rows. Words without
    a column are left out; a text without any known word, or none at all, is a row of zeros.

    Source: Salton and Buckley, "Term-weighting approaches in automatic text retrieval", 1988.
    """

    kind: ClassVar[str] = "bag"
    name: str
    words: tuple[str, ...]
    weights: tuple[float, ...]
    missing: int  # training rows without a text

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the encoded columns."""
        return tuple(f"{self.name}: {word}" for word in self.words)

    def encode(self, column: Column, table: Table, notes: list[str]) -> Iterator[Floats]:
        """The encoded columns, float64 [rows] each, one at a time: together they may be many."""
        index = {word: place for place, word in enumerate(self.words)}
        rows: list[int] = []
        places: list[int] = []
        values: list[float] = []
        empty = 0
        for row, text in enumerate(column.values.tolist()):
            counts = Counter(word for word in words_of(text or "") if word in index)
            weighed = {w: (1 + math.log(n)) * self.weights[index[w]] for w, n in counts.items()}
            length = math.sqrt(math.fsum(v * v for v in weighed.values()))
            rows += [row] * len(weighed)
            places += [index[word] for word in weighed]
            values += [value / length for value in weighed.values()]
            empty += not weighed
        if empty:
            noun = "row has" if empty == 1 else "rows have"
            notes.append(f"{self.name}: {empty} {noun} no word that the training rows had")
        order = np.argsort(np.array(places, np.int64), kind="stable")
        row_of, value_of = np.array(rows, np.int64)[order], np.array(values)[order]
        bounds = np.searchsorted(np.array(places, np.int64)[order], np.arange(len(self.words) + 1))
        for first, last in pairwise(bounds):
            encoded = np.zeros(len(column.values))
            encoded[row_of[first:last]] = value_of[first:last]
            yield encoded

    @classmethod
    def from_json(cls, fields: Fields) -> BagFeature:
        """The inverse of `to_json`."""
        words, weights = fields.names("words"), fields.list("weights")
        numbers = all(isinstance(w, float) and 0 < w < math.inf for w in weights)
        fields.check(numbers and len(weights) == len(words) > 0, "weights")
        return cls(fields.text("name"), words, tuple(weights), fields.count("missing"))


def fit_bag(column: Column, rows: NDArray[np.int64]) -> BagFeature | str:
    """The bag of a column of texts by its training rows alone, or the reason to leave it out: the
    2,000 words that most of them have, and two of them at least."""
    texts = [column.values[row] for row in rows.tolist()]
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(set(words_of(text or "")))
    kept = [word for word, n in counts.items() if n >= _LEAST_ROWS]
    kept = sorted(sorted(kept, key=lambda word: (-counts[word], word))[:MOST_WORDS])
    if not kept:
        return "no word that two training rows have"
    weights = tuple(1 + math.log((1 + len(texts)) / (1 + counts[word])) for word in kept)
    return BagFeature(column.name, tuple(kept), weights, sum(text is None for text in texts))
