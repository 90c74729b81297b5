"""Several documents in streams: dealt anew in each epoch, and none knows of the one before it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streams import digest, ragged, reader, train

import chainrule as cr
from chainrule import nn, optim
from chainrule.data import Dataset, TextCorpus
from chainrule.training.streams import dealt

Array = np.ndarray[Any, Any]


def documents(data: Dataset, rows: Array) -> list[list[int]]:
    """The rows of each document, in the order in which the streams come to them."""
    assert data.resets is not None
    read = rows.reshape(-1, data.streams).T
    found: list[list[int]] = []
    for stream in read.tolist():
        for place, row in enumerate(stream):
            if place == 0 or data.resets[row]:
                found.append([])
            found[-1].append(row)
    return found


def test_every_epoch_deals_all_documents_in_an_order_of_its_own() -> None:
    data = ragged()
    rows = np.arange(data.rows)
    whole = {tuple(d) for d in documents(data, rows)}
    orders = [dealt(data, rows, seed=3, epoch=epoch) for epoch in range(4)]
    assert len({order.tobytes() for order in orders}) == 4
    for epoch, order in enumerate(orders):
        assert sorted(order.tolist()) == rows.tolist()
        np.testing.assert_array_equal(order, dealt(data, rows, seed=3, epoch=epoch))
        assert (order != dealt(data, rows, seed=4, epoch=epoch)).any()
        pieces = documents(data, order)
        cut = [piece for piece in pieces if tuple(piece) not in whole]
        assert len(pieces) - len(whole) < data.streams, "cut where a stream ends, nowhere else"
        ends = {column[0] for column in order.reshape(-1, data.streams).T.tolist()}
        assert sum(piece[0] in ends for piece in cut) == len(pieces) - len(whole)


def test_one_document_is_read_in_the_order_of_its_text() -> None:
    data = ragged()
    rows = np.arange(data.rows)
    assert data.resets is not None
    one = np.zeros(data.rows, bool)
    one[: data.streams] = True
    for resets in (None, one):
        np.testing.assert_array_equal(dealt(replace(data, resets=resets), rows, 0, 1), rows)


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_the_loss_of_an_epoch_is_that_of_reading_each_document_from_its_beginning(
    backend: str,
) -> None:
    """With weights that stay as they are, and every piece read alone in plain NumPy."""
    data = ragged()
    net = nn.init(reader(nn.GRU(7)), data.x[:2], 1)
    still = optim.sgd(1e-30)
    run = cr.train(net, data, optimizer=still, epochs=3, validation=0, seed=2, backend=backend)
    seen, rows = [], np.arange(data.rows)
    assert data.mask is not None
    for epoch in range(3):
        total = 0.0
        for piece in documents(data, dealt(data, rows, 2, epoch)):
            outputs = net(data.x[piece].reshape(1, -1))[0].astype(np.float64)
            logs = outputs - np.log(np.exp(outputs).sum(axis=1, keepdims=True))
            y, counted = data.y[piece].reshape(-1), data.mask[piece].reshape(-1)
            total -= logs[np.arange(len(y)), y][counted].sum()
        seen.append(total / data.mask.sum())
    assert len(set(seen)) == 3, "each epoch cuts other documents"
    np.testing.assert_allclose(run.history["loss"], seen, rtol=1e-6)


def test_what_is_dealt_goes_on_in_the_same_bits(tmp_path: Path) -> None:
    """An epoch more is the epoch that a longer run has."""
    short = train(epochs=2, run_dir=tmp_path)
    more = train(epochs=4, run_dir=tmp_path, resume=True)
    assert short.reason == "finished"
    assert digest(more) == digest(train(epochs=4))
    assert digest(more) != digest(train(epochs=4, seed=6))


def test_a_folder_of_texts_is_learned(tmp_path: Path) -> None:
    """Each text is one letter again and again, and its first says which: known in every chunk."""
    random = np.random.default_rng(0)
    for number in range(60):
        text = "?" + "ab"[number % 2] * int(random.integers(20, 60))
        (tmp_path / f"{number:02}.txt").write_text(text)
    run = cr.train(
        nn.Sequential(nn.Embedding(3, 4), nn.GRU(8), nn.Dense(3)),
        TextCorpus(tmp_path, context=8, streams=4),
        epochs=12,
        optimizer=optim.adam(0.02),
    )
    assert run.metrics["accuracy"] > 0.95
    rows = run.read(tmp_path)
    assert len(rows.labels["file"]) == len(rows.x)
    assert rows.labels["file"][0] == "00.txt"
