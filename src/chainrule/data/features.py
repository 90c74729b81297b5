"""From a column to numbers for a network: one frozen dataclass per kind of feature.

Each holds what the training rows said (mean, spread, levels), encodes a column of any table with
it, and goes to JSON and back exactly. Statistics are taken in float64.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from chainrule.data.bag import BagFeature
from chainrule.data.columns import Column
from chainrule.data.dataset import JSON
from chainrule.data.fields import Fields
from chainrule.data.labels import listed
from chainrule.data.tables import Table
from chainrule.errors import DataError

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

_MOST_LEVELS = 100  # slots for the values of one text column; the rest share "other"
_YEAR = 365.2425  # days in a mean year
_IDENTIFIER = re.compile(r"(?i)(.*[^a-z])?id|rowid|index|row|rownames|unnamed: 0|column \d+")
_CAMEL_IDENTIFIER = re.compile(r".*[a-z](Id|ID)")


@dataclass(frozen=True)
class NumberFeature:
    """(value - mean) / std; a missing value becomes 0 (the mean), marked in a second column where
    the training rows have missing values."""

    kind: ClassVar[str] = "number"
    name: str
    mean: float
    std: float
    missing: int  # training rows without a value

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the encoded columns."""
        return (self.name, f"{self.name} (missing)") if self.missing else (self.name,)

    def encode(self, column: Column, table: Table, notes: list[str]) -> list[Floats]:
        """The encoded columns, float64 [rows] each; raises DataError for an infinite value."""
        check_finite(column, table)
        missing = column.missing
        scaled = np.where(missing, 0.0, (column.values - self.mean) / self.std)
        return _with_indicator(scaled, missing, self.name, self.missing, notes)

    @classmethod
    def from_json(cls, fields: Fields) -> NumberFeature:
        """The inverse of `to_json`."""
        return cls(
            fields.text("name"),
            fields.number("mean"),
            fields.positive("std"),
            fields.count("missing"),
        )


@dataclass(frozen=True)
class BooleanFeature:
    """0 or 1; a missing value becomes the share of true, marked as for a number."""

    kind: ClassVar[str] = "boolean"
    name: str
    mean: float
    missing: int

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the encoded columns."""
        return (self.name, f"{self.name} (missing)") if self.missing else (self.name,)

    def encode(self, column: Column, table: Table, notes: list[str]) -> list[Floats]:
        """The encoded columns, float64 [rows] each."""
        missing = column.missing
        values = np.where(missing, self.mean, column.values)
        return _with_indicator(values, missing, self.name, self.missing, notes)

    @classmethod
    def from_json(cls, fields: Fields) -> BooleanFeature:
        """The inverse of `to_json`."""
        return cls(fields.text("name"), fields.number("mean"), fields.count("missing"))


@dataclass(frozen=True)
class CategoryFeature:
    """A 0/1 column per level, one for "other" where the training rows have rare values, and one for
    "missing" where they have missing ones.

    A value without a slot of its own goes to "other"; where there is no such slot all columns are
    0, since the weights of a column that was 0 in every training row would be left at random.
    """

    kind: ClassVar[str] = "text"
    name: str
    levels: tuple[str, ...]
    rare: int  # distinct values in the training rows that have no slot of their own
    missing: int

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the encoded columns."""
        slots = [f"{self.name}={level}" for level in self.levels]
        slots += [f"{self.name} (other)"] if self.rare else []
        slots += [f"{self.name} (missing)"] if self.missing else []
        return tuple(slots)

    def encode(self, column: Column, table: Table, notes: list[str]) -> list[Floats]:
        """The encoded columns, float64 [rows] each."""
        other = len(self.levels) if self.rare else -1
        gap = len(self.levels) + bool(self.rare) if self.missing else other
        slot_of: dict[Any, int] = {level: slot for slot, level in enumerate(self.levels)}
        slot_of[None] = gap
        slots = np.array([slot_of.get(v, other) for v in column.values.tolist()])
        self._note_unseen(column, notes)
        return [(slots == slot).astype(np.float64) for slot in range(len(self.labels))]

    def _note_unseen(self, column: Column, notes: list[str]) -> None:
        counts = Counter(column.values.tolist())
        gaps = counts.pop(None, 0)
        if gaps and not self.missing:
            notes.append(
                f"{self.name}: {_rows(gaps)} without a value, which no training row had; "
                "treated as other"
            )
        new = sorted(set(counts) - set(self.levels))
        if new:
            count = sum(counts[value] for value in new)
            which = "few or no training rows" if self.rare else "no training row"
            notes.append(
                f"{self.name}: {_rows(count)} with a value that {which} had ({listed(new, 5)}); "
                "treated as other"
            )

    @classmethod
    def from_json(cls, fields: Fields) -> CategoryFeature:
        """The inverse of `to_json`."""
        return cls(
            fields.text("name"),
            fields.names("levels"),
            fields.count("rare"),
            fields.count("missing"),
        )


