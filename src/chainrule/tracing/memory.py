"""What layers keep from one call of a net to the next, where streams are read chunk after chunk."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule.errors import ShapeError, UsageError
from chainrule.tracing import trees


@dataclass
class Memory:
    """The states of layers by path, trees of arrays [rows, ...]: as the last call of the net left
    them, and as this one does. A layer without one begins anew; so does a row where `resets` (bool
    [rows]) is true."""

    before: Mapping[str, Any] = field(default_factory=dict)
    resets: Any = None
    after: dict[str, Any] = field(default_factory=dict)
    loop: str = ""  # the loop whose body is running: nothing can be left in it
    begun: set[str] = field(default_factory=set)  # paths of the layers that took their state

    def begin(self, path: str, start: Any, where: str) -> Any:
        """The state that the layer at `path` begins with; `start` is what it has at first, and
        `where` names it in errors.

        Raises UsageError where there is no one state to carry, ShapeError where it does not fit.
        """
        if self.loop:
            raise UsageError(
                f"a state cannot be carried from chunk to chunk out of {self.loop}",
                where=where,
                do="call the layer outside the loop, or give it its state: layer(x, state)",
            )
        if path in self.begun:
            raise UsageError(
                "the layer is called twice in one step, and carries one state from chunk to chunk",
                where=where,
                do="use a layer of its own for each call, or give it its state: layer(x, state)",
            )
        self.begun.add(path)
        if path not in self.before:
            return start
        new, old = trees.leaves(start), trees.leaves(self.before[path])
        shapes = [[tuple(leaf.value.shape) for leaf in leaves] for leaves in (new, old)]
        if shapes[0] != shapes[1]:
            raise ShapeError(
                f"the state begins with the shapes {shapes[0]}, and what is carried has "
                f"{shapes[1]}",
                where=where,
                do="call the net with as many rows as before: row i goes on where row i ended",
            )
        pairs = zip(new, old, strict=True)
        return trees.replace_leaves(start, [self._begun(n.value, o.value, where) for n, o in pairs])

    def _begun(self, start: Any, carried: Any, where: str) -> Any:
        if self.resets is None:
            return carried
        if carried.shape[:1] != self.resets.shape:
            raise ShapeError(
                f"the state has the shape {tuple(carried.shape)}, and {self.resets.shape[0]} rows "
                "are read side by side",
                where=where,
                do="give a state that is carried a first axis of rows",
            )
        rows = self.resets.reshape((-1, *[1] * (carried.ndim - 1)))
        return np.where(rows, start, carried)

    def copy(self) -> Memory:
        """A copy: for code whose traces in it are not wanted."""
        other = copy(self)
        other.after, other.begun = dict(self.after), set(self.begun)
        return other

    def inside(self, loop: str) -> Memory:
        """The same, for the body of a loop."""
        other = copy(self)
        other.loop = loop
        return other
