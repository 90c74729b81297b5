"""What steps and evaluations read rows of: inputs, targets, and what else each row has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chainrule.data import Dataset

Array = np.ndarray


@dataclass(frozen=True)
class Columns:
    """Arrays of equal length: x, y, and where there are such, the weights of rows (or of their
    places, [rows, time]) and where rows begin anew.

    `counted` says how many places of each row count (int64 [rows]), or is None where every row
    counts as one.
    """

    arrays: tuple[Array, ...]
    weights: Array | None
    resets: Array | None
    counted: Array | None

    @staticmethod
    def of(dataset: Dataset, weights: Array | None, resets: Array | None) -> Columns:
        """Those of a data set."""
        arrays = [dataset.x, dataset.y, *(a for a in (weights, resets) if a is not None)]
        return Columns(tuple(arrays), weights, resets, _counted(dataset, weights))

    def take(self, rows: Array) -> Columns:
        """Those of some rows; a view where the rows follow one another."""
        where = span_of(rows)

        def some(array: Array | None) -> Array | None:
            return None if array is None else array[where]

        arrays = tuple(array[where] for array in self.arrays)
        return Columns(arrays, some(self.weights), some(self.resets), some(self.counted))

    def batch(self, rows: Array) -> list[Array]:
        """The arrays of some rows."""
        return [array[rows] for array in self.arrays]

    def counts(self, rows: Array) -> list[int]:
        """How much each batch of `rows` ([steps, batch]) counts for in a mean."""
        if self.counted is None:
            return [rows.shape[1]] * len(rows)
        found: list[int] = self.counted[rows].sum(axis=1).tolist()
        return found


def _counted(dataset: Dataset, weights: Array | None) -> Array | None:
    if not dataset.time or weights is None:
        return None
    if weights.ndim == 1:
        return np.where(weights > 0, np.int64(dataset.time), np.int64(0))
    return np.asarray(np.sum(weights > 0, axis=1, dtype=np.int64))


def span_of(rows: Array) -> Array | slice:
    """Rows that follow one another as a slice, which copies nothing; others as they are."""
    if len(rows) and (rows == np.arange(rows[0], rows[0] + len(rows))).all():
        return slice(int(rows[0]), int(rows[0]) + len(rows))
    return rows
