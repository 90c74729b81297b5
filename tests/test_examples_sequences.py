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
SHORT = {
    "adding_problem": ["1"],
    "reber": ["2"],
    "elman_xor": ["2"],
    "parity_fixed_point": ["20"],
}


def said_by(name: str, *args: str) -> str:
    path = ROOT / "examples" / f"{name}.py"
    done = subprocess.run(
        [sys.executable, str(path), *args],
        env={**os.environ, "CHAINRULE_DATA": os.pathsep.join(config.DATA)},
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
    said = said_by(name, *SHORT[name])
    assert len(said.splitlines()) == {"elman_xor": 12, "reber": 2}.get(name, 3)
    found = numbers(said)
    assert len(found) >= 3
    assert all(math.isfinite(number) for number in found)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_a_short_text_prints_its_loss_and_writes_on(name: str, tmp_path: Path) -> None:
    """Better than every symbol alike; what it writes are symbols of the text."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")[:12_000]
    path = tmp_path / "text.txt"
    path.write_text(text, encoding="utf-8")
    first, _, sample = said_by(name, str(path)).partition("---\n")
    (loss,) = numbers(first)
    assert loss < math.log(len(set(text)))
    assert sample.startswith(text[-64:])
    assert len(sample) == 64 + 300 + 1
    assert set(sample) <= set(text)
