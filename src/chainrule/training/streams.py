"""Truncated backpropagation through time: what a network carries from chunk to chunk of streams.

Rows lie as in `chainrule.data.chunking`, so a batch of consecutive rows is one chunk of each
stream; several documents are dealt to the streams anew in each epoch. The states that recurrent
layers end a chunk with are part of a step's carry; in the next step they are inputs, so no delta
goes back into the chunk before (Williams and Peng 1990).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule import tracing
from chainrule.data import Dataset, permutation
from chainrule.errors import ShapeError, UsageError
from chainrule.optim import Optimizer
from chainrule.tracing import trees
from chainrule.tracing.context import Context, use
from chainrule.tracing.memory import Memory

Array = np.ndarray
DEFAULT_BATCH = 32  # of `cr.train`: nobody asked for it


def batch_size_for(
    batch_size: int | None, dataset: Dataset, rows: tuple[int, ...], optimizer: Optimizer
) -> int | None:
    """The rows of a step: with streams one chunk of each; else as given. `rows` counts those of
    each part, training and held out. Raises UsageError or ShapeError where these do not fit."""
    streams = dataset.streams
    if not streams:
        return batch_size
    if optimizer.full_batch is not None:
        raise UsageError(
            f"{optimizer.name} works on all rows at once, and streams are read chunk after chunk",
            where=f"optimizer={optimizer!r}",
            do="give an optimiser for batches, such as adam, or data without streams",
        )
    if batch_size not in (None, DEFAULT_BATCH, streams):
        raise UsageError(
            f"batch_size is {batch_size}, and a step reads one chunk of each of {streams} streams",
            do=f"leave batch_size out, or make {batch_size} streams",
        )
    for count in rows:
        if count % streams:
            raise ShapeError(
                f"{dataset.name}: {count} rows are not whole chunks of {streams} streams",
                do="give as many rows of each stream",
            )
    return streams


def resets_of(dataset: Dataset, *parts: Array) -> Array:
    """Where rows of streams begin anew, bool [rows]: as the data say, and in the first chunk of
    each part of the rows, at the beginning of every epoch and evaluation."""
    resets = np.zeros(dataset.rows, np.bool_) if dataset.resets is None else dataset.resets.copy()
    for rows in parts:
        resets[rows[: dataset.streams]] = True
    return resets


def dealt(dataset: Dataset, rows: Array, seed: int, epoch: int) -> Array:
    """The training rows in the order of an epoch: where documents begin behind the first chunk,
    they follow one another in an order of the epoch's own, which is cut into the streams anew. As
    many rows lie in each stream as before, so an epoch has as many steps."""
    count, resets = dataset.streams, dataset.resets
    if resets is None or not resets[rows[count:]].any():
        return rows
    read = rows.reshape(-1, count).T.reshape(-1)  # stream after stream
    begins = resets[read]
    begins[:: len(rows) // count] = True
    documents = np.split(read, np.flatnonzero(begins)[1:])
    order = permutation(len(documents), seed, epoch)
    found = np.concatenate([documents[number] for number in order])
    return np.ascontiguousarray(found.reshape(count, -1).T).reshape(-1)


def states_of(net: Any, x: Array) -> dict[str, Any]:
    """The states that a network carries, of rows like `x`: zeros, by the path of their layer; as
    tracing it once shows."""

    def states(net: Any, x: Any) -> Any:
        context = Context(memory=Memory())
        context.name(net)
        with use(context):
            net(x)
        assert context.memory is not None
        return context.memory.after

    found = tracing.capture(states, (net, x), name="states").result
    made: dict[str, Any] = trees.map_leaves(lambda s: np.zeros(s.shape, s.dtype), found)
    return made
