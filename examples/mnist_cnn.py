"""Handwritten digits, read by a small convolutional network.

The data are MNIST (LeCun, Cortes and Burges, 1998): 60,000 digits of 28 x 28 pixels to train on,
and the 10,000 of the official test set, by other writers, to be judged by. Nothing is chosen by the
test set here.

    .venv/bin/python examples/mnist_cnn.py

CHAINRULE_DATA names the directory that holds the folder mnist; or `./run train mnist --download`
fetches it. With --rows and --epochs it is shorter, and worth less.
"""

import argparse
import dataclasses
import time

import numpy as np

import chainrule as cr
from chainrule import nn, optim

BATCH = 128


def network():
    """Two convolutions and two dense layers. A digit is the same two pixels to the side."""
    return nn.Sequential(
        nn.RandomShift(2),
        nn.Conv2d(16, padding="same"),
        nn.relu,
        nn.MaxPool2d(2),
        nn.Conv2d(32, padding="same"),
        nn.relu,
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dense(128),
        nn.relu,
        nn.Dense(10),
    )


def main():
    parser = argparse.ArgumentParser(description="MNIST with a small convolutional network")
    parser.add_argument("--rows", type=int, default=60_000, help="digits to train on")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    digits = cr.data.load("mnist")  # the test set lies behind row 60,000
    rows = np.r_[: options.rows, 60_000 : digits.rows]
    digits = dataclasses.replace(digits, x=digits.x[rows], y=digits.y[rows])
    steps = -(-options.rows // BATCH) * options.epochs
    begin = time.perf_counter()
    run = cr.train(
        network(),
        digits,
        optimizer=optim.adam(optim.schedules.one_cycle(4e-3, steps)),
        epochs=options.epochs,
        batch_size=BATCH,
        seed=options.seed,
    )
    seconds = time.perf_counter() - begin
    for epoch, right in enumerate(run.history["held_out_accuracy"], 1):
        print(f"epoch {epoch:2d}  test accuracy {right:.4f}")
    print(f"test accuracy {run.metrics['accuracy']:.4f} after {seconds:.0f} s")


if __name__ == "__main__":
    main()
