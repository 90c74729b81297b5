"""Attention, positions, transformer blocks, tied and frozen weights."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ShapeError, UsageError
from chainrule.nn.positions import rotated

random = np.random.default_rng(4)


def _dense(layer: Any, x: Any) -> Any:
    return x @ layer.weight + layer.bias


def naive(net: Any, x: Any, memory: Any, allowed: Any) -> Any:
    """Row by row, head by head, place by place."""
    query, key, value = _dense(net.query, x), _dense(net.key, memory), _dense(net.value, memory)
    size = net.width // net.heads
    read = np.zeros_like(query)
    for row, head, place in itertools.product(range(len(x)), range(net.heads), range(x.shape[1])):
        part = slice(head * size, (head + 1) * size)
        seen = np.flatnonzero(allowed[row, place])
        scores = key[row, seen, part] @ query[row, place, part] / np.sqrt(size)
        weights = np.exp(scores - scores.max())
        read[row, place, part] = weights @ value[row, seen, part] / weights.sum()
    return _dense(net.output, read)


def test_attention_is_a_weighted_mean_of_values() -> None:
    """Of a sequence to itself, causal, to another, with a mask of each kind and both."""
    x, memory = random.normal(size=(2, 5, 6)), random.normal(size=(2, 4, 3))
    padding = np.array([[1, 1, 0, 1, 0], [1, 1, 1, 1, 1]], bool)
    pairs = random.random((2, 5, 5)) < 0.7
    pairs[:, :, 0] = True
    everything, past = np.ones((2, 5, 5), bool), np.tril(np.ones((2, 5, 5), bool))
    for causal, given, allowed in (
        (False, (x,), everything),
        (True, (x,), past),
        (False, (x, None, padding), everything & padding[:, None]),
        (True, (x, None, padding), past & padding[:, None]),
        (True, (x, None, pairs), past & pairs),
        (False, (x, memory), np.ones((2, 5, 4), bool)),
    ):
        layer = nn.MultiHeadAttention(6, 3, causal=causal)
        net = nn.init(layer, given[:2] if len(given) == 2 else x, dtype=np.float64)
        source = memory if len(given) == 2 else x
        want = naive(net, x, source, allowed)
        np.testing.assert_allclose(net(*given), want, rtol=1e-10, atol=1e-12)


def test_a_place_that_may_read_nothing_gets_the_mean_of_all() -> None:
    """And no NaN, in the output or in a gradient."""
    x = random.normal(size=(1, 3, 4))
    net = nn.init(nn.MultiHeadAttention(4, 2), x, dtype=np.float64)
    nothing = np.zeros((1, 3), bool)
    want = _dense(net.output, np.broadcast_to(_dense(net.value, x).mean(axis=1), (1, 3, 4)))
    np.testing.assert_allclose(net(x, None, nothing), want, rtol=1e-12)
    gradient = cr.grad(lambda net: np.sum(net(x, None, nothing)))(net)
    assert all(np.isfinite(leaf.value).all() for leaf in cr.tracing.leaves(gradient))


def test_later_places_do_not_reach_earlier_ones() -> None:
    """Of a causal block: outputs before the change stay, bit for bit."""
    x = random.normal(size=(2, 6, 4))
    net = nn.init(nn.TransformerEncoderBlock(4, 2, causal=True, rotary=True), x, dtype=np.float64)
    changed = x.copy()
    changed[:, 4:] += 1.0
    np.testing.assert_array_equal(net(changed)[:, :4], net(x)[:, :4])
    assert not np.allclose(net(changed)[:, 4:], net(x)[:, 4:])


@pytest.mark.parametrize("backend", ["reference", "native"])
def test_a_causal_place_whose_past_is_padding_reads_no_later_one(backend: str) -> None:
    """Padding in front: such a place gets the mean of what is before it; gradients are finite."""
    x = random.normal(size=(2, 5, 4))
    padding = np.array([[False, False, True, True, True], [True] * 5])
    net = nn.init(nn.MultiHeadAttention(4, 2, causal=True), x, dtype=np.float64)
    run = cr.compile(lambda net, x: net(x, None, padding), backend=backend)
    changed = x.copy()
    changed[:, 3:] += 1.0
    np.testing.assert_array_equal(run(net, changed)[:, :3], run(net, x)[:, :3])
    mean = _dense(net.value, x)[0, :2].mean(axis=0)
    np.testing.assert_allclose(run(net, x)[0, 1], _dense(net.output, mean), rtol=1e-12)
    gradient = cr.grad(lambda net: np.sum(run(net, x)))(net)
    assert all(np.isfinite(leaf.value).all() for leaf in cr.tracing.leaves(gradient))


def test_masked_places_do_not_matter() -> None:
    """What stands in the padding changes nothing elsewhere, also across to a memory."""
    x, memory = random.normal(size=(2, 4, 4)), random.normal(size=(2, 3, 4))
    mask = np.array([[1, 1, 0], [1, 0, 0]], bool)
    net = nn.init(nn.TransformerDecoderBlock(4, 2), (x, memory), dtype=np.float64)
    other = np.where(mask[..., None], memory, 100.0)
    np.testing.assert_allclose(net(x, memory, None, mask), net(x, other, None, mask), rtol=1e-12)


def test_rotated_products_depend_on_the_distance_alone() -> None:
    """Lengths stay, and moving both places along changes no product."""
    query, key = random.normal(size=8), random.normal(size=8)
    turned = [rotated(np.tile(v, (1, 7, 1, 1))) for v in (query, key)]
    products = np.einsum("bqhd,bkhd->qk", *turned)
    for shift in range(-6, 7):
        along = np.diagonal(products, shift)
        np.testing.assert_allclose(along, along[0], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(turned[0], axis=-1), np.linalg.norm(query))
    assert abs(products[0, 0] - products[0, 3]) > 1e-3


def test_sinusoids_are_those_of_the_paper() -> None:
    waves = nn.SinusoidalPositions()(np.zeros((1, 50, 6)))[0]
    for place, i in itertools.product((0, 1, 49), range(3)):
        angle = place / 10_000 ** (2 * i / 6)
        np.testing.assert_allclose(waves[place, 2 * i : 2 * i + 2], [np.sin(angle), np.cos(angle)])


def test_a_tied_table_embeds_and_scores() -> None:
    """Its gradient is the sum of both uses, and it counts once."""
    x = np.array([[1, 2, 1]])
    net = nn.init(nn.TiedEmbedding(nn.Embedding(5, 3), nn.Dense(3)), x, dtype=np.float64)
    table = net.embedding.weight
    want = _dense(net.inner, table[x]) @ table.T
    np.testing.assert_allclose(net(x), want)
    assert nn.count(net) == 5 * 3 + 3 * 3 + 3
    gradient = cr.grad(lambda net: np.sum(np.tanh(net(x))))(net).embedding.weight

    def apart(read: Any, scored: Any) -> Any:
        return np.sum(np.tanh((read[x] @ net.inner.weight + net.inner.bias) @ scored.T))

    both = cr.grad(apart, (0, 1))(table, table)
    np.testing.assert_allclose(gradient, both[0] + both[1], rtol=1e-12)


def test_frozen_layers_stay_as_they_are_while_the_rest_learns() -> None:
    """Through training: weights and running statistics, and dropout inside drops nothing."""
    inner = nn.Sequential(nn.Dense(4, 3), nn.BatchNorm(3), nn.Dropout(0.5), np.tanh)
    net = nn.init(nn.Sequential(nn.Dense(4, 4), nn.Frozen(inner), nn.Dense(3, 3)))
    x, y = random.normal(size=(64, 4)), random.integers(0, 3, 64)
    run = cr.train(net, (x, y), epochs=2, seed=0)
    before = {leaf.name: leaf.value for leaf in cr.tracing.leaves(net)}
    after = {leaf.name: leaf.value for leaf in cr.tracing.leaves(run.net)}
    for name, array in before.items():
        assert np.array_equal(after[name], array) == name.startswith("layers.1"), name
    assert nn.count(net) == 4 * 4 + 4 + 3 * 3 + 3
    assert not any(name.startswith("layers.1") for name in nn.parameters(net))
    quiet = net.layers[1].inner(x)
    with nn.training(net) as context:
        np.testing.assert_array_equal(net.layers[1](x), quiet)
        assert context.training
        assert not context.updates


SEQUENCE = np.zeros((2, 5, 4), np.float32)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: nn.MultiHeadAttention(5, 2), "width of 5 cannot be divided among 2 heads"),
        (lambda: nn.MultiHeadAttention(6, 2, rotary=True), "heads of 3 numbers cannot be rotated"),
        (lambda: nn.MultiHeadAttention(6, 2, dropout=1.0), "dropout must be"),
        (lambda: nn.init(nn.MultiHeadAttention(4, 2))(SEQUENCE[0]), r"x\[np\.newaxis\]"),
        (lambda: nn.init(nn.MultiHeadAttention(6, 2))(SEQUENCE), "6 inputs on the last axis"),
        (
            lambda: nn.init(nn.MultiHeadAttention(4, 2))(SEQUENCE, SEQUENCE[:1]),
            "a memory of 2 rows, got 1",
        ),
        (
            lambda: nn.init(nn.MultiHeadAttention(4, 2))(SEQUENCE, None, np.ones((2, 5))),
            r"a mask of booleans \[2, 5\]",
        ),
        (
            lambda: nn.init(nn.MultiHeadAttention(4, 2))(SEQUENCE, None, np.ones((2, 4), bool)),
            r"got bool of shape \(2, 4\)",
        ),
        (lambda: nn.init(nn.LearnedPositions(4, 4))(SEQUENCE), "at most 4 steps, got 5"),
        (lambda: nn.init(nn.LearnedPositions(9, 3))(SEQUENCE), r"\[rows, time, 3\]"),
        (lambda: nn.SinusoidalPositions()(SEQUENCE[..., :3]), "an even width"),
        (lambda: nn.TransformerEncoderBlock(4, 2, hidden=0), "hidden must be"),
        (lambda: nn.TransformerEncoderBlock(4, 2, activation="rely"), "relu"),
        (lambda: nn.TiedEmbedding(nn.Dense(3), nn.Dense(3)), "give a cr.nn.Embedding"),
        (
            lambda: nn.init(nn.TiedEmbedding(nn.Embedding(5, 3), nn.Dense(2)), np.array([[1]])),
            "its inner layers to give 3 numbers",
        ),
        (lambda: nn.Frozen(nn.Dense), "the class Dense, not a layer"),
    ],
)
def test_what_does_not_fit_is_named(call: Any, says: str) -> None:
    with pytest.raises((ShapeError, UsageError), match=says):
        call()
