"""Complexity and import time stay within the numbers of budgets.toml."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.tiny

ROOT = Path(__file__).resolve().parent.parent
BUDGETS = tomllib.loads((ROOT / "budgets.toml").read_text(encoding="utf-8"))
TEXTS = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "src" / "chainrule").rglob("*.py"))
}
LINES = {name: text.count("\n") for name, text in TEXTS.items()}


def test_the_whole_source_is_within_its_lines() -> None:
    """The package stays small enough to read."""
    assert sum(LINES.values()) <= BUDGETS["source"]["lines_total"]


def test_files_are_short_or_have_a_reason() -> None:
    """A file past the limit is listed with its own limit and the reason that it is one file."""
    limit, longer = BUDGETS["source"]["lines_per_file"], BUDGETS["source"]["longer"]
    over = {name: lines for name, lines in LINES.items() if lines > limit}
    assert set(over) == set(longer), "list a longer file, and only those that are longer"
    for name, lines in over.items():
        assert lines <= longer[name]["lines"], name
        assert longer[name]["why"].strip(), name


def test_the_table_of_ops_stays_closed() -> None:
    """New functions are written with the ops there are."""
    from chainrule.graph import OPS

    assert 0 < len(OPS) <= BUDGETS["graph"]["ops"]


def test_switches_are_few_and_on_one_page() -> None:
    """Every environment variable of ours is described in config.py."""
    found = {switch for text in TEXTS.values() for switch in re.findall(r"CHAINRULE_[A-Z_]+", text)}
    assert len(found) <= BUDGETS["config"]["switches"]
    assert found <= set(re.findall(r"CHAINRULE_[A-Z_]+", TEXTS.get("src/chainrule/config.py", "")))


def test_import_chainrule_is_quick(tmp_path: Path) -> None:
    """What `import chainrule` adds to `import numpy`, in CPU time: others' work counts little.

    Names load when they are first used; all but those of training count here.
    Byte code is kept, as Python does unless told otherwise.
    """
    environment = {n: v for n, v in os.environ.items() if n != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(tmp_path)
    program = (
        "import numpy, time; start = time.process_time(); import chainrule as cr; "
        "cr.nn, cr.optim, cr.grad, cr.check_grads, cr.jacobian; "
        "print(time.process_time() - start)"
    )

    def seconds() -> float:
        command = [sys.executable, "-c", program]
        run = subprocess.run(command, check=True, capture_output=True, env=environment)
        return float(run.stdout)

    seconds()  # writes the byte code
    # The least of several: on a shared core even CPU time is lengthened by what others do.
    assert min(seconds() for _ in range(5)) <= BUDGETS["import"]["seconds_over_numpy"]
