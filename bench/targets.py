"""What is asked of the numbers: budgets.toml, [bench]; and whether it is reached."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import Any

from bench.processes import ROOT


@dataclass(frozen=True)
class Check:
    """A number that was measured, and its target: "least" or "most"."""

    row: str
    what: str
    value: float
    target: float
    side: str = "least"

    @property
    def reached(self) -> bool:
        if self.side == "least":
            return self.value >= self.target
        return self.value <= self.target

    def shown(self) -> str:
        sign = "≥" if self.side == "least" else "≤"
        return f"{sign} {self.target:g} {'reached' if self.reached else '**missed**'}"


def load() -> dict[str, Any]:
    """The [bench] table of budgets.toml."""
    return tomllib.loads((ROOT / "budgets.toml").read_text(encoding="utf-8"))["bench"]


def check(row: str, what: str, value: float) -> Check:
    """A number against its line in [bench.least] or [bench.most]."""
    targets = load()
    side = "least" if what in targets["least"] else "most"
    return Check(row, what, value, targets[side][what], side)