@dataclass(frozen=True)
class TimeFeature:
    """Days since 1970-01-01, standardised, and the sine and cosine of the parts that vary: the
    season (day in the year), the weekday and the clock (time of day, UTC)."""

    kind: ClassVar[str] = "time"
    name: str
    mean: float  # days
    std: float
    cycles: tuple[str, ...]  # of "season", "weekday" and "clock"
    missing: int

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the encoded columns."""
        names = [f"{self.name} (days)"]
        names += [
            f"{self.name} ({cycle} {wave})" for cycle in self.cycles for wave in ("sin", "cos")
        ]
        return (*names, *([f"{self.name} (missing)"] if self.missing else []))

    def encode(self, column: Column, table: Table, notes: list[str]) -> list[Floats]:
        """The encoded columns, float64 [rows] each."""
        missing = column.missing
        days = np.where(missing, self.mean, _days(column))
        encoded = [(days - self.mean) / self.std]
        for cycle in self.cycles:
            angle = 2 * np.pi * (days / _PERIODS[cycle] % 1.0)
            encoded += [
                np.where(missing, 0.0, np.sin(angle)),
                np.where(missing, 0.0, np.cos(angle)),
            ]
        return encoded[:-1] + _with_indicator(encoded[-1], missing, self.name, self.missing, notes)

    @classmethod
    def from_json(cls, fields: Fields) -> TimeFeature:
        """The inverse of `to_json`."""
        cycles = fields.names("cycles")
        fields.check(set(cycles) <= set(_PERIODS), "cycles")
        return cls(
            fields.text("name"),
            fields.number("mean"),
            fields.positive("std"),
            cycles,
            fields.count("missing"),
        )


Feature = NumberFeature | BooleanFeature | CategoryFeature | TimeFeature | BagFeature

FEATURES: dict[str, type[Feature]] = {
    feature.kind: feature
    for feature in (NumberFeature, BooleanFeature, CategoryFeature, TimeFeature, BagFeature)
}
_PERIODS = {"season": _YEAR, "weekday": 7.0, "clock": 1.0}  # days


def feature_to_json(feature: Feature) -> dict[str, JSON]:
    """A feature as JSON values; floats come back exactly, since JSON text holds their shortest
    decimal form that does."""
    values = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(feature).items()}
    return {"kind": feature.kind, **values}


def feature_from_json(fields: Fields) -> Feature:
    """The inverse of `feature_to_json`; raises DamagedFileError for anything else."""
    kind = fields.text("kind")
    fields.check(kind in FEATURES, "kind")
    return FEATURES[kind].from_json(fields)


def fit_feature(column: Column, rows: Rows, table: Table) -> Feature | str:
    """The feature for a column by its training rows alone, or the reason to leave the column out.

    Raises DataError for an infinite value.
    """
    values = Column(column.name, column.kind, column.values[rows], column.whole)
    missing = values.missing
    present = values.values[~missing]
    gaps = int(missing.sum())
    if len(present) == 0:
        return "no values in the training rows"
    if column.kind == "text":
        return _fit_category(column.name, present.tolist(), gaps)
    check_finite(column, table)
    is_constant = bool((present == present[0]).all())
    if is_constant and not gaps:
        return "one value in all training rows"
    if column.kind == "boolean":
        return BooleanFeature(column.name, float(present.mean()), gaps)
    if column.kind == "time":
        return _fit_time(column.name, Column(column.name, "time", present), gaps)
    if column.whole and not gaps and _is_identifier(column.name, present):
        return "an identifier: another whole number in every row"
    mean, std = mean_and_std(present)
    return NumberFeature(column.name, mean, std, gaps)


def _fit_category(name: str, present: list[str], gaps: int) -> CategoryFeature | str:
    counts = Counter(present)
    distinct = len(counts)
    if distinct == 1 and not gaps:
        return "one value in all training rows"
    if distinct > max(2, len(present) / 2):
        return "free text or an identifier: another value in most rows (see --text)"
    # A value in a single row tells the network about that row, not about the value.
    common = [v for v, n in sorted(counts.items(), key=lambda c: (-c[1], c[0])) if n > 1]
    levels = sorted(counts) if distinct <= 2 else sorted(common[:_MOST_LEVELS])
    return CategoryFeature(name, tuple(levels), distinct - len(levels), gaps)


def _fit_time(name: str, present: Column, gaps: int) -> TimeFeature:
    days = _days(present)
    mean, std = mean_and_std(days)
    varies = {
        # within one year the season says nothing that the days passed do not say
        "season": days.max() - days.min() >= _YEAR,
        "weekday": len(np.unique(np.floor(days) % 7)) > 1,
        "clock": len(np.unique(days % 1)) > 1,
    }
    cycles = tuple(cycle for cycle, is_varying in varies.items() if is_varying)
    return TimeFeature(name, mean, std, cycles, gaps)


def mean_and_std(values: Floats) -> tuple[float, float]:
    """Mean and standard deviation (1 where all values are equal), safe from overflow."""
    scale = float(np.abs(values).max())
    if scale == 0 or bool((values == values[0]).all()):
        return float(values[0]), 1.0
    scaled = values / scale
    mean = float(scaled.mean())
    std = math.sqrt(float(((scaled - mean) ** 2).mean()))
    return mean * scale, (std * scale) or 1.0


def check_finite(column: Column, table: Table) -> None:
    """Raise DataError where a number is infinite, with its row."""
    if column.kind != "number" or not np.isinf(column.values).any():
        return
    rows = np.flatnonzero(np.isinf(column.values))
    raise DataError(
        f"column {column.name!r} holds infinity in {table.places(rows)}",
        where=table.counting(),
        do="give a finite number, or leave the value empty where it is missing",
    )


def check_range(encoded: NDArray[np.float32], name: str, table: Table) -> None:
    """Raise DataError for a value so far from the training rows that float32 cannot hold it."""
    if not np.isfinite(encoded).all():
        row = int(np.flatnonzero(~np.isfinite(encoded))[0])
        raise DataError(
            f"column {name!r} is too far from the values it was trained on in {table.place(row)}",
            where=table.counting(),
            do="check the value and its unit",
        )


def _is_identifier(name: str, values: Floats) -> bool:
    is_named = _IDENTIFIER.fullmatch(name) or _CAMEL_IDENTIFIER.fullmatch(name)
    return bool(is_named) and len(np.unique(values)) == len(values)


def _days(column: Column) -> Floats:
    """Days since 1970-01-01, with the time of day as a fraction."""
    microseconds: Floats = column.values.astype(np.int64) / 86_400e6
    return microseconds


def _with_indicator(
    values: Floats, missing: NDArray[np.bool_], name: str, expected: int, notes: list[str]
) -> list[Floats]:
    """The values, and the column that marks missing ones where the training rows had any."""
    if expected:
        return [values, missing.astype(np.float64)]
    if missing.any():
        notes.append(
            f"{name}: {_rows(int(missing.sum()))} without a value, which no training row had; "
            "the mean of the training rows stands in"
        )
    return [values]


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"
