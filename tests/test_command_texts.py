"""Language models on the command line: folders of texts, and texts word by word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chainrule.cli import main
from chainrule.training import load_run

SMALL = "--hidden 8 --epochs 2 --quiet --run-dir run"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every command runs in a folder with twelve texts in `plays`."""
    monkeypatch.chdir(tmp_path)
    Path("plays").mkdir()
    for number in range(12):
        text = '"The cat," said he, "sat on the mat."\n' * (4 + number)
        Path(f"plays/{number:02}.txt").write_text(text)
    return tmp_path


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    return found


def test_a_folder_of_texts_is_read_in_streams_of_documents(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("plays/cover.png").touch()
    Path("plays/older").mkdir()
    command = "train plays/ --context 8 --hidden 16 --epochs 3 --learning-rate 0.02 --run-dir run"
    assert main([*command.split(), "--json"]) == 0
    shown = capsys.readouterr()
    assert "12 texts, in order of name" in shown.err
    assert "ignored what is no text: .png, older/" in shown.err
    run = load_run("run")
    assert "of the places in these rows are right" in shown.err
    page = Path("run/report.html").read_text()
    assert "Share of the places that are given their right class" in page
    assert "Mean over the places of each epoch" in page
    assert "Share of the rows" not in page
    source = run.config["dataset"]["source"]
    assert source["streams"] == run.config["settings"]["batch_size"] == 13
    assert main("train --resume run --epochs 4 --json".split()) == 0
    assert told(capsys)["metrics"]["accuracy"] > 0.5
    assert main("predict run plays --json".split()) == 0
    assert set(told(capsys)["columns"]) == {"file", "text", "next", "p"}
    for words in ("report run", "explain run", "profile run --seconds 0.05"):
        assert main(words.split()) == 0
    capsys.readouterr()
    Path("plays/99.txt").write_text("short")
    assert main("predict run plays".split()) == 0
    assert "left out, with fewer than 8 symbols: 1 of the texts" in capsys.readouterr().err


def test_a_transformer_reads_a_folder_too() -> None:
    command = f"train plays/ --context 8 --net transformer --layers 1 {SMALL}"
    assert main(command.split()) == 0
    assert load_run("run").config["dataset"]["source"]["streams"] == 0


def test_a_text_is_learned_and_written_word_by_word(capsys: pytest.CaptureFixture[str]) -> None:
    command = "train plays/ --words --context 12 --hidden 16 --epochs 30 --learning-rate 0.02"
    assert main([*command.split(), "--run-dir", "run", "--json"]) == 0
    assert told(capsys)["metrics"]["accuracy"] > 0.9
    line = '"The cat," said he, "sat on the mat."\n'
    assert main(["generate", "run", "--temperature", "0", "--length", "15", "--prompt", line]) == 0
    assert capsys.readouterr().out == 2 * line
    assert main(["generate", "run", "--length", "3", "--prompt", "the zebra sat"]) == 0
    shown = capsys.readouterr()
    assert "read as <unknown>: 'zebra'" in shown.err
    assert shown.out.startswith("the <unknown> sat")
    assert main(["generate", "run", "--prompt", "zebra"]) == 2
    assert "give words of the text" in capsys.readouterr().err
    assert main("report run --output page.html".split()) == 0
    page = Path("page.html").read_text()
    assert "What it writes" in page
    assert page.index("What it writes") < page.index("Stretches of the held-out text")
    assert "symbols comes next" in page
    assert main("explain run".split()) == 0


@pytest.mark.parametrize("net", ["lstm", "transformer"])
def test_only_the_most_frequent_words_are_known(net: str) -> None:
    options = f"--words --vocabulary 5 --context 4 --net {net} {SMALL}"
    assert main(f"train plays/ {options}".split()) == 0
    run = load_run("run")
    assert len(run.classes) == 1 + 5
    assert main("train --resume run --epochs 3 --quiet".split()) == 0


@pytest.mark.parametrize(
    ("command", "parts"),
    [
        ("train empty/", ["nothing to learn from"]),
        ("train nested/", ["no text file in nested", "nested/a", "--target CLASS --text COLUMN"]),
        ("train latin/", ["latin/b.txt is not UTF-8", "byte 3 (line 1) is 0xe9"]),
        ("train blank/", ["blank has no text"]),
        ("train plays/ --vocabulary 9", ["--words"]),
        ("train plays/ --words --vocabulary 0", ["--vocabulary"]),
        ("train xor --vocabulary 9", ["--vocabulary goes with a text"]),
        ("train --resume run --vocabulary 9", ["--vocabulary"]),
        ("train plays/ --context 5000", ["fewer than a row", "plays"]),
        ("predict run blank/", ["at most 2 symbols"]),
    ],
)
def test_mistakes_are_told(
    command: str, parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("empty", "nested/a", "latin", "blank"):
        Path(name).mkdir(parents=True)
    Path("nested/a/1.txt").write_text("one")
    Path("latin/a.txt").write_text("one")
    Path("latin/b.txt").write_bytes(b"caf\xe9")
    for name in "ab":
        Path(f"blank/{name}.txt").write_text(" \n")
    if "run" in command:
        assert main(f"train plays/ --context 8 {SMALL}".split()) == 0
    assert main(command.split()) in (1, 2)
    err = capsys.readouterr().err
    assert all(part in err for part in parts)
    assert "Traceback" not in err
