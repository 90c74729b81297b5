"""`./run` makes its environment once, and then steps out of the way.

The script is real; Python's `venv`, `pip` and `uv` are stand-ins that make an environment in no
time and write down what they were asked to do.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SYSTEM = "sh basename cat chmod cksum cp dirname head ln mkdir mv readlink rm sleep touch"
INPUTS = ("pyproject.toml", "requirements.lock", "requirements-dev.lock")

# Makes .venv/bin as `python -m venv .venv` and `uv venv` do; `install -e .` adds the command.
TOOL = """\
#!/bin/sh
set -e
echo "$(basename "$0") $*" >>"$LOG"
case $* in
    *version_info*) exec "{python}" -c "print('3.13 $0')" ;;
    *"import ensurepip"*) exit {without_venv} ;;
    *fcntl*) exec "{python}" "$@" ;;
    *venv*.venv)
        mkdir -p .venv/bin
        ln -s "{self}" .venv/bin/python
        touch .venv/bin/pip
        chmod +x .venv/bin/pip
        ;;
    *--require-hashes*)
        touch .venv/half
        while [ -e "$LOG.hold" ]; do sleep 0.02; done
        ;;
    *"-e ."*)
        cp "$LOG.command" .venv/bin/chainrule
        cp "$LOG.command" .venv/bin/pytest
        rm .venv/half
        ;;
esac
"""
COMMAND = """\
#!/bin/sh
echo "cwd $(pwd)"
for word; do echo "word $word"; done
[ "$1" != wait ] || exec sleep 30
[ "$1" != called ] || echo "called $CHAINRULE_COMMAND"
cat
exit 7
"""


def executable(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


class Checkout:
    """A checkout in a folder with a space in its name, and a machine with few tools."""

    def __init__(self, folder: Path, *, uv: bool = False, without_venv: bool = False) -> None:
        self.root = folder / "a checkout"
        self.tools = folder / "tools"
        self.log = folder / "log"
        self.root.mkdir()
        self.tools.mkdir()
        for name in ("run", *INPUTS):
            shutil.copy(ROOT / name, self.root / name)
        for name in SYSTEM.split():
            (self.tools / name).symlink_to(str(shutil.which(name)))
        executable(folder / "log.command", COMMAND)
        for name in ("python3.13", *(["uv"] if uv else [])):
            path = self.tools / name
            text = TOOL.format(python=sys.executable, self=path, without_venv=int(without_venv))
            executable(path, text)

    def start(self, *words: str, cwd: Path | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.root / "run", *words],
            cwd=cwd or self.root,
            env={"PATH": str(self.tools), "LOG": str(self.log)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *words: str, cwd: Path | None = None, stdin: str = "") -> tuple[int, str, str]:
        process = self.start(*words, cwd=cwd)
        out, err = process.communicate(stdin, timeout=60)
        return process.returncode, out, err

    def installs(self) -> list[str]:
        """The lock files that were installed since the last call, in order."""
        lines = self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return [line.split()[-1] for line in lines if "--require-hashes" in line]


def wait_until(happened: Path) -> None:
    end = time.monotonic() + 30
    while not happened.exists():
        assert time.monotonic() < end, f"{happened} never came"
        time.sleep(0.01)


@pytest.mark.parametrize("uv", [False, True])
def test_a_command_is_passed_through(tmp_path: Path, uv: bool) -> None:
    """Arguments, working folder, stdin, stdout and exit code are the command's own."""
    checkout = Checkout(tmp_path, uv=uv)
    code, out, err = checkout.run("predict", "my table.csv", "", cwd=tmp_path, stdin="a,b\n")
    assert (code, out) == (7, f"cwd {tmp_path}\nword predict\nword my table.csv\nword \na,b\n")
    assert "making .venv" in err
    assert checkout.run("predict")[2] == "", "the second call has nothing to say"


