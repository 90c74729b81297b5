"""Random numbers for initial weights: a function of (seed, name of the weight)."""

from __future__ import annotations

import hashlib
import math

import numpy as np
from numpy.typing import NDArray

from chainrule.random_bits import philox4x32

_WORDS = 4  # that Philox gives for one counter


class Stream:
    """The random numbers of one array, such as `layers.0.weight`; each draw goes on where the last
    one ended.

    The bits are Philox's, with a key made from the seed and the name: so an array stays the same
    when layers are added before or after it. Bits and uniform numbers are the same on every
    machine; normal ones go through the machine's log and cos, which may differ in the last place.
    """

    def __init__(self, seed: int, name: str) -> None:
        digest = hashlib.blake2b(f"weights {seed} {name}".encode(), digest_size=8).digest()
        self._key = np.frombuffer(digest, "<u4").astype(np.uint32)
        self._counter = 0

    def words(self, count: int) -> NDArray[np.uint32]:
        """`count` random 32-bit words."""
        blocks = np.arange(-(-count // _WORDS), dtype=np.uint64) + np.uint64(self._counter)
        self._counter += len(blocks)
        counter = np.zeros((4, len(blocks)), np.uint32)
        counter[0], counter[1] = blocks & np.uint64(0xFFFFFFFF), blocks >> np.uint64(32)
        return philox4x32(counter, self._key).T.reshape(-1)[:count]

    def uniform(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Numbers in [0, 1), multiples of 2^-53."""
        size = math.prod(shape)
        high, low = self.words(2 * size).reshape(2, size).astype(np.float64)
        return ((np.floor(high / 2**5) * 2**26 + np.floor(low / 2**6)) * 2.0**-53).reshape(shape)

    def normal(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Standard normal numbers (Box and Muller 1958)."""
        radius = np.sqrt(-2.0 * np.log1p(-self.uniform(shape)))
        return np.asarray(radius * np.cos(2.0 * math.pi * self.uniform(shape)))
