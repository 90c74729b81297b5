"""The networks of the command line: each with its data, from `train` to `explain`, and mistakes."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from chainrule import nn
from chainrule.cli import main
from chainrule.cli.architectures import FITTING, NETS, channels_for
from chainrule.data import Dataset
from chainrule.training import load_run

WORDS = "good great fine".split(), "bad awful poor".split()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every command runs in a folder with a little of each kind of data."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    Path("book.txt").write_text("the cat sat on the mat.\nthe dog ran. " * 40)
    lines = [
        f'"{"so " * (i % 4)}the film is {WORDS[i % 2][i % 3]}",{"ny"[i % 2]}' for i in range(60)
    ]
    Path("reviews.csv").write_text("\n".join(["body,label", *lines]) + "\n")
    moments = np.arange(120)
    values = 50 + 20 * np.sin(moments / 3) + rng.normal(0, 0.5, 120)
    Path("series.csv").write_text("visitors\n" + "".join(f"{v:.3f}\n" for v in values))
    for kind, light in (("cat", 0), ("dog", 150)):
        for i in range(12):
            Path("pets", kind).mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(light, light + 100, (12, 16), np.uint8)
            Image.fromarray(pixels).save(f"pets/{kind}/{i}.png")
    for kind, tone in (("low", 300), ("high", 1500)):
        for i in range(12):
            Path("clips", kind).mkdir(parents=True, exist_ok=True)
            wave = np.sin(2 * np.pi * tone * np.arange(1600 + 40 * i) / 8000) / 2
            soundfile.write(f"clips/{kind}/{i}.wav", wave, 8000)
    return tmp_path


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    return found


_DATA = {
    "pictures": ("pets/", "pets/cat"),
    "sounds": ("clips/", "clips/low/1.wav"),
    "text": ("book.txt --context 8", "book.txt"),
    "words": ("reviews.csv --target label --text body --context 8", "reviews.csv"),
    "series": ("series.csv --forecast visitors --horizon 3 --window 12", "series.csv"),
}
_LEARNED = {
    "pictures": ("accuracy", 0.9),
    "sounds": ("accuracy", 0.7),
    "text": ("accuracy", 0.5),
    "words": ("accuracy", 0.8),
    "series": ("r2", 0.7),
}
_EPOCHS = {"text": 6, "words": 30, "series": 25}
_ALIKE = (
    "rnn",
    "lstm",
)  # over sounds, words and series as `gru`: each is learned in the slow tests
CASES = [
    pytest.param(form, net, marks=[pytest.mark.slow] * (net in _ALIKE and form != "text"))
    for form in _DATA
    for net in FITTING[form]
    if net != "dense"
]


@pytest.mark.parametrize(("form", "net"), CASES)
def test_each_network_learns_and_every_command_takes_its_run(
    form: str, net: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data, more = _DATA[form]
    width = {"cnn": "8,8", "transformer": "16 --layers 1"}.get(net, "16")
    options = f"--net {net} --hidden {width} --dropout 0 --epochs {_EPOCHS.get(form, 12)}"
    command = f"train {data} {options} --learning-rate 0.01 --batch-size 8 --run-dir run --json"
    assert main(command.split()) == 0
    name, least = _LEARNED[form]
    assert told(capsys)["metrics"][name] > least
    assert main(["predict", "run", more, "--json"]) == 0
    assert told(capsys)["rows"] >= 1
    assert main("report run --output page.html".split()) == 0
    page = Path("page.html").read_text()
    assert ("First layer" in page) == (net == "cnn" and form in ("pictures", "sounds"))
    assert ("Attention" in page) == (net == "transformer")
    assert ("What it writes" in page) == (form == "text")
    assert main("explain run --json".split()) == 0
    step = told(capsys)
    assert step["loss_after"] < step["loss_before"]
    assert step["gradients"]["disagree"] == 0
    assert step["gradients"]["checked"] == len(nn.parameters(load_run("run").net))


@pytest.mark.parametrize(
    ("command", "layers"),
    [
        ("pets/", "Conv2d MaxPool2d"),
        ("clips/", "Conv1d BatchNorm GlobalAvgPool"),
        ("book.txt", "Embedding LSTM"),
        ("reviews.csv --target label --text body", "Dense"),
        ("reviews.csv --target label --text body --net gru", "Padded GRU"),
        ("reviews.csv --target label --text body --net gru", "(std=0.1)), (Dropout(0.4), GRU(64))"),
        ("reviews.csv --target label --text body --net cnn", "Dropout(0.4) Conv1d max"),
        ("reviews.csv --target label --text body --net cnn --dropout 0", "(Conv1d"),
        ("reviews.csv --target label --text body --net gru --layers 2 --hidden 8", "GRU(8) GRU(8)"),
        ("series.csv --forecast visitors", "Flatten Dense"),
        ("series.csv --forecast visitors --net rnn --activation relu", "RNN relu last"),
        ("digits --net cnn --hidden 4", "Reshape Conv2d"),
        ("digits --layers 3 --hidden 8", "Dense(8), relu, Dense(8), relu, Dense(8)"),
        ("book.txt --net transformer --hidden 16 --heads 8", "TransformerEncoderBlock(16, 8"),
    ],
)
def test_the_network_suits_the_data(
    command: str, layers: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *command.split(), "--epochs", "1", "--run-dir", "run"]) == 0
    net = next(x for x in capsys.readouterr().err.splitlines() if x.startswith("network:"))
    for layer in [layers] if "," in layers else layers.split():
        assert layer in net


def test_pictures_are_halved_until_they_are_small() -> None:
    def channels(*size: int) -> tuple[int, ...]:
        none = np.zeros((0, 1), np.float32)
        return channels_for(Dataset("a", none, none, "regression", source={"image_shape": [*size]}))

    assert channels(28, 28, 1) == (32, 64)
    assert channels(8, 8) == (32,)
    assert channels(1, 40, 3) == (32,)
    assert channels(224, 200, 3) == (32, 64, 128, 128, 128)


@pytest.mark.parametrize(
    ("command", "code", "parts"),
    [
        ("train pets/ --net cnnn", 2, ["did you mean 'cnn'", *NETS]),
        ("train pets/ --net lstm", 2, ["pictures", "cnn"]),
        ("train digits --net gru", 2, ["pictures", "cnn"]),
        ("train xor --net cnn", 2, ["rows of numbers", "dense"]),
        ("train book.txt --net cnn", 2, ["a text", "lstm", "transformer"]),
        ("train reviews.csv --target label --net lstm", 2, ["rows of numbers"]),
        ("train reviews.csv --target label --text body,label --net lstm", 2, ["one column"]),
        ("train book.txt --hidden none", 2, ["at least one layer"]),
        ("train book.txt --activation relu", 2, ["activations of its own"]),
        ("train book.txt --heads 4", 2, ["transformer"]),
        ("train book.txt --net transformer --hidden 16,32", 2, ["same width", "--layers 2"]),
        ("train book.txt --net transformer --hidden 20 --heads 3", 2, ["3 heads"]),
        ("train book.txt --hidden 16,32 --layers 3", 2, ["--layers 3"]),
        ("train book.txt --layers 0", 2, ["--layers"]),
        ("generate nowhere", 1, ["nowhere"]),
        ("generate", 2, ["RUN"]),
        ("generate run --temperature -1", 2, ["--temperature"]),
        ("generate run --length 0", 2, ["--length"]),
        ("generate run --top 0", 2, ["--top"]),
        ("generate run", 2, ["no language model", "train book.txt"]),
        ("train --resume run --net cnn", 2, ["--net"]),
    ],
)
def test_mistakes_are_told(
    command: str, code: int, parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main("train xor --epochs 1 --run-dir run --quiet".split()) == 0
    capsys.readouterr()
    assert main(command.split()) == code
    err = capsys.readouterr().err
    assert all(part in err for part in parts)
    assert "Traceback" not in err


@pytest.fixture
def book(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that has learned the text a little."""
    command = "train book.txt --context 8 --hidden 16 --epochs 2 --run-dir run --quiet"
    assert main(command.split()) == 0
    capsys.readouterr()


