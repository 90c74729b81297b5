"""One measured size over a run, by name and step: collected, put in order, told as numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chainrule.report.buckets import edges, means
from chainrule.report.page import Table
from chainrule.report.scales import number

USUAL_RATIO = (1e-4, 1e-2)  # of update to weight; about 1e-3 is a common rule of thumb
# Beyond these a ratio says no more than that it is far off (and a weight that is still zero has a
# ratio without end), so the axis need not stretch to them.
RATIO_LIMITS = (1e-7, 1.0)
# A size that explodes in the last steps of a run would press all before it flat against the axis:
# the axis ends this many times above what nine of ten values keep below.
EXPLODED = 1e4

TABLE_ROWS = 250


@dataclass(frozen=True)
class Quantity:
    """A measured size to draw: where it is found in the events and how it is told."""

    measure: str
    title: str
    about: str
    log: bool = True
    guide: tuple[float, float] | None = None
    limits: tuple[float, float] | None = None
    zero: str = "Exactly zero at some steps, so not on a log scale"


@dataclass(frozen=True)
class Sizes:
    """One quantity over the run; `values` has shape (names, steps), NaN where not measured."""

    quantity: Quantity
    names: tuple[str, ...]
    steps: tuple[float, ...]
    values: NDArray[np.float64]

    def limits(self) -> tuple[float, float] | None:
        """The sizes between which the axis is to lie; None where it need not be limited."""
        if self.quantity.limits or not self.quantity.log:
            return self.quantity.limits
        good = self.values[np.isfinite(self.values) & (self.values > 0)]
        if not good.size:
            return None
        high = float(np.quantile(good, 0.9, method="lower")) * EXPLODED
        return (0.0, high) if good.max() > high else None

    def where(self, test: NDArray[np.bool_]) -> list[str]:
        """The names for which `test`, of the shape of `values`, is true at any step."""
        return [self.names[row] for row in np.flatnonzero(test.any(axis=1))]

    def ends(self, row: int) -> tuple[float, float, float, float]:
        """The first, lowest, highest and last value of a name; low and high of finite ones."""
        values = self.values[row]
        good = values[np.isfinite(values)]
        low, high = (good.min(), good.max()) if good.size else (math.nan, math.nan)
        return float(values[0]), float(low), float(high), float(values[-1])


def collect(
    found: Sequence[Mapping[str, Mapping[str, float]]],
    steps: Sequence[float],
    quantity: Quantity,
) -> Sizes:
    """The values of `quantity` in `found`, which holds one mapping of names for each step."""
    seen: dict[str, None] = {}
    for one in found:
        seen |= dict.fromkeys(name for name, sizes in one.items() if quantity.measure in sizes)
    values = [[one.get(name, {}).get(quantity.measure, math.nan) for one in found] for name in seen]
    shaped = np.array(values, np.float64).reshape(len(seen), len(steps))
    return Sizes(quantity, tuple(seen), tuple(steps), shaped)


def by_kind(sizes: Sizes) -> Sizes:
    """All weights, then all biases, and so on: neighbours in a heat map should be alike."""
    kinds = [name.rpartition(".")[2] if "." in name else "" for name in sizes.names]
    kinds = ["" if kind.isdigit() else kind for kind in kinds]
    first: dict[str, int] = {}
    for place, kind in enumerate(kinds):
        first.setdefault(kind, place)
    order = sorted(range(len(kinds)), key=lambda place: (first[kinds[place]], place))
    names = tuple(sizes.names[place] for place in order)
    return Sizes(sizes.quantity, names, sizes.steps, sizes.values[order])


def grouped(sizes: Sizes, most: int) -> Sizes:
    """Neighbours put together, by their mean at each step, until at most `most` names are left."""
    if len(sizes.names) <= most:
        return sizes
    ranges = edges(len(sizes.names), most)
    names = tuple(
        sizes.names[a] if b - a == 1 else f"{sizes.names[a]} to {sizes.names[b - 1]}"
        for a, b in ranges
    )
    values = means(sizes.values.T, ranges, log=sizes.quantity.log).T
    return Sizes(sizes.quantity, names, sizes.steps, values)


def remarks(sizes: Sizes) -> list[str]:
    """What the picture cannot show: zeros on a log axis, values off it or not finite."""
    notes = []
    zero = sizes.where(sizes.values == 0)
    if sizes.quantity.log and zero:
        notes.append(f"{sizes.quantity.zero}: {_some(zero)}.")
    limits = sizes.limits()
    if limits:
        over = sizes.where(np.isfinite(sizes.values) & (sizes.values > limits[1]))
        if over:
            edge = f"Above {number(limits[1], 2)} at some steps, drawn at the edge"
            notes.append(f"{edge}: {_some(over)}.")
    infinite = sizes.where(np.isinf(sizes.values))
    if infinite:
        notes.append(f"Infinite at some steps: {_some(infinite)}.")
    return notes


def _some(names: Sequence[str], most: int = 4) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest:,} more" if rest > 0 else "")


def numbers(sizes: Sizes) -> Table:
    """The table behind the picture: four numbers for each name."""
    rows = [
        [name, *(number(value) for value in sizes.ends(row))]
        for row, name in enumerate(sizes.names[:TABLE_ROWS])
    ]
    left_out = len(sizes.names) - len(rows)
    note = f"The first {TABLE_ROWS} of {len(sizes.names):,}." if left_out else ""
    return Table(["", "first", "lowest", "highest", "last"], rows, note)
