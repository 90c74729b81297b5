"""How a run ended, where it is not simply finished: what happened, where, and what to do next."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chainrule.observe.wording import count
from chainrule.report.scales import number
from chainrule.report.settings import command_words, with_option
from chainrule.report.sizes import USUAL_RATIO

if TYPE_CHECKING:
    from chainrule.observe.record import Record


@dataclass(frozen=True)
class Step:
    """Something to do; `code` is what to type, if that is all there is to it."""

    text: str
    code: str = ""


STOPPED = ("not finite", "not converged")  # with the weights from before

# Why a full-batch method ended.
_NO_STEP_LEFT = {
    "converged": "the loss is as low as it can be seen to get from here",
    "stuck": "no step that the optimiser tried lowered the loss",
}


@dataclass(frozen=True)
class Banner:
    """What stands at the top of the page; `kind` is "alarm" or "calm"."""

    kind: str
    title: str
    texts: tuple[str, ...]
    steps: tuple[Step, ...] = ()


def banner(record: Record) -> Banner | None:
    """What a reader must know about the end of the run, or None where it simply finished."""
    ended = record.ended
    if record.non_finite or (ended and ended.reason == "not finite"):
        return _not_finite(record)
    if ended is None:
        return _no_end(record)
    if ended.reason == "not converged":
        text = (
            f"The states of a fixed point did not come to rest at step {ended.step:,}, in epoch "
            f"{ended.epoch + 1:,}. The weights from before that are kept."
        )
        return Banner("alarm", "Training stopped: no state of rest", (text,), (_slower(record),))
    if ended.reason == "interrupted":
        return _interrupted(record)
    if ended.reason == "early stopping":
        return _early(record)
    if ended.reason in _NO_STEP_LEFT:
        text = f"Training ended after {_so_far(record)}, because {_NO_STEP_LEFT[ended.reason]}."
        return Banner("calm", "No better weights nearby", (text,))
    return None


def _so_far(record: Record) -> str:
    if not record.started:
        return count(len(record.epochs), "epoch")
    return f"{len(record.epochs):,} of {count(record.started.epochs, 'epoch')}"


def _resume(record: Record) -> tuple[Step, ...]:
    run_dir = record.started.run_dir if record.started else None
    if not run_dir:
        return (Step("This run was not saved to a directory, so it can only be started again."),)
    command = f"chainrule train --resume {shlex.quote(run_dir)}"
    return (Step("Go on where it stopped; the result is the same as without the stop:", command),)


def _no_end(record: Record) -> Banner:
    texts = (
        f"Recorded so far: {_so_far(record)}, and no end. The run is still going on, or its "
        "process was killed.",
    )
    return Banner("calm", "This run has not ended", texts, _resume(record))


def _interrupted(record: Record) -> Banner:
    ended = record.ended
    at = f" at step {ended.step:,}" if ended else ""
    texts = (f"It was stopped by hand{at}, with {_so_far(record)} done.",)
    return Banner("calm", "This run was interrupted", texts, _resume(record))


def _early(record: Record) -> Banner:
    ended = record.ended
    text = f"Training stopped after {_so_far(record)}, because the held-out loss no longer fell."
    if ended and ended.best_epoch >= 0:
        text += f" The network is the one of epoch {ended.best_epoch + 1:,}, the best."
    return Banner("calm", "Stopped early", (text,))


def _not_finite(record: Record) -> Banner:
    event, ended = record.non_finite, record.ended
    where = event.where if event else "the loss or a weight"
    step = event.step if event else ended.step if ended else 0
    epoch = event.epoch if event else ended.epoch if ended else 0
    text = (
        f"{where[:1].upper()}{where[1:]} became NaN or infinite at step {step:,}, "
        f"in epoch {epoch + 1:,}. The weights from before that are kept."
    )
    if event and math.isfinite(event.last_loss):
        text += f" The last finite loss was {number(event.last_loss)}."
    evidence = _evidence(record)
    steps = (
        _slower(record),
        Step("Or clip the gradients by their global norm:", "optim.clip_by_global_norm(1.0)"),
        Step("If it happens in the first steps, look for very large numbers in the data."),
    )
    texts = (text, evidence) if evidence else (text,)
    return Banner("alarm", "Training stopped: a number was not finite", texts, steps)


def _slower(record: Record) -> Step:
    rate = _learning_rate(record)
    if rate is None:
        return Step("Train again with a tenth of the learning rate.")
    text = f"Train again with a tenth of the learning rate, which was {number(rate)}:"
    words = command_words(record)
    if not words:
        return Step(text, f"learning_rate={rate / 10:.3g}")
    # The directory of this run is taken.
    words = with_option(words, "--run-dir", None)
    return Step(text, shlex.join(with_option(words, "--learning-rate", f"{rate / 10:.3g}")))


def _learning_rate(record: Record) -> float | None:
    if record.epochs:
        return record.epochs[-1].learning_rate
    optimizer = record.started.config.get("optimizer") if record.started else None
    settings = optimizer.get("settings") if isinstance(optimizer, Mapping) else None
    rate = settings.get("learning_rate") if isinstance(settings, Mapping) else None
    return rate if isinstance(rate, float) else None


def _evidence(record: Record) -> str:
    """The largest update in the last measured step, where it was unusually large."""
    if not record.measures:
        return ""
    last = record.measures[-1]
    ratios = {
        name: sizes["update_ratio"]
        for name, sizes in last.weights.items()
        if math.isfinite(sizes.get("update_ratio", math.nan))
    }
    if not ratios:
        return ""
    name = max(ratios, key=ratios.__getitem__)
    if ratios[name] <= USUAL_RATIO[1]:
        return ""
    return (
        f"In the last measured step ({last.step:,}) the update of {name} was "
        f"{number(ratios[name], 3)} times the size of the weight itself; "
        f"{number(USUAL_RATIO[0])} to {number(USUAL_RATIO[1])} is usual. "
        "Steps that large point to a learning rate that is too high."
    )
