"""What layers need besides their input: mode, randomness, running statistics, their own path.

User code stays `net(x)`. Outside any context a layer is in evaluation mode and plain NumPy runs.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from chainrule.errors import UsageError
from chainrule.tracing.memory import Memory
from chainrule.tracing.trees import join, layer_paths


@dataclass
class Context:
    """One forward pass. `key` (u32[2]) and `step` (u32[]) are arrays, traced ones in a step."""

    training: bool = False
    key: Any = None
    step: Any = None
    paths: dict[int, str] = field(default_factory=dict)  # id of a layer -> its path
    updates: dict[str, Any] = field(default_factory=dict)  # name -> new value, no gradient
    outputs: dict[str, Any] = field(default_factory=dict)  # path -> what the layer returned
    attention: dict[str, Any] | None = None  # path -> shares of each head, where they are wanted
    scopes: list[str] = field(default_factory=list)  # paths of the layers being called
    draws: dict[str, int] = field(default_factory=dict)  # random draws made so far, by path
    named: list[Any] = field(default_factory=list)  # kept, so that no other layer gets their ids
    memory: Memory | None = None  # what layers carry from call to call; None: they begin anew

    def name(self, tree: Any, path: str = "") -> None:
        """Remembers the path of every layer in the tree, for `path_of`."""
        self.named.append(tree)
        for place, layer in layer_paths(tree, path):
            self.paths.setdefault(id(layer), place)

    def path_of(self, layer: Any) -> str:
        return self.paths.get(id(layer), "")

    @property
    def scope(self) -> str:
        return self.scopes[-1] if self.scopes else ""

    def salt(self) -> int:
        """A number for the next random draw that depends only on where in the net it is made."""
        count = self.draws.get(self.scope, 0)
        self.draws[self.scope] = count + 1
        return zlib.crc32(f"{self.scope}:{count}".encode())

    def update(self, layer: Any, name: str, value: Any) -> None:
        """A new value for a layer's array that changes without gradients."""
        self.updates[join(self.path_of(layer), name)] = value


class _Local(threading.local):
    def __init__(self) -> None:
        self.stack: list[Context] = []


_local = _Local()


def current() -> Context | None:
    """The context of the forward pass that is running, if any."""
    return _local.stack[-1] if _local.stack else None


@contextmanager
def use(context: Context) -> Iterator[Context]:
    """Code inside runs in this context."""
    _local.stack.append(context)
    try:
        yield context
    finally:
        _local.stack.pop()


def snapshot() -> Context | None:
    """A copy of the current context: for code whose traces in the context are not wanted."""
    context = current()
    if context is None:
        return None
    containers: dict[str, Any] = {
        name: copy(value) for name, value in vars(context).items() if isinstance(value, dict | list)
    }
    if context.memory is not None:
        containers["memory"] = context.memory.copy()
    return replace(context, **containers)


def key_of(seed: Any) -> np.ndarray:
    """The two words of Philox's key for a seed of up to 64 bits."""
    whole = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
    if not whole or not 0 <= seed < 2**64:
        raise UsageError(f"the seed is {seed!r}", do="use an integer from 0 to 2**64 - 1")
    return np.array([int(seed) & 0xFFFFFFFF, int(seed) >> 32], np.uint32)


@contextmanager
def training(net: Any = None, *, seed: int = 0, step: Any = 0) -> Iterator[Context]:
    """Training mode: dropout drops, batch norm uses the batch; the same seed and step give the
    same masks. Name the layers of `net` to receive its new running statistics in `.updates`.

    Inside a traced function `step` may be one of its arguments, an array of dtype uint32.
    """
    word = step if hasattr(step, "__chainrule_node__") else np.uint32(step)
    context = Context(training=True, key=key_of(seed), step=word)
    context.name(net)
    with use(context):
        yield context


@contextmanager
def carrying(
    net: Any, before: Mapping[str, Any] | None = None, resets: Any = None
) -> Iterator[Memory]:
    """Recurrent layers of `net` that are called without a state go on from where they ended.

    `before` is `.after` of the `Memory` that an earlier call was given, and None at first; `resets`
    (bool [rows]) says which rows begin anew. So a sequence can be read chunk after chunk:

        state = None
        for chunk in chunks:
            with cr.nn.carrying(net, state) as memory:
                outputs = net(chunk)
            state = memory.after
    """
    outer = current()
    context = Context() if outer is None else replace(outer)
    context.memory = Memory({} if before is None else before, resets)
    context.name(net)
    with use(context):
        yield context.memory


def scope_name() -> str:
    """The path of the layer being called, for origins."""
    return _local.stack[-1].scope if _local.stack else ""
