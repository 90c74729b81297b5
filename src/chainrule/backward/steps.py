"""One step of the way back through a scan: what it needs of the way there, and how it gets it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from chainrule.graph import Graph, Node, ancestors, build
from chainrule.graph.ops import split_spec, strong_marks
from chainrule.graph.substitution import substitute

# What is stored from the way there; everything else follows from it cheaply, and is computed anew.
STORED = frozenset(
    "contract sum max argmax argsort take scatter fold part exp expm1 log log1p sin cos tanh erf "
    "power arctan2 sqrt".split()
)
# A sum over steps goes through these: they are linear, and of one operand.
_THROUGH = frozenset({"negative", "transpose", "reshape"})


@dataclass(frozen=True)
class Step:
    """A step of the scan `loop`. `deltas` are the inputs that only the way back has."""

    loop: Node
    deltas: frozenset[Node]
    forward: frozenset[Node]  # what the way there computes
    moving: frozenset[Node]  # what differs from step to step, on both ways

    @staticmethod
    def of(loop: Node, deltas: Iterable[Node], results: Sequence[Node]) -> Step:
        """`results` are all values that the step back may be asked for."""
        body, own = loop["body"], frozenset(deltas)
        shared_from = loop["carries"] + loop["sequences"]
        moving = {*own, *body.inputs[:shared_from]}
        for node in ancestors([*results, *body.outputs]):
            if any(operand in moving for operand in node.operands):
                moving.add(node)
        return Step(loop, own, frozenset(ancestors(body.outputs)), frozenset(moving))

    # --- what is stored -----------------------------------------------------------------------

    def needs(self, results: Sequence[Node]) -> list[Node]:
        """The values of the way there from which the results can be computed: what is stored, or
        those parts of it that are read, and inputs of the body."""
        found: dict[Node, None] = {}
        readers: dict[Node, set[Node]] = {}
        seen: set[Node] = set()
        pending = list(results)
        while pending:
            node = pending.pop()
            if node in seen or node in self.deltas:
                continue
            seen.add(node)
            if node.op == "input" or self._is_stored(node):
                found[node] = None
                continue
            pending += node.operands
            for operand in node.operands:
                readers.setdefault(operand, set()).add(node)
        whole = set(results)
        for node in [n for n in found if n.op != "input" and n not in whole]:
            parts = readers[node]
            if all(n.op == "slice" for n in parts) and _size(parts) < node.type.size:
                del found[node]
                found |= dict.fromkeys(parts)
        return sorted(found, key=lambda n: n.serial)

    def _is_stored(self, node: Node) -> bool:
        """A part of a loop of the way there is stored also where only the way back reads it."""
        own = node.operands[0] if node.op == "part" else node
        return node.op in STORED and own in self.forward and node in self.moving

    def outer(self, needed: Sequence[Node]) -> dict[Node, Node]:
        """What is stored, stacked, and the body's inputs, as they are outside the loop.

        The loop is run with more results: what is stored, and the carry before each step.
        """
        loop, body = self.loop, self.loop["body"]
        carries = loop["carries"]
        given = dict(zip(body.inputs[carries:], loop.operands[carries:], strict=True))
        known = {n: number for number, n in enumerate(body.outputs) if number >= carries}
        more = [n for n in needed if n not in given and n not in known]
        if more:
            outputs = (*body.outputs, *more)
            names = (*body.output_names, *(f"stored_{number}" for number in range(len(more))))
            wider = Graph(body.name, body.inputs, outputs, names)
            loop = build.make("scan", *loop.operands, **{**loop.attributes, "body": wider})
            known |= {n: len(body.outputs) + number for number, n in enumerate(more)}
        stored = {n: build.part(loop, known[n]) for n in needed if n not in given}
        return {n: given[n] if n in given else stored[n] for n in needed}

    # --- the loop back ------------------------------------------------------------------------

    def reversed_scan(
        self,
        carry: Sequence[tuple[Node, Node]],
        sequences: Sequence[tuple[Node, Node]],
        outputs: Sequence[Node],
        outer: Mapping[Node, Node],
    ) -> Node:
        """The scan in the other direction: (input, its first value) for what is carried, (input,
        its values) for the deltas of what was stacked, and the outputs of a step."""
        loop, body = self.loop, self.loop["body"]
        fresh = {n: build.input(_name(n), n.type) for n in outer}
        made = substitute(outputs, fresh)
        used = {n for n in ancestors(made) if n.op == "input"}
        shared = set(body.inputs[loop["carries"] + loop["sequences"] :])
        read = [(fresh[n], x, n in shared) for n, x in outer.items() if fresh[n] in used]
        along = [*sequences, *((n, x) for n, x, is_shared in read if not is_shared)]
        always = [(n, x) for n, x, is_shared in read if is_shared]
        inputs = tuple(n for n, _ in (*carry, *along, *always))
        names = tuple(f"value_{number}" for number in range(len(made)))
        graph = Graph(f"{body.name}, backward", inputs, tuple(made), names)
        return build.scan(
            graph,
            [x for _, x in carry],
            [x for _, x in along],
            [x for _, x in always],
            loop["length"],
            not loop["reverse"],
        )

    # --- sums over all steps ------------------------------------------------------------------

    def terms(self, node: Node) -> list[Node] | None:
        """What has to be stacked so that the sum of a value over all steps can be computed behind
        the loop at once; None where the stack would be as large as all values."""
        if node.op in ("contract", "sum"):
            # What a loop inside stacked is too much to be stacked once more: a segment whose steps
            # are computed anew, say.
            fits = all(n in self.moving and _source(n).op != "part" for n in node.operands)
            return list(node.operands) if fits else None
        if node.op == "add":
            both = [self.terms(n) for n in node.operands]
            return None if None in both else [n for part in both for n in part or ()]
        return self.terms(node.operands[0]) if node.op in _THROUGH else None


def _size(nodes: Iterable[Node]) -> int:
    return sum(n.type.size for n in nodes)


def _source(node: Node) -> Node:
    """What a value is a view of."""
    while node.op in ("reshape", "transpose", "broadcast", "slice", "reverse"):
        (node,) = node.operands
    return node


def summed(node: Node, stacked: Mapping[Node, Node]) -> Node:
    """The sum of a value over all steps, from its terms as stacked."""
    if node.op == "contract":
        x, y = (stacked[n] for n in node.operands)
        left, right, result = split_spec(node["spec"])
        marks = strong_marks(node["spec"])
        step = next(c for c in map(chr, range(97, 123)) if c not in left + right)
        return build.contract(x, y, f"{step}{left}{marks[0]},{step}{right}{marks[1]}->{result}")
    if node.op == "sum":
        return build.sum(stacked[node.operands[0]], [0, *(a + 1 for a in node["axes"])])
    inner = [summed(n, stacked) for n in node.operands]
    return build.make(node.op, *inner, **node.attributes)


def _name(node: Node) -> str:
    return str(node["name"]) if node.op == "input" else f"stored_{node.op}"
