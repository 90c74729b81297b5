"""Ten kinds of clothes, told apart by a small convolutional network.

The data are Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017): 60,000 pictures of 28 x 28 pixels to
train on, and the 10,000 of the official test set to be judged by. Nothing is chosen by the test
set here, neither when to stop nor which weights to keep.

    .venv/bin/python examples/fashion_mnist_cnn.py

CHAINRULE_DATA names the directory that holds the folder fashion-mnist; or `./run train
fashion-mnist --download` fetches it. With --rows and --epochs it is shorter, and worth less.
"""

import argparse
import dataclasses
import time

import numpy as np

import chainrule as cr
from chainrule import nn, optim

BATCH = 128


def network():
    """Two convolutions and two dense layers; clothes look as well in a mirror."""
    return nn.Sequential(
        nn.RandomFlip(),
        nn.Conv2d(32, padding="same", bias=False),
        nn.BatchNorm(),
        nn.relu,
        nn.MaxPool2d(2),
        nn.Conv2d(64, padding="same", bias=False),
        nn.BatchNorm(),
        nn.relu,
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Dense(128),
        nn.relu,
        nn.Dropout(0.3),
        nn.Dense(10),
    )


def main():
    parser = argparse.ArgumentParser(description="Fashion-MNIST with a small convolutional network")
    parser.add_argument("--rows", type=int, default=60_000, help="pictures to train on")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    clothes = cr.data.load("fashion-mnist")  # the test set lies behind row 60,000
    rows = np.r_[: options.rows, 60_000 : clothes.rows]
    clothes = dataclasses.replace(clothes, x=clothes.x[rows], y=clothes.y[rows])
    steps = -(-options.rows // BATCH) * options.epochs
    begin = time.perf_counter()
    run = cr.train(
        network(),
        clothes,
        optimizer=optim.adamw(optim.schedules.one_cycle(3e-3, steps), weight_decay=0.01),
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
