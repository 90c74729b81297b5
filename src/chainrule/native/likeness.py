"""When two regions become the same kernel: a key that is equal for regions whose code reads alike.

Layers of one kind repeat, and writing a kernel takes longer than telling that it is written.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Set

import numpy as np

from chainrule.graph import Node
from chainrule.native.regions import Region


def likeness(region: Region, memory: Set[Node], words: Mapping[Node, int]) -> Hashable:
    """All that a region's kernel follows from, but for which memory it reads and writes: its
    values as far down as memory, with numbers for names; `words` are where notes are taken."""
    members, stored = set(region.members), set(region.stored)
    numbers: dict[Node, int] = {}
    told: list[Hashable] = []

    def number(node: Node) -> int:
        if node not in numbers:
            is_read = node not in members and (node.op == "input" or node in memory)
            operands = () if is_read else tuple(map(number, node.operands))
            kind = ("memory", node.op in ("input", "constant")) if is_read else _kind(node)
            place = node in memory, node in stored, words.get(node)
            numbers[node] = len(told)
            told.append((kind, node.type, operands, place))
        return numbers[node]

    order = tuple(map(number, region.members))
    lead = None if region.lead is None else number(region.lead)
    return region.kind, region.domain, order, lead, tuple(told)


def _kind(node: Node) -> Hashable:
    attributes = []
    for key, value in node.attributes.items():
        if isinstance(value, np.ndarray):
            value = value.dtype.str, value.shape, value.tobytes()
        # -0.0 and 0.0 are equal, but not the same number.
        attributes.append((key, repr(value) if isinstance(value, float) else value))
    return node.op, tuple(attributes)
