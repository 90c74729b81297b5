"""Where a run stands: everything but the arrays that a resumed run must know."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from chainrule.errors import DamagedFileError


@dataclass
class Standing:
    """Counters and sums between two steps. Floats survive JSON exactly, so a resumed run goes on
    with the same bits."""

    step: int = 0  # steps done, over all epochs
    epoch: int = 0  # the epoch being trained
    batch: int = 0  # batches of that epoch done
    loss_sum: float = 0.0  # over the rows of the epoch so far
    score_sum: float = 0.0
    rows: int = 0  # that is, what the sums are sums over: of masked sequences, places that count
    last_loss: float | None = None  # the last finite loss of a step
    best_loss: float | None = None  # the best held-out loss so far
    best_epoch: int = -1
    stale: int = 0  # epochs since the best one
    seconds: float = 0.0  # spent, over all sessions
    ended: str = ""  # the reason, once the run is over

    def begin_epoch(self, epoch: int) -> None:
        self.epoch, self.batch = epoch, 0
        self.loss_sum = self.score_sum = 0.0
        self.rows = 0

    def add(self, loss: float, score: float, rows: int) -> None:
        """Counts one step, whose loss is a mean over `rows`."""
        self.step += 1
        self.batch += 1
        self.loss_sum += loss * rows
        self.score_sum += score
        self.rows += rows
        self.last_loss = loss

    @property
    def mean_loss(self) -> float:
        return self.loss_sum / self.rows if self.rows else 0.0

    @property
    def mean_score(self) -> float:
        return self.score_sum / self.rows if self.rows else 0.0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(json: Any) -> Standing:
        """The inverse of `to_json`; DamagedFileError for anything else."""
        try:
            return Standing(**json)
        except TypeError as error:
            raise DamagedFileError(f"a checkpoint describes no training run: {error}") from None
