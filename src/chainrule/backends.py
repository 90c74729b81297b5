"""What runs a graph: native code, or where this machine has none, the reference interpreter.

Receives: a graph and the name of a backend. Returns: what maps input arrays to output arrays.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache

import numpy as np

from chainrule import config
from chainrule.errors import ChainruleError
from chainrule.graph import Graph
from chainrule.native.available import missing
from chainrule.reference import Interpreter

Runner = Callable[[Sequence[np.ndarray]], list[np.ndarray]]


def backend_for(name: str | None) -> str:
    """The backend that runs what asks for `name`; None asks for the default.

    Where native code cannot run the reference takes over, and says so once in a process. Raises
    UsageError for a backend that does not exist.
    """
    wanted = config.check_backend(name)
    if wanted == "native" and (why := missing()) is not None:
        _say_instead(why)
        return "reference"
    return wanted


@lru_cache(maxsize=1)
def _say_instead(why: str) -> None:
    text = (
        f"chainrule: {why}; the reference backend runs instead: the same results up to rounding, "
        "more slowly"
    )
    with suppress(OSError, ValueError):  # stderr is closed, or its reader has gone
        if sys.stderr is not None:
            print(text, file=sys.stderr, flush=True)


def check_native(what: str) -> None:
    """Raises ChainruleError where there is no native code, which `what` is about."""
    if (why := missing()) is not None:
        raise ChainruleError(
            f"{what} is about native code, and {why}",
            do='use a machine on which `backend="native"` runs',
        )


def runner(graph: Graph, backend: str | None, threads: int | None = None) -> Runner:
    """The graph, made ready by a backend to be run by at most so many threads."""
    if backend_for(backend) == "reference":
        return Interpreter(graph)
    from chainrule.native.program import NativeProgram  # brings LLVM, which is slow to import

    return NativeProgram(graph, threads=threads)
