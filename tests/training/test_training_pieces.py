"""Sequences are evaluated in pieces: the same figures, in bounded memory."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from problems import assert_same_bits
from streams import ragged, reader

import chainrule as cr
from chainrule import nn
from chainrule.data import Dataset
from chainrule.training import evaluate


@pytest.mark.parametrize("weighted", [False, True])
def test_an_evaluation_in_pieces_is_that_of_all_rows(
    weighted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = replace(ragged(), streams=0, resets=None)
    options: dict[str, Any] = {"epochs": 1, "validation": 0.5}
    if weighted:
        options["sample_weights"] = np.random.default_rng(0).uniform(0, 2, len(data.x))
        options["class_weights"] = [1.0, 0.5, 2.0, 3.0, 1.0]
    net = reader(nn.RNN(5))
    whole = cr.train(net, data, **options)
    monkeypatch.setattr(evaluate, "OUTPUTS_AT_ONCE", 3 * 5 * 5)  # three rows
    pieces = cr.train(net, data, **options)
    assert_same_bits(whole.net, pieces.net)
    for name, value in whole.metrics.items():
        assert pieces.metrics[name] == pytest.approx(value, rel=1e-6), name
    assert whole.record.evaluated is not None
    assert pieces.record.evaluated is not None
    assert whole.record.evaluated.examples == pieces.record.evaluated.examples


def test_what_a_network_puts_out_for_all_rows_is_never_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """2,000 symbols at each of 16 places of 200 rows, 25 MB in float32."""
    monkeypatch.setattr(evaluate, "OUTPUTS_AT_ONCE", 2**16)
    random = np.random.default_rng(0)
    x = random.integers(0, 2000, (220, 17)).astype(np.int32)
    classes = tuple(map(str, range(2000)))
    data = Dataset("many", x[:, :-1], x[:, 1:], "multiclass", classes, symbols=2000)
    net = nn.Sequential(nn.Embedding(2000, 4), nn.Dense(2000))
    options: dict[str, Any] = {"epochs": 1, "batch_size": 2, "validation": 200}
    cr.train(net, data, **options)  # compiled
    tracemalloc.start()
    try:
        cr.train(net, data, **options)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 200 * 16 * 2000 * 4 / 4
