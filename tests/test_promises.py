"""docs/promises.md names a test for each promise; here are the tests of those that no room owns."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from chainrule.cli import main

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
PROMISED, NOT_PROMISED = PAGE.split("## What is not promised")
# A test is named by its words: [a b](../tests/x.py) is test_a_b of tests/x.py.
NAMED = re.compile(r"\[([\w ]+)\]\(\.\./(tests/[\w/]+\.py)\)")

# A command under an audit hook: which files it opened for writing and which addresses it asked for.
AUDITED = """
import json, os, sys
writes, calls = [], []
writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
changing = {"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate", "os.link",
            "os.symlink", "os.chmod", "os.chown"}
def hook(event, args):
    if event == "open" and args[2] is not None and args[2] & writing:
        writes.append(str(args[0]))
    elif event in changing:
        writes.extend(str(a) for a in args if isinstance(a, (str, bytes, os.PathLike)))
    elif event.split(".")[0] in ("socket", "urllib", "http", "subprocess", "ftplib", "smtplib"):
        calls.append(event)
sys.addaudithook(hook)
from chainrule.cli import main
code = main(sys.argv[2:])
told = json.dumps({"code": code, "writes": writes, "calls": calls})
with open(sys.argv[1], "w") as file:
    file.write(told)
"""


def functions_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_test_that_is_named_exists() -> None:
    """Renaming or deleting a test that holds a promise is noticed."""
    named = NAMED.findall(PAGE)
    assert len(named) > 40
    for words, path in named:
        assert (ROOT / path).is_file(), path
        name = "test_" + words.replace(" ", "_")
        assert name in functions_in(path), f"{path}::{name}"


def test_every_promise_names_its_tests() -> None:
    """A promise without a test is a wish."""
    promises = re.split(r"^- ", PROMISED, flags=re.MULTILINE)[1:]
    assert len(promises) > 20
    for promise in promises:
        assert promise.startswith("**"), promise
        assert NAMED.search(promise), promise


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, list[str]]]]:
    """Train on a table, predict, report, each in a fresh process; the folder and what each did."""
    folder = tmp_path_factory.mktemp("audited")
    work, home = folder / "work", folder / "home"
    work.mkdir()
    home.mkdir()
    rows = [f"{i % 7},{'ab'[i % 2]},{i % 7 + 3 * (i % 2)}.5" for i in range(60)]
    (work / "table.csv").write_text("\n".join(["size,kind,price", *rows]) + "\n")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("XDG_")},
        "HOME": str(home),
        "TMPDIR": str(home),
        "CHAINRULE_CACHE": str(folder / "cache"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    found = []
    for number, words in enumerate(
        [
            ["train", "table.csv", "--target", "price", "--epochs", "3", "--run-dir", "run"],
            ["predict", "run", "table.csv"],
            ["report", "run"],
        ]
    ):
        told = folder / f"{number}.json"
        subprocess.run(
            [sys.executable, "-c", AUDITED, str(told), *words],
            cwd=work,
            env=environment,
            check=True,
            capture_output=True,
            timeout=120,
        )
        found.append(json.loads(told.read_text()))
    assert [entry["code"] for entry in found] == [0, 0, 0]
    return folder, found


def test_commands_write_in_the_run_directory_and_nowhere_else(
    audited: tuple[Path, list[dict[str, list[str]]]],
) -> None:
    """Neither beside the table, nor in the home directory, nor among temporary files; compiled code
    alone goes into the cache."""
    folder, found = audited
    run = folder / "work" / "run"
    assert sorted(p.name for p in (folder / "work").iterdir()) == ["run", "table.csv"]
    assert not list((folder / "home").iterdir())
    written = {(folder / "work" / path) for entry in found for path in entry["writes"]}
    allowed = {run, folder / "cache"}
    outside = {p for p in written if not allowed & {p, *p.parents}} - {Path(os.devnull)}
    assert not outside
    assert written, "the hook saw nothing: a weak test"


def test_commands_open_no_connection(
    audited: tuple[Path, list[dict[str, list[str]]]],
) -> None:
    """No socket is made, no address looked up, no other program started."""
    _, found = audited
    assert [entry["calls"] for entry in found] == [[], [], []]


MISTAKES = {
    "an unknown command": (["trian", "xor"], 2),
    "an unknown option": (["train", "xor", "--epohcs", "3"], 2),
    "a value out of range": (["train", "xor", "--learning-rate", "-1"], 2),
    "an unknown set": (["train", "digit"], 2),
    "no target": (["train", "table.csv"], 2),
    "a missing file": (["train", "no.csv", "--target", "y"], 1),
    "a missing column": (["train", "table.csv", "--target", "z"], 1),
    "an empty file": (["train", "empty.csv", "--target", "y"], 1),
    "a target of one class": (["train", "one.csv", "--target", "y"], 1),
    "an infinite number": (["train", "infinite.csv", "--target", "y"], 1),
    "no run": (["predict", "nowhere", "table.csv"], 1),
    "a file for a directory": (["report", "table.csv"], 1),
    "a damaged run": (["report", "damaged"], 1),
    "a run that cannot be resumed": (["train", "--resume", "damaged"], 1),
    "a directory that cannot be written": (["train", "xor", "--run-dir", "empty.csv/run"], 1),
    "rates that explode": (
        ["train", "table.csv", "--target", "y", "--optimizer", "sgd", "--learning-rate", "1e30"],
        1,
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_on_the_command_line_says_what_to_do_and_shows_no_traceback(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The exit code is 2 for what was typed and 1 for the rest; the error says what and what to do,
    and stdout stays clean for whoever reads it."""
    words, code = MISTAKES[name]
    monkeypatch.chdir(tmp_path)
    rows = [f"{i % 5},{(i * 7) % 11}.5" for i in range(40)]
    Path("table.csv").write_text("\n".join(["x,y", *rows]) + "\n")
    Path("empty.csv").write_text("")
    Path("one.csv").write_text("x,y\n" + "1,same\n2,same\n" * 10)
    Path("infinite.csv").write_text("\n".join(["x,y", *rows, "inf,1.5"]) + "\n")
    Path("damaged").mkdir()
    Path("damaged", "config.json").write_text("{")
    assert main(words) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert "chainrule: error: " in err
    assert "  do:    " in err
    assert "Traceback" not in err


def test_nothing_that_can_run_code_from_a_file_is_imported() -> None:
    """The package has no unpickler, no evaluation of text, and one way onto the network, which
    only a person who asks for a public data set takes."""
    forbidden = {"pickle", "shelve", "marshal", "dill", "joblib", "runpy", "code", "imp"}
    forbidden |= {"socket", "ssl", "http", "urllib", "ftplib", "requests"}
    for path in sorted((ROOT / "src" / "chainrule").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec", "__import__"), path
            elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant), path
                assert node.value.value is False, path
            found = forbidden & {name.partition(".")[0] for name in names}
            assert not found or (found == {"urllib"} and path.name == "fetching.py"), path
