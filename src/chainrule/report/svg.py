"""The pieces of every picture: safe SVG elements, and a frame with axes to draw in.

Nothing here sets a colour: elements carry classes, and `page.css` gives the classes their colours
for light, dark and paper. No element has a `style` attribute, which the page's
Content-Security-Policy would refuse.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chainrule.report.scales import Scale, tick_labels

# Mean width of a character of a 11-unit sans-serif label, in drawing units; a little generous.
CHARACTER = 6.1
CHART_WIDTH = 380.0  # of every chart that fills its box, in drawing units
# Pixels to a drawing unit where a picture does not fill its box: about what a chart gets there.
NATURAL = 1.1


class Svg(str):
    """Markup that is already safe; templates put it on the page as it is."""

    __slots__ = ()

    def __html__(self) -> str:
        """The markup itself, as jinja2 and markupsafe ask for it."""
        return str(self)


def element(name: str, *children: str, **attributes: str | float | None) -> Svg:
    """One element; text children and attribute values are escaped, `Svg` children are kept.

    In attribute names `_` stands for `-`, and a final `_` is dropped (`class_`). Attributes that
    are None are left out, numbers are written with one decimal.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = "".join(child if isinstance(child, Svg) else html.escape(child) for child in children)
    return Svg(f"<{name}{written}>{inner}</{name}>")


def join(parts: Iterable[Svg]) -> Svg:
    """Several pieces of markup as one."""
    return Svg("".join(parts))


def coordinate(value: float) -> str:
    """A coordinate with one decimal, or none where it has none."""
    return f"{value:.1f}".removesuffix(".0")


def _value(value: str | float) -> str:
    return html.escape(value) if isinstance(value, str) else coordinate(value)


def path(points: Sequence[tuple[float, float] | None]) -> str:
    """The `d` of a line through `points`; None breaks it.

    A point between two breaks becomes a line of no length, which round caps draw as a dot.
    """
    pieces: list[str] = []
    run: list[str] = []
    for point in [*points, None]:
        if point is not None:
            run.append(f"{coordinate(point[0])} {coordinate(point[1])}")
        elif run:
            pieces.append("M" + run[0] + ("h0" if len(run) == 1 else "L" + "L".join(run[1:])))
            run = []
    return "".join(pieces)


def shorten(text: str, most: int) -> str:
    """`text`, with its middle left out where it is longer than `most` characters."""
    if len(text) <= most:
        return text
    head = most // 2
    return f"{text[:head]}…{text[len(text) - (most - 1 - head) :]}"


@dataclass(frozen=True)
class Frame:
    """A picture of `width` x `height` drawing units with one x and one y axis."""

    width: float
    height: float
    x: Scale
    y: Scale

    @property
    def left(self) -> float:
        """The plot's left side, in drawing units."""
        return self.x.start

    @property
    def right(self) -> float:
        """The plot's right side."""
        return self.x.stop

    @property
    def bottom(self) -> float:
        """The plot's lower side (y grows downwards)."""
        return self.y.start

    @property
    def top(self) -> float:
        """The plot's upper side."""
        return self.y.stop

    def axes(self, x_ticks: Sequence[float], x_label: str, y_ticks: Sequence[float]) -> Svg:
        """Grid lines, the base line, tick labels and the name of the x axis."""
        parts = []
        for tick, label in zip(y_ticks, tick_labels(y_ticks), strict=True):
            y = self.y(tick)
            parts.append(line(self.left, y, self.right, y, "grid"))
            parts.append(label_at(self.left - 6, y + 3.8, label, "tick", "end"))
        parts.append(line(self.left, self.bottom, self.right, self.bottom, "axis"))
        x_labels = tick_labels(x_ticks)
        free = self.left - 10.0  # where the next label may begin
        for tick, label in zip(x_ticks, x_labels, strict=True):
            x = self.x(tick)
            parts.append(line(x, self.bottom, x, self.bottom + 4, "axis"))
            half = len(label) * CHARACTER / 2
            if x - half >= free:
                parts.append(label_at(x, self.bottom + 16, label, "tick", "middle"))
                free = x + half + 6
        centre = (self.left + self.right) / 2
        parts.append(label_at(centre, self.bottom + 30, x_label, "name", "middle"))
        return join(parts)

    def picture(self, label: str, *content: Svg, class_: str = "chart") -> Svg:
        """The finished `<svg>`; `label` is what a screen reader says of it."""
        return picture(self.width, self.height, label, *content, class_=class_)


def picture(width: float, height: float, label: str, *content: Svg, class_: str = "chart") -> Svg:
    """An `<svg>` of `width` x `height` drawing units.

    A "chart" fills its box; with the class "sized" it is as large as its text needs and shrinks
    with a narrow box, with "fixed" it keeps that size and its box scrolls.
    """
    size: dict[str, float | str] = {}
    if class_ != "chart":
        size = {"width": width * NATURAL, "height": height * NATURAL}
    return element(
        "svg",
        *content,
        class_=class_,
        viewBox=f"0 0 {coordinate(width)} {coordinate(height)}",
        role="img",
        aria_label=label,
        **size,
    )


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Svg:
    """A straight line."""
    return element("line", class_=class_, x1=x1, y1=y1, x2=x2, y2=y2)


def label_at(x: float, y: float, text: str, class_: str, anchor: str = "start") -> Svg:
    """A line of text whose base line begins, ends or has its middle at (x, y)."""
    where = None if anchor == "start" else anchor
    return element("text", text, class_=class_, x=x, y=y, text_anchor=where)


def apart(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """`places` moved as little as needed to be `gap` apart, in the same order, in [low, high]."""
    order = sorted(range(len(places)), key=places.__getitem__)
    moved = list(places)
    floor = low
    for index in order:
        moved[index] = max(moved[index], floor)
        floor = moved[index] + gap
    ceiling = high
    for index in reversed(order):
        moved[index] = min(moved[index], ceiling)
        ceiling = moved[index] - gap
    return moved
