"""Every switch on one page.

A switch is an environment variable, read once when chainrule is imported.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from chainrule.errors import unknown

VERSION = "0.1.0"
BACKENDS = ("reference", "native")

# CHAINRULE_BACKEND: what runs programs where the code does not say.
BACKEND: str = os.environ.get("CHAINRULE_BACKEND") or BACKENDS[0]

# CHAINRULE_VERIFY=1: check every graph between passes. On in the tests; costs tracing time.
VERIFY: bool = os.environ.get("CHAINRULE_VERIFY", "0") == "1"

# CHAINRULE_COMMAND: what the person calls the command line, for what it says to copy. `./run` sets
# it to itself.
COMMAND: str = os.environ.get("CHAINRULE_COMMAND") or "chainrule"

# CHAINRULE_THREADS: how many threads a program may use; 0, the default, is one for each core.
THREADS: int = int(os.environ.get("CHAINRULE_THREADS", "0") or 0)

# CHAINRULE_CACHE: the folder for compiled code; "off" keeps none. Unset: the user's cache folder.
CACHE: str = os.environ.get("CHAINRULE_CACHE", "")
CACHE_BYTES = 256 * 2**20  # about 3,000 training steps of small networks

# CHAINRULE_DATA: folders that hold public data sets, divided as in PATH; a set that is in none of
# them, nor in the user's cache, is downloaded when that is asked for.
DATA: tuple[str, ...] = tuple(filter(None, os.environ.get("CHAINRULE_DATA", "").split(os.pathsep)))


def user_cache() -> Path:
    """The user's folder for what chainrule can get again; it need not exist."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "chainrule"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chainrule"


def check_backend(name: str | None) -> str:
    """The backend to use; None chooses the default. UsageError for one that does not exist."""
    if name is None:
        return BACKEND
    if name not in BACKENDS:
        raise unknown("backend", name, BACKENDS)
    return name
