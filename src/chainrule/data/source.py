"""What every kind of data has in common: where it is (`Source`) and how to read more (`Encoder`).

A source is a small frozen dataclass, such as `ImageFolder("pets", size=64)`: nothing is read until
training asks it for its `Parts`. An encoder is what was settled then (classes, sizes, statistics
of the training rows); it is saved with the run, reads further data in the same way, and turns the
network's outputs back into columns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from chainrule.data.dataset import JSON, Dataset
from chainrule.data.split import last_chunks, split
from chainrule.data.target import Target
from chainrule.errors import unknown

DEFAULT_VALIDATION = 0.2
UNREADABLE = ("fatal", "skip")


@dataclass(frozen=True)
class Rows:
    """Rows to predict: the network's inputs, and columns that say which row is which."""

    x: NDArray[Any]
    labels: Mapping[str, list[Any]] = field(default_factory=dict)


class Encoder(Protocol):
    """How further data of one kind is read, and what a network's outputs mean."""

    @property
    def target(self) -> Target:
        """What is predicted."""

    def read(self, data: object, notes: list[str], unreadable: str = "fatal") -> Rows:
        """Rows from whatever names or holds them; what was remarkable is added to `notes`. Of many
        files, one that cannot be read is an error ("fatal") or left out and noted ("skip")."""

    def decode(self, outputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """A network's outputs as columns to write."""

    def describe(self) -> str:
        """One line: the data, what goes in and what comes out."""

    def notes(self) -> tuple[str, ...]:
        """What was left out, converted or assumed, a line each."""

    def to_json(self) -> dict[str, JSON]:
        """The encoder as JSON values, with its "kind"."""


class Parts(NamedTuple):
    """Data that have been read: rows, encoder, and which rows are trained on and held out."""

    dataset: Dataset
    encoder: Encoder
    train_rows: NDArray[np.int64]
    held_out_rows: NDArray[np.int64]


class Source(ABC):
    """Where data of one kind are, and how they are to be read."""

    @abstractmethod
    def parts(self, validation: float | None, seed: int) -> Parts:
        """Reads the data; `validation` as in `split`, None for what suits the kind."""


def check_unreadable(unreadable: str) -> None:
    """Raises UsageError unless it is one of `UNREADABLE`, the ways with files that are broken."""
    if unreadable not in UNREADABLE:
        raise unknown("way with unreadable files", unreadable, UNREADABLE)


def divided(
    dataset: Dataset, validation: float | None, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The training rows and the held-out rows of a set with `source["test_rows"]` or without.

    A set with a test set of its own (its last rows) holds that out, also when as many rows are
    asked for; where others are held out instead, the test set is neither trained on nor looked at.
    Of streams the last chunks are held out.
    """
    test_rows = dataset.source.get("test_rows")
    if isinstance(test_rows, int):
        rest = dataset.rows - test_rows
        if validation is None or (isinstance(validation, int) and validation == test_rows):
            return np.arange(rest), np.arange(rest, dataset.rows)
        return split(dataset.y[:rest], validation, dataset.task, seed)
    if validation is None:
        # Holding out some of all the patterns that exist would pose another problem.
        validation = 0 if dataset.source.get("complete") else DEFAULT_VALIDATION
    if dataset.streams:
        return last_chunks(dataset.rows, dataset.streams, validation)
    return split(dataset.y, validation, dataset.task, seed)
