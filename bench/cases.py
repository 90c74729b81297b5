"""What is timed: training steps of dense networks, the same mathematics for every peer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ROWS = 4096


@dataclass(frozen=True)
class Case:
    """A network, a batch, an optimiser. `full` takes all rows in every step."""

    name: str
    widths: tuple[int, ...]
    batch: int
    optimizer: str  # "sgd" or "adam"
    activation: str = "relu"
    loss: str = "cross_entropy"
    full: bool = False

    @property
    def learning_rate(self) -> float:
        return 0.05 if self.optimizer == "sgd" else 1e-3

    @property
    def rows(self) -> int:
        return self.batch if self.full else ROWS

    @property
    def flops(self) -> float:
        """Multiplications and additions of one step: forward, both gradients (but none by the
        inputs), as a matrix product counts them."""
        pairs = list(zip(self.widths, self.widths[1:], strict=False))
        forward = sum(a * b for a, b in pairs)
        inputs = pairs[0][0] * pairs[0][1]
        return 2.0 * self.batch * (3 * forward - inputs)

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Real-valued inputs and their targets, the same in every process."""
        random = np.random.default_rng(0)
        x = random.normal(size=(self.rows, self.widths[0])).astype(np.float32)
        if self.loss == "mse":
            return x, random.normal(size=(self.rows, self.widths[-1])).astype(np.float32)
        return x, random.integers(0, self.widths[-1], self.rows)

    def weights(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """First weights and biases, the same in every process."""
        random = np.random.default_rng(1)
        found = []
        for a, b in zip(self.widths, self.widths[1:], strict=False):
            limit = np.sqrt(6 / (a + b))
            weight = random.uniform(-limit, limit, size=(a, b)).astype(np.float32)
            found.append((weight, np.zeros(b, np.float32)))
        return found

    def batches(self, steps: int) -> np.ndarray:
        """The rows of each step, [steps, batch]."""
        if self.full:
            return np.broadcast_to(np.arange(self.batch), (steps, self.batch))
        random = np.random.default_rng(2)
        per_epoch = self.rows // self.batch
        epochs = -(-steps // per_epoch)
        order = [random.permutation(self.rows)[: per_epoch * self.batch] for _ in range(epochs)]
        return np.concatenate(order).reshape(-1, self.batch)[:steps]


def _cases() -> tuple[Case, ...]:
    sizes = [
        ((2, 8, 2), 4),
        ((64, 32, 10), 32),
        ((784, 128, 64, 10), 32),
        ((784, 256, 128, 10), 128),
        ((784, 512, 256, 10), 128),
        ((784, 1024, 1024, 10), 256),
    ]
    found = [
        Case(f"{'-'.join(map(str, widths))}, batch {batch}, {optimizer}", widths, batch, optimizer)
        for widths, batch in sizes
        for optimizer in ("sgd", "adam")
    ]
    curve = Case(
        "4-32-16-4 tanh, full batch 10,000, adam",
        (4, 32, 16, 4),
        10_000,
        "adam",
        activation="tanh",
        loss="mse",
        full=True,
    )
    return (*found, curve)


CASES = _cases()
