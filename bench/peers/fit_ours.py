"""`cr.train` on digits from end to end: a turn is one whole call, as in bench/fit.py."""

from __future__ import annotations

import numpy as np

import chainrule as cr
from bench.fit import BATCH, EPOCHS, HIDDEN, RATE, digits


class Peer:
    def __init__(self, case: object) -> None:
        self._train, self._test = digits()

    def prepare(self, batches: np.ndarray) -> int:
        return len(batches)

    def run(self, calls: int) -> list[float]:
        """The share of held-out digits that each call's network gets right."""
        return [self._call() for _ in range(calls)]

    def _call(self) -> float:
        layers: list[object] = []
        for width in HIDDEN:
            layers += [cr.nn.Dense(width), cr.nn.relu]
        run = cr.train(
            cr.nn.Sequential(*layers, cr.nn.Dense(10)),
            self._train,
            optimizer=cr.optim.adam(RATE),
            epochs=EPOCHS,
            batch_size=BATCH,
            validation=0,
        )
        x, y = self._test
        return float(np.mean(run.net(x).argmax(axis=1) == y))

    def losses(self, told: list[float]) -> list[float]:
        return told
