"""Products of chosen rows are taken once for each row there is to choose from.

An embedding looks up a vector for each symbol of a text, and the next layer multiplies each with
its weights. Where there are fewer symbols than places in the text, the product of each symbol is
computed once and looked up instead; and on the way back the deltas of a symbol are added up before
they are multiplied. The way there keeps every bit; sums over places are added in another order.
"""

from __future__ import annotations

from chainrule.graph import Graph, Node, build, made_by, users
from chainrule.graph.ops import split_spec, strong_marks
from chainrule.rewrite.rebuilding import rebuilt, remade

_FEWER = 2  # times as many choices as rows, at least
_LONG = 8  # numbers of a row, at least: a product of fewer is not worth two passes


def choose_last(graph: Graph) -> Graph:
    """Looks up products, and adds up deltas before products."""
    readers = users(graph.nodes())

    def is_alone(node: Node) -> bool:
        """Whether a value, and what it is turned from, has one reader."""
        while len(readers[node]) == 1 and node.op == "transpose" and node not in graph.outputs:
            (node,) = node.operands
        return len(readers[node]) == 1 and node not in graph.outputs

    def change(node: Node, operands: tuple[Node, ...]) -> Node:
        made = remade(node, operands)
        if node.op == "contract":
            return _product_of_choices(made, 0) or _product_of_choices(made, 1) or made
        if node.op == "scatter" and is_alone(node.operands[0]):
            return _scatter_of_product(made) or made
        return made

    return rebuilt(graph, change)


def _is_worth(rows: int, index: Node, length: int) -> bool:
    return rows * _FEWER <= index.type.size and length >= _LONG


def _product_of_choices(node: Node, side: int) -> Node | None:
    """A contraction one side of which are chosen rows."""
    chosen, other = node.operands[side], node.operands[1 - side]
    if chosen.op != "take" or chosen["axis"] != 0 or chosen.operands[0].ndim != 2:
        return None
    table, index = chosen.operands
    names, letters = list(split_spec(node["spec"])[:2]), split_spec(node["spec"])[2]
    places, column, others = names[side][:-1], names[side][-1], names[1 - side]
    if not places or not _is_worth(table.shape[0], index, table.shape[1]):
        return None
    row = _fresh("".join(names) + letters)
    if column in others and column not in letters and not set(places) & set(others):
        rest = "".join(c for c in letters if c not in places)
        before = _contracted(node, side, table, other, row + column, others, row + rest)
        order = [c for c in letters if c in places]
        with made_by(chosen.origin):
            found = build.take(before, _ordered(index, places, order), 0)
        return _turned(found, "".join(order) + rest, letters)
    summed = others[: len(places)]
    if set(summed) != set(places) or set(places) & set(letters) or column in others:
        return None
    deltas = build.scatter(other, _ordered(index, places, summed), 0, table.shape[0])
    inside = row + others[len(places) :]
    return _contracted(node, side, table, deltas, row + column, inside, letters)


def _scatter_of_product(node: Node) -> Node | None:
    """Rows of a product that are added up where they were chosen."""
    x, index = node.operands
    turns = list(range(x.ndim))
    while x.op == "transpose":
        turns = [x["axes"][a] for a in turns]
        (x,) = x.operands
    if x.op != "contract" or node["axis"] != 0:
        return None
    names, result = split_spec(x["spec"])[:2], split_spec(x["spec"])[2]
    turned = "".join(result[a] for a in turns)
    places, rest = turned[: index.ndim], turned[index.ndim :]
    for side in (0, 1):
        first = names[side][: index.ndim]
        summed = [c for c in names[side] if c not in result]
        length = x.operands[side].type.size // index.type.size
        if set(first) != set(places) or set(places) & set(names[1 - side]) or not summed:
            continue
        if not _is_worth(node["size"], index, length):
            continue
        deltas = x.operands[side]
        deltas = build.scatter(deltas, _ordered(index, places, first), 0, node["size"])
        row = _fresh("".join(names) + result)
        inside = row + names[side][index.ndim :]
        return _contracted(
            x, side, deltas, x.operands[1 - side], inside, names[1 - side], row + rest
        )
    return None


def _contracted(
    like: Node, side: int, x: Node, y: Node, x_letters: str, y_letters: str, result: str
) -> Node:
    """A contraction whose sides are marked as those of another; x is on this side of it."""
    marks = strong_marks(like["spec"])
    first, second = f"{x_letters}{marks[side]}", f"{y_letters}{marks[1 - side]}"
    if side:
        return build.contract(y, x, f"{second},{first}->{result}")
    return build.contract(x, y, f"{first},{second}->{result}")


def _ordered(index: Node, letters: str, order: str | list[str]) -> Node:
    """The numbers with their axes in another order."""
    axes = [letters.index(c) for c in order]
    return index if axes == sorted(axes) else build.transpose(index, axes)


def _turned(x: Node, letters: str, result: str) -> Node:
    axes = [letters.index(c) for c in result]
    return x if axes == sorted(axes) else build.transpose(x, axes)


def _fresh(taken: str) -> str:
    return next(c for c in "zyxwvutsrqponmlkjihgfedcba" if c not in taken)
