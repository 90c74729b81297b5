"""`chainrule train --resume`: a run that was stopped or killed goes on in the same bits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chainrule import nn, optim
from chainrule.cli.parser import Arguments
from chainrule.cli.running import train
from chainrule.data import fingerprint, known_sets, source_from_json
from chainrule.errors import DataError, FileError, NonFiniteError, UsageError
from chainrule.observe import Record, read_record
from chainrule.training import Run
from chainrule.training.prepare import Prepared, prepare
from chainrule.training.rundir import RunDirectory

# Options that say how a run is trained; a resumed run takes them from its own configuration.
_FIXED = (
    "target task text context words vocabulary forecast horizon window image_size seconds "
    "skip_unreadable download net hidden layers heads activation dropout loss optimizer "
    "learning_rate batch_size validation patience class_weights seed run_dir"
).split()

_AGAIN = "train {} --resume RUN"
_IN_PYTHON = "cr.train(net, data, run_dir=..., resume=True)"


def resume(arguments: Arguments) -> tuple[Run, bool]:
    """The run, and whether it had ended before and nothing was left to do."""
    for option in _FIXED:
        if getattr(arguments, option) not in (None, False):
            raise UsageError(
                f"--{option.replace('_', '-')} was given together with --resume",
                do="a resumed run keeps its settings; only --epochs, --save-every, "
                "--measure-every, --backend, --threads and --quiet may be given",
            )
    directory = RunDirectory(arguments.resume)
    saved = directory.read_config()
    settings = saved["settings"]
    # Without its record a run goes on all the same; what it told so far is lost.
    record = read_record(directory.record) if directory.record.exists() else Record()
    epochs = _epochs(arguments.epochs, settings["epochs"], record)
    checkpoint = directory.checkpoints().load_latest()
    prepared = same_data(arguments.data, saved, _AGAIN, _IN_PYTHON)
    run = train(
        nn.from_json(saved["net"], network_arrays(checkpoint.arrays)),
        prepared,
        arguments,
        loss=saved["loss"],
        optimizer=optim.from_json(saved["optimizer"]),
        epochs=epochs,
        batch_size=settings["batch_size"],
        validation=settings["validation"],
        seed=settings["seed"],
        patience=settings["patience"],
        class_weights=settings["class_weights"],
        measure_every=_or(arguments.measure_every, settings["measure_every"]),
        save_every=_or(arguments.save_every, settings["save_every"]),
        run_dir=arguments.resume,
        resume=True,
        command=saved["command"],
    )
    ended = record.ended
    return run, ended is not None and ended == run.record.ended


def _or(given: Any, default: Any) -> Any:
    return default if given is None else given


def _epochs(given: int | None, at_first: int, record: Record) -> int:
    """The epochs of the whole run: as given now, else as in the last session. Raises where there
    is nothing to go on with."""
    ended, done = record.ended, len(record.epochs)
    if record.non_finite is not None and ended is not None and ended.reason == "not finite":
        raise NonFiniteError(
            f"this run stopped because {record.non_finite.where} was no longer finite, and it "
            "would do so again",
            where=f"epoch {record.non_finite.epoch + 1}, step {record.non_finite.step}",
            do="train again with a smaller --learning-rate",
        )
    if given is not None and given < done:
        raise UsageError(
            f"the run has already made {done} epochs",
            where=f"--epochs {given}",
            do=f"give more than {done}, or leave it out",
        )
    if given is not None:
        return given
    return record.started.epochs if record.started else at_first


def same_data(data: str | None, saved: Mapping[str, Any], again: str, in_python: str) -> Prepared:
    """The data the run was started with; `data` is where they are now, if they have moved. `again`
    is the command that says so, with {} for the place, and `in_python` what does the same there."""
    source, settings, task = saved["dataset"]["source"], saved["settings"], saved["dataset"]["task"]
    place, target = _place(data, source, again, in_python), source.get("target")
    found = source_from_json(source, place)
    if found is not None:
        prepared = prepare(found, None, settings["validation"], settings["seed"], None)
    else:
        prepared = prepare(place, target, settings["validation"], settings["seed"], task)
    if fingerprint(prepared.dataset) != saved["dataset"]["fingerprint"]:
        raise DataError(
            f"{place} does not hold the data that this run was started with",
            where=f"the run was trained on {saved['dataset']['name']}",
            do=f"restore the data (or say where they are: chainrule {again.format('PATH')}), "
            "or start a new run",
        )
    return prepared


def _place(data: str | None, source: Mapping[str, Any], again: str, in_python: str) -> str:
    """The name of a set that has one, or the path of the table or folder."""
    kind = source.get("kind")
    has_name = kind in ("builtin", "named")
    if has_name or data in known_sets():
        name = str(source["name"] if has_name else source["path"])
        if data is not None and data != name:
            raise UsageError(
                f"this run was trained on {name}, not on {data}", do="leave the data out"
            )
        return name
    if "path" not in source:
        raise UsageError(
            "this run was trained on arrays in Python, which the command line cannot find",
            do=f"do it in Python: {in_python}",
        )
    path = str(source["path"] if data is None else data)
    if data is None and path == "-":
        raise UsageError(
            "this run was trained on a table from standard input",
            do=f"give the same table again: chainrule {again.format('-')} < TABLE.csv",
        )
    if data is None and not Path(path).exists():
        raise FileError(
            f"{path}, the data of this run, are not there",
            where=str(Path.cwd()),
            do=f"say where they are now: chainrule {again.format('PATH')}",
        )
    return path


def network_arrays(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The network's own arrays among those of a checkpoint."""
    found = {}
    for name, array in arrays.items():
        kind, _, rest = name.partition(".")
        if kind in ("weights", "state"):
            found[rest] = array
    return found
