"""Maps of attention: what each head reads at each place of a row, tokens on both sides."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.observe.wording import count
from chainrule.report.heat import LEVELS
from chainrule.report.page import Figure
from chainrule.report.scales import percent
from chainrule.report.svg import (
    CHARACTER,
    CHART_WIDTH,
    Svg,
    coordinate,
    element,
    join,
    label_at,
    picture,
    shorten,
)

if TYPE_CHECKING:
    from chainrule.observe.record import Record

_LONGEST = 14  # characters of a token
_BYTES = 256


@dataclass(frozen=True)
class Attention:
    """The section: how to read it, and a map for each head of each layer."""

    about: str
    figures: Sequence[Figure]


def attention(record: Record) -> Attention | None:
    """The maps of the closing evaluation, or None where there are none that can be shown."""
    found = record.evaluated.attention if record.evaluated else ()
    figures = [figure for number, layer in enumerate(found) for figure in _maps(layer, number + 1)]
    if not figures:
        return None
    name = shorten(str(found[0].get("row", "")), 60)
    places = count(len(found[0].get("tokens", ())), "place")
    return Attention(
        f"What each head of each layer reads of {name}, its first {places}: a line is one place, "
        "and the darker a cell, the larger the share of what that place takes from the place above "
        "the column. Each map is on its own scale, from 0 to the share that is named.",
        figures,
    )


def _maps(layer: Mapping[str, Any], number: int) -> Iterator[Figure]:
    """The heads of one layer; those whose record is damaged are left out."""
    tokens = [_shown(token) for token in layer.get("tokens", ())]
    for head, told in enumerate(layer.get("heads", ()), 1):
        try:
            raw = base64.b64decode(str(told["shares"]), validate=True)
            shares = np.frombuffer(raw, np.uint8).reshape(len(tokens), len(tokens))
            largest = float(told["largest"])
        except (KeyError, TypeError, ValueError):
            continue
        path = str(layer.get("layer", ""))
        yield Figure(
            key=f"attention-{number}-{head}",
            title=f"Layer {number}, head {head}",
            about=f"{path}; the largest share is {percent(largest)}",
            picture=_map(tokens, shares, f"{path}, head {head}"),
        )


def _shown(token: Any) -> str:
    """A token as it can be seen: spaces and line breaks are no ink."""
    text = {" ": "␣", "\n": "⏎", "\t": "⇥"}.get(str(token), str(token))
    return shorten(text, _LONGEST)


def _map(tokens: Sequence[str], shares: np.ndarray, name: str) -> Svg:
    longest = max(len(token) for token in tokens)
    upright = longest == 1
    margin = 12 + longest * CHARACTER * 0.85
    top = 16.0 if upright else margin
    side = (CHART_WIDTH - margin - 4) / len(tokens)
    side = min(side, 24.0)
    parts = list(_cells(shares, margin, top, side))
    edge = side * len(tokens)
    frame = element("rect", class_="missing framed", x=margin, y=top, width=edge, height=edge)
    parts.append(frame)
    for place, token in enumerate(tokens):
        middle = (place + 0.5) * side
        parts.append(label_at(margin - 5, top + middle + 3.2, token, "row", "end"))
        parts.append(_above(margin + middle, top - 5, token, upright))
    label = f"Attention of {name} over {count(len(tokens), 'place')}"
    return picture(margin + edge + 4, top + edge + 4, label, join(parts), class_="chart sized")


def _above(x: float, y: float, token: str, upright: bool) -> Svg:
    """The token over a column; longer ones stand on end."""
    if upright:
        return label_at(x, y, token, "row", "middle")
    turned = f"rotate(-90 {coordinate(x + 3.2)} {coordinate(y)})"
    return element("text", token, class_="row", x=x + 3.2, y=y, transform=turned)


def _cells(shares: np.ndarray, left: float, top: float, side: float) -> Iterator[Svg]:
    """One path for each shade; what is next to nothing stays paper."""
    levels = np.minimum(shares.astype(int) * LEVELS // (_BYTES - 1), LEVELS - 1)
    levels[shares < _BYTES // (4 * LEVELS)] = -1
    size = coordinate(side)
    for level in range(LEVELS):
        corners = [
            f"M{coordinate(left + key * side)} {coordinate(top + query * side)}"
            f"h{size}v{size}h-{size}z"
            for query, key in np.argwhere(levels == level).tolist()
        ]
        if corners:
            yield element("path", class_=f"cell h{level}", d="".join(corners))
