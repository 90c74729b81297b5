"""Line charts and scatter plots, drawn from plain numbers.

Reading them needs no script: under the pointer (or a finger) a line chart shows the values at the
nearest point through CSS alone, and a table beside each chart holds them for everyone else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from chainrule.report.buckets import kept_points, spread
from chainrule.report.scales import Scale, drawable, number, scale_for, whole_ticks
from chainrule.report.svg import (
    CHARACTER,
    CHART_WIDTH,
    Frame,
    Svg,
    apart,
    element,
    join,
    label_at,
    line,
    path,
    shorten,
)

WIDTH, HEIGHT = CHART_WIDTH, 236.0
LEFT, TOP, BOTTOM = 46.0, 18.0, 38.0
LINE_HEIGHT = 13.0


@dataclass(frozen=True)
class Series:
    """One line: `y` over `x` (rising), in the ink of a class of `page.css` ("train", "d3")."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    ink: str
    at: dict[float, float] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", dict(zip(self.x, self.y, strict=True)))


@dataclass(frozen=True)
class Mark:
    """A place on the x axis worth finding again, such as the best epoch."""

    x: float
    text: str
    y: float | None = None  # a ring around this point
    ink: str = ""


@dataclass(frozen=True)
class Guide:
    """A range of y that is usual, drawn as a pale band with a name."""

    low: float
    high: float
    text: str


def helps_log(values: Sequence[float]) -> bool:
    """Whether a log axis shows `values` better: all positive, over more than a factor of 20."""
    finite = drawable(values)
    return bool(finite) and min(finite) > 0 and max(finite) / min(finite) > 20


def line_chart(
    series: Sequence[Series],
    *,
    label: str,
    x_name: str,
    log: bool = False,
    marks: Sequence[Mark] = (),
    guide: Guide | None = None,
    limits: tuple[float, float] | None = None,
    named: bool = True,
) -> Svg:
    """Lines over a counted x (epochs, steps).

    `label` is the text for screen readers. With `named` each line bears its name at its end;
    leave it out where a legend stands beside the chart. Values that are not finite, or not
    positive on a log axis, break the line; those beyond `limits` are drawn at the axis's end.
    """
    xs = [x for one in series for x in one.x]
    ys = [y for one in series for y in one.y]
    if guide:
        ys += [guide.low, guide.high]
    if limits:
        ys = [min(max(y, limits[0]), limits[1]) for y in ys if math.isfinite(y)]
    longest = max((len(one.name) for one in series), default=0)
    room = 8 + longest * CHARACTER if named else 12
    y = scale_for(ys, HEIGHT - BOTTOM, TOP, log=log)
    low, high = (min(xs), max(xs)) if xs else (0.0, 1.0)
    low, high = (low, high) if low < high else (low - 0.5, high + 0.5)
    frame = Frame(WIDTH, HEIGHT, Scale(low, high, LEFT, WIDTH - room), y)
    content = [frame.axes(whole_ticks(low, high), x_name, y.ticks())]
    if guide:
        content.insert(0, _guide(frame, guide))
    content += [_mark(frame, mark) for mark in marks]
    content += [_curve(frame, one) for one in series]
    content += [_ring(frame, mark) for mark in marks if mark.y is not None]
    if named:
        content.append(_names(frame, series))
    content.append(_probes(frame, series, marks, x_name))
    return frame.picture(label, *content)


def _curve(frame: Frame, one: Series) -> Svg:
    points = [
        (frame.x(one.x[i]), frame.y(one.y[i])) if frame.y.shows(one.y[i]) else None
        for i in kept_points(one.y)
    ]
    around = [None, *points, None]
    alone = [
        element("circle", class_=f"point {one.ink}", cx=here[0], cy=here[1], r=2.5)
        for before, here, after in zip(around, around[1:], around[2:], strict=False)
        if here is not None and before is None and after is None
    ]
    return join([element("path", class_=f"line {one.ink}", d=path(points)), *alone])


def _names(frame: Frame, series: Sequence[Series]) -> Svg:
    ends = []
    for one in series:
        last = next((v for v in reversed(one.y) if frame.y.shows(v)), None)
        if last is not None:
            ends.append((one, frame.y(last)))
    places = apart([y for _, y in ends], LINE_HEIGHT, frame.top + 4, frame.bottom - 4)
    return join(
        label_at(frame.right + 6, y + 3.5, one.name, f"series {one.ink}")
        for (one, _), y in zip(ends, places, strict=True)
    )


def _guide(frame: Frame, guide: Guide) -> Svg:
    top, bottom = frame.y(guide.high), frame.y(guide.low)
    return element(
        "g",
        element(
            "rect",
            class_="guide",
            x=frame.left,
            y=top,
            width=frame.right - frame.left,
            height=bottom - top,
        ),
        label_at(frame.right - 4, top + 11, guide.text, "note", "end"),
    )


