"""What runs a program: native code where it can, else the reference, which is said once."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule import backends, config
from chainrule.errors import UsageError
from chainrule.native import available

SAID = "the reference backend runs instead"


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    """Whether native code can run is asked once in a process."""
    for memory in (available.missing, backends._say_instead):
        memory.cache_clear()
    yield
    for memory in (available.missing, backends._say_instead):
        memory.cache_clear()


@pytest.fixture
def without_llvm(tmp_path: Path) -> dict[str, str]:
    """The environment of a process in which LLVM does not load."""
    package = tmp_path / "broken" / "llvmlite"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('libLLVM.so: no such file')\n")
    return {**os.environ, "PYTHONPATH": str(package.parent)}


def chainrule(
    *words: str, env: dict[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "chainrule", *words]
    return subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, check=False)


def test_native_is_what_runs_where_nothing_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    assert config.BACKENDS[0] == "native"
    assert available.missing() is None
    run = cr.train(cr.nn.Dense(1), (np.ones((8, 2)), np.arange(8.0)), epochs=1, backend="native")
    assert run.summary()["backend"] == "native"
    assert run.config["settings"]["backend"] == "native"
    assert capfd.readouterr().err == ""


def test_where_llvm_does_not_load_the_reference_runs_and_says_so_once(
    without_llvm: dict[str, str],
) -> None:
    """One line for the whole process, although the backend is asked for many times over; no
    warning, so that a program in which warnings are errors goes on as well."""
    program = """
import numpy as np, chainrule as cr
x = np.linspace(-1, 1, 24).reshape(8, 3)
f = cr.compile(lambda x: np.tanh(x) * 2, backend="native")
assert np.allclose(f(x), np.tanh(x) * 2)
assert np.allclose(cr.grad(lambda x: np.sum(x * x))(x), 2 * x)
run = cr.train(cr.nn.Dense(1), (x, x[:, 0]), epochs=2, backend="native")
assert run.predict(x).shape == (8,)
print(run.summary()["backend"], run.config["settings"]["backend"], run.record.started.backend)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=without_llvm,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "reference reference reference\n", done.stderr
    assert done.stderr.count("\n") == 1
    assert "LLVM does not load: libLLVM.so: no such file; the reference backend" in done.stderr


def test_the_command_line_goes_on_without_llvm(
    without_llvm: dict[str, str], tmp_path: Path
) -> None:
    """A run that was begun on native code goes on too, and says that its bits are others."""
    words = ["xor", "--backend", "native", "--run-dir", "run", "--epochs", "3", "--quiet"]
    begun = chainrule("train", *words, "--json", cwd=tmp_path)
    assert json.loads(begun.stdout.splitlines()[-1])["backend"] == "native", begun.stderr
    more = ["--resume", "run", "--epochs", "5", "--json"]
    done = chainrule("train", *more, env=without_llvm, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["backend"] == "reference"
    assert done.stderr.count(SAID) == 1
    assert "started on the native backend: on the reference one it goes on" in done.stderr


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("machine", "no native code for this processor (riscv64)"),
        ("memory", "lets no process run code that it made itself"),
    ],
)
def test_a_machine_that_native_code_was_not_made_for_uses_the_reference(
    name: str, why: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if name == "machine":
        monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    else:
        monkeypatch.setattr(available, "_may_run_new_code", lambda: False)
    double = cr.compile(lambda x: x * 2.0, backend="native")
    for size in (2, 3):
        np.testing.assert_array_equal(double(np.ones(size)), np.full(size, 2.0))
    said = capsys.readouterr().err
    assert why in said
    assert said.count(SAID) == 1


@pytest.mark.parametrize("switch", ["CHAINRULE_BACKEND", "CHAINRULE_THREADS"])
@pytest.mark.parametrize("value", ["natiev", "-1"])
def test_a_switch_that_makes_no_sense_is_named(switch: str, value: str, tmp_path: Path) -> None:
    done = chainrule("train", "digits", env={**os.environ, switch: value}, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert switch in done.stderr
    assert value in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_backend_that_does_not_exist_is_named() -> None:
    with pytest.raises(UsageError, match="did you mean 'native'"):
        cr.compile(np.sin, backend="nativ")
