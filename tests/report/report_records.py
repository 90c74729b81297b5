"""Records of runs as training makes them, each a different kind of story."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from chainrule.observe import (
    EpochEnded,
    Evaluated,
    NonFinite,
    Record,
    RunEnded,
    RunStarted,
    StepMeasured,
)

ADAM = {"optimizer": "adam", "settings": {"learning_rate": 0.001, "beta1": 0.9}}
NAMES = ("layers.0", "layers.2")
STEPS = 10  # in an epoch


def started(**changes: Any) -> RunStarted:
    plain = RunStarted(
        dataset="digits",
        task="multiclass",
        net="Sequential(Dense(64, 32), relu, Dense(32, 3))",
        weights=2179,
        train_rows=800,
        held_out_rows=200,
        epochs=8,
        steps_per_epoch=STEPS,
        batch_size=80,
        seed=7,
        backend="reference",
        run_dir="runs/digits-001",
        config={
            "loss": "cross_entropy",
            "optimizer": ADAM,
            "settings": {"epochs": 8, "batch_size": 80, "validation": 0.2, "patience": 5},
            "command": ["chainrule", "train", "digits", "--seed", "7"],
        },
    )
    return dataclasses.replace(plain, **changes)


def epochs(count: int, metric: str = "accuracy", held_out: bool = True) -> tuple[EpochEnded, ...]:
    made = []
    for epoch in range(count):
        loss = 2.0 * math.exp(-epoch / 3) + 0.01
        held = {"loss": loss + 0.1 + 0.02 * epoch, metric: 1 - loss / 3} if held_out else {}
        made.append(
            EpochEnded(
                epoch,
                (epoch + 1) * STEPS,
                {"loss": loss, metric: 1 - loss / 4},
                held,
                0.001 * 0.9**epoch,
                0.25,
                held_out and epoch <= 5,
            )
        )
    return tuple(made)


def measure(step: int, names: tuple[str, ...] = NAMES, factor: float = 1.0) -> StepMeasured:
    size = factor * 0.1 * math.exp(-step / 40)
    layers = {
        name: {
            "activation_rms": 0.5 + depth,
            "activation_mean": 0.1,
            "zero_fraction": 0.3,
            "delta_rms": size * 0.7**depth,
        }
        for depth, name in enumerate(names)
    }
    weights = {
        f"{name}.{part}": {
            "weight_rms": 0.2,
            "gradient_rms": size * 0.7**depth,
            "update_rms": size * 1e-3,
            "update_ratio": size * 5e-3,
        }
        for depth, name in enumerate(names)
        for part in ("weight", "bias")
    }
    return StepMeasured(step, step // STEPS, size, 3 * size, layers, weights)


def measures(count: int, names: tuple[str, ...] = NAMES) -> tuple[StepMeasured, ...]:
    return tuple(measure(step, names) for step in range(count))


def matrix(classes: int) -> tuple[tuple[int, ...], ...]:
    return tuple(
        tuple(20 + i if i == j else 2 if j == (i + 1) % classes else 0 for j in range(classes))
        for i in range(classes)
    )


def ended(reason: str = "finished", done: int = 8, best: int = 5) -> RunEnded:
    return RunEnded(reason, done * STEPS, done, best, 2.5, {"accuracy": 0.9})


def classified(classes: int = 3) -> Record:
    metrics = {"loss": 0.21, "accuracy": 0.912, "f1": 0.9, "log_loss": 0.210001, "roc_auc": 0.99}
    names = tuple(f"class {i}" for i in range(classes))
    return Record(
        started=started(),
        epochs=epochs(8),
        measures=measures(80),
        evaluated=Evaluated("held-out", metrics, names, matrix(classes)),
        ended=ended(),
    )


def binary() -> Record:
    metrics = {"loss": 0.3, "accuracy": 0.9}
    return dataclasses.replace(
        classified(),
        started=started(dataset="tumours.csv", task="binary"),
        evaluated=Evaluated("held-out", metrics, ("benign", "malignant"), ((60, 3), (2, 35))),
        ended=ended("early stopping"),
    )


def regressed() -> Record:
    truth = tuple(50.0 + 3 * i for i in range(60))
    predicted = tuple(t + 20 * math.sin(t) for t in truth)
    metrics = {"loss": 0.5, "r2": 0.48, "mae": 12.7, "rmse": 14.2}
    return Record(
        started=started(dataset="diabetes", task="regression", net="Sequential(Dense(10, 1))"),
        epochs=epochs(8, "r2"),
        measures=measures(80),
        evaluated=Evaluated("held-out", metrics, truth=truth, predicted=predicted),
        ended=ended(),
    )


def not_finite() -> Record:
    exploding = tuple(measure(step, factor=10.0 ** max(0, 3 * (step - 25))) for step in range(32))
    return Record(
        started=started(),
        epochs=epochs(3),
        measures=exploding,
        non_finite=NonFinite(32, 3, "the output of layers.2", 123.5),
        evaluated=Evaluated(
            "held-out", {"loss": 0.8, "accuracy": 0.7}, ("a", "b"), ((5, 1), (2, 3))
        ),
        ended=ended("not finite", 3, 2),
    )


def interrupted() -> Record:
    return dataclasses.replace(classified(), epochs=epochs(4), ended=ended("interrupted", 4, 3))


def going_on() -> Record:
    return Record(started=started(), epochs=epochs(2), measures=measures(20))


def none_held_out() -> Record:
    return Record(
        started=started(held_out_rows=0),
        epochs=epochs(8, held_out=False),
        measures=measures(80),
        evaluated=Evaluated(
            "training", {"loss": 0.1, "accuracy": 1.0}, ("a", "b"), ((4, 0), (0, 4))
        ),
        ended=ended(best=-1),
    )


def nothing_measured() -> Record:
    return dataclasses.replace(classified(), measures=())


def one_epoch() -> Record:
    short = dataclasses.replace(classified(), epochs=epochs(1), measures=measures(1))
    return dataclasses.replace(short, ended=ended(done=1, best=0))


def just_begun() -> Record:
    return Record(started=started())


STORIES = {
    "classified": classified(),
    "thirty classes": classified(30),
    "two hundred classes": classified(200),
    "binary": binary(),
    "regressed": regressed(),
    "not finite": not_finite(),
    "interrupted": interrupted(),
    "going on": going_on(),
    "none held out": none_held_out(),
    "nothing measured": nothing_measured(),
    "one epoch": one_epoch(),
    "just begun": just_begun(),
    "nothing known": Record(),
}
