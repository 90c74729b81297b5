"""Texts in tables: bags of words like another library's, sequences, and what training rows say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

import chainrule as cr
from chainrule import nn
from chainrule.data import TableEncoder, TextTable, encoder_from_json, fingerprint, source_from_json
from chainrule.data.text_table import SequenceEncoder
from chainrule.data.vocabulary import PADDING, UNKNOWN
from chainrule.errors import DamagedFileError, DataError, UsageError

RNG = np.random.default_rng(5)
GOOD, BAD = "good great lovely fine".split(), "bad awful dull poor".split()
FILLER = "the film was a story of two old friends and their dog".split()


def _review(kind: str) -> str:
    words = [*RNG.choice(FILLER, 6), *RNG.choice(GOOD if kind == "pos" else BAD, 2)]
    return " ".join(RNG.permutation(words)).capitalize() + "."


FRAME = pd.DataFrame(
    {
        "stars": RNG.integers(1, 6, 120).astype(float),
        "body": [_review("pos" if i % 2 else "neg") for i in range(120)],
        "label": ["pos" if i % 2 else "neg" for i in range(120)],
    }
)


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.csv"
    FRAME.to_csv(path, index=False)
    return path


def test_a_bag_has_the_numbers_of_another_library(reviews: Path) -> None:
    dataset, encoder, train_rows, _ = TextTable(reviews, "label", "body").parts(None, 0)
    assert isinstance(encoder, TableEncoder)
    bag = encoder.features[1]
    words = [label.removeprefix("body: ") for label in bag.labels]
    other = TfidfVectorizer(
        vocabulary=words, sublinear_tf=True, token_pattern=r"[^\W_]+(?:['’][^\W_]+)*"
    )
    other.fit(FRAME.body[train_rows])
    expected = other.transform(FRAME.body).toarray()
    np.testing.assert_allclose(dataset.x[:, 1:], expected, atol=1e-6)
    assert words == sorted(words)
    assert dataset.feature_names[0] == "stars"
    assert "1 text" in encoder.describe()


def test_words_of_held_out_rows_have_no_say(reviews: Path) -> None:
    frame = FRAME.copy()
    held_out = TextTable(reviews, "label", "body").parts(None, 0).held_out_rows
    frame.loc[held_out, "body"] += " zebra zebra"
    for form in ("bag", "sequence"):
        found = TextTable(frame, "label", "body", form=form).parts(None, 0)
        assert found.held_out_rows.tolist() == held_out.tolist()
        assert "zebra" not in json.dumps(found.encoder.to_json())


def test_a_network_learns_from_a_bag(reviews: Path, tmp_path: Path) -> None:
    source = TextTable(reviews, "label", ("body",))
    run = cr.train(
        nn.Dense(1),
        source,
        epochs=60,
        optimizer=cr.optim.adam(0.05),
        run_dir=tmp_path / "run",
    )
    assert run.metrics["accuracy"] == 1
    again = cr.load_run(tmp_path / "run")
    frame = pd.DataFrame({"body": ["A lovely dog", "How awful", ""], "stars": [3.0, 3.0, 3.0]})
    notes: list[str] = []
    assert again.outputs(frame, notes).shape == (3, 1)
    assert again.predict(frame)[:2].tolist() == ["pos", "neg"]
    assert "1 row has no word" in notes[0]
    saved = source_from_json(again.config["dataset"]["source"], str(reviews))
    assert saved is not None
    assert fingerprint(saved.parts(None, 0).dataset) == again.config["dataset"]["fingerprint"]


def test_a_sequence_keeps_the_order_of_words(reviews: Path) -> None:
    source = TextTable(reviews, "label", "body", form="sequence", length=7)
    dataset, encoder, *_ = source.parts(None, 0)
    assert isinstance(encoder, SequenceEncoder)
    assert encoder.vocabulary.symbols[:2] == (PADDING, UNKNOWN)
    assert (dataset.x.shape, dataset.x.dtype) == ((120, 7), np.int32)
    first = FRAME.body[0].lower().split()[:7]
    read = encoder.vocabulary.decode(dataset.x[0]).split()
    assert all(a in (b, UNKNOWN) for a, b in zip(read, first, strict=True))
    assert any("longer than 7" in note for note in encoder.notes())
    assert any("not used beside the text: stars" in note for note in encoder.notes())
    long = TextTable(reviews, "label", "body", form="sequence", length=30).parts(None, 0).dataset
    assert long.mask is not None
    np.testing.assert_array_equal(long.mask, long.x != 0)
    assert long.mask.sum(axis=1).tolist() == [9] * 120  # eight words and a full stop


def test_rows_are_as_long_as_the_longest_training_text_unless_told_otherwise(
    reviews: Path, tmp_path: Path
) -> None:
    source = TextTable(reviews, "label", "body", form="sequence")
    dataset, encoder, *_ = source.parts(None, 0)
    assert dataset.x.shape == (120, 9)
    assert encoder.read(["one two " * 20], []).x.shape == (1, 9)
    again = source_from_json(json.loads(json.dumps(dataset.source)), str(reviews))
    assert again is not None
    assert fingerprint(again.parts(None, 0).dataset) == fingerprint(dataset)
    long = tmp_path / "long.csv"
    long.write_text("body,label\n" + "".join(f"{'so ' * 300},{'ny'[i % 2]}\n" for i in range(8)))
    assert (
        TextTable(long, "label", "body", form="sequence").parts(None, 0).dataset.x.shape[1] == 200
    )


def test_a_network_learns_from_sequences(reviews: Path) -> None:
    source = TextTable(reviews, "label", "body", form="sequence", length=9)
    symbols = len(source.parts(None, 0).encoder.vocabulary)  # type: ignore[attr-defined]
    net = nn.Sequential(nn.Embedding(symbols, 4), nn.Flatten(), nn.Dense(1))
    run = cr.train(net, source, epochs=60, optimizer=cr.optim.adam(0.02))
    assert run.metrics["accuracy"] > 0.9
    assert len(run.predict(["A lovely dog", "awful"])) == 2


def test_a_sequence_may_predict_a_number(reviews: Path) -> None:
    source = TextTable(reviews, "stars", "body", form="sequence", level="character", length=20)
    dataset, encoder, train_rows, _ = source.parts(None, 0)
    assert dataset.task == "regression"
    assert abs(float(dataset.y[train_rows].mean())) < 1e-6
    assert "a number" in encoder.describe()


def test_both_encoders_come_back_from_json(reviews: Path) -> None:
    for form in ("bag", "sequence"):
        dataset, encoder, *_ = TextTable(reviews, "label", "body", form=form).parts(None, 0)
        json_text = json.dumps(encoder.to_json())
        again = encoder_from_json(json.loads(json_text))
        assert again == encoder
        np.testing.assert_array_equal(again.read(reviews, []).x, dataset.x)
    with pytest.raises(DamagedFileError):
        encoder_from_json(encoder.to_json() | {"length": 0})
    with pytest.raises(DamagedFileError):
        encoder_from_json(json.loads(json_text.replace('"character"', '"x"').replace("word", "x")))


def test_rows_without_a_text_are_counted(tmp_path: Path) -> None:
    frame = FRAME.copy()
    frame.loc[:29, "body"] = None
    _, encoder, *_ = TextTable(frame, "label", "body").parts(None, 0)
    assert any("no value; it counts as a text without words" in n for n in encoder.notes())
    _, encoder, *_ = TextTable(frame, "label", "body", form="sequence").parts(None, 0)
    assert "body: 30 of 120 rows have no text" in encoder.notes()


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"text": "bodi"}, DataError, "did you mean 'body'"),
        ({"text": "label"}, UsageError, "is the target"),
        ({"form": "tree"}, UsageError, "bag, sequence"),
        ({"text": ("body", "stars"), "form": "sequence"}, UsageError, "2 columns"),
        ({"form": "sequence", "length": 0}, UsageError, "length"),
        ({"form": "sequence", "level": "letter"}, UsageError, "level"),
        ({"target": "stars", "task": "binary"}, DataError, "classes"),
    ],
)
def test_mistakes_are_told(
    reviews: Path, options: dict[str, object], error: type[Exception], said: str
) -> None:
    arguments = {"target": "label", "text": "body"} | options
    with pytest.raises(error, match=said):
        TextTable(reviews, **arguments).parts(None, 0)  # type: ignore[arg-type]
