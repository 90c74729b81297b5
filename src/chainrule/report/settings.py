"""What was trained, with which settings, and how to do it again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainrule.observe.wording import count
from chainrule.report.page import Table
from chainrule.report.scales import duration, number
from chainrule.report.svg import shorten

if TYPE_CHECKING:
    from chainrule.observe.events import RunStarted
    from chainrule.observe.record import Record

LONGEST_VALUE = 400  # characters of one setting; config.json has the rest
MOST_SETTINGS = 300
LONG_GROUP = 12  # settings within one; longer ones are folded away
# Names of data that came from Python, and what stands for them in a call of `train`.
NOT_FILES = {"arrays": "(X, y)", "table": "frame"}


@dataclass(frozen=True)
class Repeat:
    """How to repeat the run; an empty text where there is no such way."""

    about: str
    command: str
    python: str


def seconds(record: Record) -> float:
    """The time the run took: what its end says, or its epochs together (over several sessions)."""
    epochs = sum(epoch.seconds for epoch in record.epochs)
    return max(record.ended.seconds, epochs) if record.ended else epochs


def facts(record: Record) -> Table:
    """The plain facts of the run as a table of words."""
    rows: list[list[str]] = []
    started = record.started
    done = len(record.epochs)
    steps = record.ended.step if record.ended else record.epochs[-1].step if done else 0
    taken = seconds(record)
    if started:
        rows += [
            ["data", started.dataset],
            ["task", task_text(record)],
            ["training rows", f"{started.train_rows:,}"],
            ["held-out rows", f"{started.held_out_rows:,}" if started.held_out_rows else "none"],
            ["trained weights", f"{started.weights:,}"],
            ["epochs", f"{done:,}" + (f" of {started.epochs:,}" if done < started.epochs else "")],
            ["steps", f"{steps:,}, of {count(started.batch_size, 'row')} each"],
            ["seed", f"{started.seed}"],
            ["backend", started.backend],
        ]
        if started.first_step:
            rows.append(["resumed at", f"step {started.first_step:,}"])
    rows.append(["time", duration(taken)])
    training = sum(epoch.seconds for epoch in record.epochs)
    if started and training > 0:
        speed = number(started.train_rows * done / training, 3)
        rows.append(["speed", f"{speed} rows a second"])
    if record.ended:
        rows.append(["ended", record.ended.reason])
    if started and started.run_dir:
        rows.append(["saved in", started.run_dir])
    return Table(["", ""], [[a, shorten(b, LONGEST_VALUE)] for a, b in rows], words=True)


def task_text(record: Record) -> str:
    """The task in plain words: "10 classes", "two classes", "a number"."""
    task = record.started.task if record.started else ""
    classes = len(record.evaluated.classes) if record.evaluated else 0
    if record.evaluated and record.evaluated.sample:  # of a language model
        return f"predicting which of {classes:,} symbols comes next"
    if task == "multiclass":
        return f"telling {classes:,} classes apart" if classes else "telling classes apart"
    if task == "binary":
        return "telling two classes apart"
    return "predicting a number (regression)" if task == "regression" else task


def configuration(record: Record) -> list[tuple[str, Table]]:
    """Every setting by its dotted name, in the order in which they were recorded.

    The first table, without a name, holds most; a setting that is itself a long list of settings
    (such as those of every column of a table) gets a table of its own.
    """
    config = record.started.config if record.started else {}
    short: list[tuple[str, str]] = []
    long: list[tuple[str, Table]] = []
    for key, value in config.items():
        if key in {"command", "python"}:
            continue
        inner = value if key == "settings" and isinstance(value, Mapping) else {key: value}
        pairs = list(_flat(inner))
        if len(pairs) > LONG_GROUP:
            long.append((f"{key} ({len(pairs):,} settings)", _setting_table(pairs)))
        else:
            short += pairs
    return [("", _setting_table(short)), *long] if short else long


def _setting_table(pairs: list[tuple[str, str]]) -> Table:
    rows = [[name, shorten(text, LONGEST_VALUE)] for name, text in pairs[:MOST_SETTINGS]]
    left_out = len(pairs) - len(rows)
    note = f"The first {MOST_SETTINGS} of {len(pairs):,}; config.json has all." if left_out else ""
    return Table(["setting", "value"], rows, note, words=True)


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in config.items():
        if isinstance(value, Mapping) and isinstance(value.get("settings"), Mapping):
            yield f"{prefix}{key}", _call(value, "")
        elif isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _text(value)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return json.dumps(value, ensure_ascii=False, default=str)


def repeat(record: Record) -> Repeat:
    """The command line that was given, where one was, and the Python that does the same."""
    started = record.started
    if not started:
        missing = "The start of this run was not recorded, so its settings are not known."
        return Repeat(missing, "", "")
    words = command_words(record)
    command, python = started.config.get("command"), started.config.get("python")
    return Repeat(
        "With the same version and the same data it ends with the same weights, bit for bit.",
        command if isinstance(command, str) else shlex.join(words),
        python if isinstance(python, str) else _python(started, words),
    )


def command_words(record: Record) -> list[str]:
    """The words of the command that made the run; empty for a run made in Python."""
    command = record.started.config.get("command") if record.started else None
    if isinstance(command, str):
        try:
            return shlex.split(command)
        except ValueError:  # an open quote
            return command.split()
    return [str(word) for word in command] if isinstance(command, list | tuple) else []


def with_option(words: Sequence[str], option: str, value: str | None) -> list[str]:
    """The command with `option` set to `value`, or without it for None."""
    kept: list[str] = []
    skip = False
    for word in words:
        if skip or word.startswith(f"{option}="):
            skip = False
        elif word == option:
            skip = True
        else:
            kept.append(word)
    return kept if value is None else [*kept, option, value]


def _python(started: RunStarted, words: Sequence[str]) -> str:
    config = started.config
    given = config.get("settings")
    given = given if isinstance(given, Mapping) else config
    settings: dict[str, str] = {}
    if "--target" in words[:-1]:
        settings["target"] = _call(words[words.index("--target") + 1])
    if config.get("loss"):
        settings["loss"] = _call(config["loss"])
    if config.get("optimizer"):
        settings["optimizer"] = _call(config["optimizer"])
    defaults = {"epochs": started.epochs, "batch_size": started.batch_size}
    for name in ("epochs", "batch_size", "validation", "patience", "class_weights"):
        value = given.get(name, defaults.get(name))
        if value is not None or name == "batch_size":
            settings[name] = _call(value)
    settings["seed"] = f"{started.seed}"
    data = next((word for word in words if Path(word).name == started.dataset), started.dataset)
    lines = [
        "import chainrule as cr",
        "",
        "# net: the network above, not yet trained",
        "run = cr.train(",
        f"    net, {NOT_FILES.get(data) or _call(data)},",
        *(f"    {name}={text}," for name, text in settings.items()),
        ")",
    ]
    return "\n".join(lines)


def _call(value: Any, room: str = "cr.optim.") -> str:
    """The Python that makes a value; an optimiser or a schedule from its JSON form."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if not isinstance(value, Mapping) or not isinstance(value.get("settings"), Mapping):
        return repr(value)
    settings = value["settings"]
    if "schedule" in value:
        name = f"{room}schedules.{value['schedule']}" if room else f"{value['schedule']}"
    else:
        name = f"{room}{value.get('optimizer')}"
    if isinstance(settings.get("stages"), list):
        return f"{name}({', '.join(_call(stage, room) for stage in settings['stages'])})"
    return f"{name}({', '.join(f'{key}={_call(one, room)}' for key, one in settings.items())})"
