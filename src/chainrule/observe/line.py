"""The line of progress: what it says, and what of it fits a width."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chainrule.observe.events import Progress
from chainrule.observe.wording import clock, quantity, rate, shown_metric

_GAP = 2  # spaces between two parts
_SHORTEST_BAR = 10
_LONGEST_BAR = 30


@dataclass(frozen=True)
class Part:
    """One part of the line; a lower `rank` is dropped later. The bar's text is drawn last."""

    text: str
    rank: int
    style: str = ""
    bar: bool = False


def progress_parts(
    progress: Progress, epochs: int, held_out: Mapping[str, float], *, bar: bool
) -> list[Part]:
    """The parts of the line in the order they are shown; `held_out` is of the last epoch."""
    wide = len(str(epochs))
    texts = [
        Part(f"epoch {progress.epoch + 1:>{wide}}/{epochs}", 0),
        Part(" " * _SHORTEST_BAR if bar else "", 4, bar=True),
        Part(f"loss {quantity(progress.loss)}", 1, "bold"),
        Part(_held_out(held_out), 2, "green"),
        Part(rate(progress.rows_per_second), 5, "dim"),
        Part(f"{left} left" if (left := clock(progress.seconds_left)) else "", 3, "cyan"),
    ]
    return [part for part in texts if part.text]


def fitting(parts: list[Part], width: int) -> list[Part]:
    """The parts that fit in `width` columns, the most important first; never fewer than one."""
    kept: set[Part] = set()
    used = -_GAP
    for part in sorted(parts, key=lambda part: part.rank):
        if not kept or used + _GAP + len(part.text) <= width:
            kept.add(part)
            used += _GAP + len(part.text)
    spare = min(max(width - used, 0), _LONGEST_BAR - _SHORTEST_BAR)
    return [
        Part(part.text + " " * spare, part.rank, part.style, bar=True) if part.bar else part
        for part in parts
        if part in kept
    ]


def _held_out(metrics: Mapping[str, float]) -> str:
    shown = shown_metric(metrics)
    # Language models are compared by their loss, which also stands beside the training rows' own.
    if "loss" in metrics and (shown is None or "perplexity" in metrics):
        shown = ("loss", metrics["loss"])
    return f"held-out {shown[0].replace('_', ' ')} {quantity(shown[1])}" if shown else ""
