"""Plain text as rows of symbols: vocabularies, chunks, streams, the held-out end."""

from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from chainrule.data import (
    CorpusEncoder,
    Dataset,
    TextCorpus,
    chunks,
    divided,
    encoder_from_json,
    fingerprint,
    fit_vocabulary,
    source_from_json,
    streams,
)
from chainrule.data.vocabulary import UNKNOWN, read_text, words_of
from chainrule.errors import DamagedFileError, DataError, FileError, ShapeError, UsageError

BOOK = "".join(f"It was day {i % 7} of the week. Don't panic!\n" for i in range(60))


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "book.txt"
    path.write_text(BOOK, encoding="utf-8")
    return path


@given(st.text(min_size=1, max_size=200))
def test_characters_there_and_back(text: str) -> None:
    vocabulary = fit_vocabulary([text])
    ids = vocabulary.encode(text)
    assert ids.dtype == np.int32
    assert vocabulary.symbols == tuple(sorted(set(text)))
    assert vocabulary.decode(ids) == text


def test_characters_without_a_number_are_left_out() -> None:
    vocabulary = fit_vocabulary(["abc"])
    assert vocabulary.encode("aXbZc").tolist() == [0, 1, 2]
    assert vocabulary.missing("aXbXZ") == {"X": 2, "Z": 1}
    other = fit_vocabulary(["abc"], first=(UNKNOWN,))
    assert other.encode("aXb").tolist() == [1, 0, 2]


def test_words_are_put_together_as_they_are_written() -> None:
    text = "Don't stop (now), I said: 3 more!\nYes."
    vocabulary = fit_vocabulary([text], "word", first=(UNKNOWN,))
    assert vocabulary.decode(vocabulary.encode(text)) == text
    assert vocabulary.decode(vocabulary.encode("I said  nothing")) == f"I said {UNKNOWN}"
    said = """"Well," he said, "the 'well-known' house--is it?"
"No!" she said.

"Nobody closes this.

"He's here," I said."""
    marks = fit_vocabulary([said], "word")
    assert marks.decode(marks.encode(said)) == said
    small = fit_vocabulary(["a a a b b c"], "word", most=2, least=2)
    assert small.symbols == ("a", "b")
    assert fit_vocabulary(["A a B"], "word", lower=True, least=2).symbols == ("a",)
    assert words_of("Don't, STOP_3x!\n") == ["don't", "stop", "3x"]


def test_a_vocabulary_needs_a_symbol_and_a_known_level() -> None:
    with pytest.raises(DataError, match="2 times"):
        fit_vocabulary(["abc"], least=2)
    with pytest.raises(UsageError, match="character, word"):
        fit_vocabulary(["abc"], "letter")


@given(st.integers(2, 60), st.integers(1, 9))
def test_chunks_are_the_text_and_the_text_one_later(length: int, context: int) -> None:
    tokens = np.arange(length, dtype=np.int32)
    if length < context + 1:
        with pytest.raises(DataError, match="fewer than a row"):
            chunks(tokens, context)
        return
    x, y = chunks(tokens, context)
    assert np.shares_memory(x, tokens)
    assert x.reshape(-1).tolist() == list(range(x.size))
    np.testing.assert_array_equal(y, x + 1)
    assert length - 1 - x.size < context


@given(st.integers(20, 200), st.integers(1, 4), st.integers(1, 5))
def test_one_document_is_read_by_streams_side_by_side(
    length: int, count: int, context: int
) -> None:
    assume(length > count * context)
    found = streams([np.arange(length, dtype=np.int32)], count, context)
    x = found.x.reshape(-1, count, context)
    for stream in range(count):
        run = x[:, stream].reshape(-1)
        np.testing.assert_array_equal(run, np.arange(run[0], run[0] + len(run)))
    np.testing.assert_array_equal(found.y, found.x + 1)
    assert len(set(found.x.reshape(-1).tolist())) == found.x.size
    assert found.mask is None
    assert found.resets.tolist() == [True] * count + [False] * (len(found.x) - count)


@given(st.lists(st.integers(2, 23), min_size=3, max_size=9), st.integers(1, 3), st.integers(1, 6))
def test_documents_follow_one_another_and_each_begins_anew(
    lengths: list[int], count: int, context: int
) -> None:
    starts = np.cumsum([0, *lengths])
    documents = [np.arange(a, b, dtype=np.int32) + 1 for a, b in pairwise(starts)]
    found = streams(documents, count, context)
    assert found.mask is not None
    seen = sorted(found.y[found.mask].tolist())
    assert seen == sorted(int(n) for d in documents for n in d[1:])
    np.testing.assert_array_equal(found.y[found.mask], found.x[found.mask] + 1)
    begins = {int(d[0]) for d in documents}
    part = len(found.x) // count
    x, mask, resets = (
        array.reshape(part, count, -1).swapaxes(0, 1).reshape(count * part, -1)
        for array in (found.x, found.mask, found.resets)
    )
    for row in range(len(x)):  # stream after stream
        assert resets[row] or row % part
        if not mask[row].any():
            assert resets[row]
        elif not resets[row] or int(x[row, 0]) not in begins:
            # It goes on where the row before ended: in its stream, or in the one before.
            assert mask[row - 1].all()
            assert x[row, 0] == x[row - 1, -1] + 1
            assert resets[row] == (row % part == 0)
    assert int((~mask.any(axis=1)).sum()) < count


