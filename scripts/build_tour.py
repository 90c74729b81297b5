"""Writes docs/tour.md: one tiny function at every stage, from real output.

    .venv/bin/python scripts/build_tour.py

tests/test_tour.py holds that the page is current, tests/golden/ keeps the text of each stage.
"""

from __future__ import annotations

import ast
import contextlib
import html
import io
import json
import os
import re
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import chainrule as cr
import chainrule.cli
from chainrule import pipeline
from chainrule.graph import Graph, Node, ancestors
from chainrule.graph.text import to_text, value_names
from chainrule.native import target
from chainrule.native.inspection import native_stages
from chainrule.native.target import Processor
from chainrule.reference import Interpreter
from chainrule.training.objective import objective
from chainrule.training.step import Layout, StepBuilder

ROOT = Path(__file__).resolve().parent.parent
TOUR = ROOT / "docs" / "tour.md"
TINY = ROOT / "docs" / "tiny.py"

# Two units are to say whether any and whether all of two bits are on: 1 for yes, -1 for no.
X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
Y = np.array([[-1, -1], [1, -1], [1, -1], [1, 1]], np.float32)
W = np.array([[0.5, -0.75], [0.25, 1.0]], np.float32)
B = np.zeros(2, np.float32)


def tiny() -> dict[str, Any]:
    """The functions of docs/tiny.py. Their lines are named tiny.py:7 wherever this runs."""
    names: dict[str, Any] = {}
    exec(compile(TINY.read_text(encoding="utf-8"), TINY.name, "exec"), names)
    return names


# --- the stages as text ---------------------------------------------------------------------


def stages() -> dict[str, str]:
    """The text of the tiny example at every stage, in order."""
    layer, loss = tiny()["layer"], tiny()["loss"]
    found = {
        "traced layer": to_text(cr.trace(layer, X, W, B)),
        "traced loss": to_text(cr.trace(loss, W, B, X, Y)),
    }
    passes = iter(gradient_stages(loss).items())
    found["with gradient"] = to_text(next(passes)[1])
    for name, graph in passes:
        found[f"rewritten, {name}"] = to_text(graph)
    found |= native_texts(graph)
    found["reference plan"] = plan(graph)
    found["training step"] = step_text(step_graph())
    return found


def gradient_stages(loss: Any) -> dict[str, Graph]:
    return pipeline.graph_stages(cr.value_and_grad(loss, (0, 1)), W, B, X, Y)


# A processor of 2013 with vectors of 32 bytes, so that the pages are the same on every machine.
_FEATURES = "sse3 ssse3 sse4.1 sse4.2 popcnt avx avx2 bmi bmi2 f16c fma lzcnt movbe"
PROCESSOR = Processor(
    "x86_64-unknown-linux-gnu", "x86-64-v3", ",".join(f"+{f}" for f in _FEATURES.split())
)


def native_texts(graph: Graph) -> dict[str, str]:
    """The native stages for `PROCESSOR`: written, but neither compiled nor loaded here."""
    stands_in: dict[str, Any] = {
        "processor": lambda: PROCESSOR,
        "header": lambda: f'target triple = "{PROCESSOR.triple}"',
        "compile_module": lambda text: b"",
        "Code": mock.MagicMock(),
        "assembly": lambda text: "",
    }
    with mock.patch.multiple(target, **stands_in):
        texts, _ = native_stages(graph)
    functions = dict(re.findall(r"^(define [^@]*@([\w.]+)\(.*?^})$", texts["llvm"], re.M | re.S))
    by_name = {name: text for text, name in functions.items()}
    shown = "\n\n".join([by_name["kernel1"], by_name["program"]])
    # A vector of equal numbers is written once: "<float 0.0, ...>".
    shown = re.sub(r"<(float 0x\w+)(?:, \1)+>", r"<\1, ...>", shown)
    return {"regions": texts["regions"], "loops": texts["loops"], "llvm": shown}


def plan(graph: Graph) -> str:
    """What the interpreter does: what each step reads, and what nothing needs after it."""
    names = value_names(graph)
    nodes, called = list(names), list(names.values())
    lines = []
    for _, reads, slot, free in Interpreter(graph)._steps:
        line = f"{called[slot]} = {nodes[slot].op}({', '.join(called[r] for r in reads)})"
        done = ", ".join(called[r] for r in sorted(free))
        lines.append(f"{line:<26}  # frees {done}" if done else line)
    return "\n".join(lines)


def net() -> Any:
    return cr.nn.Sequential(cr.nn.Dense(2, 2, weight=W, bias=B), cr.nn.tanh)


def step_graph() -> Graph:
    """The whole training step of the tiny layer with gradient descent, rewritten."""
    optimizer = cr.optim.sgd(0.5)
    layout, carry = Layout.of(net(), optimizer)
    goal = objective("mean_squared_error", "regression", 2, net())
    return StepBuilder(layout, goal, optimizer, None).prepare(carry, [X, Y], False).program.graph


def step_text(graph: Graph) -> str:
    """A step's text in its parts: forward, backward, update. What is told besides is counted."""
    lines = to_text(graph).splitlines()
    line_of = dict(zip(value_names(graph), _node_lines(graph, lines), strict=True))
    text = [_signature(graph)]
    *parts, (title, told) = parts_of_step(graph).items()
    for part, nodes in parts:
        text += ["", f"  # {part}"]
        text += [re.sub(r" {2,}#.*", "", line_of[node]) for node in nodes]
    return "\n".join([*text, "", f"  # {title}: {len(told)} nodes, not shown", *lines[-2:]])


