"""The text of the tiny example at every stage is that of the files beside this test.

A change that is meant: `./run test tests/golden --update-golden` writes them anew; read the
difference, and write docs/tour.md anew too (scripts/build_tour.py).
"""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

from chainrule.graph import from_text, to_text

HERE = Path(__file__).resolve().parent
BUILDER = HERE.parent.parent / "scripts" / "build_tour.py"


@pytest.fixture(scope="module")
def stages() -> dict[str, str]:
    """Each stage's text by the name of its file."""
    texts = runpy.run_path(str(BUILDER))["stages"]()
    return {f"{stage.replace(', ', '-').replace(' ', '_')}.txt": t for stage, t in texts.items()}


def test_every_stage_prints_as_it_did(
    stages: dict[str, str], check_golden: Callable[[Path, str], None]
) -> None:
    """A refactoring leaves every stage of tanh(x @ w + b) as it was."""
    for name, text in stages.items():
        check_golden(HERE / name, text + "\n")


def test_no_golden_file_is_left_over(stages: dict[str, str]) -> None:
    """Each file belongs to a stage that exists."""
    assert {path.name for path in HERE.glob("*.txt")} == set(stages)


def test_golden_graphs_parse_back(stages: dict[str, str]) -> None:
    """Except for the user's lines, the text of a graph is the graph."""
    graphs = [text for text in stages.values() if text.startswith(("graph layer", "graph loss"))]
    assert len(graphs) >= 4
    for text in graphs:
        lines = [line.split("  #")[0].rstrip() for line in text.splitlines()]
        assert to_text(from_text(text), origins=False).splitlines() == lines
