"""What each metric is called on the page, how its number is written and what it means."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from chainrule.report.scales import number, percent

if TYPE_CHECKING:
    from chainrule.observe.record import Record


@dataclass(frozen=True)
class Meaning:
    """How a metric is shown: its label, its number's form, and one plain clause."""

    label: str
    write: Callable[[float], str]
    means: str


_MEANINGS = {
    "accuracy": Meaning("Accuracy", percent, "share of the {} that are given their right class"),
    "f1": Meaning("F1", number, "balance of precision and recall; 1 is perfect"),
    "roc_auc": Meaning(
        "ROC AUC",
        number,
        "chance that a row of a class is ranked above one of another; 0.5 is a coin",
    ),
    "log_loss": Meaning("Log-loss", number, "the price of confident mistakes; 0 is perfect"),
    "perplexity": Meaning(
        "Perplexity", number, "as unsure as if it chose between so many symbols; 1 is perfect"
    ),
    "loss": Meaning("Loss", number, "what training minimised; lower is better"),
    "r2": Meaning(
        "R²",
        number,
        "share of the target's variance that is explained; always answering the mean gives 0",
    ),
    "mae": Meaning(
        "Mean absolute error", number, "typical distance from the true value, in the target's unit"
    ),
    "rmse": Meaning(
        "Root mean squared error",
        number,
        "typical distance from the true value, large misses counting more",
    ),
}
# What a reader asks for first, whatever the task; the others come between these and the loss.
_FIRST = ("accuracy", "f1", "roc_auc", "r2", "mae", "rmse")


def meaning(metric: str, each: str) -> Meaning:
    """The meaning of `metric`, a mean over what `each` says; one that is not known here bears its
    own name."""
    told = _MEANINGS.get(metric) or Meaning(metric, number, "")
    return replace(told, means=told.means.format(each))


def each_of(record: Record) -> str:
    """What metrics are means over: "rows", or the "places" of sequences where each has its own
    target, which have a perplexity."""
    last = record.epochs[-1].held_out if record.epochs else {}
    found = record.evaluated.metrics if record.evaluated else {}
    return "places" if "perplexity" in {**last, **found} else "rows"


def in_reading_order(metrics: Iterable[str]) -> list[str]:
    """The names of metrics, those that matter most first and the loss last."""

    def rank(name: str) -> int:
        if name in _FIRST:
            return _FIRST.index(name)
        return len(_FIRST) + (name == "loss")

    return sorted(metrics, key=rank)


def same_number(a: float, b: float) -> bool:
    """Whether two metrics are one, told twice: in float32 and in float64, say."""
    return math.isclose(a, b, rel_tol=1e-4)
