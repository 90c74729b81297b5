"""Parts of an array that were padded to be added up are joined.

The delta of an array that was split is such a sum: each part's delta stands in zeros of the whole
array's size. As one concatenation nothing is written twice, and nothing is added.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from chainrule.graph import Node, build
from chainrule.rewrite.rules import rule

_MOST = 64  # terms; many more would make a concatenation of very many parts


def joined(node: Node) -> Node:
    """The sum of arrays that stand side by side in zeros, as their concatenation, in zeros where
    they leave some; any other node itself."""
    if node.op != "add":
        return node
    terms = _terms(node)
    if terms is None:
        return node
    axis = next((a for a in range(node.ndim) if all(_pads_only(t, a) for t in terms)), None)
    if axis is None:
        return node
    parts = sorted(terms, key=lambda t: int(t["low"][axis]))
    ends = [t["low"][axis] + t.operands[0].shape[axis] for t in parts]
    if any(
        end != after["low"][axis] for end, (_, after) in zip(ends, pairwise(parts), strict=False)
    ):
        return node
    whole = build.concatenate(_flat([t.operands[0] for t in parts], axis), axis)
    low, high = [0] * node.ndim, [0] * node.ndim
    low[axis], high[axis] = parts[0]["low"][axis], parts[-1]["high"][axis]
    if not any((*low, *high)):
        return whole
    return build.pad(whole, low, high, [0] * node.ndim)


def _terms(node: Node) -> list[Node] | None:
    """The pads that are added up here, or None where something else is."""
    found, pending = [], [node]
    while pending:
        term = pending.pop()
        if term.op == "add":
            pending += term.operands
        elif term.op == "pad" and term["value"] == 0 and term.operands[0].type.size:
            found.append(term)
        else:
            return None
        if len(found) + len(pending) > _MOST:
            return None
    return found


def _pads_only(pad: Node, axis: int) -> bool:
    """Whether a pad widens no axis but this one, and puts nothing between elements."""
    others = [a for a in range(pad.ndim) if a != axis]
    return not any(pad["interior"]) and not any(pad["low"][a] or pad["high"][a] for a in others)


def _flat(parts: Sequence[Node], axis: int) -> list[Node]:
    """The parts, and instead of a concatenation among them its own."""
    found: list[Node] = []
    for part in parts:
        is_joined = part.op == "concatenate" and part["axis"] == axis
        found += part.operands if is_joined else [part]
    return found


@rule("concatenate")
def _concatenate_twice(node: Node) -> Node | None:
    flat = _flat(node.operands, node["axis"])
    return build.concatenate(flat, node["axis"]) if len(flat) > len(node.operands) else None
