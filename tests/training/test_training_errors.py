"""Mistakes are named before any data flows: what, where, and what to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from problems import Events, blobs, line, small

import chainrule as cr
from chainrule import nn, optim
from chainrule.data import Dataset
from chainrule.errors import ChainruleError, DataError, FileError, ShapeError, UsageError

X, Y = blobs()
TWO = blobs(classes=2)
LINE = line()


def with_value(value: float) -> Any:
    x = X.copy()
    x[3, 2] = value
    return x


def deep(*layers: Any) -> Any:
    return nn.Sequential(nn.Dense(8), nn.tanh, *layers)


@dataclass(frozen=True)
class Unfit(nn.Layer):
    """Fits batches of 32 rows only."""

    def forward(self, x: Any) -> Any:
        return x + np.zeros((32, 1), np.float32)


@dataclass(frozen=True)
class Pair(nn.Layer):
    """Returns two things."""

    dense: Any

    def forward(self, x: Any) -> Any:
        return self.dense(x), x


def no_number(outputs: Any, targets: Any) -> Any:
    return (outputs - targets) ** 2


Case = tuple[str, Callable[[], Any], type[ChainruleError], list[str]]
CASES: list[Case] = [
    # --- settings
    ("no epochs", lambda: cr.train(small(), (X, Y), epochs=0), UsageError, ["epochs is 0", "1 or"]),
    ("half an epoch", lambda: cr.train(small(), (X, Y), epochs=1.5), UsageError, ["epochs is 1.5"]),
    ("no batch", lambda: cr.train(small(), (X, Y), batch_size=0), UsageError, ["batch_size is 0"]),
    (
        "a word as batch size",
        lambda: cr.train(small(), (X, Y), batch_size="full"),
        UsageError,
        ["batch_size is 'full'", "None for the full batch"],
    ),
    ("no patience", lambda: cr.train(small(), (X, Y), patience=0), UsageError, ["patience is 0"]),
    (
        "patience without held-out rows",
        lambda: cr.train(small(), (X, Y), patience=3, validation=0),
        UsageError,
        ["patience needs held-out rows", "validation=0.2"],
    ),
    (
        "a plateau without held-out rows",
        lambda: cr.train(
            small(),
            (X, Y),
            validation=0,
            optimizer=optim.chain(optim.adam(), optim.reduce_on_plateau()),
        ),
        UsageError,
        ["reduce_on_plateau needs held-out rows", "validation=0.2"],
    ),
    ("a seed below 0", lambda: cr.train(small(), (X, Y), seed=-1), UsageError, ["seed is -1"]),
    ("a long seed", lambda: cr.train(small(), (X, Y), seed=2**64), UsageError, ["the seed is 18"]),
    ("a share above 1", lambda: cr.train(small(), (X, Y), validation=1.5), UsageError, ["1.5"]),
    ("too many held out", lambda: cr.train(small(), (X, Y), validation=60), UsageError, ["60 of"]),
    (
        "saving backwards",
        lambda: cr.train(small(), (X, Y), save_every=-1),
        UsageError,
        ["save_every is -1"],
    ),
    (
        "measuring backwards",
        lambda: cr.train(small(), (X, Y), measure_every=-1),
        UsageError,
        ["measure_every is -1"],
    ),
    (
        "a backend that is not there",
        lambda: cr.train(small(), (X, Y), backend="referenz"),
        UsageError,
        ["referenz", "did you mean 'reference'"],
    ),
    # --- names
    (
        "an unknown optimiser",
        lambda: cr.train(small(), (X, Y), optimizer="adm"),
        UsageError,
        ["optimizer 'adm'", "did you mean 'adam'"],
    ),
    (
        "a stage as optimiser",
        lambda: cr.train(small(), (X, Y), optimizer=optim.clip_by_value(1.0)),
        UsageError,
        ["clip_by_value", "optim.chain"],
    ),
    (
        "an unknown loss",
        lambda: cr.train(small(), (X, Y), loss="crossentropy"),
        UsageError,
        ["loss 'crossentropy'", "did you mean 'cross_entropy'"],
    ),
    ("a number as loss", lambda: cr.train(small(), (X, Y), loss=3), UsageError, ["the loss is 3"]),
    (
        "an unknown task",
        lambda: cr.train(small(), (X, Y), task="multi"),
        UsageError,
        ["task 'multi'", "multiclass"],
    ),
    (
        "an unknown set",
        lambda: cr.train(small(), "digit"),
        UsageError,
        ["'digit'", "did you mean 'digits'"],
    ),
    ("a rate of 0", lambda: cr.train(small(), (X, Y), optimizer=optim.adam(0)), UsageError, ["0"]),
    (
        "a task that a set cannot have",
        lambda: cr.train(small(), "digits", task="binary"),
        UsageError,
        ["digits", "multiclass", "binary"],
    ),
    # --- data
    (
        "NaN",
        lambda: cr.train(small(), (with_value(np.nan), Y)),
        DataError,
        ["NaN", "row 3", "mn 2"],
    ),
    ("infinity", lambda: cr.train(small(), (with_value(np.inf), Y)), DataError, ["row 3", "mn 2"]),
    ("lengths", lambda: cr.train(small(), (X, Y[:-1])), ShapeError, ["60 rows", "59"]),
    ("one class", lambda: cr.train(small(), (X, Y * 0)), DataError, ["single class"]),
    ("y with three axes", lambda: cr.train(small(), (X, X[:, :, None])), ShapeError, ["[rows]"]),
    (
        "one-hot labels",
        lambda: cr.train(small(), (X, np.eye(3, dtype=int)[Y])),
        DataError,
        ["one-hot", "argmax"],
    ),
    (
        "a label out of range",
        lambda: cr.train(small(), Dataset("mine", X, Y + 1, "multiclass", ("a", "b", "c"))),
        DataError,
        ["label in row 2 is 3", "3 classes", "0 to 2"],
    ),
    (
        "a class without rows",
        lambda: cr.train(small(4), Dataset("mine", X, Y, "multiclass", ("a", "b", "c", "d"))),
        DataError,
        ["class 'd' has no training rows"],
    ),
    (
        "a table without a target",
        lambda: cr.train(small(), pd.DataFrame({"a": [1, 2], "b": [3, 4]})),
        UsageError,
        ["column to predict", "a, b"],
    ),
    (
        "a target for arrays",
        lambda: cr.train(small(), (X, Y), target="y"),
        UsageError,
        ["target names a column"],
    ),
    (
        "a target that is no probability",
        lambda: cr.train(small(1), LINE, loss="binary_cross_entropy"),
        DataError,
        ["place (0, 0)", "0 to 1"],
    ),
    (
        "two-class loss for three classes",
        lambda: cr.train(small(1), (X, Y), loss="binary_cross_entropy"),
        UsageError,
        ["two classes", "use cross_entropy"],
    ),
    # --- network
    (
        "a width that does not fit the data",
        lambda: cr.train(nn.Sequential(nn.Dense(5, 8), nn.tanh, nn.Dense(8, 3)), (X, Y)),
        ShapeError,
        ["layers.0 (Dense 5 -> 8)", "5 inputs", "got 4"],
    ),
    (
        "a width that does not fit the layer before",
        lambda: cr.train(nn.Sequential(nn.Dense(4, 8), nn.relu, nn.Dense(9, 3)), (X, Y)),
        ShapeError,
        ["layers.2 (Dense 9 -> 3)", "got 8", "layers.1 (relu)"],
    ),
    (
        "weights that do not fit the data",
        lambda: cr.train(nn.init(small(), np.zeros((2, 7))), (X, Y)),
        ShapeError,
        ["layers.0 (Dense 7 -> 8)", "got 4"],
    ),
    (
        "too few outputs",
        lambda: cr.train(small(2), (X, Y)),
        ShapeError,
        ["(2,)", "3 outputs, for 3 classes", "Dense(3)"],
    ),
    (
        "two outputs for one logit",
        lambda: cr.train(small(2), TWO),
        ShapeError,
        ["(2,)", "binary_cross_entropy", "1 output, for 2 classes", "Dense(1)"],
    ),
    (
        "too many values",
        lambda: cr.train(small(2), LINE),
        ShapeError,
        ["(2,)", "1 value", "Dense(1)"],
    ),
    (
        "softmax before cross-entropy",
        lambda: cr.train(deep(nn.Dense(3), nn.softmax), (X, Y)),
        UsageError,
        ["ends in softmax", "layers.3 (softmax)", "leave out"],
    ),
    (
        "sigmoid before cross-entropy, inside",
        lambda: cr.train(deep(nn.Sequential(nn.Dense(1), nn.sigmoid)), TWO),
        UsageError,
        ["ends in sigmoid", "layers.2.layers.1 (sigmoid)"],
    ),
    (
        "a layer class instead of a layer",
        lambda: cr.train(nn.Dense, (X, Y)),
        UsageError,
        ["cannot be called"],
    ),
    ("a word as network", lambda: cr.train("mlp", (X, Y)), UsageError, ["'mlp'", "nn.Sequential"]),
    (
        "nothing to train",
        lambda: cr.train(nn.Sequential(nn.tanh), LINE),
        UsageError,
        ["no weights to train"],
    ),
    (
        "a short last batch that does not fit",
        lambda: cr.train(nn.Sequential(nn.Dense(3), Unfit()), (X, Y), validation=0),
        ShapeError,
        ["28"],
    ),
    (
        "a network that returns a pair",
        lambda: cr.train(Pair(nn.Dense(3)), (X, Y)),
        UsageError,
        ["returns a tuple"],
    ),
    (
        "a loss that is no number",
        lambda: cr.train(small(1), LINE, loss=no_number),
        ShapeError,
        ["no_number", "(32, 1)", "np.mean"],
    ),
    # --- weights of classes and rows
    (
        "class weights for numbers",
        lambda: cr.train(small(1), LINE, class_weights="balanced"),
        UsageError,
        ["regression"],
    ),
    (
        "an unknown word for class weights",
        lambda: cr.train(small(), (X, Y), class_weights="balance"),
        UsageError,
        ["did you mean 'balanced'"],
    ),
    (
        "a weight for an unknown class",
        lambda: cr.train(small(), (X, Y), class_weights={"7": 1.0}),
        UsageError,
        ["class '7'", "known: 0, 1, 2"],
    ),
    (
        "too few class weights",
        lambda: cr.train(small(), (X, Y), class_weights=[1.0, 2.0]),
        UsageError,
        ["[1.0, 2.0]", "3 classes"],
    ),
    (
        "a negative class weight",
        lambda: cr.train(small(), (X, Y), class_weights=[1.0, 2.0, -1.0]),
        UsageError,
        ["-1.0", "0 or more"],
    ),
    (
        "too few row weights",
        lambda: cr.train(small(), (X, Y), sample_weights=np.ones(59)),
        ShapeError,
        ["(59,)", "60 rows"],
    ),
    (
        "a row weight that is NaN",
        lambda: cr.train(small(), (X, Y), sample_weights=np.full(60, np.nan)),
        DataError,
        ["nan", "row 0"],
    ),
    (
        "no row that counts",
        lambda: cr.train(small(), (X, Y), sample_weights=np.zeros(60)),
        DataError,
        ["weight 0"],
    ),
    (
        "words as row weights",
        lambda: cr.train(small(), (X, Y), sample_weights=["a"] * 60),
        DataError,
        ["not numbers"],
    ),
    (
        "weights with a loss of one's own",
        lambda: cr.train(
            small(1), LINE, loss=lambda a, b: np.mean(a - b), sample_weights=np.ones(50)
        ),
        UsageError,
        ["library's own losses"],
    ),
    # --- the run directory
    (
        "resuming nowhere",
        lambda: cr.train(small(), (X, Y), resume=True),
        UsageError,
        ["resume needs the run_dir"],
    ),
]


@pytest.mark.parametrize(
    ("call", "kind", "words"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_a_mistake_is_named(
    call: Callable[[], Any], kind: type[ChainruleError], words: list[str]
) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) is kind
    text = str(caught.value)
    for word in words:
        assert word in text


def test_nothing_has_been_written_or_told_when_a_mistake_is_named(tmp_path: Path) -> None:
    events = Events()
    for net in (small(2), nn.Sequential(nn.Dense(3), Unfit())):
        with pytest.raises(ShapeError):
            cr.train(net, (X, Y), run_dir=tmp_path / "run", watchers=[events])
    assert list(tmp_path.iterdir()) == []
    assert events == []


def test_a_run_directory_that_holds_a_run_is_left_alone(tmp_path: Path) -> None:
    cr.train(small(), (X, Y), epochs=1, run_dir=tmp_path)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(UsageError, match=r"already holds a run") as caught:
        cr.train(small(), (X, Y), epochs=1, run_dir=tmp_path)
    assert "--resume" in str(caught.value)
    assert "resume=True" in str(caught.value)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_a_run_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "run", Path("/proc/run")):
        with pytest.raises(FileError) as caught:
            cr.train(small(), (X, Y), epochs=1, run_dir=place)
        assert str(place) in str(caught.value)
        assert caught.value.do


def test_a_network_that_no_file_can_hold_is_refused_before_training(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Dense(3), lambda x: x * 2)
    with pytest.raises(UsageError, match=r"layers\.1"):
        cr.train(net, (X, Y), epochs=1, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert cr.train(net, (X, Y), epochs=1).reason == "finished"


def test_rows_to_predict_are_checked_as_those_to_train_on_were() -> None:
    run = cr.train(small(), (X, Y), epochs=1)
    with pytest.raises(ShapeError, match=r"\(4,\)"):
        run.predict(X[:, :3])
    with pytest.raises(DataError, match="row 3, column 2"):
        run.predict(with_value(np.nan))
    with pytest.raises(UsageError, match="probabilities"):
        cr.train(small(1), LINE, epochs=1).predict_probabilities(LINE[0])
    with pytest.raises(UsageError, match="no directory"):
        run.report()


def test_a_directory_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="not a run directory"):
        cr.load_run(tmp_path)
    with pytest.raises(FileError, match="not a run directory"):
        cr.train(small(), (X, Y), run_dir=tmp_path, resume=True)
