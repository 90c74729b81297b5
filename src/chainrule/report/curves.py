"""Learning curves: the loss, each metric and the learning rate over the epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from chainrule.report.buckets import spread
from chainrule.report.charts import Mark, Series, helps_log, line_chart
from chainrule.report.measures import each_of, in_reading_order, meaning, same_number
from chainrule.report.page import Figure, Table
from chainrule.report.scales import MISSING, number

if TYPE_CHECKING:
    from chainrule.observe.events import EpochEnded
    from chainrule.observe.record import Record

ROWS = 120  # the most rows of a table of numbers
INKS = {"training": "train", "held-out": "held"}


def curves(record: Record) -> list[Figure]:
    """One figure for the loss, one for each other metric, one for a learning rate that changes."""
    epochs = record.epochs
    if not epochs:
        return []
    seen = dict.fromkeys(name for epoch in epochs for name in [*epoch.train, *epoch.held_out])
    names = in_reading_order(seen)
    names = [name for name in names if name == "loss" or not _is_loss(name, epochs)]
    names.sort(key=lambda name: name != "loss")
    best = best_epoch(record)
    each, told = each_of(record), enumerate(names, 1)
    figures = [_metric(f"curve-{i}", name, epochs, best, each) for i, name in told]
    if len({epoch.learning_rate for epoch in epochs}) > 1:
        figures.append(_rate(f"curve-{len(names) + 1}", epochs))
    return figures


def best_epoch(record: Record) -> int | None:
    """The 0-based epoch with the best held-out loss, or None where none was held out."""
    if record.ended and record.ended.best_epoch >= 0:
        return record.ended.best_epoch
    best = [epoch.epoch for epoch in record.epochs if epoch.best and epoch.held_out]
    return best[-1] if best else None


def _is_loss(name: str, epochs: Sequence[EpochEnded]) -> bool:
    """Whether the metric is the loss under another name, as log-loss is of cross-entropy."""
    told = [(e.held_out.get("loss"), e.held_out.get(name), e.train.get(name)) for e in epochs]
    return all(
        loss is not None and value is not None and train is None and same_number(loss, value)
        for loss, value, train in told
    )


def _metric(
    key: str, name: str, epochs: Sequence[EpochEnded], best: int | None, each: str
) -> Figure:
    told = meaning(name, each)
    series = [
        one
        for one in (
            _series("training", name, [(e.epoch, e.train) for e in epochs]),
            _series("held-out", name, [(e.epoch, e.held_out) for e in epochs]),
        )
        if one
    ]
    log = name == "loss" and helps_log([y for one in series for y in one.y])
    held = next((one for one in series if one.name == "held-out"), None)
    marks = []
    if best is not None and held and best + 1.0 in held.at:
        marks.append(Mark(best + 1.0, f"best: epoch {best + 1}", held.at[best + 1.0], "held"))
    about = f"Mean over the {each} of each epoch" if name == "loss" else told.means or "By epoch"
    about = f"{about[0].upper()}{about[1:]}" + (", log scale." if log else ".")
    label = f"{told.label} by epoch, {len(epochs):,} epochs. " + _ends(series)
    return Figure(
        key=key,
        title=told.label,
        about=about,
        picture=line_chart(series, label=label, x_name="epoch", log=log, marks=marks),
        table=_table(series, best),
        notes=_gaps(series),
    )


def _series(rows: str, name: str, values: list[tuple[int, Mapping[str, float]]]) -> Series | None:
    kept = [(epoch + 1.0, float(metrics[name])) for epoch, metrics in values if name in metrics]
    if not kept:
        return None
    return Series(rows, [x for x, _ in kept], [y for _, y in kept], INKS[rows])


def _ends(series: Sequence[Series]) -> str:
    return " ".join(
        f"{one.name}: from {number(one.y[0])} to {number(one.y[-1])}." for one in series
    )


def _gaps(series: Sequence[Series]) -> list[str]:
    notes = []
    for one in series:
        bad = [x for x, y in zip(one.x, one.y, strict=True) if not math.isfinite(y)]
        if bad:
            many = f"{len(bad):,} epochs, the first" if len(bad) > 1 else "one epoch,"
            notes.append(f"The {one.name} line has gaps: not finite in {many} {bad[0]:,.0f}.")
    return notes


def _table(series: Sequence[Series], best: int | None) -> Table:
    every = sorted({x for one in series for x in one.x})
    kept = {every[i] for i in spread(len(every), ROWS)}
    if best is not None:
        kept |= {best + 1.0} & set(every)
    rows = [
        [
            f"{x:,.0f}" + (" (best)" if best is not None and x == best + 1 else ""),
            *(number(one.at[x], 5) if x in one.at else MISSING for one in series),
        ]
        for x in sorted(kept)
    ]
    left_out = len(every) - len(rows)
    note = f"{len(rows)} of {len(every):,} epochs; record.jsonl has them all." if left_out else ""
    return Table(["epoch", *(one.name for one in series)], rows, note)


def _rate(key: str, epochs: Sequence[EpochEnded]) -> Figure:
    xs = [epoch.epoch + 1.0 for epoch in epochs]
    ys = [float(epoch.learning_rate) for epoch in epochs]
    one = Series("learning rate", xs, ys, "other")
    log = helps_log(ys)
    about = f"At the end of each epoch{', log scale' if log else ''}."
    return Figure(
        key=key,
        title="Learning rate",
        about=about,
        picture=line_chart(
            [one],
            label=f"Learning rate by epoch, from {number(ys[0])} to {number(ys[-1])}",
            x_name="epoch",
            log=log,
            named=False,
        ),
        table=_table([one], None),
    )
