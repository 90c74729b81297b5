"""What is installed is what is pinned, and what is built holds everything."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("requirements.lock", "requirements-dev.lock")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT, BUILD = PYPROJECT["project"], PYPROJECT["dependency-groups"]["build"]
EXTRAS = PROJECT["optional-dependencies"]
RUN_EXTRAS = ("tables", "images", "audio")  # what a user of ./run can read


def pins(lock: str) -> dict[tuple[str, str], str]:
    """The version of each (package, environment marker) of a lock file."""
    text = (ROOT / lock).read_text(encoding="utf-8").replace("\\\n", "")
    requirements = [
        Requirement(line.partition("--hash")[0]) for line in text.splitlines() if line[:1].isalnum()
    ]
    return {
        (canonicalize_name(each.name), str(each.marker or "")): str(each.specifier)
        for each in requirements
    }


@pytest.mark.tiny
@pytest.mark.parametrize(
    ("lock", "asked"),
    [
        (
            "requirements.lock",
            [*PROJECT["dependencies"], *(r for e in RUN_EXTRAS for r in EXTRAS[e]), *BUILD],
        ),
        ("requirements-dev.lock", [*PROJECT["dependencies"], *chain(*EXTRAS.values()), *BUILD]),
    ],
)
def test_the_lock_pins_what_is_asked_for(lock: str, asked: list[str]) -> None:
    """Each requirement of pyproject.toml has an exact version in the lock that satisfies it."""
    pinned = pins(lock)
    for requirement in map(Requirement, asked):
        name = canonicalize_name(requirement.name)
        versions = [version for (package, _), version in pinned.items() if package == name]
        assert versions, f"{name} is not in {lock}: ./run lock"
        for version in versions:
            assert version.startswith("=="), version
            assert requirement.specifier.contains(version.removeprefix("==")), (name, version)


@pytest.mark.tiny
def test_the_two_locks_agree() -> None:
    """A developer trains with the very versions that users train with."""
    assert pins("requirements.lock").items() <= pins("requirements-dev.lock").items()


@pytest.mark.tiny
@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_hashes_and_no_home(lock: str) -> None:
    """Files are known by their hash, and may come from whichever registry the machine uses."""
    text = (ROOT / lock).read_text(encoding="utf-8")
    blocks = re.split(r"\n(?=\w)", text)[1:]
    assert len(blocks) == len(pins(lock)) > 10
    assert [block for block in blocks if "--hash=sha256:" not in block] == []
    assert not re.search(r"://|^--(?:extra-)?(?:index|find)| @ |\s/", text, re.MULTILINE)


def test_the_wheel_holds_every_file_of_the_package(tmp_path: Path) -> None:
    """Data files, templates and the type marker are installed with the modules; nothing else is."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    package = ROOT / "src" / "chainrule"
    files = {
        path.relative_to(package.parent).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == files
    assert "chainrule/py.typed" in names
