"""Rows with what was predicted of them: pictures, spectrograms, texts, and a forecast over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chainrule.report.charts import Mark, Series, line_chart
from chainrule.report.page import Figure, Table
from chainrule.report.png import png_address
from chainrule.report.scales import number, percent
from chainrule.report.svg import shorten

if TYPE_CHECKING:
    from chainrule.observe.record import Record

_LONGEST_NAME = 60
_LEAST_SIDE = 112  # of a picture on the page, in pixels; small ones grow by a whole factor


@dataclass(frozen=True)
class Picture:
    """A picture on the page: its address and its size there."""

    address: str
    width: int
    height: int


@dataclass(frozen=True)
class Symbol:
    """One symbol of a text: what was there, and what was thought likeliest; `right` if the same."""

    text: str
    guess: str
    right: bool


@dataclass(frozen=True)
class Card:
    """One row: its name, how it looks, what it is and what was predicted."""

    name: str
    verdict: str
    ink: str  # "right", "wrong" or ""
    picture: Picture | None = None
    text: str = ""
    symbols: Sequence[Symbol] = ()


@dataclass(frozen=True)
class Examples:
    """The section of examples: cards, or the chart of a forecast."""

    about: str
    cards: Sequence[Card] = ()
    figure: Figure | None = None
    sample: Card | None = None  # what a language model writes


def examples(record: Record) -> Examples | None:
    """The examples of the closing evaluation, or None where there are none that can be shown."""
    evaluated = record.evaluated
    if not evaluated or not evaluated.examples:
        return None
    first = evaluated.examples[0]
    if "horizon" in first:
        return _forecast(first, evaluated.rows)
    cards = [card for example in evaluated.examples if (card := _card(example)) is not None]
    if not cards:
        return None
    if any(card.symbols for card in cards):
        about = (
            f"Stretches of the {evaluated.rows} text. Underlined: places where another symbol was "
            "thought likelier; under the pointer, which one."
        )
    else:
        sound = ": loudness by time, low tones below" if first.get("sound") else ""
        wrong = "; first those that are most surely wrong" if cards[0].ink == "wrong" else ""
        about = f"Some of the {evaluated.rows} rows{sound}{wrong}."
    return Examples(about, cards, sample=_sample(evaluated.sample))


def _sample(told: Mapping[str, Any]) -> Card | None:
    """What a language model wrote, or None where it wrote nothing."""
    text = str(told.get("text", ""))
    if not text:
        return None
    name = "What it writes from the beginning"
    if "temperature" in told and "seed" in told:
        name += f": temperature {told['temperature']}, seed {told['seed']}"
    return Card(name, "", "", text=text)


def _card(example: Mapping[str, Any]) -> Card | None:
    """One row; None where what was recorded of it is damaged."""
    name = shorten(str(example.get("row", "")), _LONGEST_NAME)
    if "symbols" in example:
        pairs = zip(example["symbols"], example.get("guesses", ()), strict=False)
        behind = " " if example.get("words") else ""
        symbols = [Symbol(_shown(t) + behind, _shown(g), t == g) for t, g in pairs]
        hits = sum(symbol.right for symbol in symbols)
        return Card(name, f"{hits} of {len(symbols)} foreseen", "", symbols=symbols)
    truth, predicted = str(example.get("truth", "")), str(example.get("predicted", ""))
    ink = ""
    verdict = f"{predicted}, truly {truth}"
    if "right" in example:
        ink = "right" if example["right"] else "wrong"
        share = percent(float(example.get("share", 0)))
        verdict = f"{truth} ({share})" if example["right"] else f"{predicted} ({share}), is {truth}"
    picture = None
    if "image" in example:
        picture = _picture(example["image"])
        if picture is None:
            return None
    return Card(name, verdict, ink, picture, str(example.get("text", "")))


def _picture(image: Any) -> Picture | None:
    try:
        height, width, channels = (int(size) for size in image["shape"])
        address = png_address(str(image["pixels"]), (height, width, channels))
    except (KeyError, TypeError, ValueError):
        return None
    return sized(address, height, width, _LEAST_SIDE)


def sized(address: str, height: int, width: int, least: int) -> Picture:
    """A picture that grows by a whole factor until its longer side is `least` or more."""
    factor = -(-least // max(height, width))
    return Picture(address, width * factor, height * factor)


def _shown(symbol: Any) -> str:
    """A symbol as it can be seen: line breaks and spaces are no ink."""
    return {"\n": "⏎\n", "\t": "⇥"}.get(str(symbol), str(symbol))


def _forecast(example: Mapping[str, Any], rows: str) -> Examples:
    before, truth, predicted = (
        [float(value) for value in example.get(name, ())]
        for name in ("before", "truth", "predicted")
    )
    name, horizon = str(example.get("row", "")), int(example["horizon"])
    times = [float(i) for i in range(1, len(truth) + 1)]
    past = [float(i) for i in range(1 - len(before), 1)]
    series = [
        Series("truth", [*past, *times], [*before, *truth], "train"),
        Series("forecast", times, predicted, "held"),
    ]
    ahead = "one step ahead" if horizon == 1 else f"{horizon} steps ahead at a time"
    rows_shown = [
        [f"{int(t)}", number(a), number(b)] for t, a, b in zip(times, truth, predicted, strict=True)
    ]
    figure = Figure(
        key="forecast",
        title=f"{shorten(name, _LONGEST_NAME)}: forecast and truth",
        about=f"The end of the {rows} part, forecast {ahead}; before it what the first forecast "
        "saw.",
        picture=line_chart(
            series,
            label=f"The forecast of {name} against the truth over {len(times)} steps.",
            x_name="step",
            marks=[Mark(0.5, "")],
        ),
        table=Table(["step", "truth", "forecast"], rows_shown),
    )
    return Examples("", figure=figure)
