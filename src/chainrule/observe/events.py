"""The typed events of a training run.

Receives: what happened, from the training loop. Returns: frozen records. Next: watchers
(console, record on disk, report, user callbacks). The loop knows none of its watchers; a watcher
is any callable that takes one event.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class RunStarted:
    """The first event of a run (and, after a resume, the first of each later session)."""

    dataset: str  # "digits", "iris.csv", "arrays"
    task: str  # "regression", "binary" or "multiclass"
    net: str  # the network as text
    weights: int  # how many numbers are trained
    train_rows: int
    held_out_rows: int
    epochs: int  # the most epochs this run will make
    steps_per_epoch: int
    batch_size: int
    seed: int
    backend: str
    run_dir: str | None
    first_step: int = 0  # 0, or the step a resumed run goes on from
    config: Mapping[str, Any] = field(default_factory=dict)  # JSON values only


@dataclass(frozen=True)
class Progress:
    """Where the run is; sent a few times a second, never stored."""

    step: int  # steps done so far, over all epochs
    total_steps: int
    epoch: int  # 0-based
    loss: float  # mean training loss over the epoch so far
    rows_per_second: float
    seconds_left: float


@dataclass(frozen=True)
class StepMeasured:
    """Sizes of the quantities of backpropagation in one step.

    `layers` maps a layer's path ("layers.0") to its measures ("activation_rms",
    "activation_mean", "zero_fraction", "delta_rms"); `weights` maps a weight's name
    ("layers.0.weight") to its measures ("weight_rms", "gradient_rms", "update_rms",
    "update_ratio": update over weight).
    """

    step: int  # 0-based: how many steps were done before it
    epoch: int
    loss: float
    gradient_norm: float  # over all weights together
    layers: Mapping[str, Mapping[str, float]]
    weights: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class EpochEnded:
    """One pass over the training rows is done."""

    epoch: int  # 0-based
    step: int  # steps done so far
    train: Mapping[str, float]  # "loss" and, where cheap, the task's metrics on training rows
    held_out: Mapping[str, float]  # "loss" and the task's metrics; empty without held-out rows
    learning_rate: float
    seconds: float  # of this epoch
    best: bool  # the best held-out loss so far


@dataclass(frozen=True)
class Saved:
    """A checkpoint is safely on disk."""

    step: int
    epoch: int
    path: str


@dataclass(frozen=True)
class NonFinite:
    """The loss or a weight is NaN or infinite; the run stops with the last good weights."""

    step: int
    epoch: int
    where: str  # the first layer or weight that is not finite
    last_loss: float  # the last finite loss


@dataclass(frozen=True)
class Evaluated:
    """The final network on the held-out rows (on the training rows where none are held out).

    `examples` are some of the rows in JSON values: "row" (its name), "truth", "predicted", "share"
    (of probability), "right", and what it looks like: "image" ({"shape": [height, width, channels],
    "pixels": base64}, with "sound" for a spectrogram) or "text". Of a language model "symbols" and
    "guesses"; of a forecast, one stretch of time: "horizon", "before", "truth",
    "predicted" and the "comparison" with simple forecasts.
    `filters` are the first layer's weights as pictures: "unit", "shape" and "pixels", 128 for 0.
    `attention` is what each layer of attention reads of one row: "layer", "row", "tokens", and for
    each of its "heads" the "largest" share and the "shares" [queries, keys] as bytes in base64, 255
    for the largest. `sample` is what a language model writes: "text", "temperature" and "seed".
    """

    rows: str  # "held-out" or "training"
    metrics: Mapping[str, float]
    classes: tuple[str, ...] = ()  # for classification
    confusion: tuple[tuple[int, ...], ...] = ()  # [truth][predicted], counts
    truth: tuple[float, ...] = ()  # for regression: at most 2,000 pairs
    predicted: tuple[float, ...] = ()
    examples: tuple[Mapping[str, Any], ...] = ()
    filters: tuple[Mapping[str, Any], ...] = ()
    attention: tuple[Mapping[str, Any], ...] = ()
    sample: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RunEnded:
    """The last event of a run."""

    # "finished", "early stopping", "interrupted", "not finite", "not converged" (a fixed
    # point was not reached); of a full-batch method also "converged" and
    # "stuck" (no step helped, and not because of rounding)
    reason: str
    step: int
    epoch: int  # epochs done
    best_epoch: int  # 0-based; -1 without held-out rows
    seconds: float
    metrics: Mapping[str, float]


Event = RunStarted | Progress | StepMeasured | EpochEnded | Saved | NonFinite | Evaluated | RunEnded

Watcher = Callable[[Event], None]
