"""Sequences of unequal length: what fills a row up changes nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ShapeError, UsageError
from chainrule.tracing.trees import leaves

ROWS = [[3, 1, 4], [2], [5, 2, 6, 5, 3], [1, 1]]
LAYERS: dict[str, Any] = {
    "rnn": (nn.RNN(4),),
    "lstm of two layers": (nn.LSTM(4, layers=2), nn.Dropout(0.2)),
    "gru both ways": (nn.GRU(4, bidirectional=True),),
    "transformer": (nn.TransformerEncoderBlock(8, 2, rotary=True), nn.LayerNorm()),
    "attention": (nn.MultiHeadAttention(8, 2), nn.Dense(3)),
    "convolution": (nn.Conv1d(4, kernel=3, padding="same"), nn.relu),
    "nothing": (),
}


def padded(rows: list[list[int]], time: int) -> Any:
    x = np.zeros((len(rows), time), np.int32)
    for line, row in zip(x, rows, strict=True):
        line[: len(row)] = row
    return x


@pytest.mark.parametrize("pool", ["mean", "max"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_row_gives_the_same_however_far_it_is_filled_up(name: str, pool: str) -> None:
    net = nn.init(nn.Padded(nn.Embedding(9, 8), LAYERS[name], pool=pool), padded(ROWS, 5), seed=1)
    together = net(padded(ROWS, 8))
    compiled = cr.compile(lambda net, x: net(x))(net, padded(ROWS, 8))
    np.testing.assert_allclose(compiled, together, atol=1e-5)
    for row, vector in zip(ROWS, together, strict=True):
        np.testing.assert_allclose(net(padded([row], len(row)))[0], vector, atol=1e-5)


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_an_empty_row_gives_zeros_and_a_gradient_of_zeros(pool: str) -> None:
    net = nn.init(nn.Padded(nn.Embedding(9, 8), (nn.GRU(4),), pool=pool), seed=1)
    x = padded([[], [3, 2]], 3)
    assert not net(x)[0].any()
    found = cr.grad(lambda net, x: np.sum(net(x)[0] ** 2))(net, x)
    assert all(not leaf.value.any() for leaf in leaves(found))


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(UsageError, match="embedding"):
        nn.Padded(nn.Dense(3), ())
    with pytest.raises(UsageError, match="pool"):
        nn.Padded(nn.Embedding(3, 2), (), pool="last")
    with pytest.raises(ShapeError, match="rows, time"):
        nn.init(nn.Padded(nn.Embedding(3, 2), ()), seed=0)(np.zeros(3, np.int32))


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        (
            nn.Residual(nn.MultiHeadAttention(2, 1)),
            "MultiHeadAttention 2, 1 heads looks at several",
        ),
        (nn.Sequential(nn.LayerNorm(), nn.GRU(2)), "GRU"),
        (nn.BatchNorm(), "LayerNorm normalises place by place"),
        (nn.MaxPool1d(3, stride=1, padding="same"), "MaxPool1d"),
        (nn.GlobalAvgPool(), "GlobalAvgPool"),
        (nn.Flatten(), "Flatten"),
        (nn.LSTM(2, last=True), "leave out last"),
        (nn.Conv1d(2, kernel=3), 'padding="same"'),
        (nn.Conv1d(2, kernel=3, padding="same", stride=2), "no stride"),
    ],
)
def test_what_would_see_the_filling_is_refused(layer: nn.Layer, says: str) -> None:
    with pytest.raises(UsageError, match=r"Padded: layers\.1: ") as caught:
        nn.Padded(nn.Embedding(3, 2), (nn.relu, layer))
    assert says in str(caught.value)


def test_rows_take_another_form() -> None:
    x = np.arange(12.0).reshape(2, 6)
    np.testing.assert_array_equal(nn.Reshape((3, 2, 1))(x), x.reshape(2, 3, 2, 1))
    with pytest.raises(ShapeError, match="6 numbers"):
        nn.Reshape((2, 3))(np.zeros((2, 5)))
    with pytest.raises(UsageError, match="shape"):
        nn.Reshape((0, 3))
