"""The result of a run in words and numbers: what a reader wants to know first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chainrule.observe.wording import count
from chainrule.report.ending import STOPPED
from chainrule.report.measures import each_of, in_reading_order, meaning, same_number
from chainrule.report.scales import percent

if TYPE_CHECKING:
    from chainrule.observe.events import Evaluated
    from chainrule.observe.record import Record


@dataclass(frozen=True)
class Value:
    """One number of the result."""

    label: str
    text: str
    means: str


@dataclass(frozen=True)
class Result:
    """The numbers, the rows they hold for, and what a reader should know about them."""

    on: str
    values: tuple[Value, ...]
    remarks: tuple[str, ...]


def result(record: Record) -> Result:
    """The result of `record`: its evaluation, or else the last epoch's numbers."""
    each = each_of(record)
    if record.evaluated and record.evaluated.metrics:
        rows = _rows(record, record.evaluated.rows)
        on = f"On {rows}, which the network was not trained on."
        if record.evaluated.rows != "held-out":
            on = f"On {rows}, the same that the network was trained on."
        remarks = (*_remarks(record.evaluated), *_which_weights(record))
        return Result(on, _values(record.evaluated.metrics, each), remarks)
    if record.epochs:
        last = record.epochs[-1]
        metrics, rows = (last.held_out, "held-out") if last.held_out else (last.train, "training")
        on = f"At the end of epoch {last.epoch + 1:,}, on {_rows(record, rows)}."
        remark = "The network has not been evaluated at the end of the run."
        return Result(on, _values(metrics, each), (remark,))
    return Result("", (), ("Not one epoch was finished, so there is nothing to report yet.",))


def _rows(record: Record, which: str) -> str:
    if not record.started:
        return f"the {which} rows"
    started = record.started
    return count(
        started.held_out_rows if which == "held-out" else started.train_rows, f"{which} row"
    )


def _values(metrics: Mapping[str, float], each: str) -> tuple[Value, ...]:
    values = []
    others = [value for name, value in metrics.items() if name != "loss"]
    for name in in_reading_order(metrics):
        if name == "loss" and any(same_number(metrics[name], other) for other in others):
            continue
        told = meaning(name, each)
        values.append(Value(told.label, told.write(metrics[name]), told.means))
    return tuple(values)


def _remarks(evaluated: Evaluated) -> tuple[str, ...]:
    remarks = []
    totals = [sum(row) for row in evaluated.confusion]
    if evaluated.classes and sum(totals):
        most = max(range(len(totals)), key=totals.__getitem__)
        share = percent(totals[most] / sum(totals))
        remarks.append(
            f"For comparison: always answering “{evaluated.classes[most]}”, the most common class "
            f"of these rows, would be right for {share}."
        )
    forecast = next((e for e in evaluated.examples if e.get("comparison")), None)
    if forecast:
        remarks.append(f"For comparison, mean absolute errors: {forecast['comparison']}.")
    if evaluated.rows != "held-out":
        remarks.append(
            "No rows were held out, so these numbers say how well the training rows are fitted. "
            "They do not say how well the network does on rows it has not seen."
        )
    return tuple(remarks)


def _which_weights(record: Record) -> list[str]:
    """Whether the network is the last or the best one, where that makes a difference."""
    ended = record.ended
    if not (ended and 0 <= ended.best_epoch < ended.epoch - 1) or not record.started:
        return []
    settings = record.started.config.get("settings")
    if not isinstance(settings, Mapping) or ended.reason in STOPPED:
        return []
    best = f"epoch {ended.best_epoch + 1:,}"
    if settings.get("patience") is not None and ended.reason != "interrupted":
        return [f"The network is that of {best}, whose held-out loss was the lowest."]
    return [f"The network is the last one; the held-out loss was lowest in {best}."]
