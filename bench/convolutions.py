"""The architectures for pictures: CNNs, of which LeNet-5 is one, and residual networks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np

from bench.networks import Array, Weights, around, count, dense, glorot, norm


class _Pictures:
    """What both share: one class for each picture, whose channels come last."""

    pictures: ClassVar[bool] = True
    time: ClassVar[int] = 0
    size: int  # height and width of the inputs
    colours: int  # and their channels
    outputs: int

    @property
    def weights_count(self) -> int:
        return count(self)

    def inputs(self, rows: int, random: np.random.Generator) -> Array:
        shape = (rows, self.size, self.size, self.colours)
        return random.standard_normal(shape, dtype=np.float32)

    def targets(self, rows: int, loss: str, random: np.random.Generator) -> Array:
        return random.integers(0, self.outputs, rows)


@dataclass(frozen=True)
class CNN(_Pictures):
    """Convolutions, each with an activation and a pooling of 2 x 2; then dense layers with the
    activation between them. `channels` begins with that of the pictures, `border` is the number of
    zeros on each side, `pool` is "max" or "mean"."""

    size: int
    channels: tuple[int, ...]
    dense: tuple[int, ...]
    kernel: int = 3
    border: int = 1
    activation: str = "relu"
    pool: str = "max"

    @property
    def colours(self) -> int:
        return self.channels[0]

    @property
    def outputs(self) -> int:
        return self.dense[-1]

    @property
    def sizes(self) -> list[int]:
        """How high and wide the outputs of each convolution are, before the pooling."""
        found, size = [], self.size
        for _ in self.channels[1:]:
            found.append(size + 2 * self.border - self.kernel + 1)
            size = found[-1] // 2
        return found

    @property
    def end(self) -> int:
        """How high and wide the picture is that the dense layers read."""
        return self.sizes[-1] // 2

    @property
    def widths(self) -> tuple[int, ...]:
        """Of the dense layers, their inputs first."""
        return (self.end**2 * self.channels[-1], *self.dense)

    def flops(self, batch: int) -> float:
        layers = zip(self.sizes, pairwise(self.channels), strict=True)
        convolved = [(size * self.kernel) ** 2 * a * b for size, (a, b) in layers]
        forward = sum(convolved) + sum(a * b for a, b in pairwise(self.widths))
        return 2.0 * batch * (3 * forward - convolved[0])

    def weights(self, random: np.random.Generator) -> Weights:
        found: Weights = {}
        for number, (a, b) in enumerate(pairwise(self.channels)):
            found[f"conv{number}.weight"] = glorot(random, self.kernel, self.kernel, a, b)
            found[f"conv{number}.bias"] = around(random, 0, b)
        for number, (a, b) in enumerate(pairwise(self.widths)):
            found |= dense(random, f"dense{number}", a, b)
        return found


# As it is built today: means without weights, all channels of the second convolution joined to all
# before it, a softmax at the end. Source: LeCun, Bottou, Bengio and Haffner, "Gradient-based
# learning applied to document recognition", 1998.
LENET5 = CNN(32, (1, 6, 16), (120, 84, 10), 5, 0, "tanh", "mean")


@dataclass(frozen=True)
class Convolution:
    """A convolution of a ResNet, without biases, and the batch norm behind it. `size` is how high
    and wide its outputs are."""

    name: str
    kernel: int
    inputs: int
    outputs: int
    stride: int
    size: int


@dataclass(frozen=True)
class ResNet(_Pictures):
    """A first convolution of 3 x 3, then stages of blocks of two such; the first block of a later
    stage halves the picture, and its shortcut is a convolution of 1 x 1. The mean of all places and
    a dense layer end it.

    Source: He, Zhang, Ren and Sun, "Deep residual learning for image recognition", CVPR 2016: the
    networks of its section 4.2, with the shortcuts that it calls B.
    """

    widths: tuple[int, ...] = (16, 32, 64)
    blocks: int = 2
    size: int = 32
    colours: int = 3
    outputs: int = 10

    @property
    def stem(self) -> Convolution:
        return Convolution("stem", 3, self.colours, self.widths[0], 1, self.size)

    def stacks(self) -> Iterator[tuple[Convolution, Convolution, Convolution | None]]:
        """The two convolutions of each block, and that of its shortcut, where it has one."""
        size, inputs = self.size, self.widths[0]
        for stage, width in enumerate(self.widths):
            for block in range(self.blocks):
                name, stride = f"block{stage}.{block}", 2 if stage and not block else 1
                size //= stride
                first = Convolution(f"{name}.first", 3, inputs, width, stride, size)
                second = Convolution(f"{name}.second", 3, width, width, 1, size)
                across = Convolution(f"{name}.across", 1, inputs, width, stride, size)
                yield first, second, across if stride > 1 or inputs != width else None
                inputs = width

    def _convolutions(self) -> list[Convolution]:
        return [self.stem, *(c for stack in self.stacks() for c in stack if c)]

    def flops(self, batch: int) -> float:
        found = [(c.size * c.kernel) ** 2 * c.inputs * c.outputs for c in self._convolutions()]
        forward = sum(found) + self.widths[-1] * self.outputs
        return 2.0 * batch * (3 * forward - found[0])

    def weights(self, random: np.random.Generator) -> Weights:
        found: Weights = {}
        for c in self._convolutions():
            found[f"{c.name}.weight"] = glorot(random, c.kernel, c.kernel, c.inputs, c.outputs)
            found |= norm(random, c.name, c.outputs)
        return found | dense(random, "dense", self.widths[-1], self.outputs)
