"""A process that trains, to be stopped: `python training_process.py RUN_DIR [--resume] ...`.

It says "started" once training has begun, and at its end why the run ended, or the error.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import streams

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import ChainruleError
from chainrule.observe.events import EpochEnded, Event, RunStarted, StepMeasured
from chainrule.training import loop

PAUSE = 0.015  # seconds, some two hundred times in a run


def data(rows: int) -> tuple[Any, Any]:
    """Labels that are partly chance, so that early stopping comes into play."""
    random = np.random.default_rng(0)
    x = random.normal(size=(rows, 6)).astype(np.float32)
    return x, (x[:, 0] * x[:, 1] + random.normal(size=rows) > 0).astype(np.int64)


def net() -> Any:
    return nn.Sequential(
        nn.Dense(16), nn.BatchNorm(), nn.relu, nn.Dropout(0.2), nn.Dense(16), nn.tanh, nn.Dense(1)
    )


def optimizer() -> Any:
    rate = optim.schedules.cosine(0.01, 5000)
    return optim.chain(
        optim.clip_by_global_norm(5.0),
        optim.adam(rate),
        optim.reduce_on_plateau(patience=2),
        optim.exponential_average(0.99),
    )


def train(run_dir: Path | None, **options: Any) -> cr.Run:
    """A run in which everything that a checkpoint must hold takes part."""
    settings: dict[str, Any] = {"rows": 1500, "epochs": 30, "patience": 6, "save_every": 0.0}
    settings |= options
    rows = settings.pop("rows")
    return cr.train(
        net(), data(rows), optimizer=optimizer(), batch_size=8, seed=3, run_dir=run_dir, **settings
    )


def _say(event: Event) -> None:
    """Also takes its time, so that the run lasts about as long as there are moments to stop it."""
    if isinstance(event, RunStarted):
        print("started", flush=True)
    elif isinstance(event, StepMeasured | EpochEnded):
        time.sleep(PAUSE)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--rows", type=int, default=1500)
    parser.add_argument("--streams", action="store_true")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--save-every", type=float, default=0.0)
    parser.add_argument("--told-every", type=float, default=loop.TOLD_EVERY)
    options = vars(parser.parse_args())
    loop.TOLD_EVERY = options.pop("told_every")
    begin = train
    if options.pop("streams"):
        begin = streams.train
        del options["rows"]
    try:
        run = begin(run_dir=options.pop("run_dir"), watchers=[_say], **options)
    except ChainruleError as error:
        print(type(error).__name__, error, sep=": ", flush=True)
        sys.exit(1)
    print(run.reason, flush=True)


if __name__ == "__main__":
    main()
