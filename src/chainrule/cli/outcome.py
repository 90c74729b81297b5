"""What the person reads when a run has ended: how, how well, where it is, what to try next."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from chainrule.cli.speaking import broken, command, shown_path
from chainrule.data import CorpusEncoder, ForecastEncoder
from chainrule.errors import UsageError
from chainrule.observe.events import Evaluated, RunEnded
from chainrule.observe.wording import count, duration
from chainrule.training import Run
from chainrule.training.dense_stages import stages_of
from chainrule.training.objective import DEFAULT_LOSS
from chainrule.training.rundir import RunDirectory

_MEANING = {
    "loss": "what training made small",
    "perplexity": "as unsure as between so many symbols; 1 is perfect",
    "f1": "precision and recall, over all classes; 1 is perfect",
    "roc_auc": "how well the classes are ranked; 0.5 is chance, 1 perfect",
    "r2": "of the target's variance is explained; 1 is perfect",
    "mae": "mean absolute error, in the target's units",
    "rmse": "root of the mean squared error, in the target's units",
}
_UNDEFINED = {
    "roc_auc": "not defined: it needs rows of two classes",
    "r2": "not defined: the target is the same in all of these rows",
}


def outcome(run: Run, already: bool, width: int) -> str:
    """The closing words about a run, for a terminal of `width` columns.

    `already` says that it had ended before it was resumed.
    """
    evaluated, ended = run.record.evaluated, run.record.ended
    assert evaluated is not None
    assert ended is not None
    told = [_ending(ended, already), *_kept(run, ended)]
    lines = [broken(line, width, hang=0) for line in told]
    lines += ["", _rows(run, evaluated), *_metrics(run, evaluated, width), ""]
    if run.run_dir is not None:
        lines += [*_places(run.run_dir), "", "Try next:", *_next(run, run.run_dir)]
    return "\n".join(lines)


def _ending(ended: RunEnded, already: bool) -> str:
    work = f"{count(ended.epoch, 'epoch')} ({count(ended.step, 'step')})"
    if already:
        how = "stopped early" if ended.reason == "early stopping" else "finished"
        return f"This run had already {how} after {work}; nothing was left to do."
    took = f"{work} in {duration(ended.seconds)}"
    if ended.reason == "interrupted":
        return f"Interrupted after {took}. Everything so far is saved."
    if ended.reason == "early stopping":
        return f"Stopped early after {took}."
    if ended.reason == "converged":
        return f"Converged after {took}."
    if ended.reason == "stuck":
        return f"Ended after {took}: no step lowers the loss any more."
    return f"Finished {took}."


def _kept(run: Run, ended: RunEnded) -> Iterator[str]:
    """Which weights are in the network, where they are not simply the last."""
    if ended.reason == "interrupted" or run.config["settings"]["patience"] is None:
        return
    if ended.best_epoch >= 0 and ended.best_epoch + 1 != ended.epoch:
        yield (
            f"The weights kept are of epoch {ended.best_epoch + 1:,}, the best on the held-out "
            "rows; new rows may do a little worse."
        )


def _rows(run: Run, evaluated: Evaluated) -> str:
    started = run.record.started
    if evaluated.rows == "held-out" and started is not None:
        return f"On the {count(started.held_out_rows, 'held-out row')}:"
    return f"On the {evaluated.rows} rows:"


def _metrics(run: Run, evaluated: Evaluated, width: int) -> Iterator[str]:
    """A line each; the task's own loss is left out, since a metric beside it says the same. That of
    a language model stays: it is what such models are compared by."""
    own_loss = run.config["loss"] == DEFAULT_LOSS.get(run.task)
    with_loss = not own_loss or "perplexity" in evaluated.metrics
    told = {n: v for n, v in evaluated.metrics.items() if n != "loss" or with_loss}
    widest = max([8, *map(len, told)])
    for name, value in told.items():
        shown = f"{100 * value:.4g} %" if name == "accuracy" else f"{value:.4g}"
        number = f"  {name.replace('_', ' '):<{widest}}  {'-' if math.isnan(value) else shown:<9}"
        meaning = _meaning(name, value, evaluated)
        if name == "mae" and isinstance(run.encoder, ForecastEncoder) and run.encoder.compared:
            meaning = f"mean absolute error; for comparison: {run.encoder.comparison()}"
        if name == "loss" and own_loss:
            meaning = "cross entropy in nats; perplexity is its exponential"
        if len(number) + 2 + len(meaning) <= width:
            yield f"{number}  {meaning}".rstrip()
        else:
            yield number.rstrip()
            yield broken(f"      {meaning}", width)


def _meaning(name: str, value: float, evaluated: Evaluated) -> str:
    if math.isnan(value):
        return _UNDEFINED.get(name, "not defined on these rows")
    totals = [sum(row) for row in evaluated.confusion]
    rows = sum(totals)
    if name == "accuracy" and rows:
        most = 100 * max(totals) / rows
        return f"of the rows are right; always the commonest class: {most:.3g} %"
    if name == "accuracy" and "perplexity" in evaluated.metrics:  # a sequence has a target at each
        return "of the places in these rows are right"
    if name == "f1" and len(totals) == 2:
        return f"precision and recall of {evaluated.classes[1]}; 1 is perfect"
    if name == "log_loss":
        return f"0 is perfect; equal chances for all classes: {math.log(max(len(totals), 1)):.3g}"
    return _MEANING.get(name, "")


def _places(run_dir: Path) -> list[str]:
    report = RunDirectory(run_dir).report
    return [f"saved   {shown_path(run_dir)}", f"report  {shown_path(report)}"]


def _is_dense(run: Run) -> bool:
    try:
        stages_of(run.net)
    except UsageError:
        return False
    return True


def _next(run: Run, run_dir: Path) -> Iterator[str]:
    name = shown_path(run_dir)
    source = run.config["dataset"]["source"]
    path = source.get("path")
    pairs: list[tuple[Sequence[str], str]] = []
    if run.reason == "interrupted":
        data = ["-"] if path == "-" else []
        pairs.append((["train", *data, "--resume", name], "to go on where it stopped"))
    if isinstance(run.encoder, CorpusEncoder) and run.reason != "interrupted":
        pairs.append((["generate", name, "--temperature", "0.8"], "a text that it writes"))
    how = "in its numbers" if _is_dense(run) else "layer by layer"
    pairs.append((["explain", name, "--row", "0"], f"one step of backpropagation, {how}"))
    if path:
        table = "TABLE.csv" if path == "-" else str(path)
        what = "a table" if source.get("kind") == "table" else "data like these"
        pairs.append((["predict", name, table], f"the predictions for {what}, as CSV"))
    elif run.reason != "interrupted":
        pairs.append((["train", "TABLE.csv", "--target", "COLUMN"], "a network on your own table"))
    for words, meaning in pairs:
        yield f"  {command(*words)}"
        yield f"      {meaning}"
