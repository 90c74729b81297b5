"""One function at every stage, in Python and on the command line."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import lowering
from chainrule.cli import main
from chainrule.errors import TraceError
from chainrule.graph import from_text

ROOT = Path(__file__).resolve().parent.parent
# Of the examples those that show a function; tests/test_examples.py runs them all.
EXAMPLES = [
    path
    for path in sorted((ROOT / "examples").glob("*.py"))
    if "\nexample = " in path.read_text(encoding="utf-8")
]
ALL = ["traced", "backward", "rewritten", "regions", "loops", "llvm", "assembly"]
W, X = np.ones((3, 4), np.float32), np.ones((5, 3), np.float32)


def layer(w: Any, x: Any) -> Any:
    return np.tanh(x @ w)


def loss(w: Any, x: Any) -> Any:
    return np.mean(layer(w, x) ** 2)


def test_a_loss_has_all_stages_and_a_layer_all_but_its_gradient() -> None:
    assert list(cr.stages(loss, W, X)) == ALL
    assert list(cr.stages(layer, W, X)) == [name for name in ALL if name != "backward"]
    assert list(cr.stages(np.sum, np.arange(3))) == list(cr.stages(layer, W, X))


def test_each_stage_is_of_the_function() -> None:
    found = cr.stages(loss, W, X)
    for name in ("traced", "backward", "rewritten"):
        lines = [line.split("  #")[0].rstrip() for line in found[name].splitlines()]
        graph = from_text("\n".join(lines))
        assert len(graph.outputs) == (1 if name == "traced" else 2)
    assert "tests/test_stages.py" in found["traced"] or "test_stages.py:" in found["traced"]
    assert "tanh" in found["regions"]
    assert "define void @program" in found["llvm"]
    assert "\n\tret" in found["assembly"]
    assert found["assembly"].count("program:") == 1


def test_it_prints_as_all_its_stages_in_order() -> None:
    said = str(cr.stages(loss, W, X))
    places = [said.index(f"--- {name}: {lowering.MEANING[name]}\n") for name in ALL]
    assert places == sorted(places)


def test_kernels_tell_their_arithmetic_and_the_bytes_they_move() -> None:
    """A product of [5,3] and [3,4] in float32, and what is done to it on the way out."""
    (kernel,) = cr.stages(layer, W, X).kernels
    assert kernel.flops == 2 * 5 * 3 * 4 + 5 * 4
    assert kernel.bytes_read == 4 * (3 * 4 + 5 * 3)
    assert kernel.bytes_written == 4 * 5 * 4
    text = cr.stages(layer, W, X)["loops"]
    assert "140 flops, 108 bytes read, 80 written" in text
    kernels = cr.stages(loss, W, X).kernels
    assert f"together {sum(k.flops for k in kernels):,} flops" in cr.stages(loss, W, X)["loops"]


def test_where_native_code_cannot_run_the_stages_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lowering, "missing", lambda: "LLVM does not load: gone")
    found = cr.stages(loss, W, X)
    assert list(found) == ALL
    assert found["assembly"] == "not on this machine: LLVM does not load: gone"
    assert found.kernels == ()


def test_what_does_not_trace_raises_as_it_does_elsewhere() -> None:
    with pytest.raises(TraceError):
        cr.stages(lambda x: float(x[0]), np.ones(3))


# --- the command ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_command_shows_every_example(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each has its own lines in the texts; and each runs as a program of its own."""
    assert len(path.read_text().splitlines()) < 100
    assert main(["stages", str(path)]) == 0
    said = capsys.readouterr().out
    for name in ALL:
        assert f"--- {name}: " in said or name == "backward"
    assert f"{path.name}:" in said
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 2


def test_one_stage_alone_and_all_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(ROOT / "examples" / "logistic.py")
    assert main(["stages", path, "--stage", "regions"]) == 0
    assert capsys.readouterr().out.startswith("kernel 0: ")
    assert main(["stages", path, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["function"], list(told["stages"])) == ("loss", ALL)
    parts = "name flops bytes_read bytes_written phase shared ops layers lines".split()
    assert list(told["kernels"][0]) == parts
    assert main(["stages", path, "--stage", "llvm", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["stages"]) == ["llvm"]


@pytest.mark.parametrize(
    ("text", "words", "code", "says"),
    [
        ("def f(x):\n    return x\n", [], 2, "example = (x, y)"),
        ("def f(x):\n    return x\nexample = 3\n", [], 2, "example is int, not a tuple"),
        ("example = (1.0,)\n", [], 2, "defines no function"),
        ("def f(x): ...\ndef g(x): ...\nexample = (1.0,)\n", [], 2, "several functions: f, g"),
        ("def f(x): ...\nexample = (1.0,)\n", ["--function", "ff"], 2, "did you mean 'f'"),
        ("def f(x): ...\nexample = (1.0,)\n", ["--stage", "lopps"], 2, "did you mean 'loops'"),
        ("x = 1\ny = 1 / 0\n", [], 1, "ZeroDivisionError: division by zero"),
        ("x = (\n", [], 1, "SyntaxError"),
        ("import sys\nsys.exit(3)\n", [], 1, "SystemExit: 3"),
        ("def f(x):\n    return float(x)\nexample = (1.0,)\n", [], 1, "Python number"),
        ("def f(x):\n    return y + x\nexample = (1.0,)\n", [], 1, "name 'y' is not defined"),
        (
            "import numpy as np\ndef f(x):\n    return x\nexample = (np.ones(3),)\n",
            ["--stage", "backward"],
            2,
            "no stage backward",
        ),
    ],
)
def test_a_mistake_says_what_to_do(
    text: str,
    words: list[str],
    code: int,
    says: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    assert main(["stages", str(path), *words]) == code
    said = capsys.readouterr().err
    assert says in said
    assert "Traceback" not in said
    if "1 / 0" in text or "y + x" in text:
        assert f"{path}:2" in said


def test_a_file_that_is_not_there_or_not_python(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["stages", str(tmp_path / "none.py")]) == 1
    assert "there is no file" in capsys.readouterr().err
    (tmp_path / "data.csv").write_text("a,b\n")
    assert main(["stages", str(tmp_path / "data.csv")]) == 1
    assert "whose name ends in .py" in capsys.readouterr().err


def test_a_file_may_import_what_lies_beside_it_and_be_asked_for_one_function(
    tmp_path: Path,
) -> None:
    (tmp_path / "beside.py").write_text("scale = 3.0\n")
    (tmp_path / "mine.py").write_text(
        "import numpy as np\nfrom beside import scale\n"
        "def f(x):\n    return x * scale\n"
        "def g(x):\n    return np.exp(x)\n"
        "example = (np.ones(3),)\n"
    )
    command = [sys.executable, "-m", "chainrule", "stages", "mine.py", "--function", "g"]
    done = subprocess.run(
        [*command, "--stage", "traced"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "exp(x)" in done.stdout
    assert "mine.py:6" in done.stdout


def test_the_help_says_that_the_file_is_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stages", "--help"]) == 0
    said = capsys.readouterr().out
    assert "It is run as Python runs it" in said
    assert "`example`, a tuple of arguments" in said
