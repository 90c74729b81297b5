"""A network in evaluation mode on many rows, some at a time: memory stays bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from chainrule import config, tracing
from chainrule.known import Known
from chainrule.nn.place import Newest
from chainrule.pipeline import Program
from chainrule.tracing import trees
from chainrule.tracing.context import Context, use
from chainrule.tracing.memory import Memory
from chainrule.tracing.sharing import program_key
from chainrule.training.columns import span_of

Array = np.ndarray
SHAPES = 16  # programs that are kept, one for each number of rows
_PLACE = np.zeros(())


@dataclass(frozen=True)
class _Ready:
    program: Program
    told: Any  # the structure of what the function returns


_KNOWN: Known[_Ready] = Known(32)  # those of the last few networks


class Pieces:
    """A function of a network and columns of rows, compiled once for each size of piece.

    `memory` are the states that the network carries from piece to piece, as they are at first; with
    them, the last column says which rows begin anew, and is not given to the function. `parts` are
    what the function uses besides its arguments, and `name` is its own.
    """

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        net: Any,
        memory: Mapping[str, Any],
        backend: str | None,
        threads: int | None = None,
        parts: Sequence[Any] = (),
    ) -> None:
        self._name, self._function = name, function
        self._net, self._memory = net, dict(memory)
        self._backend, self._threads, self._parts = backend, threads, parts
        self._programs: dict[Any, _Ready] = {}

    def __call__(self, net: Any, columns: Sequence[Array], rows: Array, size: int) -> Iterator[Any]:
        """What the function returns for each piece of `size` of these rows, the last of which may
        be smaller; `net` has the structure this was made for. Rows are gathered piece by piece, so
        that columns may be larger than memory."""
        leaves = [np.asarray(leaf.value) for leaf in trees.leaves(net)]
        states = [leaf.value for leaf in trees.leaves(self._memory)]
        count = len(states)
        for first in range(0, max(len(rows), 1), size):
            piece = _gathered(columns, rows[first : first + size])
            ready = self._ready(piece)
            outputs = ready.program([*leaves, *states, *piece])
            states = outputs[:count]
            yield trees.replace_leaves(ready.told, outputs[count:])

    def prepare(self, columns: Sequence[Array], rows: Array, size: int) -> None:
        """Traces what these rows will need, so that mistakes show."""
        for piece in _first_and_last(columns, rows, size):
            self._ready(piece)

    def compile(self, columns: Sequence[Array], rows: Array, size: int) -> None:
        """Compiles what these rows will need."""
        for piece in _first_and_last(columns, rows, size):
            self._ready(piece).program.made_ready()

    def _ready(self, piece: Sequence[Array]) -> _Ready:
        shape = tuple((column.shape, column.dtype) for column in piece)
        if shape not in self._programs:
            if len(self._programs) >= SHAPES:
                del self._programs[next(iter(self._programs))]
            key = None if self._key is None else (self._key, shape)
            self._programs[shape] = _KNOWN.get(key, lambda: self._made(piece))
        return self._programs[shape]

    @cached_property
    def _key(self) -> Any:
        """What the programs depend on besides the rows; None where it cannot be told."""
        settings = self._name, config.BACKEND, config.THREADS, self._backend, self._threads
        return program_key([self._net, self._memory, *self._parts], settings)

    def _made(self, piece: Sequence[Array]) -> _Ready:
        captured = tracing.capture(self._run, (self._net, self._memory, list(piece)), self._name)
        told = trees.map_leaves(lambda _: _PLACE, captured.result[1])
        return _Ready(Program(captured.graph, self._backend, self._threads), told)

    def _run(self, net: Any, memory: Any, columns: Any) -> Any:
        if not memory:
            return [], self._function(net, *columns)
        *columns, resets = columns
        context = Context(outputs=Newest(), memory=Memory(memory, resets))
        context.name(net)
        with use(context):
            found = self._function(net, *columns)
        assert context.memory is not None
        after = context.memory.after
        return [after.get(path, before) for path, before in memory.items()], found


def _gathered(columns: Sequence[Array], rows: Array) -> list[Array]:
    where = span_of(rows)
    return [column[where] for column in columns]


def _first_and_last(columns: Sequence[Array], rows: Array, size: int) -> Iterator[list[Array]]:
    """A piece of each size that there is."""
    for first in sorted({0, (max(len(rows), 1) - 1) // size * size}):
        yield _gathered(columns, rows[first : first + size])
