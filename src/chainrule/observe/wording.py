"""The words and numbers of a progress line: short, and of a steady width."""

from __future__ import annotations

import math
from collections.abc import Mapping

# The metric shown beside the loss: the first of these that the run has.
_SHOWN = ("accuracy", "r2", "f1", "mae")


def quantity(value: float) -> str:
    """A loss or metric in about four digits: "0.0123", "12.3", "1.2e+06", "nan"."""
    if not math.isfinite(value):
        return str(value)
    size = abs(value)
    if size != 0 and not 1e-3 <= size < 1e5:
        return f"{value:.1e}"
    decimals = 4 if size < 10 else 2 if size < 1000 else 0
    return f"{value:.{decimals}f}"


def rate(rows_per_second: float) -> str:
    """How fast the rows go by: "850 rows/s", "12.3k rows/s", "4.5M rows/s"; "" when not known."""
    if not math.isfinite(rows_per_second) or rows_per_second <= 0:
        return ""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        # From 999.5 on, the smaller unit would be written with four digits.
        if rows_per_second >= size * 0.9995:
            scaled = rows_per_second / size
            return f"{scaled:.{1 if scaled < 99.95 else 0}f}{letter} rows/s"
    return f"{rows_per_second:.0f} rows/s"


def clock(seconds: float) -> str:
    """A length of time: "0:07", "1:02:03", "2d 03:04"; "" when not known."""
    if not math.isfinite(seconds) or seconds < 0:
        return ""
    whole = math.ceil(seconds)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    if hours == 0:
        return f"{minute}:{second:02}"
    if hours < 24:
        return f"{hours}:{minute:02}:{second:02}"
    days, hour = divmod(hours, 24)
    return f"{days}d {hour:02}:{minute:02}"


def duration(seconds: float) -> str:
    """How long something took: "3.2 s", "2 min 05 s", "1 h 02 min"."""
    if seconds < 59.95 or not math.isfinite(seconds):
        return f"{seconds:.1f} s"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours} h {minute:02} min" if hours else f"{minutes} min {second:02} s"


def count(number: int, noun: str) -> str:
    """A number of things: "1 epoch", "1,437 rows"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def shown_metric(metrics: Mapping[str, float]) -> tuple[str, float] | None:
    """The metric to show beside the loss, or None where there is none."""
    names = [name for name in (*_SHOWN, *metrics) if name in metrics and name != "loss"]
    return (names[0], metrics[names[0]]) if names else None


def printable(text: str, encoding: str) -> str:
    """The text with "?" for what would disturb a terminal or is not in its alphabet."""
    clean = "".join(letter if letter.isprintable() else "?" for letter in text)
    return clean.encode(encoding, "replace").decode(encoding)
