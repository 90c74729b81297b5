"""The commands on data that are no table: texts, columns of texts, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chainrule.cli import main

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
    assert main(f"train book.txt {options} --epochs 20 --run-dir run --json".split()) == 0
    run = told(capsys)
    assert run["metrics"]["perplexity"] < 8
    assert main("train --resume run --epochs 21 --json".split()) == 0
    assert told(capsys)["epochs"] == 21
    Path("more.txt").write_text("a cat on a mat, the dog sat. ")
    assert main("predict run more.txt --json".split()) == 0
    columns = told(capsys)["columns"]
    assert set(columns) == {"text", "next", "p"}
    assert main("report run".split()) == 0
    assert main("explain run".split()) == 2  # a network of symbols is no walk of dense layers


@pytest.mark.parametrize("options", ["", "--context 6"])
def test_a_column_of_texts_is_read(options: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = f"train reviews.csv --target label --text body {options} --run-dir run --json"
    assert main([*command.split(), "--epochs", "40"]) == 0
    assert told(capsys)["metrics"]["accuracy"] > 0.9
    assert main("train --resume run --epochs 41 --quiet".split()) == 0
    capsys.readouterr()
    assert main("predict run reviews.csv --json".split()) == 0
    assert set(told(capsys)["columns"]) == {"label", "p(n)", "p(y)"}


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
