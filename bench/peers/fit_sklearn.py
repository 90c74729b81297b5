"""scikit-learn's MLPClassifier with the same settings, in float32: a turn is one whole `fit`."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from bench.fit import BATCH, EPOCHS, HIDDEN, RATE, digits

warnings.simplefilter("ignore", ConvergenceWarning)  # it was asked for so many epochs, no more


class Peer:
    def __init__(self, case: object) -> None:
        self._train, self._test = digits()

    def prepare(self, batches: np.ndarray) -> int:
        return len(batches)

    def run(self, calls: int) -> list[float]:
        """The share of held-out digits that each call's network gets right."""
        return [self._call() for _ in range(calls)]

    def _call(self) -> float:
        net = MLPClassifier(
            HIDDEN,
            solver="adam",
            alpha=0.0,
            batch_size=BATCH,
            learning_rate_init=RATE,
            max_iter=EPOCHS,
            tol=0.0,
            n_iter_no_change=EPOCHS,  # never ends early
            random_state=0,
        )
        net.fit(*self._train)
        assert net.n_iter_ == EPOCHS
        return float(net.score(*self._test))

    def losses(self, told: list[float]) -> list[float]:
        return told
