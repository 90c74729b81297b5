"""The split into training rows and held-out rows: seeded, and stratified for classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chainrule.data.shuffle import SPLIT_STREAM, check_seed, order
from chainrule.errors import DataError, UsageError, unknown

Rows = NDArray[np.int64]

TASKS = ("regression", "binary", "multiclass")


def split(y: NDArray[np.generic], validation: float, task: str, seed: int) -> tuple[Rows, Rows]:
    """Choose the rows to hold out: (training rows, held-out rows), each int64 and ascending.

    `y` has one entry (or row) per row of the data; for "binary" and "multiclass" it holds class
    indices, and each class is held out in proportion (the counts differ from the exact share by
    less than one row, unless a class is too small). A class always keeps a training row, so a
    class with one row is never held out. `validation` is a fraction between 0 and 1, rounded to
    the nearest number of rows (and down to what small classes can spare), or a whole number of
    rows; 0 holds nothing out. The choice is a function of (y, validation, task, seed) alone.
    Raises UsageError for a bad `validation`, `task` or `seed`, DataError where too few rows exist.
    """
    if task not in TASKS:
        raise unknown("task", task, TASKS)
    check_seed(seed)
    rows = len(y)
    held = _held_out_count(validation, rows)
    shuffled = order(rows, seed, SPLIT_STREAM)
    is_sequences = np.ndim(y) == 2 and np.shape(y)[1] > 1  # of classes: rows have no class
    if task == "regression" or is_sequences or held == 0:
        chosen = shuffled[:held]
    else:
        is_share = isinstance(validation, (float, np.floating))
        chosen = _stratified(np.asarray(y).reshape(rows), held, shuffled, is_share)
    is_held_out = np.zeros(rows, dtype=bool)
    is_held_out[chosen] = True
    return np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)


def last_chunks(rows: int, streams: int, validation: float) -> tuple[Rows, Rows]:
    """The split of rows that lie as streams (see `chainrule.data.chunking`): the last chunks of all
    streams are held out, as many as come nearest to `validation`, at least one and not all of them.

    Raises UsageError for a bad `validation`, DataError where there is but one chunk.
    """
    held, chunks = _held_out_count(validation, rows), rows // streams
    if held and chunks < 2:
        raise DataError(
            f"{chunks} chunk of each of {streams} streams cannot be split",
            do="give longer streams, or hold nothing out (validation=0)",
        )
    last = min(max(round(held / streams), 1), chunks - 1) if held else 0
    first = (chunks - last) * streams
    return np.arange(first), np.arange(first, rows)


def _held_out_count(validation: float, rows: int) -> int:
    """The number of rows to hold out, from a fraction or a number of rows."""
    do = "give a fraction between 0 and 1, such as 0.2, or a whole number of rows (0 for none)"
    if isinstance(validation, bool) or not isinstance(
        validation, (int, float, np.integer, np.floating)
    ):
        raise UsageError(f"validation must be a number, not {validation!r}", do=do)
    if isinstance(validation, (int, np.integer)):
        if validation < 0 or (validation > 0 and validation >= rows):
            raise UsageError(f"cannot hold out {validation} of {rows} rows", do=do)
        return int(validation)
    if not 0 <= validation < 1:  # also refuses NaN
        raise UsageError(f"validation must be between 0 and 1, not {validation!r}", do=do)
    if validation == 0:
        return 0
    if rows < 2:
        raise DataError(
            f"a held-out part needs at least 2 rows, and there {'is' if rows else 'are'} {rows}",
            do="add rows, or train with validation=0",
        )
    nearest_count = int(float(validation) * rows + 0.5)  # half rounds up on every platform
    return min(max(nearest_count, 1), rows - 1)


def _stratified(labels: NDArray[np.generic], held: int, shuffled: Rows, is_share: bool) -> Rows:
    """`held` rows in the order `shuffled`, each class with its share (largest remainders).

    `is_share` says that `held` comes from a fraction, which takes fewer where classes are small.
    """
    _, index, counts = np.unique(labels, return_inverse=True, return_counts=True)
    spare = counts - 1  # each class keeps one training row
    most = int(spare.sum())
    if most == 0 or (held > most and not is_share):
        raise DataError(
            f"cannot hold out {held} of {len(labels)} rows: each of the {len(counts)} classes "
            "needs a training row",
            do=f"add rows, or hold out {f'at most {most}' if most else 'none (validation=0)'}",
        )
    held = min(held, most)
    # Whole-number arithmetic, so that no rounding of a platform can move a row.
    share, remainder = np.divmod(counts * held, len(labels))
    take = np.minimum(share, spare)
    by_remainder = np.argsort(-remainder, kind="stable")
    while (left := held - int(take.sum())) > 0:
        room = by_remainder[(spare > take)[by_remainder]]
        take[room[:left]] += 1
    picked = [shuffled[index[shuffled] == c][: take[c]] for c in range(len(counts))]
    return np.concatenate(picked)
