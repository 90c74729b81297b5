"""Examples of sequences and of recurrent backpropagation: each runs as a program, shortened; slow
tests hold the numbers that their first lines claim."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from chainrule import config

ROOT = Path(__file__).resolve().parent.parent
MODELS = ["shakespeare_lstm", "shakespeare_gpt"]
# How each is shortened, and how many lines it prints all the same.
SHORT = {
    "adding_problem": ("--epochs 1", 3),
    "reber": ("--epochs 2", 2),
    "elman_xor": ("--epochs 2", 12),
    "parity_fixed_point": ("--steps 20", 4),
}


def said_by(name: str, *args: str) -> str:
    path = ROOT / "examples" / f"{name}.py"
    done = subprocess.run(
        [sys.executable, str(path), *args],
        env={**os.environ, "CHAINRULE_THREADS": "1"},  # tests run side by side
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def numbers(text: str) -> list[float]:
    return [float(found) for found in re.findall(r"\d+\.\d+", text)]


@pytest.mark.parametrize("name", [*MODELS, *SHORT])
def test_an_example_is_one_short_file(name: str) -> None:
    text = (ROOT / "examples" / f"{name}.py").read_text()
    assert len(text.splitlines()) < 100
    assert f"python examples/{name}.py" in text


@pytest.mark.parametrize("name", SHORT)
def test_a_short_run_prints_its_numbers(name: str) -> None:
    """As many lines as a whole run, with finite numbers."""
    options, lines = SHORT[name]
    said = said_by(name, *options.split())
    assert len(said.splitlines()) == lines
    found = numbers(said)
    assert len(found) >= 3
    assert all(math.isfinite(number) for number in found)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_a_short_text_prints_its_loss_and_writes_on(name: str, tmp_path: Path) -> None:
    """Better than every symbol alike; what it writes are symbols of the text."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")[:12_000]
    path = tmp_path / "text.txt"
    path.write_text(text, encoding="utf-8")
    first, _, sample = said_by(name, "--text", str(path)).partition("---\n")
    (loss,) = numbers(first)
    assert loss < math.log(len(set(text)))
    assert len(sample) == 64 + 300 + 1
    assert set(sample) <= set(text)


# --- what their first lines claim -------------------------------------------------------------


@pytest.mark.slow
def test_lstm_solves_the_adding_problem_and_a_plain_network_does_not() -> None:
    guess, lstm, rnn = numbers(said_by("adding_problem"))
    assert guess == pytest.approx(1 / 6, abs=1e-4)
    assert lstm <= 0.001
    assert rnn > 0.1


@pytest.mark.slow
def test_lstm_knows_every_string_of_the_grammar_and_a_plain_network_forgets() -> None:
    lstm, lstm_last, _, rnn_last = numbers(said_by("reber"))
    assert lstm == lstm_last == 100
    assert rnn_last < 75


@pytest.mark.slow
def test_the_error_falls_at_every_third_bit() -> None:
    errors = dict(re.findall(r"bit +(\d+)  error (\S+)", said_by("elman_xor")))
    assert len(errors) == 12
    for bit, error in errors.items():
        assert float(error) < 0.1 if int(bit) % 3 == 0 else float(error) > 0.45


@pytest.mark.slow
def test_a_network_at_rest_knows_the_parity() -> None:
    """Of two to five bits, all patterns right by far."""
    found = re.findall(r"(\d) bits: largest error (\S+),", said_by("parity_fixed_point"))
    assert [bits for bits, _ in found] == ["2", "3", "4", "5"]
    assert all(float(error) < 0.1 for _, error in found)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_shakespeare_comes_to_the_loss_that_it_claims(name: str) -> None:
    """That of PyTorch, within 1 %: both stand in its first lines."""
    if not any((Path(folder) / "tinyshakespeare").is_dir() for folder in config.DATA):
        pytest.skip("CHAINRULE_DATA names no folder with tinyshakespeare")
    text = (ROOT / "examples" / f"{name}.py").read_text()
    ours, theirs = (
        float(re.search(rf"{who} +held-out loss (\S+)", text)[1])
        for who in ("chainrule", "PyTorch")
    )
    assert ours == pytest.approx(theirs, rel=0.01)
    first, _, _ = said_by(name).partition("---\n")
    assert numbers(first) == [pytest.approx(theirs, rel=0.01)]
