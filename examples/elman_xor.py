"""Elman's exclusive or in time: of every three bits in a row the third is the first xor the second.

    .venv/bin/python examples/elman_xor.py        # --epochs N: shorter, and worth less

A network is shown the bits one by one and predicts the next one. Two of three cannot be known:
there nothing beats answering 0.5, an error of 0.5. The third can, where the network has found out
what to remember: the error falls to 0.05 and less at every third bit.

Source: Elman, "Finding structure in time", 1990, whose sequence has 3,000 bits, and whose figure
shows the root mean squared error over 12 of them in a row.
"""

import argparse

import numpy as np

import chainrule as cr
from chainrule import nn

ROWS, BITS, UNITS = 250, 12, 8
EPOCHS = 200


def sequences(rows, seed):
    """Bits [rows, BITS, 1], and the bit after each of them."""
    random = np.random.default_rng(seed)
    pairs = random.integers(0, 2, (rows, BITS // 3 + 1, 2))
    bits = np.concatenate([pairs, pairs[..., :1] ^ pairs[..., 1:]], axis=2).reshape(rows, -1)
    return bits[:, :BITS, None].astype(np.float32), bits[:, 1 : BITS + 1]


def train(epochs):
    """The root mean squared error of each predicted bit, on sequences that are new."""
    net = nn.Sequential(nn.RNN(UNITS), nn.Dense(1), nn.sigmoid, nn.Flatten())
    run = cr.train(
        net,
        sequences(ROWS, seed=0),
        task="regression",
        loss="mean_squared_error",
        optimizer=cr.optim.adam(0.02),
        epochs=epochs,
        validation=0,
        measure_every=0,
    )
    x, y = sequences(1_200, seed=1)
    guesses = run.net(x)
    return np.sqrt(np.mean((guesses - y) ** 2, axis=0))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    epochs = parser.parse_args().epochs
    errors = train(epochs)
    for place, error in enumerate(errors, start=2):
        kind = "xor" if place % 3 == 0 else ""
        print(f"bit {place:2d}  error {error:.3f}  {'#' * round(60 * error):32s} {kind}".rstrip())
