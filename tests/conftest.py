"""What every test starts from: one machine-independent environment."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

# Before NumPy is imported: the tests run side by side, so each takes one core.
for _library in ("OPENBLAS", "OMP", "MKL"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")

# A developer's own switches and terminal must not decide what a test sees.
for _name in list(os.environ):
    if _name.startswith("CHAINRULE_") and _name not in ("CHAINRULE_DATA", "CHAINRULE_BACKEND"):
        del os.environ[_name]
for _name in ("COLUMNS", "FORCE_COLOR", "NO_COLOR"):
    os.environ.pop(_name, None)

os.environ["CHAINRULE_VERIFY"] = "1"  # every graph is checked between passes
# Compiled code is kept from one run of the tests to the next, away from the user's own.
os.environ["CHAINRULE_CACHE"] = str(Path(__file__).parent.parent / ".pytest_cache" / "objects")

import pytest  # noqa: E402 - after the environment is set
from hypothesis import settings  # noqa: E402
from hypothesis.database import DirectoryBasedExampleDatabase  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent

# No deadline: on a busy machine the same example takes ten times as long.
settings.register_profile(
    "here",
    deadline=None,
    print_blob=True,
    database=DirectoryBasedExampleDatabase(ROOT / ".hypothesis"),
)
# Continuous integration repeats the same examples; people explore new ones.
settings.register_profile("ci", settings.get_profile("here"), derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "here")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write the golden files anew, then read them"
    )


@pytest.fixture
def check_golden(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    """Compares a text with a golden file, or writes it with --update-golden."""

    def check(path: Path, text: str) -> None:
        if request.config.getoption("--update-golden"):
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"{path.name} is missing: --update-golden writes it"
        assert text == path.read_text(encoding="utf-8"), (
            f"{path.name} would change; where that is meant, --update-golden writes it anew"
        )

    return check
