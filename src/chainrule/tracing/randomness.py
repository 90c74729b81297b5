"""NumPy's random numbers inside a trace: an error, because they would be frozen into the program.

What can be seen is whether the trace changed a generator that the code reaches (closed over, a
global, an argument), or the global state of `np.random` or of Python's `random`. The numbers may
have gone elsewhere, or to another thread; so the function is then traced once more, and constants
that differ were random. A generator made inside the function and seeded from the system's entropy
cannot be seen.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from chainrule.errors import TraceError
from chainrule.graph import Graph, Node
from chainrule.graph.node import users
from chainrule.tracing.closure import random_sources


def random_states(function: Callable[..., Any], args: Sequence[Any]) -> list[Any]:
    """The states of the generators that a function sees, and the global ones."""
    return [_state(source) for source in random_sources((function, *args))] + _global_states()


def check_repeated(first: Graph, second: Graph) -> None:
    """TraceError where two traces of one function disagree in a constant."""
    for one, other in zip_longest(_constants(first), _constants(second)):
        if one is None or other is None or not _alike(one["value"], other["value"]):
            origin = users(first.nodes()).get(one, [one])[0].origin if one else None
            raise TraceError(
                "random numbers were drawn while tracing: they would be the same at every call",
                where=str(origin or "") or None,
                do="draw the numbers before the call and pass them as an argument, or use "
                "cr.random, whose numbers are new at each step",
            )


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and one.tobytes() == other.tobytes()


def _constants(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes() if node.op == "constant"]


def _state(source: Any) -> Any:
    if hasattr(source, "get_state"):  # a RandomState
        return _frozen(source.get_state(legacy=False))
    return _frozen(getattr(source, "bit_generator", source).state)


def _global_states() -> list[Any]:
    """Of `np.random`, where it is loaded, and of Python's own `random`."""
    found: list[Any] = []
    if "numpy.random" in sys.modules:
        found.append(_frozen(np.random.get_state(legacy=False)))  # noqa: NPY002 (it is watched)
    if "random" in sys.modules:
        found.append(hash(sys.modules["random"].getstate()))
    return found


def _frozen(state: Any) -> Any:
    """A bit generator's state as a value that later changes do not reach."""
    if isinstance(state, dict):
        return {key: _frozen(value) for key, value in state.items()}
    return state.tobytes() if isinstance(state, np.ndarray) else state
