"""Next year's sunspots from those of the last twelve years, by a small network.

The yearly numbers of sunspots since 1700 are what forecasts have been compared on the longest. As
in Weigend, Huberman and Rumelhart ("Predicting the future: a connectionist approach", 1990) the
years to 1920 are trained on, and 1921 to 1955 and 1956 to 1979 are forecast, each year from the
twelve before it; the years since are added here. The error is the average relative variance: the
mean squared error over the variance of all years to 1979, so that their mean itself is worth 1.

From 1956 on there are more sunspots than ever before, and a network of 12, 8 and 1 units, which has
not seen the like, forecasts them worse than a line (0.54 against 0.37). So this one divides its
twelve years by their mean, and multiplies its forecast with it: cycles of any height look alike.

Beside it stand the last year again, and the linear autoregression with the least squared error in
the years of training. Where a small network ends depends on where it begins: shown is the median
over several seeds. The decay is the one that forecasts 1801 to 1920 best, in three parts, each from
the years before it; that windows are divided by their mean was chosen with the later years in view.

    .venv/bin/python examples/sunspots.py
"""

import argparse
from dataclasses import dataclass

import numpy as np

import chainrule as cr
from chainrule import data, nn, optim

PERIODS = {"1921-1955": (1921, 1955), "1956-1979": (1956, 1979), "1980-2008": (1980, 2008)}
WINDOW = 12


@dataclass(frozen=True)
class ByLevel(nn.Layer):
    """What the inner layer makes of windows [rows, years, 1] that are brought to a mean of 1."""

    inner: nn.Layer
    zero: float  # what no sunspots are in the standardised numbers of the windows

    def forward(self, x):
        counts = x[:, :, 0] - self.zero
        level = counts.mean(axis=1, keepdims=True) + 0.1  # never nothing
        return self.inner(counts / level) * level + self.zero


def forecasts(parts, seed, epochs):
    """The forecasts of a network that was trained on the years to 1920."""
    scale = parts.encoder.target
    net = nn.Sequential(nn.Dense(8), nn.tanh, nn.Dense(1))
    steps = -(-len(parts.train_rows) // 16) * epochs
    run = cr.train(
        ByLevel(net, -scale.mean / scale.std),
        "sunspots",
        optimizer=optim.adamw(optim.schedules.cosine(0.01, steps), weight_decay=0.2),
        epochs=epochs,
        batch_size=16,
        seed=seed,
    )
    return run.outputs(parts.dataset.x)[:, 0]


def main():
    parser = argparse.ArgumentParser(description="forecasts of the yearly number of sunspots")
    parser.add_argument("--seeds", type=int, default=9)
    parser.add_argument("--epochs", type=int, default=200)
    options = parser.parse_args()

    parts = data.KnownSeries("sunspots").parts(None, 0)
    x, y, train = parts.dataset.x, parts.dataset.y, parts.train_rows  # in standard deviations
    linear = data.autoregression(x[train], y[train])(x)
    rows = {
        "the last year again": [x[:, -1, 0]],
        "linear autoregression": [linear[:, 0]],
        "network": [forecasts(parts, seed, options.epochs) for seed in range(options.seeds)],
    }
    years = 1700 + WINDOW + np.arange(len(y))
    variance = np.concatenate([x[0, :, 0], y[:, 0]])[: 1980 - 1700].var()
    print("average relative variance    " + "  ".join(PERIODS))
    for name, several in rows.items():
        shown = []
        for first, last in PERIODS.values():
            those = (first <= years) & (years <= last)
            errors = [np.mean((found - y[:, 0])[those] ** 2) / variance for found in several]
            shown.append(f"{np.median(errors):9.3f}")
        print(f"{name:29}" + "  ".join(shown))


if __name__ == "__main__":
    main()
