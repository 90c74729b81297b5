"""What `chainrule explain` walks through: a network, its data, its loss, and the words about them.

The subject is a built-in set, for which a small network is drawn from the seed, or the run of a
network that has been trained, with the data that it was trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from chainrule import nn, optim
from chainrule.data import (
    BUILTIN,
    Dataset,
    Encoder,
    Table,
    TableEncoder,
    fingerprint,
    read_table,
    source_from_json,
    split,
)
from chainrule.errors import ChainruleError, DataError, UsageError, unknown
from chainrule.nn.place import label_of
from chainrule.observe.wording import count
from chainrule.tracing import trees
from chainrule.training import Run, load_run
from chainrule.training.dense_stages import stages_of
from chainrule.training.objective import Objective, objective
from chainrule.training.prepare import Prepared, prepare
from chainrule.training.rundir import CONFIG

Array: TypeAlias = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Material:
    """A network and rows for it. `table` and `encoder` are there where the rows are a table's;
    `reader` is what read other rows; `held_out` are the rows that the network was not trained on,
    None where it was not trained."""

    name: str
    net: Any
    dataset: Dataset
    objective: Objective
    learning_rate: float
    facts: tuple[tuple[str, str], ...]
    held_out: frozenset[int] | None = None
    table: Table | None = None
    encoder: TableEncoder | None = None
    reader: Encoder | None = None
    remarks: list[str] = field(default_factory=list)


def material(name: str, seed: int) -> Material:
    """The material for a built-in set or a run. UsageError, DataError or FileError where there is
    none, or where its network or loss cannot be walked through."""
    if name in BUILTIN:
        return _example(name, seed)
    path = _run_path(name)
    run = load_run(path)
    return _trained(run, str(path))


# --- built-in sets --------------------------------------------------------------------------


@dataclass(frozen=True)
class _Example:
    """A network to show a built-in set with, small enough to be read where the set allows it."""

    hidden: tuple[int, ...]
    function: Callable[..., Any]
    loss: str
    learning_rate: float

    @property
    def is_classical(self) -> bool:
        """Whether it is made as in 1986: sigmoid units everywhere, half the squared error."""
        return self.loss == "squared_error"


# Widths of the classical problems: Rumelhart, Hinton and Williams 1986; Ackley, Hinton and
# Sejnowski 1985 (encoder). The rate is that with which they describe XOR.
_EXAMPLES = {
    "xor": _Example((2,), nn.sigmoid, "squared_error", 0.5),
    "parity": _Example((4,), nn.sigmoid, "squared_error", 0.5),
    "symmetry": _Example((2,), nn.sigmoid, "squared_error", 0.5),
    "encoder": _Example((2,), nn.sigmoid, "squared_error", 0.5),
    "spirals": _Example((5, 5), nn.tanh, "binary_cross_entropy", 0.1),
    "digits": _Example((128, 64), nn.relu, "cross_entropy", 0.1),
}


def _example(name: str, seed: int) -> Material:
    chosen = _EXAMPLES[name]
    # The encoder's targets are a pattern over its outputs, as in the literature, not a class.
    task = "regression" if name == "encoder" else None
    dataset = prepare(name, None, 0, seed, task).dataset
    net = nn.init(_example_net(chosen, dataset.outputs), dataset.x[:1], seed)
    loss = "half the squared error" if chosen.is_classical else chosen.loss.replace("_", " ")
    source = " (Rumelhart, Hinton and Williams 1986)" if chosen.is_classical else ""
    facts = (
        ("network", net_text(net)),
        ("weights", f"random, from seed {seed}; not trained yet"),
        ("loss", loss + source),
        ("step", f"gradient descent on one row, learning rate {chosen.learning_rate:g}"),
    )
    goal = objective(chosen.loss, dataset.task, dataset.outputs, net)
    return Material(name, net, dataset, goal, chosen.learning_rate, facts)


def _example_net(chosen: _Example, outputs: int) -> nn.Sequential:
    start = nn.initialisers.normal(1.0)
    options: dict[str, Any] = {}
    if chosen.is_classical:
        options = {"weight_init": start, "bias_init": start}
    parts: list[Any] = []
    for width in chosen.hidden:
        parts += [nn.Dense(width, **options), chosen.function]
    parts.append(nn.Dense(outputs, **options))
    return nn.Sequential(*parts, *([nn.sigmoid] if chosen.is_classical else []))


def can_be_walked(net: Any) -> bool:
    """Whether every number of a step can be shown: of dense networks."""
    try:
        stages_of(net)
    except UsageError:
        return False
    return True


def net_text(net: Any) -> str:
    """A network in a line: `2 inputs → 2 sigmoid → 1 sigmoid; 9 weights`."""
    if not can_be_walked(net):
        return f"{net}; {count(nn.count(net), 'weight')}"
    stages = stages_of(net)
    words = [count(int(np.asarray(stages[0].dense.weight).shape[0]), "input")]
    for stage in stages:
        functions = " ".join(label_of(f) for _, f in stage.functions) or "linear"
        words.append(f"{np.asarray(stage.dense.weight).shape[1]} {functions}")
    return f"{' → '.join(words)}; {count(nn.count(net), 'weight')}"


# --- runs -----------------------------------------------------------------------------------


def _run_path(name: str) -> Path:
    for path in (Path(name), Path("runs") / name):
        if (path / CONFIG).is_file():
            return path
    if Path(name).exists() or Path(name).name != name:
        return Path(name)  # reading it says what is wrong with it
    runs = [path.parent.name for path in Path("runs").glob(f"*/{CONFIG}")]
    raise unknown("data set or run", name, [*BUILTIN, *runs])


def _trained(run: Run, path: str) -> Material:
    source = run.config["dataset"]["source"]
    if source.get("path") == "-":
        raise UsageError(
            "this run was trained on standard input, which it does not keep",
            where=str(run.run_dir),
            do="train on a file to explain its rows",
        )
    found, table, encoder = _same_files(run, source), None, None
    if found is not None:
        dataset = found.dataset
    elif source.get("kind") == "table" and isinstance(run.encoder, TableEncoder):
        encoder = run.encoder
        dataset, table = _same_table(run, source, encoder)
    else:
        raise UsageError(
            "this run was trained on arrays or a DataFrame in Python, which it does not keep",
            where=path,
            do="walk through it in Python: "
            "chainrule.training.walkthrough.walk(run.net, x[i], y[i], ...)",
        )
    remarks = []
    dataset = _cast(dataset, run.net)
    is_same = fingerprint(dataset) == run.config["dataset"]["fingerprint"]
    if not is_same:
        remarks.append(f"{dataset.name} has changed since the run was trained on it.")
    name, rate = _optimizer(run)
    facts = (
        ("network", net_text(run.net)),
        ("weights", f"trained, from {path}"),
        ("loss", f"{run.config['loss'].replace('_', ' ')}, the run's own"),
        ("step", f"gradient descent on one row, learning rate {rate:g}{_of_optimizer(name)}"),
    )
    held_out = None
    if is_same:
        held_out = _held_out(run, dataset) if found is None else _rows(found.held_out_rows)
    goal = _objective(run, dataset)
    return Material(
        dataset.name,
        run.net,
        dataset,
        goal,
        rate,
        facts,
        held_out,
        table,
        encoder,
        None if found is None else found.encoder,
        remarks,
    )


def _same_files(run: Run, source: Any) -> Prepared | None:
    """The data of a run that a name or a folder says all about; None for other data."""
    settings = run.config["settings"]
    share, seed = settings["validation"], settings["seed"]
    if source.get("kind") in ("builtin", "named"):
        return prepare(source["name"], None, share, seed, run.task)
    place = source_from_json(source, str(source.get("path")))
    return None if place is None else prepare(place, None, share, seed, None)


def _same_table(run: Run, source: Any, encoder: TableEncoder) -> tuple[Dataset, Table]:
    path = source["path"]
    if not Path(path).exists():
        raise DataError(
            f"the table of this run, {path}, is not there any more, and the run keeps no rows",
            where=f"{run.run_dir}, trained in another directory or before the table was moved",
            do="put the table back, or run this where the run was trained",
        )
    table = read_table(path)
    x, y = encoder.encode(table), encoder.encode_target(table)
    names = encoder.feature_names
    return Dataset(table.name, x, y, run.task, run.classes, names, dict(source)), table


def _cast(dataset: Dataset, net: Any) -> Dataset:
    """The data set in the dtype of the network's weights, as the run used it."""
    dtype = np.result_type(*[leaf.value.dtype for leaf in trees.leaves(net) if leaf.trained])
    x, y = (a.astype(dtype) if a.dtype.kind == "f" else a for a in (dataset.x, dataset.y))
    return replace(dataset, x=x, y=y)


