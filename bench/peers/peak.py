"""The machine's float32 peak, timed in turns like a peer: a step is one call of the loop."""

from __future__ import annotations

import numpy as np

from bench.cases import Case
from bench.peak import Peak


class Peer:
    def __init__(self, case: Case) -> None:
        self._peak = Peak(2)

    def prepare(self, batches: np.ndarray) -> int:
        return len(batches)

    def run(self, calls: int) -> None:
        self._peak(calls)

    def losses(self, told: None) -> list[float]:
        """Operations of a step: what the other peers' places hold losses in."""
        return [self._peak.flops]
