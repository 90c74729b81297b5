"""`chainrule explain`: one step of backpropagation on one row, with its real numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.cli.explain_overview import show_overview
from chainrule.cli.explain_screen import show
from chainrule.cli.explain_subject import Material, can_be_walked, material
from chainrule.cli.parser import Arguments
from chainrule.cli.speaking import json_text, say, shown_path, tell
from chainrule.data.series import ForecastEncoder
from chainrule.errors import UsageError
from chainrule.observe.walkthrough import DIFFERS, TOLERANCE, Subject, Walkthrough
from chainrule.store import write_atomic
from chainrule.training.evaluate import Predictor
from chainrule.training.walkthrough import walk

FAILED = 1
_SEARCHED_ROWS = 2000  # for the default row; more would keep a person waiting
_SEARCHED_OF_OTHERS = 200  # than dense networks, which take longer
_LONGEST_TEXT = 400


def run_explain(arguments: Arguments) -> int:
    """Walks through one row; exit code 1 where a gradient and its numeric derivative differ."""
    given = material(arguments.subject, arguments.seed)
    row, why = _row(given, arguments.row)
    dataset = given.dataset
    if not can_be_walked(given.net):
        if arguments.html:
            raise UsageError(
                "the page of a step is one of single sums, which are shown of dense networks alone",
                where=f"--html {arguments.html}",
                do="leave it out; the report of the run has a page",
            )
        wrong = show_overview(given, _subject(given, row, why), row, arguments.json)
        return FAILED if wrong else 0
    walked = walk(
        given.net,
        dataset.x[row],
        dataset.y[row],
        given.objective,
        given.learning_rate,
        input_names=_input_names(given),
        output_names=_output_names(given),
    )
    subject = _subject(given, row, why)
    if arguments.html:
        from chainrule.report.walkthrough import render_walkthrough

        page = render_walkthrough(subject, walked)
        write_atomic(arguments.html, page.encode("utf-8", "replace"))
    if not arguments.json:
        show(subject, walked)
    if arguments.html:
        say(f"chainrule: wrote {shown_path(arguments.html)}")
    if arguments.json:
        tell(json_text(_json(given, row, walked, arguments.html)))
    return FAILED if walked.count(DIFFERS) else 0


# --- which row ------------------------------------------------------------------------------


def _row(given: Material, wanted: int | None) -> tuple[int, str]:
    """The row, and why it was taken where the person named none."""
    rows = given.dataset.rows
    if wanted is not None and wanted >= rows:
        raise UsageError(
            f"{given.name} has {rows:,} rows, so there is no row {wanted}",
            do=f"rows are counted from 0: give one from 0 to {rows - 1}",
        )
    if wanted is not None:
        return wanted, ""
    is_dense = can_be_walked(given.net)
    most = _SEARCHED_ROWS if is_dense else _SEARCHED_OF_OTHERS
    x, y = given.dataset.x[:most], given.dataset.y[:most]
    outputs = np.asarray(given.net(x) if is_dense else Predictor(given.net, None)(given.net, x))
    losses = [float(given.objective(outputs[i : i + 1], y[i : i + 1])) for i in range(len(x))]
    flat = x.reshape(len(x), -1)
    # A row of bits such as 0 0 or 1 1 says little: all weights of a unit get the same gradient.
    is_plain = (flat == flat[:, :1]).all(axis=1) & np.isin(flat[:, 0], (0, 1))
    is_plain &= flat.shape[1] > 1 and not is_plain.all()
    worst = int(np.argmax(np.where(is_plain, -np.inf, np.nan_to_num(losses, nan=-np.inf))))
    which = "the row that the network gets most wrong"
    which += f", of the first {most:,}" * (rows > most)
    which += ", of those whose inputs differ" * bool(is_plain.any())
    return worst, f"{which} (choose another with --row N)"


# --- the words around the numbers -----------------------------------------------------------


def _input_names(given: Material) -> Sequence[str]:
    if isinstance(given.reader, ForecastEncoder):
        columns, last = given.reader.columns, given.reader.window - 1
        return [f"{name} t{t - last or ''}" for t in range(last + 1) for name in columns]
    names = given.dataset.feature_names
    return names if len(names) == given.dataset.x[0].size else ()


def _output_names(given: Material) -> Sequence[str]:
    dataset = given.dataset
    if dataset.task == "multiclass":
        return [f"class {c}" if c[:1].isdigit() else c for c in dataset.classes]
    if given.encoder is not None and dataset.task == "regression":
        return [given.encoder.target.name]
    if isinstance(given.reader, ForecastEncoder):
        return [f"{given.reader.target.name} t+{step + 1}" for step in range(given.reader.horizon)]
    return ()


def _text(given: Material, row: int) -> str | None:
    """The text of a row that is a bag of its words."""
    dataset = given.dataset
    is_bag = dataset.source.get("form") == "bag"
    return dataset.row_names[row][:_LONGEST_TEXT] if is_bag else None


def _subject(given: Material, row: int, why: str) -> Subject:
    dataset = given.dataset
    part = ""
    if given.held_out is not None:
        held = "held out, so the network was not trained on it"
        part = held if row in given.held_out else "one of those the network was trained on"
    text = f"{row} of {dataset.rows:,}, counted from 0"
    image = dataset.source.get("image_shape")
    words = _text(given, row)
    return Subject(
        title=f"One step of backpropagation: {given.name}, row {row}",
        row_text="; ".join(filter(None, (text, part, why))),
        facts=(*given.facts, *([] if words is None else [("text", repr(words))])),
        fields=_fields(given, row),
        target=_target(given, row),
        image=_grey(dataset.x[row], image) if isinstance(image, list) else None,
        remarks=tuple(_remarks(given)),
    )


def _grey(values: Any, sizes: Sequence[Any]) -> Any:
    """The picture of a row, [height, width]: of colours their mean."""
    picture = np.reshape(values, tuple(int(size) for size in sizes))
    return picture if picture.ndim == 2 else picture.mean(axis=2)


def _fields(given: Material, row: int) -> tuple[tuple[str, str], ...]:
    """The row's own columns, as they stand in the table where there is one."""
    if given.table is not None and given.encoder is not None:
        columns = [(f.name, given.table.columns[f.name]) for f in given.encoder.features]
        return tuple((name, _cell(column[row])) for name, column in columns)
    values = given.dataset.x[row].reshape(-1)
    names = _input_names(given) or [f"x{i + 1}" for i in range(len(values))]
    is_bag = _text(given, row) is not None
    return tuple(
        (name, f"{value:.5g}")
        for name, value in zip(names, values, strict=True)
        if value or not is_bag  # of a bag, the words that are in it
    )


