"""The architectures that are timed, and the dense one. Each says what it computes with NumPy arrays
alone; the peers build it, each in its own way, from the same first weights (`NETWORKS` in
bench/peers).

Operations are counted as a framework counts them: the products of the forward pass and both of
their gradients, but no gradient by the inputs of the network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Protocol

import numpy as np

Array = np.ndarray
Weights = dict[str, Array]


class Network(Protocol):
    """What the harness asks of an architecture."""

    pictures: ClassVar[bool]  # whether inputs are [rows, height, width, channels]

    @property
    def time(self) -> int:
        """Places of a row that have a target each; 0 where a row has one target."""

    @property
    def weights_count(self) -> int:
        """How many numbers are trained."""

    @property
    def outputs(self) -> int:
        """How many numbers come out for a row, or for each of its places."""

    def flops(self, batch: int) -> float:
        """Multiplications and additions of one training step's contractions."""

    def inputs(self, rows: int, random: np.random.Generator) -> Array:
        """Real-valued inputs, [rows, ...], or symbols, [rows, time]."""

    def targets(self, rows: int, loss: str, random: np.random.Generator) -> Array:
        """Classes for "cross_entropy", numbers for "mse"."""

    def weights(self, random: np.random.Generator) -> Weights:
        """First weights by name: [inputs, outputs] of a dense layer, [height, width, inputs,
        outputs] of a convolution."""


def glorot(random: np.random.Generator, *shape: int) -> Array:
    """Uniform first weights (Glorot and Bengio 2010)."""
    limit = np.sqrt(6 / (math.prod(shape[:-2]) * (shape[-2] + shape[-1])))
    return random.uniform(-limit, limit, shape).astype(np.float32)


def around(random: np.random.Generator, middle: float, count: int) -> Array:
    """Numbers near one: where a peer confuses two biases, its losses differ."""
    return random.uniform(middle - 0.1, middle + 0.1, count).astype(np.float32)


def dense(random: np.random.Generator, name: str, inputs: int, outputs: int) -> Weights:
    """The weights of a dense layer."""
    weight = glorot(random, inputs, outputs)
    return {f"{name}.weight": weight, f"{name}.bias": around(random, 0, outputs)}


def norm(random: np.random.Generator, name: str, width: int) -> Weights:
    """The weights of a norm."""
    return {f"{name}.scale": around(random, 1, width), f"{name}.shift": around(random, 0, width)}


def count(network: Network) -> int:
    """How many weights there are, by making them."""
    return sum(array.size for array in network.weights(np.random.default_rng(0)).values())


@dataclass(frozen=True)
class MLP:
    """Dense layers with an activation between them; the last has none."""

    widths: tuple[int, ...]
    activation: str = "relu"
    pictures: ClassVar[bool] = False
    time: ClassVar[int] = 0

    @property
    def weights_count(self) -> int:
        return sum(a * b + b for a, b in pairwise(self.widths))

    @property
    def outputs(self) -> int:
        return self.widths[-1]

    def flops(self, batch: int) -> float:
        forward = sum(a * b for a, b in pairwise(self.widths))
        return 2.0 * batch * (3 * forward - self.widths[0] * self.widths[1])

    def inputs(self, rows: int, random: np.random.Generator) -> Array:
        return random.normal(size=(rows, self.widths[0])).astype(np.float32)

    def targets(self, rows: int, loss: str, random: np.random.Generator) -> Array:
        if loss == "mse":
            return random.normal(size=(rows, self.widths[-1])).astype(np.float32)
        return random.integers(0, self.widths[-1], rows)

    def weights(self, random: np.random.Generator) -> Weights:
        found: Weights = {}
        for number, (a, b) in enumerate(pairwise(self.widths)):
            found[f"dense{number}.weight"] = glorot(random, a, b)
            found[f"dense{number}.bias"] = np.zeros(b, np.float32)
        return found