def test_what_the_command_says_to_copy_begins_as_the_person_did(tmp_path: Path) -> None:
    """`./run` is told to the command, in quotes where a shell needs them."""
    checkout = Checkout(tmp_path)
    out = checkout.run("called")[1]
    assert f"called '{checkout.root / 'run'}'\n" in out
    environment = {"PATH": str(checkout.tools), "LOG": str(checkout.log)}
    for called in ("./run", "../a checkout/run"):
        run = subprocess.run(
            [called, "called"],
            check=False,
            cwd=checkout.root,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert f"called {shlex.quote(called)}\n" in run.stdout


def test_it_installs_once_and_again_when_a_lock_changes(tmp_path: Path) -> None:
    """Nothing is installed twice; a changed lock or pyproject.toml is installed over the old."""
    checkout = Checkout(tmp_path)
    checkout.run("x")
    assert checkout.installs() == ["requirements.lock"]
    checkout.run("x")
    assert checkout.installs() == []
    for name in INPUTS:
        with (checkout.root / name).open("a", encoding="utf-8") as file:
            file.write("# changed\n")
        kept = checkout.root / ".venv" / "kept"
        kept.touch()
        assert "updating .venv" in checkout.run("x")[2]
        assert checkout.installs() == ["requirements.lock"]
        assert kept.exists()


def test_test_adds_the_tools_and_commands_keep_them(tmp_path: Path) -> None:
    """Only developers wait for the developers' tools, and going back and forth costs nothing."""
    checkout = Checkout(tmp_path)
    checkout.run("x")
    checkout.installs()
    _, out, _ = checkout.run("test", "-k", "tanh")
    words = [line.removeprefix("word ") for line in out.splitlines()[1:]]
    tests = str(checkout.root / "tests")
    assert words == ["-c", f"{checkout.root}/pyproject.toml", "-n", "auto", "-k", "tanh", tests]
    assert checkout.installs() == ["requirements-dev.lock"]
    checkout.run("x")
    checkout.run("test")
    assert checkout.installs() == []


def test_paths_given_to_test_are_relative_to_the_user(tmp_path: Path) -> None:
    """`../run test test_x.py::test_y` in a folder of tests runs that one."""
    checkout = Checkout(tmp_path)
    (tmp_path / "test_x.py").touch()
    _, out, _ = checkout.run("test", "test_x.py::test_y", cwd=tmp_path)
    assert out.splitlines()[-1] == "word test_x.py::test_y"


def test_a_killed_install_is_begun_anew(tmp_path: Path) -> None:
    """What a killed install left is never used and never built upon."""
    checkout = Checkout(tmp_path)
    hold = tmp_path / "log.hold"
    hold.touch()
    with checkout.start("x") as process:
        wait_until(checkout.root / ".venv" / "half")
        os.killpg(process.pid, signal.SIGKILL)
    (checkout.root / ".venv" / "left over").touch()
    hold.unlink()
    code, _, err = checkout.run("x")
    assert code == 7
    assert "making .venv" in err
    assert not (checkout.root / ".venv" / "left over").exists()


def test_a_failed_install_says_so_and_is_begun_anew(tmp_path: Path) -> None:
    """No command runs on half an environment."""
    checkout = Checkout(tmp_path)
    (tmp_path / "log.command").rename(tmp_path / "away")
    code, out, err = checkout.run("x")
    assert code != 0
    assert out == ""
    assert "did not finish" in err
    (tmp_path / "away").rename(tmp_path / "log.command")
    assert checkout.run("x")[0] == 7


def test_two_at_once_install_once(tmp_path: Path) -> None:
    """The second waits for the first and then uses what it made."""
    checkout = Checkout(tmp_path)
    hold = tmp_path / "log.hold"
    hold.touch()
    first = checkout.start("x")
    wait_until(checkout.root / ".venv" / "half")
    second = checkout.start("y")
    assert second.stderr is not None
    assert "waiting for another" in second.stderr.readline()
    hold.unlink()
    assert "word x" in first.communicate(timeout=60)[0]
    assert "word y" in second.communicate(timeout=60)[0]
    assert (first.returncode, second.returncode) == (7, 7)
    assert checkout.installs() == ["requirements.lock"]


def test_a_moved_checkout_is_made_anew(tmp_path: Path) -> None:
    """Scripts in an environment hold its old path, so a moved one is not used."""
    checkout = Checkout(tmp_path)
    checkout.run("x")
    checkout.root = checkout.root.rename(tmp_path / "elsewhere")
    code, _, err = checkout.run("x")
    assert code == 7
    assert "making .venv" in err


def test_a_vanished_python_is_replaced(tmp_path: Path) -> None:
    """After the system's Python was upgraded the environment is made with the new one."""
    checkout = Checkout(tmp_path)
    checkout.run("x")
    python = checkout.root / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python3.9")
    code, _, err = checkout.run("x")
    assert code == 7
    assert "making .venv" in err


def test_it_works_through_a_link(tmp_path: Path) -> None:
    """A link to `run` on the PATH works from anywhere, and is the same environment."""
    checkout = Checkout(tmp_path)
    checkout.run("x")
    (tmp_path / "bin").mkdir()
    link = tmp_path / "bin" / "chainrule"
    link.symlink_to(checkout.root / "run")
    env = {"PATH": str(checkout.tools), "LOG": str(checkout.log)}
    run = subprocess.run([link, "x"], env=env, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (7, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_reach_the_command(tmp_path: Path, number: signal.Signals) -> None:
    """The command takes the place of the script, so Ctrl-C and kill mean it."""
    checkout = Checkout(tmp_path)
    process = checkout.start("wait")
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)][1] == "word wait\n"
    os.kill(process.pid, number)
    process.communicate(timeout=10)
    assert process.returncode == -number


def test_without_a_new_enough_python_it_says_what_to_install(tmp_path: Path) -> None:
    """An old Python is named, and so is what to do."""
    checkout = Checkout(tmp_path)
    (checkout.tools / "python3.13").unlink()
    code, _, err = checkout.run("x")
    assert code == 1
    assert "Python 3.11 or newer is needed, and none was found" in err
    executable(checkout.tools / "python3", f'#!{shutil.which("sh")}\necho "3.9 /usr/bin/python3"\n')
    code, _, err = checkout.run("x")
    assert code == 1
    assert "only Python 3.9 was found" in err
    assert "apt install python3 python3-venv" in err


def test_without_the_venv_module_it_names_the_package(tmp_path: Path) -> None:
    """Debian ships Python without `venv`; the package that holds it is named."""
    checkout = Checkout(tmp_path, without_venv=True)
    code, _, err = checkout.run("x")
    assert code == 1
    assert "apt install python3.13-venv" in err
