"""README.md does what it says: every block of code runs, and its output has the form that is shown.

Python blocks run in one process, commands in a shell, all in one empty directory. `./run` is the
installed command here; `./run test` and `./run check` are what runs this.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
CHAINRULE = Path(sys.executable).parent / "chainrule"
OURSELVES = {"./run test", "./run check"}
ANY_LINES = "..."
PAGES = [path.relative_to(ROOT) for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))]


@dataclass(frozen=True)
class Block:
    language: str
    line: int
    text: str


def blocks(page: str) -> list[Block]:
    """The fenced blocks, in order."""
    found, opened = [], None
    for number, line in enumerate(page.splitlines(), 1):
        if not line.startswith("```"):
            if opened:
                opened[2].append(line)
        elif opened is None:
            opened = (line[3:].strip(), number + 1, [])
        else:
            found.append(Block(opened[0], opened[1], "\n".join(opened[2])))
            opened = None
    assert opened is None, "a block is not closed"
    return found


def form(text: str) -> str:
    """What remains of an output when its numbers and the width of its gaps do not count."""
    return re.sub(r"[ \t]+", " ", re.sub(r"\d[\d.,]*(e-?\d+)?", "#", text)).strip()


def matches(output: str, shown: str) -> bool:
    """Whether an output has the form of one in the page, where `...` is any number of lines."""
    lines = [form(line) for line in shown.rstrip().splitlines()]
    pattern = "".join(
        r"(?:.*\n)*?" if line == ANY_LINES else re.escape(line) + r"\n" for line in lines
    )
    produced = "".join(form(line) + "\n" for line in output.rstrip().splitlines())
    return re.fullmatch(pattern, produced) is not None


def commands(block: Block) -> Iterator[tuple[str, str]]:
    """Each command with the output that is shown after it."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        yield command.strip(), shown


def run_python(block: Block, names: dict[str, Any]) -> str:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(block.text, "example.py", "exec"), names)
    return output.getvalue()


def run_command(command: str) -> str:
    run = subprocess.run(
        command.replace("./run", shlex.quote(str(CHAINRULE))),
        shell=True,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        env={**os.environ, "CHAINRULE_COMMAND": "./run", "PYTHONIOENCODING": "utf-8"},
        timeout=300,
    )
    assert run.returncode == 0, f"{command} failed:\n{run.stdout}"
    return run.stdout


def test_every_block_of_the_readme_runs_and_prints_what_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Followed from top to bottom, the page works as it stands."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    printed, ran = "", 0
    for block in blocks(README.read_text(encoding="utf-8")):
        place = f"README.md:{block.line}"
        if block.language == "python":
            printed = run_python(block, names)
        elif block.language == "output":
            assert matches(printed, block.text), f"{place}: it printed\n{printed}"
        else:
            assert block.language == "console", f"{place}: {block.language!r} cannot be run"
            for command, shown in commands(block):
                if command not in OURSELVES:
                    output = run_command(command)
                    assert not shown or matches(output, shown), f"{place}: it printed\n{output}"
        ran += 1
    assert ran >= 5


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_of_the_documentation_leads_somewhere(page: Path) -> None:
    """Each folder, page and picture that is named is there, and each heading that is pointed to."""
    for target, heading in links(ROOT / page):
        place = (ROOT / page).parent / target if target else ROOT / page
        assert place.exists(), f"{page}: {target}"
        if heading:
            assert heading in headings(place), f"{page}: {target}#{heading}"


def links(page: Path) -> list[tuple[str, str]]:
    """The targets of links to files, each with the heading after its #."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [
        (target, heading)
        for target, heading in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", text)
        if not target.startswith(("https:", "http:", "mailto:"))
    ]


def headings(page: Path) -> set[str]:
    """The names by which headings of a page are pointed to."""
    found = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in found}


def test_the_index_of_the_documentation_is_whole() -> None:
    """docs/README.md links every page beside it."""
    docs = ROOT / "docs"
    named = {target for target, _ in links(docs / "README.md")}
    pages = {path.name for path in docs.iterdir() if path.suffix in (".md", ".py")}
    assert pages - {"README.md"} <= named


def test_the_stage_line_names_every_room() -> None:
    """The way from code to report is told once, with each folder linked."""
    page = README.read_text(encoding="utf-8")
    way = "tracing graph backward rewrite reference training observe report nn optim data store"
    for room in way.split():
        assert f"](src/chainrule/{room})" in page, room


@pytest.mark.parametrize(
    ("output", "shown", "same"),
    [
        ("loss 0.25 in 3 s\n", "loss 0.31 in 12 s", True),
        ("a\nx\ny\nb\n", "a\n...\nb", True),
        ("a\nb\n", "a\n...\nb", True),
        ("loss 0.25\n", "accuracy 0.25", False),
        ("a\nb\n", "a", False),
        ("a\n", "a\nb", False),
        ("a\nc\n", "a\n...\nb", False),
    ],
)
def test_the_comparison_sees_what_differs(output: str, shown: str, same: bool) -> None:
    """Numbers and gaps may differ, words and lines may not."""
    assert matches(output, shown) is same