def _target(given: Material, row: int) -> tuple[str, str]:
    if given.table is not None and given.encoder is not None:
        name = given.encoder.target.name
        return name, _cell(given.table.columns[name][row])
    y = given.dataset.y[row]
    if given.dataset.classes and not given.dataset.time:
        return "target", given.dataset.classes[int(y)]
    if isinstance(given.reader, ForecastEncoder):
        scale = given.reader.target
        values = np.asarray(y, np.float64) * scale.std + scale.mean
        return "target", f"{scale.name} {' '.join(f'{value:.5g}' for value in values)}"
    return "target", " ".join(f"{value:g}" for value in np.reshape(y, -1))


def _cell(value: Any) -> str:
    if value is None:
        return "(missing)"
    return f"{value:.7g}" if isinstance(value, float) else str(value)


def _remarks(given: Material) -> list[str]:
    remarks = list(given.remarks)
    dataset, encoder = given.dataset, given.encoder
    if dataset.task == "binary":
        no, yes = dataset.classes
        remarks.append(f"The target t is 1 for {yes} and 0 for {no}.")
    if isinstance(given.reader, ForecastEncoder):
        scale = given.reader.target
        remarks.append(
            "The inputs x are the window, its last row t, each column standardised. The target is "
            f"standardised too: ({scale.name} - {scale.mean:.7g}) / {scale.std:.7g}."
        )
    if dataset.source.get("form") == "bag":
        remarks.append(
            "The inputs x of words are TF-IDF; of words that the text has not they are 0."
        )
    if encoder is not None:
        remarks.append(
            "The inputs x are these values as the run encodes them: numbers and dates "
            "standardised, categories as 0 or 1."
        )
        if dataset.task == "regression":
            target = encoder.target
            remarks.append(
                f"The target is standardised too: t is ({target.name} - {target.mean:.7g}) / "
                f"{target.std:.7g}."
            )
    return remarks


# --- JSON -----------------------------------------------------------------------------------


def _json(given: Material, row: int, walked: Walkthrough, html: str | None) -> dict[str, Any]:
    return {
        "subject": given.name,
        "row": row,
        "rows": given.dataset.rows,
        "loss": walked.error.loss,
        "learning_rate": walked.learning_rate,
        "loss_before": walked.loss_before,
        "loss_after": walked.loss_after,
        "layers": [
            {
                "name": layer.name,
                "function": layer.function,
                "units": list(layer.unit_names),
                "z": layer.z.tolist(),
                "a": layer.outputs.tolist(),
                "delta": layer.delta.tolist(),
            }
            for layer in walked.layers
        ],
        "gradients": {
            "checked": len(walked.checks),
            "largest": walked.largest_gradient,
            "max_difference": walked.difference,
            "tolerance": walked.tolerance,
            "relative_tolerance": TOLERANCE,
            "disagree": walked.count(DIFFERS),
            "graph_difference": walked.graph_difference,
        },
        "html": html,
    }
