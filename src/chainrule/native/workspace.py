"""The memory that a loop works in: the arena of its body, then what is carried between steps.

A step reads the carry from one set of buffers and writes it to the other, and the next step does
the reverse. The first step of a scan reads what the loop was given, and the last one writes the
loop's results, so few steps need no second set, or none.
"""

from __future__ import annotations

from dataclasses import dataclass

from chainrule.graph import Graph, Node
from chainrule.native.memory import ALIGN, Layout


@dataclass(frozen=True)
class Workspace:
    """Offsets of buffers: for each set, those of everything that is carried."""

    sets: tuple[tuple[int, ...], ...]
    size: int


def workspace(loop: Node, body: Graph, layout: Layout) -> Workspace:
    """Where a loop's buffers lie behind the arena of its body, which has this layout. After the
    states of a fixed point come the two numbers that its steps tell."""
    carried = body.outputs[: loop["carries"]] if loop.op == "scan" else body.outputs
    offset, sets = _rounded(layout.arena_size), []
    for _ in range(_sets_of(loop)):
        places = []
        for node in carried:
            places.append(offset)
            offset += _rounded(node.type.bytes)
        sets.append(tuple(places))
    return Workspace(tuple(sets), offset)


def _sets_of(loop: Node) -> int:
    return min(max(loop["length"] - 1, 0), 2) if loop.op == "scan" else 2


def _rounded(size: int) -> int:
    # One line more than needed, so that no two buffers share one.
    return -(-size // ALIGN) * ALIGN + ALIGN
