"""Random words, permutations and splits: the same bits on every machine, and fair."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from chainrule.data import permutation, random_words, split
from chainrule.errors import DataError, UsageError
from chainrule.random_bits import philox4x32

WORD = st.integers(0, 2**32 - 1)
SEED = st.integers(0, 2**64 - 1)
QUICK = settings(max_examples=60)


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ("0 0 0 0", "0 0", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff " * 4, "ffffffff " * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            "243f6a88 85a308d3 13198a2e 03707344",  # the digits of pi
            "a4093822 299f31d0",
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_gives_the_published_vectors(counter: str, key: str, expected: str) -> None:
    """The known-answer vectors of Random123 (Salmon et al. 2011), all of a batch alike."""
    column = np.array(words(counter), dtype=np.uint32)[:, None]
    drawn = philox4x32(np.repeat(column, 3, axis=1), np.array(words(key), dtype=np.uint32))
    assert drawn.T.tolist() == [words(expected)] * 3


def philox_by_hand(counter: list[int], key: list[int]) -> list[int]:
    """The paper's definition in plain whole numbers."""
    c, k = list(counter), list(key)
    for _ in range(10):
        first, second = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [
            (second >> 32) ^ c[1] ^ k[0],
            second & 0xFFFFFFFF,
            (first >> 32) ^ c[3] ^ k[1],
            first & 0xFFFFFFFF,
        ]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


@QUICK
@given(st.lists(WORD, min_size=4, max_size=4), st.lists(WORD, min_size=2, max_size=2))
def test_philox_equals_its_definition(counter: list[int], key: list[int]) -> None:
    column = np.array(counter, dtype=np.uint32)[:, None]
    drawn = philox4x32(column, np.array(key, dtype=np.uint32))
    assert drawn[:, 0].tolist() == philox_by_hand(counter, key)


def test_philox_is_the_same_in_blocks_as_one_by_one() -> None:
    """Counters on both sides of the internal block size give what they give alone."""
    counter = np.zeros((4, 3 * 2**14 + 5), dtype=np.uint32)
    counter[0] = np.arange(counter.shape[1])
    key = np.array([1, 2], dtype=np.uint32)
    whole = philox4x32(counter, key)
    for place in (0, 2**14 - 1, 2**14, counter.shape[1] - 1):
        assert whole[:, place].tolist() == philox_by_hand(counter[:, place].tolist(), [1, 2])


def test_philox_refuses_other_shapes_and_types() -> None:
    key = np.zeros(2, dtype=np.uint32)
    with pytest.raises(ValueError, match="counter"):
        philox4x32(np.zeros((4, 1), dtype=np.uint64), key)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="counter"):
        philox4x32(np.zeros((3, 1), dtype=np.uint32), key)
    with pytest.raises(ValueError, match="key"):
        philox4x32(np.zeros((4, 1), dtype=np.uint32), np.zeros(4, dtype=np.uint32))


@QUICK
@given(SEED, SEED, st.integers(0, 40), st.integers(0, 40))
def test_any_part_of_a_stream_can_be_drawn_alone(seed: int, stream: int, a: int, b: int) -> None:
    first, last = min(a, b), max(a, b)
    whole = random_words(seed, stream, range(40))
    assert random_words(seed, stream, range(first, last)).tolist() == whole[first:last].tolist()


def test_words_are_uniform() -> None:
    """Mean and bits of 2**16 words are within 5 standard errors of those of fair bits."""
    drawn = random_words(0, 0, range(2**16))
    assert abs(drawn.mean() / 2**32 - 0.5) < 5 * np.sqrt(1 / 12 / 2**16)
    for bit in range(32):
        ones = (drawn >> np.uint32(bit)) & np.uint32(1)
        assert abs(ones.mean() - 0.5) < 5 * 0.5 / 2**8


@QUICK
@given(st.integers(0, 300), SEED, st.integers(0, 2**32 - 1))
def test_permutation_holds_every_row_once(n: int, seed: int, epoch: int) -> None:
    rows = permutation(n, seed, epoch)
    assert rows.dtype == np.int64
    assert sorted(rows.tolist()) == list(range(n))


def test_permutation_is_the_one_that_was_always_given() -> None:
    """Pinned: a resumed run must see the order that the stopped one saw, on any machine."""
    assert permutation(10, 0, 0).tolist() == [7, 4, 3, 0, 8, 9, 6, 5, 2, 1]


def test_seed_and_epoch_change_the_permutation() -> None:
    orders = [permutation(50, seed, epoch).tolist() for seed in range(3) for epoch in range(3)]
    assert len({tuple(order) for order in orders}) == 9


