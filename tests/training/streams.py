"""Data in streams, and networks that carry states through them."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

import chainrule as cr
from chainrule import nn, optim
from chainrule.data import Dataset, chunking
from chainrule.tracing import trees

Array = np.ndarray[Any, Any]
BLANK = 4


def remembering(documents: int = 160, time: int = 24, count: int = 8, context: int = 4) -> Dataset:
    """Documents whose first symbol, one of four, is asked for at every place; blanks follow it."""
    random = np.random.default_rng(0)
    first = random.integers(0, BLANK, documents)
    x = np.full((documents, time), BLANK, np.int32)
    x[:, 0] = first
    y = np.repeat(first[:, None], time, 1).astype(np.int32)

    def chunked(rows: Array) -> Array:
        """[documents, time] as [chunks * streams, context]; stream s has every count-th one."""
        streams = rows.reshape(-1, count, time).swapaxes(0, 1).reshape(count, -1, context)
        return np.ascontiguousarray(streams.swapaxes(0, 1)).reshape(-1, context)

    starts = np.zeros((documents, time), bool)
    starts[:, 0] = True
    resets = chunked(starts)[:, 0]
    classes = tuple("abcd")
    return Dataset(
        "remembering", chunked(x), chunked(y), "multiclass", classes, streams=count, resets=resets,
        symbols=5,
    )  # fmt: skip


def ragged(count: int = 4, context: int = 5, seed: int = 1) -> Dataset:
    """Documents of unequal lengths: masks, resets, and streams that are filled up."""
    random = np.random.default_rng(seed)
    lengths = random.integers(2, 40, 24)
    documents = [random.integers(0, 5, n).astype(np.int32) for n in lengths]
    found = chunking.streams(documents, count, context)
    return Dataset(
        "ragged", found.x, found.y, "multiclass", tuple("abcde"), mask=found.mask, streams=count,
        resets=found.resets, symbols=5,
    )  # fmt: skip


def reader(part: Any, classes: int = 5) -> nn.Sequential:
    return nn.Sequential(nn.Embedding(5, 6), part, nn.Dense(classes))


def train(data: Dataset | None = None, **options: Any) -> cr.Run:
    """A run in which everything that is carried takes part: states, random masks, averages, a
    schedule, and places that do not count."""
    net = nn.Sequential(nn.Embedding(5, 6), nn.LSTM(9), nn.Dropout(0.1), nn.Dense(5))
    optimizer = optim.chain(
        optim.clip_by_global_norm(1.0),
        optim.adam(optim.schedules.cosine(0.02, 60)),
        optim.exponential_average(0.9),
    )
    settings: dict[str, Any] = {"epochs": 4, "validation": 0.2, "seed": 5, "measure_every": 3}
    return cr.train(
        net, ragged() if data is None else data, optimizer=optimizer, **(settings | options)
    )


def digest(run: cr.Run) -> str:
    """A hash of all weights and of the course of the run."""
    found = hashlib.blake2b(digest_size=16)
    for leaf in trees.leaves(run.net):
        found.update(leaf.name.encode() + np.asarray(leaf.value).tobytes())
    for name in ("loss", "held_out_loss", "accuracy", "held_out_accuracy"):
        found.update(repr(run.history[name]).encode())
    return found.hexdigest()
