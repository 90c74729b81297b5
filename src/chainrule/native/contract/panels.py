"""Panels of a contraction's right operand: whether they are packed, and how many steps of the sums
make one.

No choice here changes a bit of the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chainrule.native.contract.costs import COPY, PANEL_BYTES, TURN, Shape, Tiles

STACK = 1 << 20  # bytes of a panel at most: it lies on a thread's stack, which may have 2 MiB
_APART = 1536  # bytes between rows that push each other out
_RUN = 16  # rows after which it does not matter where the next ones lie
_LARGE = 1 << 19  # bytes; half of the second-level cache
_TOGETHER = 64  # columns at most of rows that follow each other: they lie as a panel would
_MANY_ROWS = 256  # for which a panel is packed just so that it lies together, if its sums have
_MANY_STEPS = 192  # so many steps: fewer fit into the nearest cache as they are
_STEPS = 128  # of sums that are taken together then


def packing_cost(
    strides: Mapping[str, int],
    column: str,
    summed: Sequence[str],
    sizes: dict[str, int],
    shape: Shape,
    *,
    free: bool,
) -> float:
    """Cycles for packing a vector of the right operand, which has these `strides`, or 0 where it is
    read where it lies.

    What lies across memory would be gathered anew for each row of tiles. What lies along memory is
    packed where rows far apart would push each other out of the cache, and where it is `free` of
    the outer letters and so many rows use it that packing costs next to nothing.
    """
    if not column or not summed or shape.rows < 4:
        return 0
    if strides[column] not in (0, 1):
        return TURN
    apart = _apart(strides, summed, sizes) * shape.itemsize
    if shape.rows >= 48 and shape.steps >= 48 and apart >= _APART:
        return COPY
    is_long = shape.steps >= _MANY_STEPS and shape.rows * shape.outer >= _MANY_ROWS
    if shape.columns <= _TOGETHER and abs(strides[summed[-1]]) == shape.columns:
        return 0
    return COPY if free and is_long and shape.outer > 1 else 0


def _apart(strides: Mapping[str, int], summed: Sequence[str], sizes: dict[str, int]) -> int:
    """How many numbers lie between rows of the right operand that are used shortly after each
    other: what comes after many rows that follow each other closely does not count."""
    found, run = 0, 1
    for letter in reversed(summed):
        if run < _RUN:
            found = max(found, abs(strides[letter]))
        run *= sizes[letter]
    return found


def depth_of(shape: Shape, tiles: Tiles, summed: Sequence[str], sizes: dict[str, int]) -> int:
    """Sums too long for a panel to stay in the cache are taken in parts of equal length."""
    panel = shape.steps * tiles.width * shape.itemsize
    if shape.rows <= tiles.rows:
        return 0
    # Where rows lie side by side, each line of memory has numbers for several tiles: they should
    # find it near still.
    across = shape.apart == shape.itemsize and shape.rows * shape.steps * shape.itemsize > _LARGE
    if panel <= PANEL_BYTES and not across:
        return 0
    size = sizes[summed[0]]
    parts = -(-2 * panel // PANEL_BYTES) if panel > PANEL_BYTES else 1
    parts = min(max(parts, -(-shape.steps // _STEPS) if across else 1), size)
    return -(-size // parts)
