"""What `./run oracle` needs is what the lock has; this test needs no peer."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def _pins(name: str) -> set[str]:
    return set(re.findall(r"^[\w-]+==[\w.]+", (ROOT / name).read_text("utf-8"), re.MULTILINE))


def test_the_peers_are_compared_by_the_pytest_of_the_lock() -> None:
    wanted = {p for p in _pins("bench/requirements.txt") if p.startswith(("pytest", "hypothesis"))}
    assert len(wanted) == 2
    assert wanted <= _pins("requirements-dev.lock")
