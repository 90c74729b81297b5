"""The Jacobian of an array, by backpropagation of all unit deltas at once.

By rows: the backward pass is linear in its delta, and row i of the Jacobian is what it gives for
the i-th unit vector. By columns: the backward pass is differentiated once more, by its delta,
which gives the linear map forward (a tangent from two reverse passes), and that is run for the
unit vectors of what is differentiated by. Both are exact for every function; rows cost little
where each residual belongs to a row of the data, columns where everything depends on everything
and there are few parameters. The cheaper one is taken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from chainrule.backward.gradients import gradients
from chainrule.backward.linear import cost, spread
from chainrule.graph import Node, build, made_by
from chainrule.graph.substitution import substitute

# Rows that stay apart cost about three times the function, and the Jacobian must be written.
_CHEAP = 8
_MOST_PIECES = 64  # each is a backward pass of its own


def jacobians(result: Node, wrt: Sequence[Node]) -> list[Node]:
    """For each node of `wrt` the derivatives of all of `result`: its shape is the result's followed
    by the node's. Raises what `gradients` raises."""
    gradients(result, wrt)  # raises where there is no derivative at all
    with made_by(result.origin, "backward"):
        if not result.type.size:
            return [_zeros(result, node) for node in wrt]
        rows = _by_rows(result, wrt)
        size = sum(row.type.size for row in rows)
        if cost(rows) <= _CHEAP * (cost([result]) + size):
            return rows
        columns = [_by_columns(result, node) for node in wrt]
        return rows if cost(rows) <= cost(columns) else columns


def _zeros(result: Node, node: Node) -> Node:
    zero = build.constant(0, node.type.dtype)
    return build.broadcast(zero, result.shape + node.shape)


def _by_rows(result: Node, wrt: Sequence[Node]) -> list[Node]:
    parts = []
    for piece in _pieces(result):
        delta = build.input("delta", piece.type)
        found = gradients(piece, wrt, delta, strict=False)
        rows = spread(delta, found)
        count = (piece.type.size,)
        parts.append([build.reshape(r, count + n.shape) for r, n in zip(rows, wrt, strict=True)])
    joined = [build.concatenate(column, 0) for column in zip(*parts, strict=True)]
    return [
        build.reshape(rows, result.shape + node.shape)
        for rows, node in zip(joined, wrt, strict=True)
    ]


def _pieces(result: Node) -> list[Node]:
    """What the result only puts in line, in the order of its elements: flattening and joining would
    hide which axis is that of the rows."""
    pieces: list[Node] = [result]
    while len(pieces) <= _MOST_PIECES:
        split = [part for piece in pieces for part in _in_line(piece)]
        if split == pieces:
            return pieces
        pieces = split
    return [result]


def _in_line(node: Node) -> Sequence[Node]:
    if node.op == "reshape":
        return node.operands
    if node.op == "concatenate" and math.prod(node.shape[: node["axis"]]) == 1:
        return [part for part in node.operands if part.type.size]
    return [node]


def _by_columns(result: Node, node: Node) -> Node:
    delta, tangent = build.input("delta", result.type), build.input("tangent", node.type)
    (backward,) = gradients(result, [node], delta, strict=False)
    (forward,) = gradients(backward, [delta], tangent, strict=False)
    # Whatever the delta is: but a loop that stores what the way forward needs is given it.
    (forward,) = substitute([forward], {delta: build.zeros(delta.type)})
    (columns,) = spread(tangent, [forward])
    axes = range(node.ndim + result.ndim)
    return build.transpose(columns, [*axes[node.ndim :], *axes[: node.ndim]])