def _mark(frame: Frame, mark: Mark) -> Svg:
    x = frame.x(mark.x)
    half = len(mark.text) * CHARACTER / 2
    centre = min(max(x, half), frame.width - half)
    return element(
        "g",
        line(x, frame.top, x, frame.bottom, "mark"),
        label_at(centre, frame.top - 6, mark.text, "note", "middle"),
    )


def _ring(frame: Frame, mark: Mark) -> Svg:
    if mark.y is None or not frame.y.shows(mark.y):
        return Svg("")
    return element(
        "circle", class_=f"ring {mark.ink}", cx=frame.x(mark.x), cy=frame.y(mark.y), r=3.5
    )


def _probes(frame: Frame, series: Sequence[Series], marks: Sequence[Mark], x_name: str) -> Svg:
    """Strips over the plot; the one under the pointer shows its values."""
    xs = sorted({x for one in series for x in one.x})
    most = 80 if len(series) <= 4 else 40
    kept = {xs[index] for index in spread(len(xs), most)} | {m.x for m in marks if m.x in set(xs)}
    chosen = sorted(kept)
    places = [frame.x(x) for x in chosen]
    sides = [frame.left, *((a + b) / 2 for a, b in pairwise(places))]
    sides.append(frame.right)
    return join(
        element(
            "g",
            element(
                "rect",
                class_="hit",
                x=sides[i],
                y=frame.top,
                width=sides[i + 1] - sides[i],
                height=frame.bottom - frame.top,
            ),
            _readout(frame, series, x, x_name),
            class_="probe",
        )
        for i, x in enumerate(chosen)
    )


def _readout(frame: Frame, series: Sequence[Series], x: float, x_name: str) -> Svg:
    rows = [(one, one.at[x]) for one in series if x in one.at]
    texts = [f"{x_name} {number(x, 7)}"]
    texts += [f"● {number(value)}  {shorten(one.name, 24)}" for one, value in rows]
    width = max(len(text) for text in texts) * CHARACTER + 10
    place = frame.x(x)
    left = place + 8 if place < (frame.left + frame.right) / 2 else place - 8 - width
    left = min(max(left, 2.0), frame.width - width - 2)
    spans = [element("tspan", texts[0], x=left + 6, dy=LINE_HEIGHT)]
    for (one, _), text in zip(rows, texts[1:], strict=True):
        dot = element("tspan", text[0], class_=f"dot {one.ink}", x=left + 6, dy=LINE_HEIGHT)
        spans.append(join([dot, element("tspan", text[1:])]))
    dots = [
        element("circle", class_=f"point {one.ink}", cx=place, cy=frame.y(value), r=2.5)
        for one, value in rows
        if frame.y.shows(value)
    ]
    height = LINE_HEIGHT * len(texts) + 8
    return element(
        "g",
        line(place, frame.top, place, frame.bottom, "cursor"),
        *dots,
        element("rect", class_="box", x=left, y=frame.top, width=width, height=height, rx=2),
        element("text", *spans, class_="read", y=frame.top + 1),
        class_="show",
    )


def scatter_chart(
    truth: Sequence[float],
    predicted: Sequence[float],
    *,
    label: str,
    outliers: Sequence[int] = (),
    ink: str = "held",
) -> Svg:
    """Predicted against true values with the line on which they agree.

    Both axes share one scale; `outliers` are positions of the pairs that get a ring and a title.
    """
    side = CHART_WIDTH
    both = [*truth, *predicted]
    frame = Frame(
        side,
        side,
        scale_for(both, LEFT + 6, side - 10),
        scale_for(both, side - BOTTOM, 6.0),
    )
    pairs = list(zip(truth, predicted, strict=True))
    dots: list[tuple[float, float] | None] = []
    for t, p in pairs:
        if math.isfinite(t) and math.isfinite(p):
            dots += [(frame.x(t), frame.y(p)), None]
    low, high = frame.x.low, frame.x.high
    ticks = frame.x.ticks()
    rings = [
        element(
            "circle",
            element("title", f"true {number(t)}, predicted {number(p)}"),
            class_=f"ring {ink}",
            cx=frame.x(t),
            cy=frame.y(p),
            r=4.5,
        )
        for t, p in (pairs[index] for index in outliers)
        if math.isfinite(t) and math.isfinite(p)
    ]
    return frame.picture(
        label,
        frame.axes(ticks, "true value", ticks),
        line(frame.x(low), frame.y(low), frame.x(high), frame.y(high), "mark"),
        label_at(frame.left + 4, frame.top + 8, "predicted value", "name"),
        element("path", class_=f"dots {ink}", d=path(dots)),
        *rings,
        class_="chart sized",
    )
