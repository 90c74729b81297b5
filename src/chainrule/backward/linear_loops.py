"""Loops that are linear in what they start from, run for every unit vector at once.

The deltas of a loop are a loop again (see `loops`), whose body is linear in what depends on the
seed. It is made anew by the rules of its own ops, with the unit vectors side by side or in axes of
their own, so that one loop serves all of them. What is carried must lie in the same way before and
after a step: unit vectors that a step does not leave side by side are spelled out before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chainrule.backward.linear import LINEAR, Parts, Several, Spread, follow, kept, spelled_out
from chainrule.graph import ArrayType, Graph, Node, build
from chainrule.graph.substitution import substitute


@dataclass(frozen=True)
class _Form:
    """How the unit vectors lie in an array, and the type that it has with them."""

    apart: Mapping[int, int]
    batch: tuple[int, ...]
    type: ArrayType

    @staticmethod
    def of(part: Spread) -> _Form:
        return _Form(dict(part.apart), part.batch, part.value.type)

    def of_values(self, value: Node) -> Spread:
        return Spread(value, self.apart, self.batch)

    def put(self, part: Spread | None) -> Node:
        """The values in this form; zeros where nothing depends on the seed: what is linear and
        does not depend on it is zero."""
        return build.zeros(self.type) if part is None else self._alike(part).value

    def joined(self, part: Spread) -> _Form:
        """The form that both can be put in."""
        return _Form.of(self._alike(part))

    def _alike(self, part: Spread) -> Spread:
        for axis, along in sorted(part.apart.items()):
            if self.apart.get(axis) != along:
                part = spelled_out(part, axis)
        return part


Forms = Sequence[_Form | None]


def _forms(parts: Sequence[Spread | None]) -> list[_Form | None]:
    return [None if part is None else _Form.of(part) for part in parts]


def _settled(body: Graph, carried: int, given: Forms) -> tuple[Graph, Forms]:
    """The body made anew for inputs of these forms, and the forms of its results; those carried
    have the form that they come in."""
    forms = list(given)
    while True:
        table: dict[Node, Any] = {}
        inputs = list(body.inputs)
        for place, form in enumerate(forms):
            if form is not None:
                inputs[place] = build.input(body.inputs[place]["name"], form.type)
                table[body.inputs[place]] = form.of_values(inputs[place])
        follow(table, body.outputs)
        results: list[Spread | None] = [table.get(node) for node in body.outputs]
        after = list(forms)
        for place, result in enumerate(results[:carried]):
            form = forms[place]
            if result is not None:
                after[place] = _Form.of(result) if form is None else form.joined(result)
        if after == forms:
            break
        forms = after
    made, outputs = [*forms[:carried], *_forms(results[carried:])], []
    for node, form, result in zip(body.outputs, made, results, strict=True):
        outputs.append(node if form is None else form.put(result))
    # What does not depend on the seed may come out of a loop inside that does: see `spread`.
    still = {n: build.zeros(n.type) for n, form in zip(body.inputs, forms, strict=True) if form}
    outputs = substitute(outputs, still)
    return Graph(body.name, tuple(inputs), tuple(outputs), body.output_names), made


def _scan(node: Node, parts: Parts) -> Several:
    """Time stays the first axis of what comes and goes step by step."""
    body, carries = node["body"], node["carries"]
    along = range(carries, carries + node["sequences"])
    operands, forms = list(node.operands), _forms(parts)
    for place in along:
        part = parts[place]
        if part is not None:
            operands[place], forms[place] = _by_steps(part)
    made, found = _settled(body, carries, forms)
    for place, (part, form) in enumerate(
        zip(parts, [*found[:carries], *forms[carries:]], strict=True)
    ):
        if form is not None and place not in along:
            operands[place] = form.put(part)
    loop = build.make("scan", *operands, **{**node.attributes, "body": made})
    results: list[Spread | None] = []
    for place, form in enumerate(found):
        value = build.part(loop, place)
        if form is None:
            results.append(None)
        else:
            results.append(form.of_values(value) if place < carries else _by_batch(value, form))
    return Several(tuple(results))


def _by_steps(part: Spread) -> tuple[Node, _Form]:
    """A sequence with time as its first axis, and the form of what one step takes."""
    part = kept(part, lambda axis: axis != 0)
    count = len(part.batch)
    rest = range(count + 1, part.value.ndim)
    value = build.transpose(part.value, [count, *range(count), *rest])
    type = ArrayType(value.type.dtype, value.shape[1:])
    return value, _Form({k: a - 1 for k, a in part.apart.items()}, part.batch, type)


def _by_batch(value: Node, form: _Form) -> Spread:
    """What steps of this form gave, with the axes of the unit vectors before time."""
    count = len(form.batch)
    order = [*range(1, count + 1), 0, *range(count + 1, value.ndim)]
    apart = {k: a + 1 for k, a in form.apart.items()}
    return Spread(build.transpose(value, order), apart, form.batch)


def _fixed_point(node: Node, parts: Parts) -> Several:
    """All unit vectors come to rest together, to the tolerance of all of them."""
    states = node["states"]
    forms = _forms(parts)
    made, found = _settled(node["body"], states, forms)
    operands = [
        operand if form is None else form.put(part)
        for operand, part, form in zip(node.operands, parts, [*found, *forms[states:]], strict=True)
    ]
    loop = build.make("fixed_point", *operands, **{**node.attributes, "body": made})
    results = [
        None if form is None else form.of_values(build.part(loop, place))
        for place, form in enumerate(found)
    ]
    return Several((*results, None, None))  # the number of steps and the last change


def _part(node: Node, parts: Sequence[Any]) -> Spread | None:
    (loop,) = parts
    found: Spread | None = loop.parts[node["index"]]
    return found


LINEAR |= {"scan": _scan, "fixed_point": _fixed_point, "part": _part}
