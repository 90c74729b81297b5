"""One step of backpropagation as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chainrule.observe.walkthrough import (
    DIFFERS,
    Block,
    LayerWalk,
    Subject,
    Walkthrough,
    aligned,
    check_lines,
    layer_titles,
    sections,
)
from chainrule.report.network import network_picture
from chainrule.report.page import Figure, LegendEntry, Table, render_page
from chainrule.report.scales import MINUS, number
from chainrule.report.svg import element, picture, shorten

MOST_FIELDS = 200  # columns of the row that are listed
MOST_UNITS = 500  # units of a layer whose numbers are listed in full
LONGEST_NAME = 80  # of a column or value of the row
LONGEST_LABEL = 44  # of a line in a table of numbers
_PIXEL = 14.0
_INKS = 10  # page.css names them h0 ... h9

# Digits are all of one width here, and so are these two spaces: what stands in for a digit or a
# decimal point keeps decimal points below each other.
_FIGURE_SPACE, _POINT_SPACE = "\u2007", "\u2008"


@dataclass(frozen=True)
class Cells:
    """A row of a table as the template takes it: `skipped` cells before the first belong to the
    label."""

    label: str
    skipped: int
    cells: tuple[str, ...]
    total: bool


@dataclass(frozen=True)
class Sheet:
    """A table as the template takes it."""

    heads: tuple[str, ...]
    is_named: bool  # whether the first heading is the name of a unit
    rows: tuple[Cells, ...]


def render_walkthrough(subject: Subject, walk: Walkthrough) -> str:
    """The walkthrough as one HTML text that needs no network, no script and no other file.

    Raises ChainruleError where jinja2 is not installed.
    """
    verdict, basis = check_lines(walk)
    return render_page(
        "walkthrough.html",
        title=subject.title,
        subject=subject,
        facts=Table(("", ""), [*subject.facts, ("row", subject.row_text)], words=True),
        fields=_fields(subject),
        image=_image(subject),
        network=_network(walk),
        legend_entries=(
            LegendEntry("positive weight", "train"),
            LegendEntry("negative weight", "held"),
        ),
        sections=[
            (section, [(part, [_sheet(block) for block in part.blocks]) for part in section.parts])
            for section in sections(walk)
        ],
        full=[
            (title, _full(layer))
            for title, layer in zip(layer_titles(walk), walk.layers, strict=True)
            if not layer.complete
        ],
        verdict=verdict[0].upper() + verdict[1:] + ".",
        basis=basis,
        is_wrong=walk.count(DIFFERS) > 0,
    )


def _fields(subject: Subject) -> Table | None:
    if subject.image is not None:
        return None
    shown = [
        (shorten(name, LONGEST_NAME), shorten(value, LONGEST_NAME))
        for name, value in subject.fields[:MOST_FIELDS]
    ]
    rest = len(subject.fields) - len(shown)
    note = f"{rest:,} more columns are not listed." if rest else ""
    return Table(("column", "value"), [*shown, subject.target], note, words=True)


def _image(subject: Subject) -> Figure | None:
    if subject.image is None:
        return None
    rows, columns = subject.image.shape
    squares = [
        element(
            "rect",
            class_=f"cell h{min(_INKS - 1, int(value * _INKS))}",
            x=column * _PIXEL,
            y=row * _PIXEL,
            width=_PIXEL,
            height=_PIXEL,
        )
        for row, values in enumerate(subject.image)
        for column, value in enumerate(values)
        if value > 0
    ]
    frame = element(
        "rect", class_="missing framed", width=columns * _PIXEL, height=rows * _PIXEL, x=0, y=0
    )
    name, value = subject.target
    drawn = picture(
        columns * _PIXEL,
        rows * _PIXEL,
        f"The row as a picture of {rows} x {columns} pixels",
        *squares,
        frame,
        class_="chart sized",
    )
    return Figure("row-picture", "The row", f"{name}: {value}", drawn)


def _network(walk: Walkthrough) -> Figure:
    about = (
        "In each circle the unit's output, below it its delta δ. A line is a weight: the wider, "
        "the larger in its layer."
    )
    is_small = all(layer.complete for layer in walk.layers)
    notes = () if is_small else ("Of large layers, the units of the tables below are drawn.",)
    return Figure("network", "The network", about, network_picture(walk), notes=notes)


def _sheet(block: Block) -> Sheet:
    columns = [aligned([row.cells[i] for row in block.rows]) for i in range(len(block.signs))]
    rows = []
    for place, row in enumerate(block.rows):
        skipped = next((i for i, cell in enumerate(row.cells) if cell), len(row.cells))
        cells = []
        for i in range(skipped, len(row.cells)):
            is_led = i > skipped and bool(block.signs[i])
            text = _typeset(columns[i][place])
            cells.append(f"{_typeset(block.signs[i])} {text}" if is_led and text.strip() else text)
        rows.append(Cells(shorten(row.label, LONGEST_LABEL), skipped, tuple(cells), row.total))
    heads = (block.title or block.columns[0], *map(_with_minus, block.columns[1:]))
    return Sheet(heads, bool(block.title), tuple(rows))


def _with_minus(text: str) -> str:
    """A formula with a minus sign for its hyphen."""
    return text.replace(" - ", f" {MINUS} ")


def _typeset(text: str) -> str:
    """A number of an aligned column, with its spaces as wide as what they stand in for."""
    number_alone = text.rstrip(" ")
    after = len(text) - len(number_alone)
    if after and "." not in number_alone:
        return f"{_typeset(number_alone)}{_POINT_SPACE}{_FIGURE_SPACE * (after - 1)}"
    return text.replace("-", MINUS).replace(" ", _FIGURE_SPACE)


def _full(layer: LayerWalk) -> Table:
    """Sum, output and delta of every unit of a layer of which only some are shown."""
    count = len(layer.z)
    rows = [
        (name, *_numbers(layer.z[j], layer.outputs[j], layer.slope[j], layer.delta[j]))
        for j, name in enumerate(layer.unit_names[:MOST_UNITS])
    ]
    note = f"{count - MOST_UNITS:,} more units are not listed." if count > MOST_UNITS else ""
    return Table(("unit", "z", "a", "f'(z)", "delta"), rows, note)


def _numbers(*values: Any) -> Sequence[str]:
    return [number(float(value), 5) for value in values]
