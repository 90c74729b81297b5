"""Where the finished network is right and wrong: a confusion matrix, or predicted against true."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chainrule.report.buckets import spread
from chainrule.report.charts import scatter_chart
from chainrule.report.matrix import matrix_chart
from chainrule.report.page import Figure, Table
from chainrule.report.scales import MISSING, number, percent
from chainrule.report.svg import shorten

if TYPE_CHECKING:
    from chainrule.observe.events import Evaluated
    from chainrule.observe.record import Record

SHOWN_CLASSES = 30  # more would not be read; those with the most mistakes are shown
TABLE_CLASSES = 300
LISTED = 10
PAIRS = 2000  # an evaluation keeps no more
TABLE_PAIRS = 100


@dataclass(frozen=True)
class Outcome:
    """A picture of the predictions and a list of the worst of them."""

    title: str
    figure: Figure
    list_title: str
    list: Table | None


def outcome(record: Record) -> Outcome | None:
    """The picture that fits the evaluation of `record`, or None where there is none."""
    evaluated = record.evaluated
    if not evaluated:
        return None
    if evaluated.confusion:
        return _classified(evaluated)
    if evaluated.truth:
        return _regressed(evaluated)
    return None


def _classified(evaluated: Evaluated) -> Outcome:
    confusion = evaluated.confusion
    total = len(confusion)
    classes = list(evaluated.classes) or [f"{i}" for i in range(total)]
    right = sum(confusion[i][i] for i in range(total))
    rows = sum(sum(row) for row in confusion)
    shown, notes = list(range(total)), []
    if total > SHOWN_CLASSES:
        shown = sorted(sorted(range(total), key=lambda i: -_wrong(confusion, i))[:SHOWN_CLASSES])
        notes.append(f"The {SHOWN_CLASSES} of {total:,} classes with the most mistakes.")
    part = [[confusion[i][j] for j in shown] for i in shown]
    figure = Figure(
        key="confusion",
        title="Confusion matrix",
        about=f"Counts of {evaluated.rows} rows. On the diagonal the network is right; shade "
        "grows with the share of the row.",
        picture=matrix_chart(
            [classes[i] for i in shown],
            part,
            label=f"Confusion matrix of {total} classes: {right:,} of {rows:,} rows are right.",
        ),
        table=_class_table(classes, confusion),
        notes=notes,
    )
    mistakes = _mistakes(classes, confusion)
    title = "Most frequent mistakes" if mistakes else "No mistakes on these rows"
    return Outcome("Where it is right and wrong", figure, title, mistakes)


def _wrong(confusion: Sequence[Sequence[int]], i: int) -> int:
    """Mistakes that involve class i, as the truth or as the answer."""
    return sum(confusion[i]) + sum(row[i] for row in confusion) - 2 * confusion[i][i]


def _class_table(classes: Sequence[str], confusion: Sequence[Sequence[int]]) -> Table:
    answers = [sum(column) for column in zip(*confusion, strict=True)]
    rows = []
    for i, name in enumerate(classes[:TABLE_CLASSES]):
        true, hit = sum(confusion[i]), confusion[i][i]
        found = percent(hit / true) if true else MISSING
        correct = percent(hit / answers[i]) if answers[i] else MISSING
        rows.append([shorten(name, 60), f"{true:,}", f"{answers[i]:,}", f"{hit:,}", found, correct])
    left_out = len(classes) - len(rows)
    note = f"The first {TABLE_CLASSES} of {len(classes):,} classes." if left_out else ""
    columns = ["class", "rows", "predicted", "right", "found (recall)", "correct (precision)"]
    return Table(columns, rows, note)


def _mistakes(classes: Sequence[str], confusion: Sequence[Sequence[int]]) -> Table | None:
    pairs = [
        (count, i, j)
        for i, row in enumerate(confusion)
        for j, count in enumerate(row)
        if i != j and count
    ]
    pairs.sort(key=lambda pair: (-pair[0], pair[1], pair[2]))
    rows = [
        [
            shorten(classes[i], 40),
            shorten(classes[j], 40),
            f"{count:,}",
            percent(count / sum(confusion[i])),
        ]
        for count, i, j in pairs[:LISTED]
    ]
    left_out = len(pairs) - len(rows)
    kinds = "kind" if left_out == 1 else "kinds"
    note = f"and {left_out:,} more {kinds} of mistake" if left_out else ""
    columns = ["true class", "predicted", "rows", "of the class"]
    return Table(columns, rows, note) if rows else None


def _regressed(evaluated: Evaluated) -> Outcome:
    pairs = list(zip(evaluated.truth, evaluated.predicted, strict=True))
    misses = [abs(p - t) if math.isfinite(p - t) else math.inf for t, p in pairs]
    worst = sorted(range(len(pairs)), key=lambda i: -misses[i])[:LISTED]
    notes = []
    if len(pairs) >= PAIRS:
        notes.append(f"{len(pairs):,} pairs are drawn; more rows than these may have been used.")
    bad = sum(not math.isfinite(miss) for miss in misses)
    if bad:
        notes.append(f"{bad:,} of the predictions are not finite and cannot be drawn.")
    ahead = max((e.get("horizon", 1) for e in evaluated.examples), default=1)
    dot = f"One dot for each of the {evaluated.rows} rows"
    if ahead > 1:  # the first is the easiest: the numbers of the result are of all of them
        dot += f", the first of {ahead:,} steps ahead"
    figure = Figure(
        key="predicted",
        title="Predicted against true",
        about=f"{dot}; on the dotted line they agree. Rings mark the largest misses.",
        picture=scatter_chart(
            evaluated.truth,
            evaluated.predicted,
            label=f"Predicted against true values of {len(pairs):,} {evaluated.rows} rows.",
            outliers=worst,
            ink="held" if evaluated.rows == "held-out" else "train",
        ),
        table=_pair_table(pairs),
        notes=notes,
    )
    rows = [
        [number(pairs[i][0]), number(pairs[i][1]), number(pairs[i][1] - pairs[i][0])] for i in worst
    ]
    table = Table(["true value", "predicted", "predicted − true"], rows)
    misses_of = "Largest misses" if ahead == 1 else "Largest misses, the first step ahead"
    return Outcome("Where it is right and wrong", figure, misses_of, table)


def _pair_table(pairs: Sequence[tuple[float, float]]) -> Table:
    ordered = sorted(pairs, key=lambda pair: (math.isnan(pair[0]), pair[0]))
    kept = spread(len(ordered), TABLE_PAIRS)
    rows = [[number(ordered[i][0]), number(ordered[i][1])] for i in kept]
    left_out = len(ordered) - len(rows)
    note = (
        f"{len(rows)} of {len(ordered):,} pairs, evenly along the true value." if left_out else ""
    )
    return Table(["true value", "predicted"], rows, note)
