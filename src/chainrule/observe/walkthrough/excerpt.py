"""Which numbers of a large layer to show: the most telling units, and for each the largest terms.

Small layers are shown whole. The same weights are followed through the forward pass, the backward
pass and the update, so that a reader meets them again.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, Any]

WHOLE_UNITS, FEW_UNITS = 5, 3  # units of a layer: shown whole up to the first, else the second
WHOLE_TERMS, FEW_TERMS = 8, 5  # terms of a sum
WHOLE_OUTPUTS, FEW_OUTPUTS = 12, 6  # rows of the table of outputs and errors


def telling_units(delta: Array, first: int | None = None) -> tuple[int, ...]:
    """The units to show of a layer: those with the largest deltas, in the layer's order.

    `first` is a unit that is always among them (the target's).
    """
    return _largest(delta, WHOLE_UNITS, FEW_UNITS, first)


def telling_terms(terms: Array) -> tuple[int, ...]:
    """The terms of a sum to show: the largest, in their own order."""
    return _largest(terms, WHOLE_TERMS, FEW_TERMS, None)


def telling_outputs(error: Array, first: int | None = None) -> tuple[int, ...]:
    """The outputs to show: those that are most wrong, and the target's."""
    return _largest(error, WHOLE_OUTPUTS, FEW_OUTPUTS, first)


def _largest(values: Array, whole: int, few: int, first: int | None) -> tuple[int, ...]:
    if len(values) <= whole:
        return tuple(range(len(values)))
    order = [int(i) for i in np.argsort(-np.abs(values), kind="stable") if i != first]
    chosen = order[:few] if first is None else [first, *order[: few - 1]]
    return tuple(sorted(chosen))
