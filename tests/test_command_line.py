"""The commands as scripts use them: the last line of stdout, exit codes, going on after Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chainrule.cli import main
from chainrule.store import load_tensors

IRIS = "width,height,kind\n" + "".join(
    f"{i % 7 + (i % 2) * 5},{i % 5},{'long' if i % 2 else 'short'}\n" for i in range(60)
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every command runs in an empty folder with one table."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table.csv").write_text(IRIS)
    return tmp_path


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    return found


def test_train_predict_report_and_explain_end_with_one_json_object(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main("train table.csv --target kind --epochs 20 --json".split()) == 0
    run = told(capsys)
    wanted = "dataset task metrics epochs steps seconds backend run_dir".split()
    assert set(wanted) <= set(run)
    assert (run["dataset"], run["task"], run["epochs"]) == ("table.csv", "binary", 20)
    assert run["metrics"]["accuracy"] > 0.9
    place = run["run_dir"]
    assert main(["predict", place, "table.csv", "--json"]) == 0
    assert told(capsys)["rows"] == 60
    assert main(["report", place, "--output", "page.html", "--json"]) == 0
    assert told(capsys)["report"] == "page.html"
    assert Path("page.html").read_text().startswith("<!doctype html>")
    assert main(["explain", place, "--row", "17", "--json"]) == 0
    step = told(capsys)
    assert step["loss_after"] < step["loss_before"]


def test_predictions_are_csv_and_the_same_from_a_file_and_from_stdin(folder: Path) -> None:
    assert main("train table.csv --target kind --epochs 5 --run-dir run --quiet".split()) == 0
    command = [sys.executable, "-m", "chainrule", "predict", "run"]
    from_file = subprocess.run([*command, "table.csv"], capture_output=True, text=True, check=True)
    from_stdin = subprocess.run(
        [*command, "-"], input=IRIS, capture_output=True, text=True, check=True
    )
    assert from_file.stdout == from_stdin.stdout
    header, *rows = from_file.stdout.splitlines()
    assert header == "kind,p(long),p(short)"
    assert len(rows) == 60
    assert all(abs(sum(map(float, row.split(",")[1:])) - 1) < 1e-9 for row in rows)


@pytest.mark.parametrize(
    ("command", "code", "part"),
    [
        ("trian digits", 2, "train"),
        ("train digits --epoch 3", 2, "--epochs"),
        ("train digitz", 2, "digits"),
        ("train missing.csv --target kind", 1, "missing.csv"),
        ("train table.csv", 2, "--target"),
        ("train table.csv --target kinds", 1, "kind"),
        ("train digits --learning-rate 0", 2, "learning"),
        ("train digits --epochs 0", 2, "epochs"),
        ("train digits --optimizer adamm", 2, "adam"),
        ("predict nowhere table.csv", 1, "nowhere"),
        ("report table.csv", 1, "table.csv"),
        ("explain xor --row 9", 2, "row"),
    ],
)
def test_a_mistake_is_told_in_words_with_its_exit_code(
    command: str, code: int, part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command.split(), "--json"]) == code
    shown = capsys.readouterr()
    assert part in shown.err
    assert "Traceback" not in shown.err
    assert set(json.loads(shown.out.strip().splitlines()[-1])) == {"error"}


def test_ctrl_c_saves_and_resuming_ends_in_the_same_bits(folder: Path) -> None:
    command = [sys.executable, "-m", "chainrule", "train", "digits", "--epochs", "12", "--quiet"]
    whole = subprocess.run([*command, "--run-dir", "whole"], capture_output=True, check=False)
    assert whole.returncode == 0
    started = subprocess.Popen([*command, "--run-dir", "cut"], stderr=subprocess.DEVNULL)
    while not (folder / "cut" / "record.jsonl").exists():
        time.sleep(0.01)
        assert started.poll() is None
    os.kill(started.pid, signal.SIGINT)
    assert started.wait(timeout=60) == 130
    again = [sys.executable, "-m", "chainrule", "train", "--resume", "cut", "--quiet"]
    assert subprocess.run(again, capture_output=True, check=False).returncode == 0
    expected, _ = load_tensors(folder / "whole" / "net.safetensors")
    found, _ = load_tensors(folder / "cut" / "net.safetensors")
    assert list(found) == list(expected)
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_threads_are_chosen_for_each_command_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """A run goes on with as many as it is then given, and predicts with others."""
    words = "train table.csv --target kind --run-dir run --quiet --epochs"
    assert main([*words.split(), "3", "--threads", "1"]) == 0
    assert main("train --resume run --quiet --epochs 6 --threads 2".split()) == 0
    capsys.readouterr()
    said = []
    for threads in ([], ["--threads", "1"], ["--threads", "3"]):
        assert main(["predict", "run", "table.csv", *threads]) == 0
        said.append(capsys.readouterr().out)
    assert said[0].count("\n") == 61
    assert said[1] == said[2] == said[0]
    assert main([*words.split(), "3", "--threads", "9999"]) == 2
    assert "1 to 512" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["train nowhere.csv", "train nowhere.txt", "train far/away/"])
def test_a_path_that_is_not_there_is_told_with_what_to_do(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command.split()) == 1
    told = capsys.readouterr().err
    assert command.split()[1] in told
    assert "check the path" in told
