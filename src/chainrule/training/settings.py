"""What a run was asked to do, checked before anything else happens."""

from __future__ import annotations

import math
import operator
from dataclasses import asdict, dataclass
from typing import Any

from chainrule import config
from chainrule.errors import UsageError
from chainrule.tracing.context import key_of

MEASURED_STEPS = 200  # about how many steps of a run are measured, unless told


@dataclass(frozen=True)
class Settings:
    """The settings of a run besides the network, the data, the loss and the optimiser.

    `validation` is the rows that are held out: what a share came to for this data.
    `batch_size` is the rows in a step: 1 is one at a time, None is the full batch. `patience` is
    how many epochs the held-out loss may fail to improve before the run stops and takes back its
    best weights; None never stops early and keeps the last weights. `measure_every` is the steps
    between two measurements of the layers: 0 never, None chooses. `save_every` is the seconds
    between two checkpoints. `threads` is the most that may be used; None is one for each core.
    """

    epochs: int = 100
    batch_size: int | None = 32
    validation: int = 0
    seed: int = 0
    patience: int | None = None
    measure_every: int | None = None
    save_every: float = 5.0
    backend: str | None = None
    threads: int | None = None
    class_weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        self._whole("epochs", 1)
        self._whole("batch_size", 1, ", or None for the full batch")
        self._whole("patience", 1, ", or None never to stop early")
        self._whole("measure_every", 0, ", or None to let it be chosen")
        self._whole("seed", 0)
        key_of(self.seed)  # raises for more than 64 bits
        every: Any = self.save_every
        if not (isinstance(every, int | float) and math.isfinite(every) and every >= 0):
            raise UsageError(f"save_every is {every!r}", do="use seconds, 0 or more")
        config.check_backend(self.backend)
        config.check_threads(self.threads)

    def _whole(self, name: str, least: int, otherwise: str = "") -> None:
        """Checks one setting, and turns NumPy's whole numbers into Python's, which JSON knows."""
        value = getattr(self, name)
        if otherwise and value is None:
            return
        number = None if isinstance(value, bool) else _index(value)
        if number is None or number < least:
            do = f"use a whole number, {least} or more{otherwise}"
            raise UsageError(f"{name} is {value!r}", do=do)
        object.__setattr__(self, name, number)

    def steps_per_epoch(self, rows: int) -> int:
        return -(-rows // self.rows_per_step(rows))

    def rows_per_step(self, rows: int) -> int:
        return rows if self.batch_size is None else min(self.batch_size, rows)

    def measured_every(self, rows: int) -> int:
        """The steps between two measurements; a function of the settings alone, so that a resumed
        run measures the same steps."""
        if self.measure_every is not None:
            return self.measure_every
        return max(1, self.steps_per_epoch(rows) * self.epochs // MEASURED_STEPS)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def _index(value: Any) -> int | None:
    try:
        return operator.index(value)
    except TypeError:
        return None
