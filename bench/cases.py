"""What is timed: training steps, the same mathematics for every peer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.convolutions import CNN, LENET5, ResNet
from bench.networks import MLP, Network, Weights
from bench.sequences import GPT, Recurrent

ROWS = 4096


@dataclass(frozen=True)
class Case:
    """A network, a batch, an optimiser. `full` takes all rows in every step. `group` is the row of
    the targets that it is judged by."""

    name: str
    network: Network
    batch: int
    optimizer: str = "sgd"  # or "adam"
    loss: str = "cross_entropy"  # or "mse"
    full: bool = False
    group: str = ""
    rate: float | None = None
    held: int = ROWS  # rows to choose batches from

    @property
    def learning_rate(self) -> float:
        return self.rate or (0.05 if self.optimizer == "sgd" else 1e-3)

    @property
    def rows(self) -> int:
        return self.batch if self.full else max(self.held, self.batch)

    @property
    def flops(self) -> float:
        return self.network.flops(self.batch)

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and their targets, the same in every process."""
        random = np.random.default_rng(0)
        inputs = self.network.inputs(self.rows, random)
        return inputs, self.network.targets(self.rows, self.loss, random)

    def weights(self) -> Weights:
        """First weights, the same in every process."""
        return self.network.weights(np.random.default_rng(1))

    def batches(self, steps: int) -> np.ndarray:
        """The rows of each step, [steps, batch]: permutations of all rows, one after another."""
        if self.full:
            return np.broadcast_to(np.arange(self.batch), (steps, self.batch))
        random = np.random.default_rng(2)
        per_epoch = self.rows // self.batch
        epochs = -(-steps // per_epoch)
        order = [random.permutation(self.rows)[: per_epoch * self.batch] for _ in range(epochs)]
        return np.concatenate(order).reshape(-1, self.batch)[:steps]


def _mlp_cases() -> list[Case]:
    sizes = [
        ((2, 8, 2), 4),
        ((64, 32, 10), 32),
        ((784, 128, 64, 10), 32),
        ((784, 256, 128, 10), 128),
        ((784, 512, 256, 10), 128),
        ((784, 1024, 1024, 10), 256),
    ]
    found = []
    for widths, batch in sizes:
        group = f"{'-'.join(map(str, widths))}, batch {batch}"
        found += [
            Case(f"{group}, {optimizer}", MLP(widths), batch, optimizer, group=group)
            for optimizer in ("sgd", "adam")
        ]
    return found


def _curve() -> Case:
    """The network and the batch of the SimpleChains.jl comparison."""
    network, group = MLP((4, 32, 16, 4), "tanh"), "4-32-16-4 tanh, full batch 10,000"
    return Case(f"{group}, adam", network, 10_000, "adam", "mse", full=True, group=group)


CASES = (*_mlp_cases(), _curve())


def _row(name: str, network: Network, batch: int, rate: float | None = None) -> Case:
    name = f"{name}, batch {batch}"
    return Case(name, network, batch, "adam", group=name, rate=rate)


SMALL_CNN = CNN(28, (1, 32, 64), (128, 10))
ARCHITECTURES = (
    _row("CNN 28x28x1", SMALL_CNN, 64),
    _row("CNN 28x28x1", SMALL_CNN, 8),
    _row("LeNet-5", LENET5, 32),
    # At 1e-3, eight steps let rounding grow past one part in a thousand: PyTorch's losses in
    # float32 part from its own in float64 by as much. At 1e-4 it is a thirtieth of that.
    _row("ResNet 16-32-64, 32x32x3", ResNet(), 32, rate=1e-4),
    _row("LSTM 128, 64 steps", Recurrent("lstm"), 32),
    _row("GRU 128, 64 steps", Recurrent("gru"), 32),
    _row("Elman RNN 128, 64 steps", Recurrent("rnn"), 32),
    _row("LSTM 32, 100 steps", Recurrent("lstm", 32, 100), 16),
    _row("GPT 4 x 128, context 64", GPT(), 16),
)
GPT_TWELVE = _row("GPT 12 x 128, context 64", GPT(layers=12), 16)  # to be compiled

# For the harness's own tests: each kind of network.
TINY = Case("tiny", MLP((3, 4, 2)), 4)
TINIES = (
    TINY,
    Case("tiny CNN", CNN(8, (2, 3, 4), (5, 3)), 4, "adam"),
    Case("tiny LeNet", CNN(10, (1, 2, 3), (4, 3), 3, 0, "tanh", "mean"), 4, "adam"),
    Case("tiny ResNet", ResNet((4, 6), 1, 6, 2, 3), 4, "adam"),
    *(Case(f"tiny {kind}", Recurrent(kind, 4, 5, 6), 4, "adam") for kind in ("rnn", "gru", "lstm")),
    Case("tiny GPT", GPT(2, 4, 2, 5, 6), 4, "adam"),
)

WIDTHS = (16, 64, 256, 1024, 2048, 5000)  # the last has 50 million weights
BATCHES = (1, 4, 16, 64, 256, 1024, 4096)
DEPTHS = (3, 10, 30, 100)


def _growth() -> dict[str, dict[int, Case]]:
    """Cases by what grows, and by how large it is."""

    def case(what: str, size: int, widths: tuple[int, ...], batch: int) -> Case:
        # Batches of one row and inputs of 5,000 numbers would diverge at a larger rate.
        return Case(f"growth {what} {size}", MLP(widths), batch, rate=1e-5)

    return {
        "width": {w: case("width", w, (w, w, w, 10), 64) for w in WIDTHS},
        "batch": {b: case("batch", b, (784, 256, 128, 10), b) for b in BATCHES},
        "depth": {d: case("depth", d, (64,) * d + (10,), 32) for d in DEPTHS},
        # Every layer is wider than the one before it, so no two share a kernel.
        "kernels": {d: case("kernels", d, (*range(64, 64 + d), 10), 32) for d in DEPTHS},
    }


GROWTH = _growth()


def find(name: str) -> Case:
    """The case of this name."""
    known = [*CASES, *ARCHITECTURES, GPT_TWELVE, *TINIES]
    known += [c for cases in GROWTH.values() for c in cases.values()]
    return next(c for c in known if c.name == name)
