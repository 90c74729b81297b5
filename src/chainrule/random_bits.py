"""Random bits as a pure function of a counter and a key: Philox4x32-10.

Receives: counters and a key, as 32-bit words. Returns: four random 32-bit words for each counter.
Next: row permutations, initial weights and dropout masks, each a function of (seed, step, place).

There is no state to store: the same counter gives the same bits on every machine, with every NumPy
version and in any order of evaluation. NumPy's own generators promise none of these, so they are
not used.

Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 10
_MULTIPLIER = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))  # the paper's constants for 4x32
_WEYL = (0x9E3779B9, 0xBB67AE85)  # golden ratio and sqrt(3) - 1: added to the key each round
_LOW_WORD = 0xFFFFFFFF
_BLOCK = 1 << 14  # counters per pass; the working set of one pass stays in the L2 cache


def philox4x32(counter: NDArray[np.uint32], key: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Four random words for each of n counters, by Philox4x32-10 (Salmon et al. 2011).

    `counter` is uint32 [4, n] and `key` uint32 [2]; returns uint32 [4, n]. Word 0 is the least
    significant one of the 128-bit counter. Raises ValueError for another shape or dtype.
    """
    if counter.ndim != 2 or counter.shape[0] != 4 or counter.dtype != np.uint32:
        raise ValueError(f"counter must be uint32 [4, n], got {counter.dtype} {counter.shape}")
    if key.shape != (2,) or key.dtype != np.uint32:
        raise ValueError(f"key must be uint32 [2], got {key.dtype} {key.shape}")
    words = np.empty(counter.shape, dtype=np.uint32)
    for start in range(0, counter.shape[1], _BLOCK):
        block = slice(start, start + _BLOCK)
        words[:, block] = _philox_block(counter[:, block], int(key[0]), int(key[1]))
    return words


def _philox_block(
    counter: NDArray[np.uint32], key_0: int, key_1: int
) -> tuple[NDArray[np.uint32], ...]:
    c0, c1, c2, c3 = counter
    for _ in range(_ROUNDS):
        product_0 = c0.astype(np.uint64) * _MULTIPLIER[0]
        product_1 = c2.astype(np.uint64) * _MULTIPLIER[1]
        c0 = _high(product_1) ^ c1 ^ np.uint32(key_0)
        c1 = _low(product_1)
        c2 = _high(product_0) ^ c3 ^ np.uint32(key_1)
        c3 = _low(product_0)
        key_0 = (key_0 + _WEYL[0]) & _LOW_WORD
        key_1 = (key_1 + _WEYL[1]) & _LOW_WORD
    return c0, c1, c2, c3


def _high(product: NDArray[np.uint64]) -> NDArray[np.uint32]:
    return (product >> np.uint64(32)).astype(np.uint32)


def _low(product: NDArray[np.uint64]) -> NDArray[np.uint32]:
    return product.astype(np.uint32)


def bits(size: int, key: NDArray[np.uint32], step: int, salt: int) -> NDArray[np.uint32]:
    """`size` random words. Block b of Philox gives elements 64 * (b // 16) + b % 16 + {0, 16, 32,
    48}: whole vectors of up to 16 lanes come out of consecutive blocks, in order, on any machine.
    """
    groups = -(-size // 64)
    counter = np.zeros((4, groups * 16), np.uint32)
    counter[0] = np.arange(groups * 16, dtype=np.uint32)
    counter[1] = step
    counter[2] = salt
    words = philox4x32(counter, np.asarray(key, np.uint32))
    ordered = words.reshape(4, groups, 16).transpose(1, 0, 2)
    return np.ascontiguousarray(ordered).reshape(-1)[:size]
