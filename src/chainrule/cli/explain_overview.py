"""What `chainrule explain` says of networks that are not dense: a step layer by layer, on a
terminal and as JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from chainrule.cli.explain_screen import inked
from chainrule.cli.explain_subject import Material
from chainrule.cli.speaking import broken, columns, json_text, tell
from chainrule.data import CorpusEncoder, SequenceEncoder
from chainrule.observe.walkthrough import Subject
from chainrule.observe.wording import count, printable
from chainrule.training.overview import Overview, overview

_LONGEST = 400  # characters of a text
_PROSE = 84  # columns of running text


def show_overview(given: Material, subject: Subject, row: int, as_json: bool) -> int:
    """Takes the step on a row and tells of it; the number of gradients that are wrong."""
    dataset = given.dataset
    found = overview(
        given.net, dataset.x[row], dataset.y[row], given.objective, given.learning_rate
    )
    if as_json:
        tell(json_text(_json(given, row, found)))
        return found.wrong
    width = min(columns(sys.stdout), _PROSE)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    for line in _lines(given, subject, row, found):
        for part in _parts(line, width):
            tell(printable(part, encoding))
    return found.wrong


def _parts(line: str, width: int) -> list[str]:
    """A line as it is printed: prose and facts in several."""
    if line[:1] not in ("!", ":"):
        return [line]
    return broken(line[1:], width, hang=10 if line[0] == ":" else 0).split("\n")


def _lines(given: Material, subject: Subject, row: int, found: Overview) -> Iterator[str]:
    """The page; a line that begins with ! is prose, one with : a fact, and both may be broken."""
    yield subject.title
    yield ""
    facts = [*subject.facts, ("row", subject.row_text), *_contents(given, subject, row)]
    for name, text in facts:
        yield f":{name.ljust(9)} {text}"
    if subject.image is not None and 2 * subject.image.shape[1] < _PROSE:
        yield ""
        yield from (line.rstrip() for line in inked(subject.image))
        yield from [""] * bool(subject.remarks)
    for remark in subject.remarks:
        yield f"!{remark}"
    yield ""
    yield "Forward and back: what each layer gives, and the delta of it (root mean squares)"
    rows = [
        (layer.path, layer.label, _by(layer.shape), f"{layer.output:.4g}", f"{layer.delta:.3g}")
        for layer in found.layers
    ]
    yield from _table(("layer", "", "gives", "size", "delta"), rows)
    yield ""
    yield "Gradients: each array of weights, its largest beside a numeric derivative"
    checks = [
        (
            check.name,
            _by(check.shape),
            f"{check.gradient_size:.3g}",
            f"{check.gradient:.6g}",
            f"{check.numeric:.6g}",
            check.verdict,
        )
        for check in found.weights
    ]
    yield from _table(("weights", "shape", "size", "largest", "numeric", "agree"), checks)
    yield ""
    yield f"!Loss of the row: {found.loss_before:.6g} before the step, {found.loss_after:.6g} after"
    right = len(found.weights) - found.wrong
    many = count(len(found.weights), "gradient")
    yield f"!Check: {right} of {many} agree, to {found.tolerance:.1g}"
    yield "!Single sums are shown of dense networks alone; the report draws what this one learned."


def _contents(given: Material, subject: Subject, row: int) -> list[tuple[str, str]]:
    """What the row holds and what its target is, where that can be said in words."""
    dataset, reader = given.dataset, given.reader
    told: list[tuple[str, str]] = []
    if isinstance(reader, CorpusEncoder | SequenceEncoder):
        text = reader.vocabulary.decode(int(symbol) for symbol in dataset.x[row])[:_LONGEST]
        told.append(("text", repr(text)))
    elif len(dataset.row_names):
        told.append(("name", dataset.row_names[row]))
    if dataset.time:
        told.append(("target", "at each place the symbol that comes next"))
    else:
        told.append(subject.target)
    return told


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) or "1"


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Words to the left, numbers to the right."""
    cells = [list(names), *map(list, rows)]
    widths = [max(len(line[place]) for line in cells) for place in range(len(names))]
    words = [place for place in range(len(names)) if place < 2 and names[place] != "shape"]
    for line in cells:
        parts = [
            text.ljust(size) if place in words else text.rjust(size)
            for place, (text, size) in enumerate(zip(line, widths, strict=True))
        ]
        yield f"  {'  '.join(parts)}".rstrip()


def _json(given: Material, row: int, found: Overview) -> dict[str, Any]:
    return {
        "subject": given.name,
        "row": row,
        "rows": given.dataset.rows,
        "learning_rate": found.learning_rate,
        "loss_before": found.loss_before,
        "loss_after": found.loss_after,
        "layers": [
            {
                "name": layer.path,
                "layer": layer.label,
                "shape": list(layer.shape),
                "output_rms": layer.output,
                "delta_rms": layer.delta,
            }
            for layer in found.layers
        ],
        "gradients": {
            "checked": len(found.weights),
            "tolerance": found.tolerance,
            "disagree": found.wrong,
            "weights": [
                {
                    "name": check.name,
                    "shape": list(check.shape),
                    "rms": check.gradient_size,
                    "place": list(check.place),
                    "largest": check.gradient,
                    "numeric": check.numeric,
                }
                for check in found.weights
            ],
        },
    }
