"""docs/tour.md is what scripts/build_tour.py makes of the code as it is."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOUR = ROOT / "docs" / "tour.md"
DECIMAL = re.compile(r"-?\d+\.\d*(?:e-?\d+)?")


def test_the_tour_is_current() -> None:
    """Built again, the page reads the same; decimal numbers may differ in their last digits, as
    they do between processors."""
    built = runpy.run_path(str(ROOT / "scripts" / "build_tour.py"))["tour"]()
    kept = TOUR.read_text(encoding="utf-8")
    assert DECIMAL.sub("0.0", built) == DECIMAL.sub("0.0", kept), (
        "docs/tour.md is out of date; write it anew with .venv/bin/python scripts/build_tour.py"
    )
    numbers = [[float(n) for n in DECIMAL.findall(page)] for page in (built, kept)]
    # Shown with 4 digits, computed in float32: less than one unit of the last digit.
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-3, abs=2e-4)


def test_the_tour_links_to_what_exists() -> None:
    """Each folder, file and picture that the page names is there."""
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", TOUR.read_text(encoding="utf-8"))
    assert targets
    for target in targets:
        assert (TOUR.parent / target).exists(), target
