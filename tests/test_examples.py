"""Every example runs as it is told to, from its file, and prints its number.

Each is run shortened; the slow tests run them whole and hold them to the numbers that they claim.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import test_examples_sequences

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
MOST_LINES = 100
DATA = bool(os.environ.get("CHAINRULE_DATA"))
NEEDS_DATA = pytest.mark.skipif(not DATA, reason="CHAINRULE_DATA is not set")

# A file, its arguments, and what its output holds; a group is a number.
SHORT = [
    ("attention.py", "", r"farthest from NumPy: (\S+)"),
    ("logistic.py", "", r"step 100  loss (\S+)"),
    ("sunspots.py", "--seeds 1 --epochs 5", r"network +(\S+) +(\S+) +(\S+)"),
]
SHORT_WITH_DATA = [
    ("fashion_mnist_cnn.py", "--rows 1500 --epochs 1", r"\ntest accuracy (\S+) after"),
    ("mnist_cnn.py", "--rows 1500 --epochs 1", r"\ntest accuracy (\S+) after"),
    (
        "spoken_digits.py",
        "--recordings 8 --epochs 1",
        r"test accuracy (\S+) on the 300 recordings held",
    ),
    ("text_classifier.py", "--rows 800", r"network +(\S+) +(\S+) +(\S+)\n"),
]


def run(file: str, arguments: str = "") -> str:
    """What an example prints."""
    found = subprocess.run(
        [sys.executable, EXAMPLES / file, *arguments.split()],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        timeout=3600,  # a stop for what hangs: no test is to depend on how busy the machine is
    )
    assert found.returncode == 0, f"{file} failed:\n{found.stdout}"
    return found.stdout


def numbers(pattern: str, output: str) -> list[float]:
    found = re.search(pattern, output)
    assert found, f"it printed\n{output}"
    return [float(number) for number in found.groups()]


@pytest.mark.parametrize(
    ("file", "arguments", "pattern"),
    [*SHORT, *(pytest.param(*row, marks=NEEDS_DATA) for row in SHORT_WITH_DATA)],
)
def test_an_example_runs_and_prints_its_number(file: str, arguments: str, pattern: str) -> None:
    assert numbers(pattern, run(file, arguments))


def test_every_example_is_run_and_fits_on_a_page() -> None:
    files = {path.name: path for path in EXAMPLES.glob("*.py")}
    sequences = (*test_examples_sequences.MODELS, *test_examples_sequences.SHORT)
    run_here = {file for file, *_ in (*SHORT, *SHORT_WITH_DATA)}
    assert set(files) == run_here | {f"{name}.py" for name in sequences}
    for name, path in files.items():
        assert len(path.read_text(encoding="utf-8").splitlines()) < MOST_LINES, name


@pytest.mark.parametrize("file", ["spoken_digits.py", "text_classifier.py"])
def test_data_that_are_not_there_are_named(file: str, tmp_path: Path) -> None:
    found = subprocess.run(
        [sys.executable, EXAMPLES / file],
        check=False,
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "CHAINRULE_DATA": str(tmp_path)},
        timeout=300,
    )
    assert found.returncode == 1
    assert found.stderr.startswith("there is no ")
    assert "CHAINRULE_DATA" in found.stderr


@pytest.mark.slow
def test_sunspots_are_forecast_better_than_by_a_line() -> None:
    """Below the last year again and the linear autoregression in each of the three periods."""
    output = run("sunspots.py")
    table = [
        numbers(rf"{name} +(\S+) +(\S+) +(\S+)", output)
        for name in ("the last year again", "linear autoregression", "network")
    ]
    for again, linear, network in zip(*table, strict=True):
        assert network < linear < again


@NEEDS_DATA
@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "least"),
    [("fashion_mnist_cnn.py", 0.915), ("mnist_cnn.py", 0.99), ("spoken_digits.py", 0.97)],
)
def test_an_example_reaches_what_it_claims(file: str, least: float) -> None:
    """On the official test sets of Fashion-MNIST, MNIST and the Free Spoken Digit Dataset."""
    assert numbers(r"\ntest accuracy (\S+)", run(file))[0] >= least


@NEEDS_DATA
@pytest.mark.slow
def test_the_order_of_words_is_worth_more_than_the_words() -> None:
    """The text classifier beside logistic regression on TF-IDF, also of pairs of words."""
    output = run("text_classifier.py")
    ours, *others = (
        numbers(rf"\n{name} +(\S+) +(\S+) +(\S+)\n", output)
        for name in ("network", "words", "words and pairs")
    )
    for other in others:
        assert all(a > b for a, b in zip(ours, other, strict=True))
