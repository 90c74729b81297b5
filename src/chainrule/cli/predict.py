"""`chainrule predict`: a table, or files, in; a prediction for each row or file out, as CSV."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

import numpy as np

from chainrule.cli.parser import Arguments
from chainrule.cli.places import check_output
from chainrule.cli.speaking import json_text, say, shown_path, tell
from chainrule.data import Rows, Table, read_table
from chainrule.errors import DataError
from chainrule.observe.wording import count
from chainrule.store import write_atomic
from chainrule.training import Run, load_run, metrics


def run_predict(arguments: Arguments) -> int:
    """Writes the predictions as CSV, or with --json as columns of one object."""
    output = None if arguments.output == "-" else arguments.output
    if output is not None:
        check_output(output, arguments.data)
    run = load_run(arguments.run)
    notes: list[str] = []
    rows = _rows(run, arguments, notes)
    columns = {**rows.labels, **_predictions(run, rows, arguments.threads)}
    for note in notes:
        say(f"chainrule: {note}")
    if output is not None:
        write_atomic(output, _csv(columns).encode())
        say(f"chainrule: wrote {count(len(rows.x), 'row')} to {shown_path(output)}")
    elif not arguments.json:
        _to_stdout(_csv(columns))
    if arguments.json:
        told: dict[str, Any] = {"rows": len(rows.x), "output": output, "notes": notes}
        if output is None:
            told["columns"] = {name: _plain(values) for name, values in columns.items()}
        tell(json_text(told))
    return 0


def _to_stdout(text: str) -> None:
    """CSV is UTF-8 whatever the terminal's encoding, as it is when it is read."""
    stream: TextIO | None = sys.stdout
    if stream is None:
        return
    stream.flush()
    stream.buffer.write(text.encode())
    stream.buffer.flush()


def _rows(run: Run, arguments: Arguments, notes: list[str]) -> Rows:
    if arguments.data.endswith(".npy"):
        return run.read(arguments.data, notes)
    if run.encoder is None:
        return Rows(_matrix(read_table(arguments.data), run.config["dataset"]))
    unreadable = "skip" if arguments.skip_unreadable else "fatal"
    return run.read(arguments.data, notes, unreadable)


def _predictions(run: Run, rows: Rows, threads: int | None) -> dict[str, Any]:
    """The columns to write."""
    outputs = run.outputs(rows, threads=threads)
    if run.encoder is not None:
        return dict(run.encoder.decode(outputs))
    if run.task == "regression":
        width = outputs.shape[1]
        names = ["prediction"] if width == 1 else [f"prediction_{i}" for i in range(width)]
        return {name: outputs[:, i] for i, name in enumerate(names)}
    shares = metrics.probabilities(outputs)
    columns: dict[str, Any] = {}
    if shares.ndim == 3:  # a class at each place of a sequence
        row, place = np.indices(shares.shape[:2]).reshape(2, -1)
        columns = {"row": row, "place": place}
    found = metrics.predicted_classes(outputs).reshape(-1)
    columns["prediction"] = np.array(run.classes)[found]
    flat = shares.reshape(-1, shares.shape[-1])
    return columns | {f"p({name})": flat[:, i] for i, name in enumerate(run.classes)}


def _matrix(table: Table, dataset: Mapping[str, Any]) -> np.ndarray:
    """A table as the rows of an array, for a network that was trained on arrays: by column names
    where they are known, else by position."""
    shape = tuple(dataset["row_shape"])
    width = int(np.prod(shape, dtype=np.int64))
    names: Sequence[str] = dataset["feature_names"]
    if not names or not set(names) <= set(table.columns):
        names = list(table.columns)
    if len(names) != width:
        raise DataError(
            f"{table.name} has {len(names)} columns, and the network takes {width} numbers",
            do="give a table with one column for each number, in the order of training",
        )
    columns = [_numbers(table, name) for name in names]
    return np.stack(columns, axis=1).reshape(table.rows, *shape).astype(np.float32)


def _numbers(table: Table, name: str) -> np.ndarray:
    result = np.empty(table.rows, np.float64)
    for row, value in enumerate(table.columns[name].to_list()):
        try:
            result[row] = float(value)
        except (TypeError, ValueError):
            result[row] = np.nan
        if not np.isfinite(result[row]):
            raise DataError(
                f"{value!r} is not a finite number",
                where=f"{table.name}, column {name!r}, {table.place(row)}",
                do="give a number in every field",
            )
    return result


def _csv(columns: Mapping[str, Any]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*(_plain(v) for v in columns.values()), strict=True))
    return out.getvalue()


def _plain(values: Any) -> list[Any]:
    """Python values; float32 in its shortest exact form."""
    array = np.asarray(values)
    if array.dtype == np.float32:
        return [float(str(v)) for v in array]
    return list(array.tolist())
