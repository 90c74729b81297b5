"""Backpropagation through time, and through a fixed point.

The deltas of a scan are a scan in the other direction (Werbos 1990). What its steps need of the
way there is stored by a second scan that is the first one with more results; `rewrite` makes one of
the two. Stored are the results of expensive ops; what follows from them cheaply is computed anew.

At a fixed point x = f(x, a) the delta of x solves u = delta + (df/dx)^T u, which is a fixed point
again, and the delta of a is (df/da)^T u (Almeida 1987, Pineda 1987). No step on the way is stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chainrule.backward.gradients import pullback
from chainrule.backward.rules import RULES, Deltas, rule
from chainrule.backward.steps import Step, summed
from chainrule.graph import Graph, Node, ancestors, build
from chainrule.graph.loops import dependants
from chainrule.graph.substitution import substitute
from chainrule.graph.types import TupleType

Several = Mapping[int, Node]


@rule("part")
def _part(node: Node, delta: Node) -> Deltas:
    return ({node["index"]: delta},)


@rule("scan")
def _scan(node: Node, delta: Several, wanted: Sequence[bool] | None = None) -> Deltas:
    """The delta of the carry goes back from step to step; the deltas of what all steps share add
    up, where possible behind the loop: as one contraction over all steps."""
    body, carries = node["body"], node["carries"]
    wanted = [True] * len(node.operands) if wanted is None else wanted
    sources = _sources(node, wanted)
    moving = {
        n: build.input(f"delta_{n['name']}", n.type) for n in body.inputs[:carries] if n in sources
    }
    stacked = {
        number: build.input(f"delta_{body.output_names[number]}", body.outputs[number].type)
        for number in sorted(delta)
        if number >= carries
    }
    wrt = [n for n in body.inputs if n in sources]
    results = [
        (body.outputs[k], moving[n]) for k, n in enumerate(body.inputs[:carries]) if n in moving
    ]
    results += [(body.outputs[number], given) for number, given in stacked.items()]
    found = dict(zip(wrt, pullback(_by_result(results), wrt), strict=True))
    sent = {n: d for n, d in found.items() if d is not None}
    step = Step.of(node, [*moving.values(), *stacked.values()], list(sent.values()))

    shared = [n for n in body.inputs[carries + node["sequences"] :] if n in sent]
    terms = {n: step.terms(sent[n]) for n in shared}
    inside = {n: build.input(f"sum_{n['name']}", n.type) for n in shared if terms[n] is None}
    leaves = list(dict.fromkeys(x for n in shared for x in terms[n] or ()))
    each = [n for n in body.inputs[carries : carries + node["sequences"]] if n in sent]
    carried = [sent[n] if n in sent else build.like(d, 0) for n, d in moving.items()]
    carried += [build.add(total, sent[n]) for n, total in inside.items()]
    computed = [sent[n] for n in (*moving, *inside, *each) if n in sent]
    outer = step.outer(step.needs([*computed, *leaves]))
    along = {into: delta[number] for number, into in stacked.items()}
    kept = [x for x in leaves if x not in outer and x not in along]

    first = [delta.get(k) for k, n in enumerate(body.inputs[:carries]) if n in moving]
    begin = [
        (into, build.zeros(into.type) if value is None else value)
        for into, value in zip(
            [*moving.values(), *inside.values()], [*first, *[None] * len(inside)], strict=True
        )
    ]
    outputs = [*carried, *(sent[n] for n in each), *kept]
    loop = step.reversed_scan(begin, list(along.items()), outputs, outer)
    parts = [build.part(loop, number) for number in range(len(outputs))]
    deltas = dict(zip([*moving, *inside, *each], parts, strict=False))
    stacks = {**outer, **along, **dict(zip(kept, parts[len(outputs) - len(kept) :], strict=True))}
    deltas |= {n: summed(sent[n], stacks) for n in shared if n not in inside}
    return tuple(deltas.get(n) for n in body.inputs)


def stored_bytes(node: Node) -> int:
    """About how much memory the gradient of a scan keeps for each step."""
    assert isinstance(node.type, TupleType)
    given = {k: build.zeros(t) for k, t in enumerate(node.type.parts) if t.is_float}
    wide = RULES["scan"](node, given)
    loops = {
        n.operands[0]
        for n in ancestors([d for d in wide if isinstance(d, Node)])
        if n.op == "part" and n.operands[0].op == "scan"
    }
    extra = [
        n.type.bytes
        for loop in loops
        if loop.operands == node.operands
        for n in loop["body"].outputs[len(node["body"].outputs) :]
    ]
    return sum(extra)


def _sources(node: Node, wanted: Sequence[bool]) -> set[Node]:
    """The body's inputs that deltas are wanted for: also what they reach through the carry."""
    body, carries = node["body"], node["carries"]
    sources = {n for n, want in zip(body.inputs, wanted, strict=True) if want and n.type.is_float}
    while True:
        reached = dependants(body, sources)
        pairs = zip(body.inputs[:carries], body.outputs, strict=False)
        more = {n for n, after in pairs if after in reached and n.type.is_float} - sources
        if not more:
            return sources
        sources |= more


