"""Rows of the closing evaluation with what was predicted of them, for the report to show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from chainrule.data import CorpusEncoder, Dataset, Encoder, ForecastEncoder, depicted
from chainrule.training import metrics
from chainrule.training.evaluate import Scale
from chainrule.training.objective import Objective, readable

Array = np.ndarray
MOST = 12  # rows
_MOST_TEXTS = 4
_MOST_PLACES = 240  # of a text
_MOST_POINTS = 600  # of a series
Example = Mapping[str, Any]


def examples(
    dataset: Dataset,
    encoder: Encoder | None,
    scale: Scale,
    objective: Objective,
    rows: Array,
    outputs: Array,
) -> tuple[Example, ...]:
    """Up to 12 of the evaluated rows in JSON values (see `Evaluated.examples`); of a forecast one
    stretch of time. Nothing where a row cannot be shown, or a loss of the user's own gives the
    outputs another meaning."""
    if not len(rows) or not objective.fits(outputs.shape, len(rows)):
        return ()
    if isinstance(encoder, ForecastEncoder):
        return (_stretch(dataset, encoder, rows, outputs),)
    if objective.time:
        return _texts(dataset, encoder, rows, outputs)
    if not depicted(dataset, int(rows[0])):
        return ()
    read = readable(np.asarray(outputs, np.float64), objective.task, objective.name)
    if objective.task == "regression":
        return _numbers(dataset, scale, rows, read)
    return _classes(dataset, rows, read)


def _classes(dataset: Dataset, rows: Array, read: Array) -> tuple[Example, ...]:
    """The rows that are most surely wrong, half of those shown at most, and others from the first
    to the last."""
    shares = metrics.probabilities(read)
    guesses, truth = metrics.predicted_classes(read), dataset.y[rows]
    sure = shares[np.arange(len(rows)), guesses]
    wrong = np.flatnonzero(guesses != truth)
    worst = wrong[np.argsort(-sure[wrong], kind="stable")][: MOST // 2].tolist()
    others = np.setdiff1d(np.arange(len(rows)), worst)
    picked = np.linspace(0, len(others) - 1, min(MOST - len(worst), len(others)))
    chosen = [*worst, *others[picked.astype(int)].tolist()]
    return tuple(
        {
            **_row(dataset, int(rows[place])),
            "truth": dataset.classes[int(truth[place])],
            "predicted": dataset.classes[int(guesses[place])],
            "share": float(sure[place]),
            "right": bool(guesses[place] == truth[place]),
        }
        for place in chosen
    )


def _numbers(dataset: Dataset, scale: Scale, rows: Array, read: Array) -> tuple[Example, ...]:
    truth = scale.restore(dataset.y[rows]).reshape(len(rows), -1)
    guess = scale.restore(read).reshape(len(rows), -1)
    order = np.argsort(-np.abs(guess - truth).sum(axis=1), kind="stable")[:MOST]
    return tuple(
        {
            **_row(dataset, int(rows[place])),
            "truth": " ".join(f"{value:.4g}" for value in truth[place][:4]),
            "predicted": " ".join(f"{value:.4g}" for value in guess[place][:4]),
        }
        for place in order.tolist()
    )


def _row(dataset: Dataset, row: int) -> dict[str, Any]:
    looks = depicted(dataset, row)
    is_named = len(dataset.row_names) > 0 and "text" not in looks
    return {"row": dataset.row_names[row] if is_named else f"row {row:,}", **looks}


def text_places(rows: int) -> Array:
    """Which of the evaluated rows are shown, of sequences with a target at each place; of those
    alone, all of them."""
    return np.linspace(0, max(rows - 1, 0), min(_MOST_TEXTS, rows)).astype(int)


def _texts(
    dataset: Dataset, encoder: Encoder | None, rows: Array, outputs: Array
) -> tuple[Example, ...]:
    """A few stretches of text, and at which places the likeliest symbol was the right one."""
    found = []
    for place in text_places(len(rows)).tolist():
        truth = dataset.y[rows[place]][:_MOST_PLACES]
        logits = outputs[place].reshape((dataset.y.shape[1], -1))[: len(truth)]
        guesses = metrics.predicted_classes(logits)
        found.append(
            {
                "row": f"row {int(rows[place]):,}",
                "symbols": [dataset.classes[int(symbol)] for symbol in truth],
                "words": isinstance(encoder, CorpusEncoder) and encoder.vocabulary.level == "word",
                "guesses": [dataset.classes[int(symbol)] for symbol in guesses],
            }
        )
    return tuple(found)


def _stretch(
    dataset: Dataset, encoder: ForecastEncoder, rows: Array, outputs: Array
) -> dict[str, Any]:
    """Forecasts behind one another, each as far as it looks ahead, and what came."""
    step = encoder.horizon
    many = max(1, min(len(range(0, len(rows), step)), _MOST_POINTS // step))
    chosen = np.arange(len(rows) - 1, -1, -step)[:many][::-1]  # the last forecasts
    restore = Scale(encoder.target.mean, encoder.target.std).restore
    before = restore(dataset.x[rows[chosen[0]], :, 0])
    return {
        "row": encoder.target.name,
        "horizon": step,
        "comparison": encoder.comparison(),
        "before": before.tolist(),
        "truth": restore(dataset.y[rows[chosen]]).reshape(-1).tolist(),
        "predicted": restore(outputs[chosen]).reshape(-1).tolist(),
    }
