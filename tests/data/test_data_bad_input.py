"""Input that does not fit, of kinds that the tests of one kind of data do not have: it is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

import chainrule as cr
from chainrule import nn
from chainrule.data import SoundFolder, TextCorpus, TextTable
from chainrule.errors import DataError, FileError, ShapeError

SENTENCES = "".join(f"On day {i % 7} of the week the cat sat on mat {i % 5}.\n" for i in range(40))


def test_one_text_of_a_folder_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"{i}.txt").write_text(SENTENCES)
    (tmp_path / "1.txt").write_bytes("Es war spät.\n".encode("latin1") * 40)
    with pytest.raises(FileError, match=r"1\.txt is not UTF-8") as caught:
        TextCorpus(tmp_path, context=8).parts(None, 0)
    assert "byte 9 (line 1) is 0xe4" in str(caught.value)
    (tmp_path / "reviews.csv").write_bytes("body,label\nspät,neg\n".encode("latin1"))
    with pytest.raises(FileError, match="not UTF-8 text"):
        TextTable(tmp_path / "reviews.csv", "label", "body").parts(None, 0)


def test_sequences_longer_than_the_context_are_cut_or_refused(tmp_path: Path) -> None:
    """A text is read in rows of the context; rows of symbols must have its length, since what a
    network learned of places is of so many."""
    (tmp_path / "book.txt").write_text(SENTENCES)
    book = TextCorpus(tmp_path / "book.txt", context=8)
    symbols = book.parts(None, 0).dataset.symbols
    net = nn.Sequential(nn.Embedding(symbols, 4), nn.Dense(symbols))
    run = cr.train(net, book, epochs=1)
    assert run.outputs(tmp_path / "book.txt").shape[1:] == (8, symbols)
    with pytest.raises(ShapeError, match=r"rows have shape \(20,\), .* trained on \(8,\)"):
        run.outputs(np.zeros((2, 20), np.int32))


def test_texts_longer_than_the_rows_of_a_column_are_cut_and_counted(tmp_path: Path) -> None:
    lines = [f"the film is {'good' if i % 2 else 'bad'} {i % 3},{'ny'[i % 2]}" for i in range(40)]
    (tmp_path / "reviews.csv").write_text("\n".join(["body,label", *lines]) + "\n")
    source = TextTable(tmp_path / "reviews.csv", "label", "body", form="sequence", length=5)
    encoder = source.parts(None, 0).encoder
    notes: list[str] = []
    assert encoder.read(["a film " * 9, "good"], notes).x.shape == (2, 5)
    assert "1 of 2 texts are longer than 5, and cut there" in notes[0]


@pytest.fixture
def tones(tmp_path: Path) -> Path:
    """Five low and five high tones of a quarter of a second at 8 kHz."""
    for kind, frequency in (("low", 300), ("high", 1500)):
        (tmp_path / "tones" / kind).mkdir(parents=True)
        for i in range(5):
            wave = np.sin(2 * np.pi * (frequency + 5 * i) * np.arange(2000) / 8000) / 2
            soundfile.write(tmp_path / "tones" / kind / f"{i}.wav", wave, 8000)
    return tmp_path / "tones"


def test_a_sound_of_another_rate_is_predicted_as_the_same_sound(tones: Path) -> None:
    """Features of a tone at 16 and at 44.1 kHz are those at 8 kHz, but for the edges."""
    encoder = SoundFolder(tones).parts(None, 0).encoder
    (expected,) = encoder.read(tones / "low" / "0.wav", []).x
    loud = expected > 0
    assert loud.any()
    for rate in (16_000, 44_100):
        wave = np.sin(2 * np.pi * 300 * np.arange(rate // 4) / rate) / 2
        soundfile.write(tones.parent / "other.wav", wave, rate)
        notes: list[str] = []
        (found,) = encoder.read(tones.parent / "other.wav", notes).x
        assert notes == ["sounds: 1 resampled to 8000 Hz"]
        assert found.shape == expected.shape
        np.testing.assert_allclose(found[loud], expected[loud], atol=0.5)


def test_sounds_that_are_longer_than_those_of_training_are_cut_and_counted(tones: Path) -> None:
    encoder = SoundFolder(tones).parts(None, 0).encoder
    soundfile.write(tones.parent / "long.wav", np.zeros((3000, 2)), 8000)
    notes: list[str] = []
    encoder.read([tones.parent / "long.wav", tones / "low" / "0.wav"], notes)
    assert notes == ["sounds: 1 of several channels averaged, 1 cut to 0.25 s"]
    assert encoder.read(np.zeros((2, 3000)), notes).x.shape[0] == 2
    assert notes[1:] == ["sounds: all cut to 0.25 s"]


def test_folders_of_sounds_that_cannot_be_learned_from(tones: Path) -> None:
    (tones / "none").mkdir()
    with pytest.raises(DataError, match="none has no sound in it") as caught:
        SoundFolder(tones).parts(None, 0)
    assert "it is empty" in str(caught.value)
    (tones / "none").rmdir()
    for path in (tones / "low").iterdir():
        path.unlink()
    (tones / "low").rmdir()
    with pytest.raises(DataError, match="single class, 'high'"):
        SoundFolder(tones).parts(None, 0)