def _by_result(pairs: Sequence[tuple[Node, Node]]) -> dict[Node, Node]:
    """The delta of each value of a step; one value may be several results."""
    found: dict[Node, Node] = {}
    for result, delta in pairs:
        found[result] = build.add(found[result], delta) if result in found else delta
    return found


@rule("fixed_point")
def _fixed_point(node: Node, delta: Several, wanted: Sequence[bool] | None = None) -> Deltas:
    """Where the iteration began does not matter to where it ends. How many steps it took and how
    much the last one changed have no derivative."""
    body, count = node["body"], node["states"]
    wanted = [True] * len(node.operands) if wanted is None else wanted
    states, shared = body.inputs[:count], body.inputs[count:]
    wrt = [n for n, want in zip(shared, wanted[count:], strict=True) if want and n.type.is_float]
    moving = [build.input(f"delta_{n['name']}", n.type) for n in states]
    loads = [build.input(f"load_{n['name']}", n.type) for n in states]
    found = pullback(_by_result(list(zip(body.outputs, moving, strict=True))), [*states, *wrt])
    results = [
        load if back is None else build.add(load, back)
        for load, back in zip(loads, found[:count], strict=True)
    ]
    # The step back reads the states where the iteration ended, and the arrays that it was given;
    # what follows from those alone is computed once, not in every iteration.
    ended = [build.part(node, number) for number in range(count)]
    outer = dict(zip(body.inputs, [*ended, *node.operands[count:]], strict=True))
    read = _still(results, {*moving, *loads}, set(body.inputs))
    fresh = {n: build.input(n["name"] if n.op == "input" else n.op, n.type) for n in read}
    made = substitute(results, fresh)
    names = tuple(n["name"] for n in moving)
    inputs = (*moving, *loads, *fresh.values())
    adjoint = Graph(f"{body.name}, backward", inputs, tuple(made), names)
    given = [delta[k] if k in delta else build.zeros(n.type) for k, n in enumerate(states)]
    settings = {key: node[key] for key in ("tolerance", "max_iterations", "strict")}
    operands = (*given, *given, *substitute(read, outer))
    loop = build.make("fixed_point", *operands, body=adjoint, states=count, **settings)
    solved = {d: build.part(loop, number) for number, d in enumerate(moving)}
    sent = {n: d for n, d in zip(wrt, found[count:], strict=True) if d is not None}
    placed = substitute(list(sent.values()), {**outer, **solved})
    deltas = dict(zip(sent, placed, strict=True))
    return tuple(deltas.get(n) for n in body.inputs)


def _still(results: Sequence[Node], moving: set[Node], given: set[Node]) -> list[Node]:
    """What the results read that depends on what is given, but not on what moves."""
    found: dict[Node, None] = {}
    moved, known = set(moving), set(given)
    for node in ancestors(results):
        if any(operand in moved for operand in node.operands):
            moved.add(node)
        elif any(operand in known for operand in node.operands):
            known.add(node)
    for node in ancestors(results):
        if node in moved:
            found |= dict.fromkeys(x for x in node.operands if x in known and x not in moved)
    return list(found)