def test_a_text_is_written(book: None, capsys: pytest.CaptureFixture[str]) -> None:
    words = "generate run --length 40 --seed 4 --temperature 0.9 --prompt".split()
    said = []
    for _ in range(2):
        assert main([*words, "the "]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    assert said[0].startswith("the ")
    assert len(said[0]) == len("the ") + 40 + 1
    assert main([*words, "the ", "--json"]) == 0
    found = told(capsys)
    assert found["prompt"] + found["text"] + "\n" == said[0]
    assert found["seed"] == 4
    assert load_run("run").generate("the ", length=40, seed=4, temperature=0.9) == found["text"]
    assert main([*words, "the Ω"]) == 0
    shown = capsys.readouterr()
    assert "'Ω'" in shown.err
    assert shown.out == said[0]
    assert main("generate run --length 5 --top 2 --threads 1".split()) == 0
    assert len(capsys.readouterr().out) == 6


@pytest.mark.parametrize("prompt", ["", "ΩΩ"])
def test_a_prompt_of_nothing_is_told(
    book: None, prompt: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", "run", "--prompt", prompt]) == 2
    assert "the prompt" in capsys.readouterr().err


def test_ctrl_c_ends_a_text_cleanly(book: None) -> None:
    command = [sys.executable, "-m", "chainrule", "generate", "run", "--length", "100000000"]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert started.stdout is not None
    assert started.stdout.read(20)
    os.kill(started.pid, signal.SIGINT)
    out, err = started.communicate(timeout=60)
    assert started.returncode == 130
    assert out.endswith(b"\n")
    assert b"interrupted" in err
    assert b"Traceback" not in err


def test_a_closed_pipe_ends_a_text_in_silence(book: None) -> None:
    command = [sys.executable, "-m", "chainrule", "generate", "run", "--length", "100000000"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as started:  # type: ignore[call-overload]
        assert started.stdout.read(20)
        started.stdout.close()
        assert started.wait(timeout=60) == 1
        assert started.stderr.read() == b""


def test_a_step_is_told_layer_by_layer(book: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("explain run --row 3".split()) == 0
    out = capsys.readouterr().out
    for part in ("layers.1", "LSTM", "8 x 16", "layers.1.recurrent", "agree", "Loss of the row"):
        assert part in out
    assert main("explain run --html step.html".split()) == 2
    assert "--html" in capsys.readouterr().err
    assert main("explain run --row 99999".split()) == 2


def test_every_command_of_the_page_is_one() -> None:
    from chainrule.cli.parser import parse

    page = Path(__file__).resolve().parent.parent / "docs" / "networks.md"
    commands = re.findall(r"^\$ chainrule (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(commands) >= 5
    for command in commands:
        parse(shlex.split(command))


@pytest.mark.parametrize(
    ("options", "streams", "batch"),
    [
        ("--context 8", 4, 4),  # as the held-out tenth has few chunks
        ("--context 8 --validation 0.5", 23, 23),
        ("--context 8 --batch-size 3", 3, 3),
        ("--context 8 --batch-size 5", 0, 5),
        ("--context 64", 0, 16),
        ("--context 8 --net transformer", 0, 16),
        ("--context 4 --words --net gru", 2, 2),
        ("--context 8 --validation 0", 32, 32),
    ],
)
def test_a_text_is_read_in_as_many_streams_as_it_has_room_for(
    options: str, streams: int, batch: int
) -> None:
    command = f"train book.txt {options} --hidden 8 --layers 1 --epochs 1 --run-dir run --quiet"
    assert main(command.split()) == 0
    config = load_run("run").config
    assert config["dataset"]["source"]["streams"] == streams
    assert config["settings"]["batch_size"] == batch
