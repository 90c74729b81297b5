"""Fewer points for a long run, without losing what a reader would look for in it.

A curve of ten thousand epochs is drawn by the first, lowest, highest and last value of each
bucket ("M4", Jugel et al. 2014): on the screen it is the same line as that of every point, so a
single bad epoch stays visible.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


def edges(count: int, buckets: int) -> list[tuple[int, int]]:
    """`count` positions cut into at most `buckets` ranges (start, stop), even and in order."""
    if count <= 0:
        return []
    buckets = min(count, max(1, buckets))
    cuts = [count * index // buckets for index in range(buckets + 1)]
    return list(pairwise(cuts))


def kept_points(y: Sequence[float], buckets: int = 150) -> list[int]:
    """The positions of `y` to draw: first, lowest, highest and last of each bucket.

    The first value that is not finite in a bucket is kept too, so that the line breaks there.
    """
    if len(y) <= 2 * buckets:
        return list(range(len(y)))
    kept: set[int] = set()
    for start, stop in edges(len(y), buckets):
        finite = [i for i in range(start, stop) if math.isfinite(y[i])]
        broken = next((i for i in range(start, stop) if not math.isfinite(y[i])), None)
        if broken is not None:
            kept.add(broken)
        if finite:
            lowest, highest = min(finite, key=y.__getitem__), max(finite, key=y.__getitem__)
            kept.update((finite[0], finite[-1], lowest, highest))
    return sorted(kept)


def spread(count: int, most: int) -> list[int]:
    """At most `most` positions out of `count`, evenly spread, the first and last among them."""
    if count <= most:
        return list(range(count))
    if most < 2:
        return [0]
    return sorted({round(index * (count - 1) / (most - 1)) for index in range(most)})


def means(
    values: NDArray[np.float64], ranges: list[tuple[int, int]], *, log: bool
) -> NDArray[np.float64]:
    """Means over ranges of columns of a table of sizes, shape (rows, columns).

    Geometric means with `log`, which leave zeros out. NaN and infinity are left out of every mean.
    A range with nothing else in it gives infinity where it holds an infinity, 0 where it holds a
    zero, and NaN where it is all missing.
    """
    result = np.full((values.shape[0], len(ranges)), np.nan)
    for column, (start, stop) in enumerate(ranges):
        part = values[:, start:stop]
        good = np.isfinite(part) & (part > 0) if log else np.isfinite(part)
        kept = np.where(good, part, 1.0)
        count = good.sum(axis=1)
        total = np.where(good, np.log(kept) if log else kept, 0.0).sum(axis=1)
        mean = total / np.maximum(count, 1)
        mean = np.exp(mean) if log else mean
        empty = np.where(
            np.isinf(part).any(axis=1), np.inf, np.where((part == 0).any(axis=1), 0.0, np.nan)
        )
        result[:, column] = np.where(count > 0, mean, empty)
    return result
