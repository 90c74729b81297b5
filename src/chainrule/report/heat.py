"""Heat maps of sizes over layers and steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chainrule.report.scales import LARGEST, SMALLEST, number
from chainrule.report.svg import (
    CHARACTER,
    CHART_WIDTH,
    Svg,
    coordinate,
    element,
    join,
    label_at,
    line,
    picture,
    shorten,
)

LEVELS = 10  # shades from small to large; page.css names them h0 ... h9
SIDES = 5  # shades below a guide's range (b0 ... b4) and above it (a0 ... a4)
SPECIAL = {"zero": "exactly 0", "infinite": "infinite", "missing": "not measured"}


@dataclass(frozen=True)
class Shades:
    """How sizes in [low, high] become inks: evenly, or evenly in their logarithm.

    With `guide` values in that range are pale, smaller ones take one colour and larger ones
    another.
    """

    low: float
    high: float
    log: bool
    guide: tuple[float, float] | None = None

    def ink(self, value: float) -> str:
        """The class of a cell in `page.css`."""
        if math.isnan(value):
            return "missing"
        if math.isinf(value):
            return "infinite"
        if self.log and value <= 0:
            return "zero"
        if not self.guide:
            return f"h{_step(self._share(self.low, value, self.high), LEVELS)}"
        if value < self.guide[0]:
            return f"b{_step(self._share(self.guide[0], value, self.low), SIDES)}"
        if value > self.guide[1]:
            return f"a{_step(self._share(self.guide[1], value, self.high), SIDES)}"
        return "usual"

    def _share(self, start: float, value: float, end: float) -> float:
        if self.log:
            start, value, end = (
                math.log(min(max(v, SMALLEST), LARGEST)) for v in (start, value, end)
            )
        span = end / 2 - start / 2  # halves, whose difference is finite
        return (value / 2 - start / 2) / span if span else 0.0

    def key(self) -> tuple[list[str], list[tuple[float, float]]]:
        """The inks of the colour bar, and the places (0 to 1) on it where a value is named."""
        if self.guide:
            below = [f"b{i}" for i in reversed(range(SIDES))]
            inks = [*below, *["usual"] * 4, *(f"a{i}" for i in range(SIDES))]
            edges = (SIDES / len(inks), (SIDES + 4) / len(inks))
            named = [(0.0, self.low), *zip(edges, self.guide, strict=True), (1.0, self.high)]
            return inks, named
        middle = (self.low + self.high) / 2
        if self.log:
            middle = math.sqrt(self.low) * math.sqrt(self.high)
        return [f"h{i}" for i in range(LEVELS)], [(0, self.low), (0.5, middle), (1, self.high)]


def _step(share: float, count: int) -> int:
    return min(count - 1, max(0, int(share * count)))


def shades_for(
    values: NDArray[np.float64], *, log: bool, guide: tuple[float, float] | None
) -> Shades:
    """Shades that tell the finite values apart (positive ones, where `log`)."""
    good = values[np.isfinite(values) & (values > 0)] if log else values[np.isfinite(values)]
    low, high = (float(good.min()), float(good.max())) if good.size else (0.1, 1.0)
    if guide:  # as far below the range as above it, so that both colours mean the same distance
        far = max(guide[0] / max(low, SMALLEST), high / guide[1], 10.0)
        return Shades(guide[0] / far, guide[1] * far, log, guide)
    if high - low <= 0.01 * abs(high):
        low, high = low / 2, high * 2
    return Shades(low, high, log)


def heat_map(
    rows: Sequence[str],
    columns: Sequence[float],
    values: NDArray[np.float64],
    *,
    label: str,
    x_name: str,
    titles: Sequence[str],
    log: bool = True,
    guide: tuple[float, float] | None = None,
) -> Svg:
    """Sizes over rows (the first on top) and columns.

    `values` has shape (rows, columns); `columns` are the steps of the first and last column and
    those between; `titles[i]` is shown under the pointer for row i.
    """
    names = [shorten(name, 17) for name in rows]
    left = 10 + max((len(name) for name in names), default=0) * CHARACTER * 0.85
    cell = min(20.0, max(2.0, 190.0 / max(1, len(rows))))
    top, right = 4.0, CHART_WIDTH - 8
    bottom = top + cell * len(rows)
    shades = shades_for(values, log=log, guide=guide)
    inks = [[shades.ink(value) for value in row] for row in values.tolist()]
    every = max(1, math.ceil(11 / cell))
    labels = [
        label_at(left - 4, top + (i + 0.5) * cell + 3, name, "row", "end")
        for i, name in enumerate(names)
        if i % every == 0
    ]
    special = [ink for ink in SPECIAL if any(ink in row for row in inks)]
    parts = [
        *_cells(inks, left, top, (right - left) / max(1, len(columns)), cell),
        *labels,
        _columns(columns, left, right, bottom, x_name),
        _key(shades, left, right, bottom + 30),
        _special(special, left, bottom + 64),
        *_hits(titles, top, cell),
    ]
    return picture(CHART_WIDTH, bottom + (72 if special else 56), label, *parts)


def _cells(
    inks: Sequence[Sequence[str]], left: float, top: float, width: float, height: float
) -> list[Svg]:
    """One path for each ink; neighbours of one ink in a row are one piece of it."""
    pieces: dict[str, list[str]] = {}
    for i, row in enumerate(inks):
        y = coordinate(top + i * height)
        for ink, start, stop in _runs(row):
            across = (stop - start) * width
            pieces.setdefault(ink, []).append(
                f"M{coordinate(left + start * width)} {y}h{coordinate(across)}"
                f"v{coordinate(height)}h{coordinate(-across)}z"
            )
    return [
        element("path", class_=f"cell {ink}", d="".join(d)) for ink, d in sorted(pieces.items())
    ]


def _runs(inks: Sequence[str]) -> list[tuple[str, int, int]]:
    """Neighbours of one ink: (ink, start, stop)."""
    runs: list[tuple[str, int, int]] = []
    for index, ink in enumerate(inks):
        if runs and runs[-1][0] == ink:
            runs[-1] = (ink, runs[-1][1], index + 1)
        else:
            runs.append((ink, index, index + 1))
    return runs


def _hits(titles: Sequence[str], top: float, height: float) -> list[Svg]:
    return [
        element(
            "rect",
            element("title", title),
            class_="hit",
            x=0,
            y=top + i * height,
            width=CHART_WIDTH,
            height=height,
        )
        for i, title in enumerate(titles)
    ]


def _columns(columns: Sequence[float], left: float, right: float, bottom: float, name: str) -> Svg:
    parts = [line(left, bottom, right, bottom, "axis")]
    if columns:
        parts.append(label_at(left, bottom + 14, number(columns[0], 7), "tick"))
    if len(columns) > 1:
        parts.append(label_at(right, bottom + 14, number(columns[-1], 7), "tick", "end"))
    parts.append(label_at((left + right) / 2, bottom + 14, name, "name", "middle"))
    return join(parts)


def _key(shades: Shades, left: float, right: float, y: float) -> Svg:
    """The colour bar under a heat map, with the values at its ends and edges."""
    inks, named = shades.key()
    step = (right - left) / len(inks)
    boxes = [
        element("rect", class_=ink, x=left + i * step, y=y, width=step + 0.3, height=7)
        for i, ink in enumerate(inks)
    ]
    anchors = {0.0: "start", 1.0: "end"}
    labels = [
        label_at(
            left + place * (right - left),
            y + 19,
            number(value, 2),
            "tick",
            anchors.get(place, "middle"),
        )
        for place, value in named
    ]
    return join([*boxes, *labels])


def _special(inks: Sequence[str], left: float, y: float) -> Svg:
    """Names for the inks of cells that have no place on the colour bar."""
    parts = []
    for ink in inks:
        parts.append(element("rect", class_=f"{ink} framed", x=left, y=y - 8, width=9, height=9))
        parts.append(label_at(left + 13, y, SPECIAL[ink], "tick"))
        left += 24 + len(SPECIAL[ink]) * CHARACTER
    return join(parts)
