"""Seeded permutations of rows: a function of (seed, epoch), the same on every machine."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import UsageError
from chainrule.random_bits import philox4x32

# A stream is 64 bits: the high word says what the bits are for, the low word counts within it, so
# that the split of the rows and the order of an epoch never draw the same bits.
EPOCH_STREAM = 0x65706F63 << 32  # "epoc"
SPLIT_STREAM = 0x73706C69 << 32  # "spli"


def random_words(seed: int, stream: int, words: range) -> NDArray[np.uint32]:
    """The random words with the given numbers from one stream of a seed.

    `seed` and `stream` are in 0 .. 2**64 - 1; `words` is a range with step 1 of word numbers, four
    to a Philox counter. Returns uint32 [len(words)]. Any part of a stream can be asked for alone:
    words 4 to 8 are the same whether or not words 0 to 4 were drawn. Raises UsageError.
    """
    check_seed(seed)
    if not 0 <= stream < 2**64:
        raise UsageError(f"a stream is a number from 0 to 2**64 - 1, not {stream}")
    if words.step != 1 or words.start < 0:
        raise UsageError(f"word numbers count up by one from 0 or more, not {words}")
    first, last = words.start // 4, -(-words.stop // 4)
    blocks = np.arange(first, max(first, last), dtype=np.uint64)
    counter = np.empty((4, len(blocks)), dtype=np.uint32)
    counter[0], counter[1] = blocks & np.uint64(0xFFFFFFFF), blocks >> np.uint64(32)
    counter[2], counter[3] = _two_words(stream)
    drawn = philox4x32(counter, np.array(_two_words(seed), dtype=np.uint32))
    offset = words.start - 4 * first
    return drawn.T.reshape(-1)[offset : offset + len(words)]


def permutation(n: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order of n rows in one epoch: int64 [n], each of 0 .. n - 1 once.

    The rows are sorted by a random 64-bit key each; the sort is stable, so that equal keys cannot
    make the order depend on the sorting algorithm. `epoch` counts from 0. Raises UsageError.
    """
    if not 0 <= epoch < 2**32:
        raise UsageError(f"an epoch is a number from 0 to 2**32 - 1, not {epoch}")
    return order(n, seed, EPOCH_STREAM + epoch)


def order(n: int, seed: int, stream: int) -> NDArray[np.int64]:
    """The permutation of n rows that belongs to one stream of a seed: int64 [n]."""
    if n < 0:
        raise UsageError(f"the number of rows cannot be {n}")
    words = random_words(seed, stream, range(2 * n)).astype(np.uint64)
    keys = (words[0::2] << np.uint64(32)) | words[1::2]
    return np.argsort(keys, kind="stable").astype(np.int64)


def check_seed(seed: Any) -> None:
    """Raise UsageError unless `seed` is a whole number from 0 to 2**64 - 1."""
    whole = isinstance(seed, (int, np.integer)) and not isinstance(seed, bool)
    if not whole or not 0 <= seed < 2**64:
        raise UsageError(f"a seed is a whole number from 0 to 2**64 - 1, not {seed!r}")


def _two_words(number: int) -> tuple[int, int]:
    return int(number) & 0xFFFFFFFF, int(number) >> 32
