"""Loops: two that differ only in what they give become one, and nothing is computed in vain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chainrule.graph import WITH_BODY, Graph, Node, ancestors, build
from chainrule.rewrite.rebuilding import rebuilt, remade
from chainrule.rewrite.turning import TurnedBody, turned

Rewrite = Callable[[Graph], Graph]


@dataclass(frozen=True)
class _Plan:
    """What becomes of a scan: its new body, which of its operands that still reads, and where each
    result is now."""

    body: Graph
    carries: int
    sequences: int
    kept: tuple[int, ...]
    place: dict[int, int]


def tidy_loops(graph: Graph, rewrite: Rewrite) -> Graph:
    """Scans are joined and trimmed, the bodies of loops rewritten as graphs of their own, and what
    their steps read across memory is turned in front of them."""
    joined = _changed(graph, _joined(graph))
    trimmed = _changed(joined, _trimmed(joined))
    bodies: dict[Graph, Graph] = {}
    known: dict[object, TurnedBody] = {}

    def change(node: Node, operands: tuple[Node, ...]) -> Node:
        if node.op not in WITH_BODY:
            return remade(node, operands)
        body = node["body"]
        if body not in bodies:
            bodies[body] = rewrite(body)
        if bodies[body] is body:
            return turned(remade(node, operands), known)
        settings = {**node.attributes, "body": bodies[body]}
        return turned(build.make(node.op, *operands, **settings), known)

    return rebuilt(trimmed, change)


def _changed(graph: Graph, plans: dict[Node, _Plan]) -> Graph:
    made: dict[object, Node] = {}

    def change(node: Node, operands: tuple[Node, ...]) -> Node:
        if node.op == "part" and (plan := plans.get(node.operands[0])):
            return build.part(operands[0], plan.place[node["index"]])
        if node not in plans:
            return remade(node, operands)
        plan = plans[node]
        kept = tuple(operands[place] for place in plan.kept)
        key = plan.body, kept
        if key not in made:
            settings = {"body": plan.body, "carries": plan.carries, "sequences": plan.sequences}
            made[key] = build.make("scan", *kept, **{**node.attributes, **settings})
        return made[key]

    return rebuilt(graph, change) if plans else graph


def _joined(graph: Graph) -> dict[Node, _Plan]:
    """Scans over the same operands, whose steps have the same inputs, give together what each gave.
    The gradient makes such scans: it wants more of one than it first gave."""
    alike: dict[object, list[Node]] = {}
    for node in graph.nodes():
        if node.op == "scan":
            settings = node["carries"], node["length"], node["reverse"]
            alike.setdefault((node.operands, node["body"].inputs, settings), []).append(node)
    plans: dict[Node, _Plan] = {}
    for group in alike.values():
        first, carries = group[0], group[0]["carries"]
        same_carry = all(
            n["body"].outputs[:carries] == first["body"].outputs[:carries] for n in group
        )
        if len(group) == 1 or not same_carry:
            continue
        results = {n: None for node in group for n in node["body"].outputs[carries:]}
        outputs = (*first["body"].outputs[:carries], *results)
        names = tuple(f"value_{number}" for number in range(len(outputs)))
        body = Graph(first["body"].name, first["body"].inputs, outputs, names)
        numbers = {n: carries + number for number, n in enumerate(results)}
        for node in group:
            place = {k: k for k in range(carries)}
            stacked = enumerate(node["body"].outputs[carries:], start=carries)
            place |= {k: numbers[n] for k, n in stacked}
            everything = tuple(range(len(node.operands)))
            plans[node] = _Plan(body, carries, node["sequences"], everything, place)
    return plans


def _trimmed(graph: Graph) -> dict[Node, _Plan]:
    """Without results that nobody reads, what only they need, what is only carried for them, and
    what is stacked twice."""
    read: dict[Node, set[int]] = {}
    for node in graph.nodes():
        if node.op == "part" and node.operands[0].op == "scan":
            read.setdefault(node.operands[0], set()).add(node["index"])
    plans = {node: _trim(node, results) for node, results in read.items()}
    return {n: p for n, p in plans.items() if len(p.kept) < len(n.operands) or not _is_whole(n, p)}


def _is_whole(node: Node, plan: _Plan) -> bool:
    return len(plan.body.outputs) == len(node["body"].outputs)


def _trim(node: Node, read: set[int]) -> _Plan:
    body, carries, sequences = node["body"], node["carries"], node["sequences"]
    live = set(read)
    while True:
        needed = set(ancestors([body.outputs[k] for k in sorted(live)]))
        more = {k for k, n in enumerate(body.inputs[:carries]) if n in needed} - live
        if not more:
            break
        live |= more
    kept = tuple(k for k, n in enumerate(body.inputs) if n in needed or (k < carries and k in live))
    results, place = _once(body, carries, sorted(live))
    trimmed = Graph(
        body.name,
        tuple(body.inputs[k] for k in kept),
        tuple(body.outputs[k] for k in results),
        tuple(body.output_names[k] for k in results),
    )
    return _Plan(
        trimmed,
        sum(k < carries for k in kept),
        sum(carries <= k < carries + sequences for k in kept),
        kept,
        place,
    )


def _once(body: Graph, carries: int, results: Sequence[int]) -> tuple[list[int], dict[int, int]]:
    """Results of which each is stacked once, and where each of the given ones is among them."""
    kept: list[int] = []
    place: dict[int, int] = {}
    stacked: dict[Node, int] = {}
    for k in results:
        node = body.outputs[k]
        if k >= carries and node in stacked:
            place[k] = stacked[node]
            continue
        place[k] = len(kept)
        if k >= carries:
            stacked[node] = place[k]
        kept.append(k)
    return kept, place
