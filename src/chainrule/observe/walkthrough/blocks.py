"""What a section of the walkthrough is made of: small tables whose cells are text already.

Numbers of a column are written alike, and every printed sum adds up to its printed total. What
remains for those who show a table is width, colour and type.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chainrule.observe.walkthrough.decimals import Style, sum_texts
from chainrule.observe.walkthrough.step import LayerWalk, Walkthrough


@dataclass(frozen=True)
class Row:
    """A line of a table. Empty cells stay empty; a total has a rule above it."""

    label: str
    cells: tuple[str, ...]
    total: bool = False


@dataclass(frozen=True)
class Block:
    """A table: `columns` names the label and then each column of numbers, `signs` stand before the
    numbers of a column where the column to its left has one. Narrow screens may leave out the
    columns in `spare`."""

    title: str
    columns: tuple[str, ...]
    signs: tuple[str, ...]
    rows: tuple[Row, ...]
    spare: tuple[int, ...] = ()


@dataclass(frozen=True)
class Part:
    """One layer's share of a section: a sentence before its tables, which can stand side by side,
    and remarks after them."""

    title: str
    blocks: tuple[Block, ...]
    about: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """One of the four stages of the step; `about` explains it."""

    key: str
    title: str
    about: str
    parts: tuple[Part, ...]


def layer_titles(walk: Walkthrough) -> list[str]:
    """What each layer is called: "Hidden layer 1", ..., "Output layer"."""
    hidden = len(walk.layers) - 1
    names = [f"Hidden layer {i + 1}" if hidden > 1 else "Hidden layer" for i in range(hidden)]
    return [*names, "Output layer"]


def sum_rows(
    terms: Sequence[tuple[str, float, float]],
    rest: int,
    total: float,
    styles: tuple[Style, Style, Style],
    name: str,
) -> list[Row]:
    """Rows for the products of a sum, for the `rest` that is not shown, and for the total."""
    products = [a * b for _, a, b in terms]
    left = [total - sum(products)] * bool(rest)
    # 1 × w is w, to the last digit
    fixed = {place for place, (_, a, _) in enumerate(terms) if a == 1}
    texts, written = sum_texts([*products, *left], total, styles[2], fixed)
    rows = [
        Row(label, (factor(a, styles[0]), styles[1].write(b), text))
        for (label, a, b), text in zip(terms, texts, strict=False)
    ]
    if rest:
        rows.append(Row(f"and {rest} more", ("", "", texts[-1])))
    return [*rows, Row(name, ("", "", written), total=True)]


def factor(value: float, style: Style) -> str:
    """An exact 0 or 1, of a bit or a bias, reads better as what it is."""
    return f"{value:.0f}" if value in (0, 1) else style.write(value)


def weight_name(layer: LayerWalk, unit: int, source: int | None) -> str:
    """The weight from input `source` to a unit, or the unit's bias, in a few words."""
    if source is None:
        return f"bias of {layer.unit_names[unit]}"
    return f"{layer.input_names[source]} → {layer.unit_names[unit]}"
