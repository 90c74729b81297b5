"""A drawing of a small dense network with its numbers: units as circles, weights as lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chainrule.observe.walkthrough import LayerWalk, Walkthrough, layer_titles
from chainrule.report.scales import number
from chainrule.report.svg import CHARACTER, Svg, element, join, label_at, picture, shorten

MOST_UNITS = 10  # drawn of a column; of a larger layer only the units that the tables show
MOST_INPUTS = 6  # drawn of a wide row
MOST_LABELLED = 6  # weights between two columns that are written at their lines

_RADIUS = 21.0
_ROW, _COLUMN = 78.0, 168.0  # from unit to unit, and from layer to layer
_TOP, _SIDE = 44.0, 66.0
_THINNEST, _THICKEST = 0.7, 5.0
_LABEL = 17  # characters of a unit's name
_FITS = 6  # characters in a circle
# Where a weight stands on its line: nearer to its source, so that lines that cross keep apart.
_PLACE = 0.3


@dataclass(frozen=True)
class _Unit:
    """A circle: its index in its layer, its centre, and what is written at it."""

    index: int
    x: float
    y: float
    name: str
    value: float
    delta: float | None


def network_picture(walk: Walkthrough) -> Svg:
    """The network with the output of every unit in its circle and its delta below.

    A line is as wide as its weight is large within its layer; positive and negative weights have
    two colours. Of a large layer only the units that the tables show are drawn.
    """
    chosen = [_inputs_shown(walk.layers[0]), *(_units_shown(layer) for layer in walk.layers)]
    height = _TOP + _ROW * max(len(column) for column in chosen) + 24
    columns = [
        _column(walk, place, indices, height, _SIDE + place * _COLUMN)
        for place, indices in enumerate(chosen)
    ]
    parts: list[Svg] = []
    for layer, sources, targets in zip(walk.layers, columns, columns[1:], strict=False):
        parts += _lines(layer, sources, targets)
    for place, (units, title) in enumerate(
        zip(columns, ["Inputs", *layer_titles(walk)], strict=True)
    ):
        total = len(walk.layers[0].inputs) if place == 0 else len(walk.layers[place - 1].z)
        parts += _column_words(units, title, total, height)
        parts += [_circle(unit) for unit in units]
    width = 2 * _SIDE + _COLUMN * (len(columns) - 1)
    return picture(width, height, _alternative(walk), *parts, class_="chart fixed")


def _alternative(walk: Walkthrough) -> str:
    sizes = [len(walk.layers[0].inputs), *(len(layer.z) for layer in walk.layers)]
    return f"A network of {' - '.join(map(str, sizes))} units with its weights, outputs and deltas"


def _units_shown(layer: LayerWalk) -> Sequence[int]:
    return range(len(layer.z)) if len(layer.z) <= MOST_UNITS else layer.units


def _inputs_shown(layer: LayerWalk) -> Sequence[int]:
    if len(layer.inputs) <= MOST_UNITS:
        return range(len(layer.inputs))
    size = {i: abs(layer.inputs[i]) for sources in layer.sources for i in sources}
    return sorted(sorted(size, key=lambda i: -size[i])[:MOST_INPUTS])


def _column(
    walk: Walkthrough, place: int, indices: Sequence[int], height: float, x: float
) -> list[_Unit]:
    top = (_TOP + height - 24 - _ROW * (len(indices) - 1)) / 2 + 4
    units = []
    for row, index in enumerate(indices):
        if place == 0:
            first = walk.layers[0]
            name, value, delta = first.input_names[index], first.inputs[index], None
        else:
            layer = walk.layers[place - 1]
            name, value = layer.unit_names[index], layer.outputs[index]
            delta = float(layer.delta[index])
        units.append(_Unit(index, x, top + row * _ROW, name, float(value), delta))
    return units


def _lines(layer: LayerWalk, sources: Sequence[_Unit], targets: Sequence[_Unit]) -> list[Svg]:
    pairs = [(source, target) for target in targets for source in sources]
    weights = [float(layer.weight[s.index, t.index]) for s, t in pairs]
    largest = max((abs(weight) for weight in weights), default=0.0) or 1.0
    lines, labels = [], []
    for (source, target), weight in zip(pairs, weights, strict=True):
        width = _THINNEST + (_THICKEST - _THINNEST) * abs(weight) / largest
        told = (
            f"{source.name} → {target.name}: weight {number(weight)}, gradient "
            f"{number(float(layer.weight_gradient[source.index, target.index]))}"
        )
        lines.append(
            element(
                "line",
                element("title", told),
                class_="train" if weight >= 0 else "held",
                x1=source.x,
                y1=source.y,
                x2=target.x,
                y2=target.y,
                stroke_width=width,
                stroke_opacity="0.75",
            )
        )
        if len(pairs) <= MOST_LABELLED:
            x = source.x + _PLACE * (target.x - source.x)
            y = source.y + _PLACE * (target.y - source.y)
            labels.append(_on_line(x, y, number(weight, 3)))
    return [*lines, *labels]


def _on_line(x: float, y: float, text: str) -> Svg:
    wide = len(text) * CHARACTER + 4
    back = element("rect", class_="box", x=x - wide / 2, y=y - 8, width=wide, height=15, rx=2)
    return join([back, label_at(x, y + 3.6, text, "read", "middle")])


def _circle(unit: _Unit) -> Svg:
    about = [
        label_at(unit.x, unit.y - _RADIUS - 6, shorten(unit.name, _LABEL), "series halo", "middle")
    ]
    if unit.delta is not None:
        text = f"δ {number(unit.delta, 3)}"
        about.append(label_at(unit.x, unit.y + _RADIUS + 13, text, "tick halo", "middle"))
    return join(
        [
            element("circle", class_="box", cx=unit.x, cy=unit.y, r=_RADIUS),
            element("circle", class_="ring axis", cx=unit.x, cy=unit.y, r=_RADIUS),
            label_at(unit.x, unit.y + 3.8, _inside(unit.value), "read", "middle"),
            *about,
        ]
    )


def _inside(value: float) -> str:
    """A number that fits into a circle."""
    text = number(value, 3)
    return text if len(text) <= _FITS else number(value, 2)


def _column_words(units: Sequence[_Unit], title: str, total: int, height: float) -> list[Svg]:
    words = [label_at(units[0].x, 14, title, "name", "middle")]
    if total > len(units):
        text = f"and {total - len(units):,} more"
        words.append(label_at(units[0].x, height - 6, text, "note", "middle"))
    return words
