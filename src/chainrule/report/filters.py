"""The filters of the first layer: blue where light speaks for a unit, orange where against it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.report.examples import Card, Picture, sized
from chainrule.report.png import png_address

if TYPE_CHECKING:
    from chainrule.observe.record import Record

_SIDE = 64  # of a filter on the page, in pixels; small ones grow by a whole factor
_FRAME, _BAND = 8, 3  # pixels of a number of a filter of sounds, across and upwards
_FOR, _NEITHER, _AGAINST = (0, 104, 168), (255, 254, 251), (184, 74, 0)  # as in page.css


@dataclass(frozen=True)
class Filters:
    """The section: how to read it, and a card for each filter."""

    about: str
    cards: Sequence[Card]


def filters(record: Record) -> Filters | None:
    """The filters of the closing evaluation, or None where there are none that can be shown."""
    found = record.evaluated.filters if record.evaluated else ()
    cards = [card for one in found if (card := _card(one)) is not None]
    if not cards:
        return None
    shape = found[0].get("shape", ())
    colours = len(shape) == 3 and shape[2] == 3
    seen = "loudness" if found[0].get("sound") else "light"
    how = (
        "in their own colours around grey, which is 0"
        if colours
        else f"blue where {seen} speaks for the unit, orange where it speaks against it"
    )
    sound = "; time goes to the right, low tones are below" if found[0].get("sound") else ""
    return Filters(
        f"The weights of the first layer's units, {how}; each on its own scale, the largest "
        f"first{sound}.",
        cards,
    )


def _card(one: Mapping[str, Any]) -> Card | None:
    """One filter; None where what was recorded of it is damaged."""
    try:
        height, width, channels = (int(size) for size in one["shape"])
        raw = np.frombuffer(base64.b64decode(str(one["pixels"]), validate=True), np.uint8)
        if len(raw) != height * width * channels:
            return None
        pixels = raw if channels == 3 else _signed(raw)
        address = png_address(base64.b64encode(pixels.tobytes()).decode(), (height, width, 3))
    except (KeyError, TypeError, ValueError):
        return None
    picture: Picture = sized(address, height, width, _SIDE)
    if one.get("sound"):  # few frames of many bands: in squares it would be a thread
        picture = Picture(address, width * _FRAME, height * _BAND)
    return Card(f"unit {one.get('unit', '')}", "", "", picture)


def _signed(values: np.ndarray) -> np.ndarray:
    """Bytes around 128 as colours, [n, 3]."""
    share = (values.astype(np.float64)[:, None] - 128) / 127
    towards = np.where(share >= 0, np.array(_FOR), np.array(_AGAINST))
    mixed = np.array(_NEITHER) + np.minimum(np.abs(share), 1) * (towards - np.array(_NEITHER))
    colours: np.ndarray = np.rint(mixed).astype(np.uint8)
    return colours
