"""`cr.train`: from a network and data to a finished run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from chainrule import nn
from chainrule.backends import backend_for
from chainrule.errors import UsageError
from chainrule.observe.events import Watcher
from chainrule.optim import Optimizer, adam, as_optimizer
from chainrule.tracing import trees
from chainrule.training.full_batch import check_full_batch
from chainrule.training.job import Job
from chainrule.training.objective import Loss, objective
from chainrule.training.prepare import class_weights_for, prepare, row_weights_for
from chainrule.training.result import Run
from chainrule.training.resume import backend_of
from chainrule.training.settings import Settings
from chainrule.training.step import Layout
from chainrule.training.streams import batch_size_for, states_of

Array = np.ndarray


def train(
    net: Any,
    data: Any,
    *,
    target: str | None = None,
    task: str | None = None,
    loss: str | Loss | None = None,
    optimizer: Optimizer | str | None = None,
    epochs: int = 100,
    batch_size: int | None = 32,
    validation: float | None = None,
    seed: int = 0,
    patience: int | None = None,
    class_weights: str | Sequence[float] | Mapping[Any, float] | None = None,
    sample_weights: Any = None,
    measure_every: int | None = None,
    save_every: float = 5.0,
    run_dir: str | os.PathLike[str] | None = None,
    resume: bool = False,
    watchers: Iterable[Watcher] = (),
    progress: bool | None = None,
    backend: str | None = None,
    threads: int | None = None,
    command: Sequence[str] = (),
) -> Run:
    """Trains a network by backpropagation and returns the `Run`.

    `net` is a layer such as `nn.Sequential(...)`; what it lacks (weights, input widths) is filled
    in from the seed and the data. `data` is an (X, y) pair of arrays, a DataFrame or the path of a
    table (with `target`, the column to predict), or the name of a built-in set. `task` overrides
    what y says: "regression", "binary" or "multiclass".

    `loss` is a name from `nn.losses`, a function (outputs, y) -> scalar, or None for the task's
    own; `optimizer` defaults to Adam at 1e-3. `batch_size` rows make a step (1: one at a time,
    None: the full batch, which optim.lbfgs and optim.levenberg_marquardt need; they end the run
    where they have converged). Data in streams, such as TextCorpus(path, streams=16), are read in
    order, one chunk of each stream a step, and recurrent layers carry their states from chunk to
    chunk; several documents are dealt to the streams anew in each epoch. `validation` holds out a
    fraction or a number of rows (0.2; nothing for sets that are complete, such as xor), in
    proportion for classes. With `patience`, training stops after that many epochs without a better
    held-out loss, and the best weights are taken back. `class_weights` ("balanced", or by class)
    and `sample_weights` [rows] weigh the loss.

    With `run_dir` the run is kept there: configuration, record, a checkpoint at most every
    `save_every` seconds, network, report; `resume=True` goes on with a run that was stopped or
    killed and ends in the same bits as one that never was. `measure_every` is the steps between
    two measurements of every layer (None: about 200 in a run; 0: never). `watchers` receive every
    event; `progress` shows it in the terminal (None: only where stderr is one). `threads` is the
    most that may be used (None: one for each core); small steps use one, and no number changes a
    bit. `backend` is "native", or "reference" for the NumPy interpreter.

    Ctrl-C stops after the current step, saves, and returns the run so far. Raises NonFiniteError
    (with the run so far as `.run`) when the loss or a weight stops being finite, ConvergenceError
    (likewise) where a fixed point is not reached; DataError, ShapeError and UsageError before the
    first step where the parts do not fit.
    """
    if resume and backend is None:
        backend = backend_of(run_dir)  # another one would round otherwise
    settings = Settings(
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        patience=patience,
        measure_every=measure_every,
        save_every=save_every,
        backend=backend_for(backend),
        threads=threads,
    )
    chosen = adam(1e-3) if optimizer is None else as_optimizer(optimizer)
    prepared = prepare(data, target, validation, seed, task, _takes_symbols(net))
    dataset, held_out = prepared.dataset, len(prepared.held_out_rows)
    _check_judged(settings, chosen, held_out)
    by_class = class_weights_for(class_weights, dataset, prepared.train_rows)
    counts = len(prepared.train_rows), held_out
    size = batch_size_for(settings.batch_size, dataset, counts, chosen)
    settings = replace(settings, validation=held_out, class_weights=by_class, batch_size=size)
    net = _initialised(net, dataset.x[:1], seed)
    prepared = prepared.cast(_weight_dtype(net))
    goal = objective(loss, dataset.task, dataset.outputs, net, by_class, dataset.time)
    check_full_batch(chosen, settings.batch_size, goal)
    goal.check_targets(prepared.dataset.y)
    by_row = row_weights_for(sample_weights, prepared.dataset, prepared.train_rows)
    memory = None
    if dataset.streams:
        memory = states_of(net, prepared.dataset.x[prepared.train_rows[: dataset.streams]])
    layout, carry = Layout.of(net, chosen, memory)
    job = Job(net, prepared, settings, goal, chosen, layout, carry, by_row, tuple(command))
    return job.run(run_dir, resume, tuple(watchers), progress)


def _check_judged(settings: Settings, optimizer: Optimizer, held_out: int) -> None:
    """Raises UsageError where something waits for a held-out loss that will never come."""
    if held_out:
        return
    do = "give validation=0.2, or leave {} out"
    if settings.patience is not None:
        raise UsageError(
            "patience needs held-out rows to judge by, and none are held out",
            do=do.format("patience"),
        )
    if optimizer.after_epoch is not None:
        raise UsageError(
            "reduce_on_plateau needs held-out rows to judge by, and none are held out",
            where=f"optimizer={optimizer!r}",
            do=do.format("it"),
        )


def _initialised(net: Any, x: Array, seed: int) -> Any:
    if not callable(net) or isinstance(net, type):
        raise UsageError(
            f"the network is {net!r}, which cannot be called",
            do="give a layer, such as nn.Sequential(nn.Dense(32), nn.relu, nn.Dense(10))",
        )
    net = nn.init(net, x, seed)
    if not any(leaf.trained for leaf in trees.leaves(net)):
        raise UsageError("the network has no weights to train", do="give it a layer such as Dense")
    return net


def _takes_symbols(part: Any) -> bool:
    """Whether a network looks up symbols, so that whole numbers are not to be made fractional."""
    if isinstance(part, nn.Embedding):
        return True
    if isinstance(part, tuple | list):
        return any(map(_takes_symbols, part))
    if not isinstance(part, nn.Layer):
        return False
    return any(_takes_symbols(getattr(part, field.name)) for field in fields(part))


def _weight_dtype(net: Any) -> np.dtype:
    return np.result_type(*[leaf.value.dtype for leaf in trees.leaves(net) if leaf.trained])