def _signature(graph: Graph) -> str:
    inputs = "".join(f"    {n['name']}: {n.type},\n" for n in graph.inputs)
    return f"graph {graph.name}(\n{inputs}) -> ({', '.join(graph.output_names)}) {{"


def _node_lines(graph: Graph, lines: list[str]) -> Iterator[str]:
    inner = iter(lines[1:])
    for node in graph.nodes():
        yield "" if node.op == "input" else next(inner)


def parts_of_step(graph: Graph) -> dict[str, list[Node]]:
    """Every node of a step once: under the first of these titles that needs it."""
    outputs = dict(zip(graph.output_names, graph.outputs, strict=True))
    loss = set(ancestors([outputs["1.loss"]]))
    carried = set(ancestors([n for name, n in outputs.items() if name.startswith("0.")]))
    found: dict[str, list[Node]] = {"forward": [], "backward": [], "update": [], "told": []}
    for node in graph.nodes():
        if node.op == "input":
            continue
        if node.origin.stage == "backward":
            found["backward"].append(node)
        elif node in loss:
            found["forward"].append(node)
        else:
            found["update" if node in carried else "told"].append(node)
    return found


# --- the page -------------------------------------------------------------------------------

REMARKS = {
    "simplify": "what multiplies by one, or reshapes twice, is gone.",
    "tidy loops": "It joins scans that differ only in what they give, and rewrites their bodies.",
    "gather folds": "It turns the delta of a convolution's input into a contraction.",
    "choose last": "It multiplies the rows of an embedding before they are chosen.",
    "fold constants": "what depends on no input is computed now, here `1 / 8`.",
    "simplify again": "It is there for what folding constants makes simple.",
    "share common": "the two equal branches of `error * error` send back one delta, not two.",
}
# Which events of the record are shown, by kind: the first, or the first and the last.
SHOWN_EVENTS = {"StepMeasured": [0], "EpochEnded": [0, -1], "Evaluated": [0], "RunEnded": [0]}


def tour() -> str:
    """The whole page. Runs in a temporary directory, which is left as it was found."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, undefined=StrictUndefined, keep_trailing_newline=True)
    names = {"np": np, "cr": cr, **tiny()}
    environment.filters["python"] = lambda text: prompt(text, names)
    run_dir = Path("tiny")  # the page's own code trains into it
    with _elsewhere(), np.printoptions(precision=4, suppress=True):
        page: str = environment.get_template("tour.md.j2").render(
            source=TINY.read_text(encoding="utf-8").rstrip(),
            stages=stages(),
            passes=_passes(),
            remarks=REMARKS,
            record=lambda: _record(run_dir),
            files=lambda: _files(run_dir),
            headings=lambda: _headings(run_dir),
            explained=_explained,
        )
    return page


@contextlib.contextmanager
def _elsewhere() -> Iterator[None]:
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


def prompt(text: str, names: dict[str, Any]) -> str:
    """The statements as Python's own prompt shows them, each with what it prints."""
    shown = []
    source = text.strip().splitlines()
    for statement in ast.parse(text.strip()).body:
        lines = source[statement.lineno - 1 : statement.end_lineno]
        shown += [f"{'...' if number else '>>>'} {line}" for number, line in enumerate(lines)]
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(compile(ast.Interactive([statement]), "<tour>", "single"), names)
        shown += output.getvalue().splitlines()
    return "\n".join(shown)


def _passes() -> list[tuple[str, int, int, str]]:
    """Each pass with the nodes before and after it, and its text where it changed something."""
    found = gradient_stages(tiny()["loss"])
    graphs = list(found.values())
    table = []
    for name, before, after in zip(list(found)[1:], graphs, graphs[1:], strict=False):
        changed = to_text(before) != to_text(after)
        sizes = len(before.nodes()), len(after.nodes())
        table.append((name, *sizes, to_text(after) if changed else ""))
    return table


def _record(run_dir: Path) -> str:
    """Some lines of a record: one of each kind that tells of the training itself."""
    events = [json.loads(line) for line in (run_dir / "record.jsonl").read_text().splitlines()]
    by_kind = {kind: [e for e in events if e["event"] == kind] for kind in SHOWN_EVENTS}
    chosen = [by_kind[kind][place] for kind, places in SHOWN_EVENTS.items() for place in places]
    lines = [json.dumps(_shortened(event)) for event in chosen]
    return "\n".join(textwrap.fill(line, 98, subsequent_indent="    ") for line in lines)


def _shortened(value: Any) -> Any:
    """JSON without times, its floats to 4 digits."""
    if isinstance(value, dict):
        timed = ("time", "seconds")
        return {key: _shortened(item) for key, item in value.items() if key not in timed}
    if isinstance(value, list):
        return [_shortened(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _files(run_dir: Path) -> str:
    found = sorted(path for path in run_dir.rglob("*") if path.is_file())
    return "\n".join(path.relative_to(run_dir.parent).as_posix() for path in found)


def _headings(run_dir: Path) -> list[str]:
    page = (run_dir / "report.html").read_text(encoding="utf-8")
    return [html.unescape(title) for title in re.findall(r"<h2[^>]*>([^<]+)</h2>", page)]


def _explained() -> str:
    """The first part of the way back, from what the command prints."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        if chainrule.cli.main(["explain", "xor"]) != 0:
            raise SystemExit("chainrule explain xor failed")
    found = re.search(r"^Backward .*?(?=\n\nHidden layer)", output.getvalue(), re.S | re.M)
    if found is None:
        raise SystemExit("chainrule explain xor prints something else now: mend this script")
    return found[0]


def main() -> None:
    TOUR.write_text(tour(), encoding="utf-8")


if __name__ == "__main__":
    main()