def test_the_last_chunks_of_streams_are_held_out() -> None:
    x, y = np.zeros((24, 5), np.int32), np.zeros((24, 5), np.int32)
    data = Dataset("rows", x, y, "multiclass", ("a", "b"), streams=4)
    for validation, count in ((None, 1), (0, 0), (0.5, 3), (0.01, 1), (8, 2), (23, 5)):
        train_rows, held_out_rows = divided(data, validation, 0)
        assert train_rows.tolist() == list(range(24 - 4 * count))
        assert held_out_rows.tolist() == list(range(24 - 4 * count, 24))
    one = Dataset("rows", x[:4], y[:4], "multiclass", ("a", "b"), streams=4)
    with pytest.raises(DataError, match="1 chunk of each of 4 streams cannot be split"):
        divided(one, 0.2, 0)


def test_too_little_text_for_the_streams() -> None:
    with pytest.raises(DataError, match="too few for 3 streams"):
        streams([np.arange(6, dtype=np.int32)], 3, 2)
    with pytest.raises(DataError, match="fill 2 of 3 streams"):
        streams([np.arange(6, dtype=np.int32)] * 2, 3, 5)


@given(st.lists(st.integers(2, 40), min_size=2, max_size=4), st.integers(1, 5))
def test_documents_are_cut_where_there_are_fewer_than_streams(
    lengths: list[int], context: int
) -> None:
    starts = np.cumsum([0, *lengths])
    documents = [np.arange(a, b, dtype=np.int32) + 1 for a, b in pairwise(starts)]
    rows = sum(-(-(n - 1) // context) for n in lengths)
    found = streams(documents, rows, context)  # as many as there can be
    assert len(found.x) == rows
    assert found.resets.all()
    assert found.mask is not None
    targets = sorted(found.y[found.mask].tolist())
    assert targets == sorted(int(n) for d in documents for n in d[1:])
    np.testing.assert_array_equal(found.y[found.mask], found.x[found.mask] + 1)
    with pytest.raises(DataError, match=f"fill {rows} of {rows + 1} streams"):
        streams(documents, rows + 1, context)


def test_the_end_of_the_text_is_held_out_and_has_no_say(book: Path) -> None:
    book.write_text(BOOK + "Z" * 40)
    dataset, encoder, train_rows, held_out_rows = TextCorpus(book, context=20).parts(None, 0)
    assert dataset.x.dtype == dataset.y.dtype == np.int32
    assert dataset.x.shape == dataset.y.shape == (dataset.rows, 20)
    assert (dataset.time, dataset.task, dataset.outputs) == (20, "multiclass", len(dataset.classes))
    assert "Z" not in dataset.classes
    assert held_out_rows.tolist() == list(range(len(train_rows), dataset.rows))
    assert isinstance(encoder, CorpusEncoder)
    text = encoder.vocabulary.decode(dataset.x[train_rows].reshape(-1))
    assert BOOK.startswith(text)
    assert any("'Z'" in note for note in encoder.notes())
    np.testing.assert_array_equal(dataset.x[0, 1:], dataset.y[0, :-1])


def test_words_have_one_number_for_what_is_rare(book: Path) -> None:
    book.write_text(BOOK + "once")
    dataset, encoder, *_ = TextCorpus(book, level="word", context=5).parts(0.2, 0)
    assert dataset.classes[0] == UNKNOWN
    assert {"panic", "Don't", "\n"} <= set(dataset.classes)
    assert "once" not in dataset.classes
    assert "the next of" in encoder.describe()
    few = TextCorpus(book, level="word", context=5, most=4).parts(0.2, 0).dataset
    assert len(few.classes) == 1 + 4, "what is unknown, and the four most frequent"
    assert "\n" in few.classes
    again = source_from_json(json.loads(json.dumps(few.source)), str(book))
    assert again is not None
    assert fingerprint(again.parts(0.2, 0).dataset) == fingerprint(few)


def test_streams_lie_in_the_order_of_batches(book: Path) -> None:
    dataset = TextCorpus(book, context=10, streams=4).parts(0.25, 0).dataset
    assert dataset.streams == 4
    assert dataset.resets is not None
    rows = dataset.rows - int(str(dataset.source["test_rows"]))
    assert rows % 4 == 0
    np.testing.assert_array_equal(dataset.x[4, 0], dataset.y[0, -1])
    assert dataset.resets.nonzero()[0].tolist() == [0, 1, 2, 3, *range(rows, rows + 4)]
    assert fingerprint(dataset) != fingerprint(TextCorpus(book, context=10).parts(0.25, 0).dataset)


def test_a_folder_of_texts_is_several_documents(tmp_path: Path) -> None:
    for i in range(6):
        (tmp_path / f"{i}.txt").write_text(BOOK[i * 100 : i * 100 + 90 + i])
    (tmp_path / "image.png").write_bytes(b"x")
    dataset = TextCorpus(tmp_path, context=8, streams=3).parts(0, 0).dataset
    assert dataset.mask is not None
    assert not dataset.mask.all()
    assert int(dataset.mask.sum()) == sum(90 + i - 1 for i in range(6))
    partly = TextCorpus(tmp_path, context=8, streams=1).parts(0.1, 0).dataset
    assert partly.mask is not None
    assert partly.mask.shape == partly.x.shape


def test_the_same_rows_come_back_from_what_was_saved(book: Path) -> None:
    dataset, encoder, _, held_out_rows = TextCorpus(book, context=12).parts(0.15, 0)
    again = source_from_json(json.loads(json.dumps(dataset.source)), str(book))
    assert again is not None
    found = again.parts(len(held_out_rows), 0)
    assert fingerprint(found.dataset) == fingerprint(dataset)
    np.testing.assert_array_equal(found.held_out_rows, held_out_rows)
    back = encoder_from_json(json.loads(json.dumps(encoder.to_json())))
    assert back == encoder
    damaged = encoder.to_json() | {"context": 0}
    with pytest.raises(DamagedFileError):
        encoder_from_json(damaged)


def test_text_to_predict_is_read_to_its_end(book: Path, tmp_path: Path) -> None:
    encoder = TextCorpus(book, context=10).parts(None, 0).encoder
    other = tmp_path / "other.txt"
    other.write_text("It was day 3 of the €week")
    notes: list[str] = []
    rows = encoder.read(other, notes)
    assert rows.x.shape == (3, 10)
    assert rows.labels["text"] == ["It was day", " 3 of the ", "f the week"]
    assert "'€'" in notes[0]
    logits = np.zeros((2, 4, len(encoder.target.classes)))
    logits[:, -1, 3] = 50
    assert encoder.decode(logits)["next"].tolist() == [encoder.target.classes[3]] * 2
    other.write_text("a day")
    with pytest.raises(DataError, match="5 symbols"):
        encoder.read(other, [])
    with pytest.raises(ShapeError):
        encoder.read(np.zeros((2, 3)), [])
    with pytest.raises(UsageError):
        encoder.read(3, [])


@pytest.mark.parametrize(
    ("content", "where", "hint"),
    [
        (b"caf\xe9 and\nmore", "byte 3 (line 1) is 0xe9", "latin1"),
        (b"one\ntwo \xff", "byte 8 (line 2) is 0xff", "latin1"),
        ("two".encode("utf-16"), "byte 0 (line 1)", "utf-16"),
    ],
)
def test_text_that_is_not_utf8_names_the_byte(
    tmp_path: Path, content: bytes, where: str, hint: str
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(FileError, match="not UTF-8") as caught:
        read_text(path)
    assert where in str(caught.value)
    assert hint in str(caught.value)


def test_marks_and_line_ends_of_other_systems_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfa\r\nb\rc\n")
    assert read_text(path) == "a\nb\nc\n"


def test_texts_that_cannot_be_learned_from(tmp_path: Path, book: Path) -> None:
    path = tmp_path / "a.txt"
    for text, said in [("", "no text"), (" \n", "no text"), ("a" * 500, "over and over")]:
        path.write_text(text)
        with pytest.raises(DataError, match=said):
            TextCorpus(path).parts(None, 0)
    path.write_text("abc")
    with pytest.raises(DataError, match="fewer than a row") as caught:
        TextCorpus(path).parts(0, 0)
    assert str(path) in str(caught.value)
    with pytest.raises(FileError):
        TextCorpus(tmp_path / "nowhere.txt").parts(None, 0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no text file"):
        TextCorpus(tmp_path / "empty").parts(None, 0)
    for bad in ({"level": "letter"}, {"context": 0}, {"context": 2.5}, {"streams": -1}):
        with pytest.raises(UsageError):
            TextCorpus(book, **bad)  # type: ignore[arg-type]
    for share in (-0.1, 1.0, len(BOOK), True):
        with pytest.raises(UsageError):
            TextCorpus(book).parts(share, 0)


@pytest.mark.skipif(not os.environ.get("CHAINRULE_DATA"), reason="CHAINRULE_DATA is not set")
def test_shakespeare_has_65_symbols() -> None:
    path = Path(os.environ["CHAINRULE_DATA"].split(os.pathsep)[0]) / "tinyshakespeare/input.txt"
    dataset, encoder, train_rows, held_out_rows = TextCorpus(path, context=64).parts(0.1, 0)
    assert len(dataset.classes) == 65
    assert (len(train_rows), len(held_out_rows)) == (1003854 // 64, 111539 // 64)
    assert encoder.describe().startswith("input.txt: 1,115,394 characters, in rows of 64")
