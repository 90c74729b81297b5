"""The confusion matrix as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

from chainrule.report.scales import percent
from chainrule.report.svg import (
    CHARACTER,
    CHART_WIDTH,
    Svg,
    coordinate,
    element,
    label_at,
    picture,
    shorten,
)


def matrix_chart(classes: Sequence[str], counts: Sequence[Sequence[int]], *, label: str) -> Svg:
    """A confusion matrix: rows are true classes, columns predicted ones.

    Each cell holds its count and is shaded by the square root of its share of its row, so that a
    few mistakes in a hundred can still be seen.
    """
    total = len(classes)
    names = [shorten(name, 14) for name in classes]
    longest = max((len(name) for name in names), default=1)
    widest = max((len(f"{n}") for row in counts for n in row), default=1)
    cell = max(24.0, min(64.0, 300.0 / max(1, total)), widest * CHARACTER + 6)
    upright = longest * CHARACTER > cell - 4
    left = 26 + longest * CHARACTER
    top = 24 + (longest * CHARACTER if upright else 14)
    parts = [
        label_at(left, 12, "predicted class", "name"),
        element(
            "text",
            "true class",
            class_="name",
            text_anchor="end",
            transform=f"translate(11 {coordinate(top)}) rotate(-90)",
        ),
    ]
    for j, name in enumerate(names):
        x = left + (j + 0.5) * cell
        if upright:
            parts.append(
                element(
                    "text",
                    name,
                    class_="tick",
                    transform=f"translate({coordinate(x + 4)} {coordinate(top - 6)}) rotate(-90)",
                )
            )
        else:
            parts.append(label_at(x, top - 6, name, "tick", "middle"))
    for i, name in enumerate(names):
        y = top + (i + 0.5) * cell + 4
        parts.append(label_at(left - 6, y, name, "tick", "end"))
        parts += _matrix_row(i, classes, counts[i], left, top + i * cell, cell)
    width, height = left + total * cell + 4, top + total * cell + 4
    size = "chart fixed" if width > CHART_WIDTH else "chart sized"
    return picture(width, height, label, *parts, class_=size)


def _matrix_row(
    i: int, classes: Sequence[str], row: Sequence[int], left: float, y: float, cell: float
) -> list[Svg]:
    whole = sum(row)
    parts = []
    for j, count in enumerate(row):
        x = left + j * cell
        share = count / whole if whole else 0.0
        title = (
            f"true {classes[i]}, predicted {classes[j]}: {count:,} of {whole:,} ({percent(share)})"
        )
        strength = math.sqrt(share)
        parts.append(
            element(
                "rect",
                element("title", title),
                class_="right" if i == j else "wrong",
                x=x,
                y=y,
                width=cell - 1,
                height=cell - 1,
                fill_opacity=f"{strength:.2f}" if count else "0",
            )
        )
        if count:
            ink = "count on" if strength > 0.62 else "count"
            parts.append(
                label_at(x + (cell - 1) / 2, y + cell / 2 + 3.5, f"{count}", ink, "middle")
            )
    return parts
