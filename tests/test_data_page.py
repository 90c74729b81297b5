"""The page about data runs: every block of Python in it, in order, on small data of each kind."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from PIL import Image

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "data.md").read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the page names."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for kind, light in (("cat", 0), ("dog", 150)):
        for i in range(8):
            Path("pets", kind).mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(light, light + 100, (20 + i, 24), np.uint8)
            Image.fromarray(pixels).save(f"pets/{kind}/{i}.png")
    for kind, tone in (("low", 300), ("high", 1500)):
        for i in range(10):
            Path("clips", kind).mkdir(parents=True, exist_ok=True)
            wave = np.sin(2 * np.pi * tone * np.arange(2400) / 8000) / 2
            soundfile.write(f"clips/{kind}/{i}.wav", wave, 8000)
    Path("book.txt").write_text("it was the best of times, " * 80)
    t = np.arange(150)
    visitors = 50 + 20 * np.sin(t / 2) + rng.normal(0, 0.5, 150)
    pd.DataFrame({"visitors": visitors}).to_csv("visitors.csv", index=False)
    words = [f"a {'good' if i % 2 else 'bad'} film" for i in range(40)]
    reviews = pd.DataFrame({"body": words, "label": [w.split()[1] for w in words]})
    reviews.to_csv("reviews.csv", index=False)
    sizes = rng.uniform(10, 90, 450)
    pd.DataFrame({"size": sizes, "price": 3 * sizes + 1}).to_csv("large.csv", index=False)
    return tmp_path


def test_every_block_runs_and_says_what_it_says(folder: Path) -> None:
    names: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 8
    for block in blocks:
        for line in re.split(r"\n(?=\S)", block.strip()):
            exec(line, names)
            shown = re.match(r"(\S.*?)  # (\(.*?\)):", line)
            if shown:
                assert eval(shown[1], names) == eval(shown[2])


def test_every_command_of_the_page_is_one() -> None:
    from chainrule.cli.parser import parse

    commands = re.findall(r"`(train [^`]+)`", PAGE)
    assert len(commands) >= 7
    for command in commands:
        for one in command.split("`, `"):
            parse(one.split())
