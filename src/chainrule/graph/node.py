"""Nodes and graphs: immutable, in SSA form, each node with its origin."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from chainrule.graph.types import ArrayType


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a node comes from: the user's line, the layer, and the stage that made it."""

    file: str = ""
    line: int = 0
    scope: str = ""  # path of the layer, such as "layers.0"; empty outside layers
    stage: str = ""  # "" for the user's own code, else "backward", "rewrite", ...

    def __str__(self) -> str:
        parts = [f"{self.file}:{self.line}"] if self.file else []
        if self.scope:
            parts.append(f"in {self.scope}")
        if self.stage:
            parts.append(f"by {self.stage}")
        return " ".join(parts)


_serials = itertools.count()


@dataclass(frozen=True, eq=False, slots=True)
class Node:
    """One value: an op of the closed table applied to operands.

    Nodes are compared by identity. `serial` grows with every node made, so sorting by it is a
    topological order.
    """

    op: str
    operands: tuple[Node, ...]
    attributes: Mapping[str, Any]
    type: ArrayType
    origin: Origin
    serial: int = field(default_factory=_serials.__next__)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.type.shape

    @property
    def ndim(self) -> int:
        return len(self.type.shape)

    def __getitem__(self, name: str) -> Any:
        return self.attributes[name]

    def __repr__(self) -> str:
        return f"<{self.op} {self.type} #{self.serial}>"


def multiply_adds(node: Node) -> int:
    """The multiply-adds of a contraction; other ops count none."""
    if node.op != "contract":
        return 0
    letters = node["spec"].replace("!", "").split("->")[0].replace(",", "")
    x, y = node.operands
    return math.prod(dict(zip(letters, x.shape + y.shape, strict=True)).values())


@dataclass(frozen=True, eq=False)
class Graph:
    """A function over arrays: named inputs, named outputs, and all that lies between."""

    name: str
    inputs: tuple[Node, ...]
    outputs: tuple[Node, ...]
    output_names: tuple[str, ...]

    def nodes(self) -> list[Node]:
        """Inputs first, then every node that the outputs need, operands before users."""
        inner = [n for n in ancestors(self.outputs) if n.op != "input"]
        return [*self.inputs, *inner]

    def with_outputs(self, outputs: Iterable[Node], names: Iterable[str]) -> Graph:
        return replace(self, outputs=tuple(outputs), output_names=tuple(names))

    def __str__(self) -> str:
        from chainrule.graph.text import to_text  # the printer needs this module's classes

        return to_text(self)


def ancestors(roots: Iterable[Node], stop: Callable[[Node], bool] | None = None) -> list[Node]:
    """The roots and all they are computed from, operands before users.

    A node for which `stop` is true is included, but not walked through.
    """
    seen: set[Node] = set()
    pending = list(roots)
    while pending:
        node = pending.pop()
        if node in seen:
            continue
        seen.add(node)
        if stop is None or not stop(node):
            pending.extend(node.operands)
    return sorted(seen, key=lambda n: n.serial)


def users(nodes: Iterable[Node]) -> dict[Node, list[Node]]:
    """For each node, the nodes among `nodes` that have it as an operand."""
    table: dict[Node, list[Node]] = {}
    for node in nodes:
        for operand in node.operands:
            table.setdefault(operand, []).append(node)
    return table


class _Current(threading.local):
    def __init__(self) -> None:
        self.origin: Origin | None = None


_current = _Current()


def current_origin() -> Origin:
    """The origin that nodes made now will carry."""
    return _current.origin or Origin()


class made_by:
    """Nodes made inside carry this origin (and, where given, this stage's name)."""

    __slots__ = ("_before", "_origin")

    def __init__(self, origin: Origin, stage: str | None = None) -> None:
        self._origin = origin if stage is None else replace(origin, stage=stage)

    def __enter__(self) -> None:
        self._before = _current.origin
        _current.origin = self._origin

    def __exit__(self, *error: object) -> None:
        _current.origin = self._before
