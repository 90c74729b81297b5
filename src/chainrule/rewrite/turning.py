"""What a loop's steps read across memory is turned once, in front of the loop.

A product's columns want to lie side by side: where they do not, each step would first bring them
into that order. In a loop that is the same work in every step.
"""

from __future__ import annotations

from dataclasses import dataclass

from chainrule.graph import Graph, Node, build
from chainrule.graph.ops import split_spec, strong_marks
from chainrule.rewrite.rebuilding import rebuilt, remade

_Turned = dict[tuple[Node, tuple[int, ...]], Node]  # an input, its axes -> the input turned


@dataclass(frozen=True)
class TurnedBody:
    """A body that reads turned inputs: which of the old ones it still has, and which new ones
    follow."""

    graph: Graph
    kept: tuple[int, ...]
    turned: tuple[tuple[Node, tuple[int, ...]], ...]


def turned(loop: Node, known: dict[object, TurnedBody]) -> Node:
    """The loop with what its steps share in the order in which products read it; the loop itself
    where it is in that order. Loops of one body still have one: it is `known`."""
    body: Graph = loop["body"]
    lead = loop["carries"] + loop["sequences"] if loop.op == "scan" else loop["states"]
    if (body, lead) not in known:
        known[body, lead] = _turned(body, lead)
    found = known[body, lead]
    if not found.turned:
        return loop
    given = dict(zip(body.inputs, loop.operands, strict=True))
    operands = [loop.operands[k] for k in found.kept]
    operands += [build.transpose(given[x], axes) for x, axes in found.turned]
    return build.make(loop.op, *operands, **{**loop.attributes, "body": found.graph})


def _turned(body: Graph, lead: int) -> TurnedBody:
    """The body, the first `lead` inputs of which differ from step to step."""
    shared = set(body.inputs[lead:])
    made: _Turned = {}

    def change(node: Node, operands: tuple[Node, ...]) -> Node:
        if node.op != "contract":
            return remade(node, operands)
        return _product(node, operands, shared, made)

    changed = rebuilt(body, change)
    read = {n for node in changed.nodes() for n in node.operands} | set(changed.outputs)
    kept = tuple(k for k, n in enumerate(body.inputs) if k < lead or n in read)
    inputs = (*(body.inputs[k] for k in kept), *made.values())
    new = Graph(body.name, inputs, changed.outputs, changed.output_names)
    return TurnedBody(new, kept, tuple(made))


def _product(node: Node, operands: tuple[Node, ...], shared: set[Node], made: _Turned) -> Node:
    """A contraction whose columns lie side by side in the operand that has them."""
    letters, result = list(split_spec(node["spec"])[:2]), split_spec(node["spec"])[2]
    marks, now = strong_marks(node["spec"]), list(operands)
    for side, x in enumerate(operands):
        names = letters[side]
        column = result[-1:]
        if x not in shared or not column or column not in names or column in letters[1 - side]:
            continue
        if names[-1] == column:
            continue
        order = [*(c for c in names if c != column), column]
        axes = tuple(names.index(c) for c in order)
        if (x, axes) not in made:
            shape = tuple(x.shape[a] for a in axes)
            kind = type(x.type)(x.type.dtype, shape)
            made[x, axes] = build.input(f"{x['name']}_turned", kind)
        now[side], letters[side] = made[x, axes], "".join(order)
    if tuple(now) == operands:
        return remade(node, operands)
    spec = f"{letters[0]}{marks[0]},{letters[1]}{marks[1]}->{result}"
    return build.contract(now[0], now[1], spec)
