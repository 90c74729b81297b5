"""The architectures that are timed. Each says what it computes with NumPy arrays alone; the peers
build it, each in its own way, from the same first weights (`NETWORKS` in each of bench/peers).

A new architecture is a class here and one builder for each peer.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np

Array = np.ndarray


class Network(Protocol):
    """What the harness asks of an architecture."""

    @property
    def weights_count(self) -> int:
        """How many numbers are trained."""

    @property
    def outputs(self) -> int:
        """How many numbers come out for a row."""

    def flops(self, batch: int) -> float:
        """Multiplications and additions of one training step's contractions."""

    def inputs(self, rows: int, random: np.random.Generator) -> Array:
        """Real-valued inputs, [rows, ...]."""

    def targets(self, rows: int, loss: str, random: np.random.Generator) -> Array:
        """Classes for "cross_entropy", numbers for "mse"."""

    def weights(self, random: np.random.Generator) -> list[tuple[Array, ...]]:
        """First weights, layer by layer."""


@dataclass(frozen=True)
class MLP:
    """Dense layers with an activation between them; the last has none."""

    widths: tuple[int, ...]
    activation: str = "relu"

    @property
    def weights_count(self) -> int:
        return sum(a * b + b for a, b in pairwise(self.widths))

    @property
    def outputs(self) -> int:
        return self.widths[-1]

    def flops(self, batch: int) -> float:
        """Forward and both gradients (but none by the inputs), as a matrix product counts them."""
        forward = sum(a * b for a, b in pairwise(self.widths))
        return 2.0 * batch * (3 * forward - self.widths[0] * self.widths[1])

    def inputs(self, rows: int, random: np.random.Generator) -> Array:
        return random.normal(size=(rows, self.widths[0])).astype(np.float32)

    def targets(self, rows: int, loss: str, random: np.random.Generator) -> Array:
        if loss == "mse":
            return random.normal(size=(rows, self.widths[-1])).astype(np.float32)
        return random.integers(0, self.widths[-1], rows)

    def weights(self, random: np.random.Generator) -> list[tuple[Array, ...]]:
        found: list[tuple[Array, ...]] = []
        for a, b in pairwise(self.widths):
            limit = np.sqrt(6 / (a + b))
            weight = random.uniform(-limit, limit, size=(a, b)).astype(np.float32)
            found.append((weight, np.zeros(b, np.float32)))
        return found
