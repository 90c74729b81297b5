"""The commands on data that are no table: texts, columns of texts, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chainrule.cli import main
from chainrule.data import kind_at, load

WORDS = "good great fine".split(), "bad awful poor".split()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every command runs in an empty folder with a text and a table of texts."""
    monkeypatch.chdir(tmp_path)
    Path("book.txt").write_text("the cat sat on the mat. " * 60)
    rows = [f'"the film is {WORDS[i % 2][i % 3]} {i}",{"ny"[i % 2]},{i % 5}' for i in range(60)]
    Path("reviews.csv").write_text("\n".join(["body,label,stars", *rows]) + "\n")
    return tmp_path


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    return found


@pytest.mark.parametrize("options", ["--context 12", "--words --context 4 --validation 0.2"])
def test_a_text_is_trained_on_resumed_and_predicted(
    options: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options += " --epochs 20 --patience off"
    assert main(f"train book.txt {options} --run-dir run --json".split()) == 0
    out = capsys.readouterr()
    run = json.loads(out.out)
    assert run["metrics"]["perplexity"] < 8
    closing = out.err.partition("held-out rows:")[2].splitlines()
    numbers = {line.split()[0]: line for line in closing if line.startswith("  ")}
    assert "nats" in numbers["loss"]
    assert float(numbers["loss"].split()[1]) == pytest.approx(run["metrics"]["loss"], rel=1e-3)
    columns = {line.index(line.split()[1]) for line in closing[1:4]}
    assert len(columns) == 1  # the numbers stand below one another
    assert main("train --resume run --epochs 21 --json".split()) == 0
    assert told(capsys)["epochs"] == 21
    Path("more.txt").write_text("a cat on a mat, the dog sat. ")
    assert main("predict run more.txt --json".split()) == 0
    columns = told(capsys)["columns"]
    assert set(columns) == {"text", "next", "p"}
    assert main("report run".split()) == 0
    assert main("explain run".split()) == 0


@pytest.mark.parametrize("options", ["", "--context 6"])
def test_a_column_of_texts_is_read(options: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = f"train reviews.csv --target label --text body {options} --run-dir run --json"
    assert main([*command.split(), "--epochs", "40"]) == 0
    assert told(capsys)["metrics"]["accuracy"] > 0.9
    assert main("train --resume run --epochs 41 --quiet".split()) == 0
    capsys.readouterr()
    assert main("predict run reviews.csv --json".split()) == 0
    assert set(told(capsys)["columns"]) == {"label", "p(n)", "p(y)"}


def test_a_folder_is_what_most_of_its_files_are(folder: Path) -> None:
    Path("pets", "cat").mkdir(parents=True)
    for name in ("README.md", "pets/notes.txt", "pets/cat/1.png", "pets/cat/2.png", "pets/a.wav"):
        (folder / name).touch()
    assert kind_at("pets") == "images"
    Path("texts").mkdir()
    Path("texts/a.txt").touch()
    assert kind_at("texts") == "text"
    for name in ("b.txt", "cover.png", "notes.csv"):
        (folder / "texts" / name).touch()
    assert kind_at("texts") == "text", "pictures beside texts belong to no class"
    (folder / "texts/c.jpg").touch()
    assert kind_at("texts") == "images"
    assert (kind_at("book.txt"), kind_at("reviews.csv")) == ("text", "table")


def test_rows_in_a_file_of_numbers_are_predicted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main("train digits --epochs 3 --run-dir run --quiet".split()) == 0
    capsys.readouterr()
    np.save("x.npy", load("digits").x[:5])
    assert main("predict run x.npy --json".split()) == 0
    assert len(told(capsys)["columns"]["prediction"]) == 5
    np.save("x.npy", np.zeros((2, 3)))
    assert main("predict run x.npy".split()) == 1
    assert main("predict run y.npy".split()) == 1


def test_a_resumed_run_keeps_how_its_data_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert main("train book.txt --context 8 --epochs 1 --run-dir run --quiet".split()) == 0
    for option in ("--context 9", "--words", "--download", "--forecast a"):
        assert main(f"train --resume run {option}".split()) == 2
        assert option.split()[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "code", "part"),
    [
        ("train book.txt --target label", 2, "target goes with tables"),
        ("train book.txt --context 5000", 1, "shorter context"),
        ("train book.txt --image-size 8", 2, "--image-size"),
        ("train book.txt --text body", 2, "--text goes with"),
        ("train reviews.csv --text body", 2, "--target"),
        ("train reviews.csv --target label --text boby", 1, "did you mean 'body'"),
        ("train reviews.csv --target label --words", 2, "--words goes with a text"),
        ("train latin.txt", 1, "byte 3"),
        ("train nowhere.txt", 1, "nowhere.txt"),
        ("train empty.txt", 1, "no text"),
    ],
)
def test_mistakes_are_told(
    command: str, code: int, part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("latin.txt").write_bytes("café".encode("latin1"))
    Path("empty.txt").touch()
    assert main(command.split()) == code
    err = capsys.readouterr().err
    assert part in err
    assert "Traceback" not in err
