"""`chainrule train`: a table or a built-in set in, a trained, saved and reported network out."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from typing import Any

from chainrule import config, optim
from chainrule.cli.architectures import Shape, network, widths
from chainrule.cli.outcome import outcome
from chainrule.cli.parser import Arguments
from chainrule.cli.places import run_directory
from chainrule.cli.recipes import Recipe, default_net, recipe
from chainrule.cli.resume import resume
from chainrule.cli.running import train
from chainrule.cli.sources import data_of
from chainrule.cli.speaking import columns, json_text, say, tell
from chainrule.data import TextTable
from chainrule.errors import UsageError
from chainrule.nn import losses
from chainrule.optim.registry import FULL_BATCH
from chainrule.training import Run
from chainrule.training.prepare import Prepared, prepare

DONE, INTERRUPTED = 0, 130

_COMPARING = ("mean_squared_error", "squared_error", "mean_absolute_error", "huber")
_LOSSES = {
    "regression": _COMPARING,
    "binary": ("binary_cross_entropy", "hinge", *_COMPARING),
    "multiclass": ("cross_entropy", "kl_divergence", "hinge", *_COMPARING),
}
_TASKS = {"regression": "a number", "binary": "two classes", "multiclass": "several classes"}


def run_train(arguments: Arguments, words: Sequence[str]) -> int:
    """Trains, and says how it went: with --json on stderr, so that stdout is JSON alone."""
    if arguments.resume is None:
        run, already = _begin(arguments, words), False
    else:
        run, already = resume(arguments)
    closing = "\n" + outcome(run, already, columns(sys.stderr if arguments.json else sys.stdout))
    if arguments.json:
        say(closing)
        tell(json_text(run.summary()))
    else:
        tell(closing)
    return INTERRUPTED if run.reason == "interrupted" else DONE


def _begin(arguments: Arguments, words: Sequence[str]) -> Run:
    if arguments.data is None:
        raise UsageError(
            "there is nothing to train on",
            do="name a built-in set (chainrule train digits) or a table "
            "(chainrule train TABLE.csv --target COLUMN)",
        )
    if arguments.data == "-" and sys.stdin is not None and sys.stdin.isatty():
        say("reading CSV from the terminal; Ctrl-D on an empty line ends it")
    seed = 0 if arguments.seed is None else arguments.seed
    data = data_of(arguments)
    goal = (None, None) if isinstance(data, TextTable) else (arguments.target, arguments.task)
    prepared = prepare(data, goal[0], arguments.validation, seed, goal[1])
    _check_task(arguments, prepared)
    name = arguments.net or default_net(prepared.dataset)
    plan = recipe(prepared.dataset, len(prepared.held_out_rows) > 0, name)
    net = network(prepared.dataset, _shape(arguments, name, plan))
    batch_size = _choice(arguments.batch_size, "full", plan.batch_size)
    epochs = _or(arguments.epochs, plan.epochs)
    rows = len(prepared.train_rows)
    steps = epochs * -(-rows // (batch_size or rows))
    optimizer = _optimizer(arguments, plan, steps)
    with run_directory(arguments.run_dir, prepared.dataset.name) as run_dir:
        return train(
            net,
            prepared,
            arguments,
            loss=arguments.loss,
            optimizer=optimizer,
            epochs=epochs,
            batch_size=batch_size,
            validation=arguments.validation,
            seed=seed,
            patience=_choice(arguments.patience, "off", plan.patience),
            class_weights=arguments.class_weights,
            measure_every=arguments.measure_every,
            save_every=_or(arguments.save_every, 5.0),
            run_dir=run_dir,
            command=[*shlex.split(config.COMMAND), *words],
        )


def _check_task(arguments: Arguments, prepared: Prepared) -> None:
    """Raises UsageError for options that do not go with the task or the held-out rows."""
    task = prepared.dataset.task
    loss = losses.ALIASES.get(arguments.loss, arguments.loss)
    if loss in losses.LOSSES and loss not in _LOSSES[task]:
        raise UsageError(
            f"{loss} is no loss for {_TASKS[task]}",
            where="--loss",
            do=f"leave it out, or use one of: {', '.join(_LOSSES[task])}",
        )
    if arguments.patience not in (None, "off") and not len(prepared.held_out_rows):
        raise UsageError(
            "there are no held-out rows to see progress on",
            where=f"--patience {arguments.patience}",
            do="hold some out with --validation 0.2, or leave --patience out",
        )


def _or(given: Any, default: Any) -> Any:
    return default if given is None else given


def _choice(given: Any, none: str, default: Any) -> Any:
    """An option whose word `none` stands for None."""
    return default if given is None else None if given == none else given


def _shape(arguments: Arguments, name: str, plan: Recipe) -> Shape:
    """The network that is asked for; what is not given is the recipe's."""
    dropout = plan.dropout
    is_wider = arguments.hidden is not None or arguments.layers is not None
    if name == "dense" and is_wider:
        dropout = None  # it suits the recipe's widths: a narrow layer could not spare a half
    return Shape(
        name,
        widths(arguments.hidden, arguments.layers, plan.hidden),
        _or(arguments.activation, plan.activation),
        _or(arguments.dropout, dropout) or 0.0,
        arguments.heads,
    )


def _optimizer(arguments: Arguments, plan: Recipe, steps: int) -> optim.Optimizer:
    """By name; the recipe's rate is one for Adam, others have their own. A rate that was given
    stays what it is."""
    name = _or(arguments.optimizer, "adam")
    rate = arguments.learning_rate
    if rate is None and name in ("adam", "adamw"):
        rate = plan.learning_rate
        if plan.decay:
            rate = optim.schedules.cosine(rate, steps)
    chosen = optim.by_name(name, rate)
    if plan.clip is None or name in FULL_BATCH:
        return chosen
    return optim.chain(optim.clip_by_global_norm(plan.clip), chosen)
