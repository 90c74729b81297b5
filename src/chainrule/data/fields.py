"""Typed reading of a JSON object from a file that may be damaged or foreign."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from math import isfinite
from typing import Any

from chainrule.errors import DamagedFileError


@dataclass(frozen=True)
class Fields:
    """The fields of one JSON object; each method returns one, or raises DamagedFileError."""

    json: Any
    what: str  # "the table encoder", for messages

    def __post_init__(self) -> None:
        if not isinstance(self.json, dict):
            raise DamagedFileError(f"{self.what} is damaged: it is no JSON object")

    def check(self, holds: bool, key: str) -> None:
        """Raise DamagedFileError that names `key`, unless `holds`."""
        if not holds:
            shown = repr(self.json[key])[:60] if key in self.json else "missing"
            raise DamagedFileError(f"{self.what} is damaged: the field {key!r} is {shown}")

    def text(self, key: str) -> str:
        """A string."""
        value = self.json.get(key)
        self.check(isinstance(value, str), key)
        return str(value)

    def number(self, key: str) -> float:
        """A finite number."""
        value = self.json.get(key)
        self.check(isinstance(value, (int, float)) and not isinstance(value, bool), key)
        # a whole number may be too large for a float, and then float() raises
        is_finite = abs(value) <= sys.float_info.max if isinstance(value, int) else isfinite(value)
        self.check(is_finite, key)
        return float(value)

    def positive(self, key: str) -> float:
        """A finite number above 0."""
        value = self.number(key)
        self.check(value > 0, key)
        return value

    def count(self, key: str) -> int:
        """A whole number from 0."""
        value = self.json.get(key)
        self.check(isinstance(value, int) and not isinstance(value, bool) and value >= 0, key)
        return int(value)

    def names(self, key: str) -> tuple[str, ...]:
        """A list of strings."""
        value = self.list(key)
        self.check(all(isinstance(name, str) for name in value), key)
        return tuple(value)

    def list(self, key: str) -> list[Any]:
        """A list of anything."""
        value = self.json.get(key)
        self.check(isinstance(value, list), key)
        return list(value)

    def objects(self, key: str) -> tuple[Fields, ...]:
        """A list of JSON objects."""
        return tuple(Fields(item, self.what) for item in self.list(key))

    def object(self, key: str) -> Fields:
        """A JSON object."""
        value = self.json.get(key)
        self.check(isinstance(value, dict), key)
        return Fields(value, self.what)