def _held_out(run: Run, dataset: Dataset) -> frozenset[int] | None:
    settings = run.config["settings"]
    try:
        _, rows = split(dataset.y, settings["validation"], dataset.task, settings["seed"])
    except ChainruleError:
        return None
    return _rows(rows)


def _rows(rows: Array) -> frozenset[int]:
    return frozenset(int(row) for row in rows)


def _objective(run: Run, dataset: Dataset) -> Objective:
    try:
        goal = run.config["loss"], dataset.task, dataset.outputs, run.net, None, dataset.time
        return objective(*goal)
    except UsageError:
        raise UsageError(
            f"the run's loss, {run.config['loss']}, is a function of its own, which a run does not "
            "keep",
            do="explain runs that were trained with one of the library's losses: "
            + ", ".join(nn.losses.LOSSES),
        ) from None


def _optimizer(run: Run) -> tuple[str, float]:
    """The name of the run's optimiser, and its rate halfway through the run: a schedule may begin
    or end at 0."""
    optimizer = optim.from_json(run.config["optimizer"])
    weights = {leaf.name: leaf.value for leaf in trees.leaves(run.net) if leaf.trained}
    steps = run.record.ended.step if run.record.ended else 0
    state = optimizer.init(weights)
    values = [
        np.asarray(steps // 2, leaf.value.dtype) if leaf.name.endswith("count") else leaf.value
        for leaf in trees.leaves(state)
    ]
    return _step_name(optimizer), optimizer.learning_rate(trees.replace_leaves(state, values))


def _step_name(optimizer: optim.Optimizer) -> str:
    steps: Sequence[str] = [_step_name(part) for part in optimizer.parts if part.role == "step"]
    return steps[0] if steps else optimizer.name


def _of_optimizer(name: str) -> str:
    return "" if name == "sgd" else f", that of the run's {name}"