def test_every_order_of_three_rows_is_equally_likely() -> None:
    """1,200 epochs over 6 orders: each count is within 5 standard deviations of 200."""
    counts: dict[tuple[int, ...], int] = {}
    for epoch in range(1200):
        order = tuple(permutation(3, 7, epoch).tolist())
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 6
    assert max(abs(count - 200) for count in counts.values()) < 5 * np.sqrt(200 * 5 / 6)


def test_bad_seeds_streams_and_epochs_are_refused() -> None:
    for seed in (-1, 2**64, 1.5, True, "0"):
        with pytest.raises(UsageError, match="seed"):
            permutation(3, seed, 0)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="epoch"):
        permutation(3, 0, -1)
    with pytest.raises(UsageError, match="rows"):
        permutation(-1, 0, 0)
    with pytest.raises(UsageError, match="stream"):
        random_words(0, 2**64, range(1))
    with pytest.raises(UsageError, match="count up by one"):
        random_words(0, 0, range(0, 8, 2))


LABELS = st.lists(st.integers(0, 4), min_size=8, max_size=120).filter(
    lambda labels: len(set(labels)) > 1 and len(labels) - len(set(labels)) > 0
)


@QUICK
@given(LABELS, st.floats(0.01, 0.99), SEED)
def test_split_holds_out_each_class_in_proportion(
    labels: list[int], validation: float, seed: int
) -> None:
    y = np.array(labels)
    train, held_out = split(y, validation, "multiclass", seed)
    assert sorted([*train.tolist(), *held_out.tolist()]) == list(range(len(y)))
    assert all(a < b for rows in (train, held_out) for a, b in pairwise(rows.tolist()))
    counts = np.bincount(y)[np.unique(y)]
    spare = int((counts - 1).sum())
    nearest = min(max(int(validation * len(y) + 0.5), 1), len(y) - 1)
    assert len(held_out) == min(nearest, spare)
    in_train = np.array([(y[train] == c).sum() for c in np.unique(y)])
    assert (in_train >= 1).all()
    share = counts * len(held_out) / len(y)
    if (np.ceil(share) < counts).all():  # no class is too small for its share
        assert (np.abs(counts - in_train - share) < 1).all()


@QUICK
@given(st.integers(2, 200), st.floats(0.01, 0.99), SEED)
def test_split_of_numbers_holds_out_the_nearest_count(n: int, share: float, seed: int) -> None:
    train, held_out = split(np.linspace(0, 1, n), share, "regression", seed)
    assert len(held_out) == min(max(int(share * n + 0.5), 1), n - 1)
    assert sorted([*train.tolist(), *held_out.tolist()]) == list(range(n))


def test_split_is_the_one_that_was_always_given() -> None:
    """Pinned, as for the permutation."""
    y = np.repeat([0, 1], [6, 4])
    train, held_out = split(y, 0.3, "binary", 0)
    assert (train.tolist(), held_out.tolist()) == ([1, 2, 4, 5, 6, 7, 8], [0, 3, 9])
    assert train.dtype == held_out.dtype == np.int64


def test_split_takes_a_number_of_rows_or_nothing() -> None:
    y = np.array([0, 1] * 10)
    train, held_out = split(y, 6, "binary", 3)
    assert (len(train), len(held_out)) == (14, 6)
    assert y[held_out].sum() == 3
    for nothing in (0, 0.0):
        train, held_out = split(y, nothing, "binary", 3)
        assert (len(train), len(held_out)) == (20, 0)


def test_another_seed_holds_out_other_rows() -> None:
    y = np.zeros(100)
    first, second = (split(y, 0.5, "regression", seed)[1] for seed in (0, 1))
    assert first.tolist() != second.tolist()


@pytest.mark.parametrize("validation", [1.0, 1.5, -0.1, float("nan"), -1, 4, 9, True, "0.2"])
def test_split_refuses_a_bad_share(validation: float) -> None:
    with pytest.raises(UsageError, match=r"validation|hold out"):
        split(np.array([0, 1, 0, 1]), validation, "binary", 0)


def test_split_refuses_what_leaves_a_class_untrained() -> None:
    y: NDArray[np.int64] = np.array([0, 1, 1])
    with pytest.raises(DataError, match="needs a training row"):
        split(y, 2, "binary", 0)
    with pytest.raises(DataError, match="validation=0"):
        split(np.array([0, 1, 2]), 0.5, "multiclass", 0)
    with pytest.raises(DataError, match="at least 2 rows"):
        split(np.array([1.5]), 0.5, "regression", 0)


def test_split_refuses_an_unknown_task_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'regression'"):
        split(np.array([0, 1]), 0.5, "regresion", 0)
