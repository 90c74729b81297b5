"""The page about layers runs, line by line, and names every layer there is."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from chainrule.nn.registry import LAYERS

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = (DOCS / "layers.md").read_text(encoding="utf-8")


def test_every_block_runs_and_says_what_it_says(capsys: Any) -> None:
    """A comment that is one bracket is what its line gives."""
    names: dict[str, Any] = {"__name__": "page"}
    checked = 0
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        lines = block.splitlines()
        for statement in ast.parse(block).body:
            decorators = getattr(statement, "decorator_list", [])
            first = min([statement.lineno, *(one.lineno for one in decorators)])
            text = "\n".join(lines[first - 1 : statement.end_lineno])
            shown = re.search(r"  # (\(.*\))$", text)
            if shown and isinstance(statement, ast.Expr):
                given = eval(text, names)
                assert given == eval(shown[1], names), text
                checked += 1
            else:
                exec(compile(text, "layers.md", "exec", dont_inherit=True), names)
    assert checked == 11
    assert "Conv2d 3 -> 16" in capsys.readouterr().out


def test_the_table_names_every_layer() -> None:
    """Of three in a row, from 1d to 3d, the first and the last."""
    ranges = re.findall(r"`(\w+?)1d` to `\1(3d)`", PAGE)
    named = set(re.findall(r"`(\w+)`", PAGE)) | {f"{kind}2d" for kind, _ in ranges}
    assert set(LAYERS) <= named
