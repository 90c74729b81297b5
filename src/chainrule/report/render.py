"""From the record of a run to its page."""

from __future__ import annotations

import os
import secrets
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from chainrule.errors import FileError
from chainrule.observe.wording import count
from chainrule.report.attention import attention
from chainrule.report.curves import curves
from chainrule.report.ending import banner
from chainrule.report.examples import examples
from chainrule.report.filters import filters
from chainrule.report.layers import gradient_norm, layers
from chainrule.report.outcome import outcome
from chainrule.report.page import render_page
from chainrule.report.profile import profiled
from chainrule.report.result import result
from chainrule.report.scales import duration
from chainrule.report.settings import configuration, facts, repeat, seconds, task_text
from chainrule.report.svg import shorten

if TYPE_CHECKING:
    from chainrule.observe.profile import Profile
    from chainrule.observe.record import Record

LONGEST_NET = 40_000  # characters
LONGEST_NAME = 120


def render_report(record: Record, profile: Profile | None = None) -> str:
    """The report of a run as one self-contained HTML text; the same record gives the same text.
    With a `profile`, where the time of a step went is shown too.

    Any record will do: of a run that has just begun, was killed, has no held-out rows or was
    measured nowhere. Raises ChainruleError where jinja2 is not installed.
    """
    record = _in_order(record)
    name = record.started.dataset if record.started else "Unnamed run"
    name = shorten(name, LONGEST_NAME)
    return render_page(
        "report.html",
        title=f"{name}: training run",
        heading=name,
        summary=_summary(record),
        banner=banner(record),
        result=result(record),
        curves=[*curves(record), *gradient_norm(record)],
        outcome=outcome(record),
        examples=examples(record),
        filters=filters(record),
        attention=attention(record),
        layers=layers(record),
        profile=profiled(profile),
        facts=facts(record),
        net=shorten(record.started.net if record.started else "not recorded", LONGEST_NET),
        configuration=configuration(record),
        repeat=repeat(record),
    )


def write_report(record: Record, path: str | Path, profile: Profile | None = None) -> Path:
    """Write the report of a run to `path`, in whose place nothing half-written is ever seen.

    Returns the path. Raises FileError where it cannot be written.
    """
    target = Path(path)
    # A lone surrogate (a file name that is not text) has no UTF-8; it becomes a question mark.
    page = render_report(record, profile).encode("utf-8", "replace")
    # The name that the sweep of a run directory knows as the leftover of a killed save.
    temporary = target.with_name(f".partial-{secrets.token_hex(8)}")
    try:
        try:
            with temporary.open("xb") as file:
                file.write(page)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise FileError(
            f"the report cannot be written: {error.strerror or error}",
            where=str(target),
            do="choose a directory that exists, can be written to and has space left",
        ) from error
    return target


def _in_order(record: Record) -> Record:
    """The record with its epochs and measures in order; of one told twice, the later counts.

    A run that was killed and resumed repeats what lies after its last checkpoint.
    """
    epochs = {epoch.epoch: epoch for epoch in record.epochs}
    measures = {measure.step: measure for measure in record.measures}
    return replace(
        record,
        epochs=tuple(epochs[key] for key in sorted(epochs)),
        measures=tuple(measures[key] for key in sorted(measures)),
    )


def _summary(record: Record) -> str:
    started = record.started
    if not started:
        return "The start of this run was not recorded."
    rows = count(started.train_rows, "row")
    held = (
        f"; {started.held_out_rows:,} more were held out to test it"
        if started.held_out_rows
        else "; none were held out"
    )
    epochs = count(len(record.epochs), "epoch")
    return (
        f"A network of {count(started.weights, 'weight')}, {task_text(record)}, "
        f"learned from {rows}{held}. "
        f"{epochs} in {duration(seconds(record))} on the {started.backend} backend, "
        f"seed {started.seed}."
    )
