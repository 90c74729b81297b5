"""Every switch on one page.

A switch is an environment variable, read once when chainrule is imported.
"""

from __future__ import annotations

import operator
import os
import re
import sys
from pathlib import Path

from chainrule.errors import UsageError, unknown

VERSION = "0.1.0"
BACKENDS = ("native", "reference")

# CHAINRULE_BACKEND: what runs programs where the code does not say.
BACKEND: str = os.environ.get("CHAINRULE_BACKEND") or BACKENDS[0]

# CHAINRULE_VERIFY=1: check every graph between passes. On in the tests; costs tracing time.
VERIFY: bool = os.environ.get("CHAINRULE_VERIFY", "0") == "1"

# CHAINRULE_COMMAND: what the person calls the command line, for what it says to copy. `./run` sets
# it to itself.
COMMAND: str = os.environ.get("CHAINRULE_COMMAND") or "chainrule"

# CHAINRULE_THREADS: how many threads a program may use where the code does not say; unset, one for
# each core.
THREADS: str = os.environ.get("CHAINRULE_THREADS", "")
MOST_THREADS = 512  # more than any machine of one board has cores

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
    chosen = BACKEND if name is None else name
    if chosen not in BACKENDS:
        kind = "backend" if name is not None else "backend in CHAINRULE_BACKEND:"
        raise unknown(kind, chosen, BACKENDS)
    return chosen


def check_threads(threads: int | None) -> int | None:
    """The most threads to use; None where neither the code nor the switch says. UsageError for
    what is no such number."""
    if threads is None:
        if not THREADS:
            return None
        if not re.fullmatch(r"\d{1,9}", THREADS) or not 1 <= int(THREADS) <= MOST_THREADS:
            raise _bad_threads(f"the switch CHAINRULE_THREADS is {THREADS!r}", "leave it unset")
        return int(THREADS)
    try:
        number = 0 if isinstance(threads, bool) else operator.index(threads)
    except TypeError:
        number = 0
    if not 1 <= number <= MOST_THREADS:
        raise _bad_threads(f"threads is {threads!r}", "use None")
    return number


def _bad_threads(what: str, otherwise: str) -> UsageError:
    do = f"use a whole number from 1 to {MOST_THREADS}, or {otherwise} for one thread a core"
    return UsageError(what, do=do)
