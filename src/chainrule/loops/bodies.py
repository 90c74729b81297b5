"""The graph of one step, closed: what it uses from outside becomes an operand of the loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule import tracing
from chainrule.errors import UsageError
from chainrule.graph import Graph, Node, ancestors, build
from chainrule.graph.substitution import substitute
from chainrule.tracing import trees
from chainrule.tracing.context import Context, current, use
from chainrule.tracing.traced import Traced, is_weak, plain_array

# What is no larger is made inside the body; a larger constant is given to it.
_MADE_INSIDE = 64
_ARRAY = np.zeros(())
_VIEWS = frozenset({"broadcast", "reshape", "transpose"})
_MIX = np.uint32(0x9E3779B1)  # an odd number near 2^32 / golden ratio: neighbours end far apart


@dataclass(frozen=True)
class Body:
    """A step as a graph; `shared` are the nodes outside that it reads, its last inputs."""

    graph: Graph
    shared: list[Node]
    result: Any  # the tree that the step returned, with traced leaves


def capture(function: Callable[..., Any], args: Sequence[Any], names: Sequence[str]) -> Body:
    """The step, traced on arguments like these."""
    title = getattr(function, "__name__", "step").strip("<>")
    found = tracing.capture(function, args, name=title, names=names)
    return _closed(found.graph, found.result)


def _closed(graph: Graph, result: Any) -> Body:
    inner = set(graph.inputs)
    fixed: set[Node] = set()  # neither of this step nor of anything given: constants
    order = ancestors(graph.outputs)
    for node in order:
        if any(operand in inner for operand in node.operands):
            inner.add(node)
        elif node.op in ("constant", "iota") or (
            node.operands and all(operand in fixed for operand in node.operands)
        ):
            fixed.add(node)
    used = [*graph.outputs, *(x for node in order if node in inner for x in node.operands)]
    outside = dict.fromkeys(n for n in map(_behind_views, used) if n not in inner)
    outside = {n: None for n in outside if not _stays(n, fixed)}
    fresh = {n: build.input(_name(n), n.type) for n in outside}
    outputs = tuple(substitute(graph.outputs, fresh))
    inputs = (*graph.inputs, *fresh.values())
    return Body(Graph(graph.name, inputs, outputs, graph.output_names), list(outside), result)


def _behind_views(node: Node) -> Node:
    """A view of something outside is made inside: its delta is then that of what all steps share,
    not of a copy for each row."""
    while node.op in _VIEWS:
        (node,) = node.operands
    return node


def _stays(node: Node, fixed: set[Node]) -> bool:
    """Whether a constant is made inside: a small one, or one that is computed from small ones."""
    if node not in fixed:
        return False
    sizes = [n.type.size for n in ancestors([node]) if n.op == "constant"]
    return max(sizes, default=0) <= _MADE_INSIDE


def _name(node: Node) -> str:
    return str(node["name"]) if node.op == "input" else node.op


def skeleton(tree: Any) -> Any:
    """What a tree is apart from its arrays and numbers, to compare."""
    return trees.structure(trees.map_leaves(lambda _: _ARRAY, tree))


def with_dtypes(tree: Any, like: Any) -> Any:
    """A tree with its Python floats as arrays of the dtype that they have in another one."""
    before, found = trees.leaves(tree), trees.leaves(like)
    if len(before) != len(found):
        return tree
    made = [
        _number(one.value).astype(_number(other.value).dtype) if is_weak(one.value) else one.value
        for one, other in zip(before, found, strict=True)
    ]
    return trees.replace_leaves(tree, made)


def _number(value: Any) -> Any:
    """A Python number as an array: of a loop inside a loop it may be one that is traced already."""
    return value if isinstance(value, Traced) else plain_array(value)


def as_array(value: Any) -> Any:
    """A leaf as an array; what is one stays."""
    return value if trees.is_array(value) else plain_array(value)


# --- the context inside a step ------------------------------------------------------------------


def draws_so_far() -> dict[str, int]:
    """How many random draws were made where: every step of a loop counts on from there."""
    context = current()
    return dict(context.draws) if context else {}


@contextmanager
def step_context(number: Any, what: str, draws: dict[str, int]) -> Iterator[None]:
    """The forward pass's context inside a step: random draws differ from step to step, and what
    layers say of themselves stays inside.

    Raises UsageError where a layer inside moves its running statistics: a loop's body has no way to
    give them out.
    """
    context = current()
    if context is None:
        yield
        return
    inside = _inner(context, number)
    inside.draws = dict(draws)
    inside.memory = context.memory.inside(what) if context.memory else None
    before = dict(inside.updates)
    with use(inside):
        yield
    context.draws.update(inside.draws)
    moved = [name for name, value in inside.updates.items() if value is not before.get(name)]
    if moved:
        raise UsageError(
            f"{moved[0]} changed inside {what}: running statistics cannot move within a loop",
            do="put such a layer (BatchNorm) outside the loop, use LayerNorm inside, or freeze it "
            "with cr.nn.Frozen",
        )


def _inner(context: Context, number: Any) -> Context:
    inside = copy(context)
    if tracing.is_tracing():
        inside.outputs = {}
        inside.updates = dict(context.updates)
    if context.key is not None:
        inside.key = _key_of_step(context.key, number)
    return inside


def _key_of_step(key: Any, number: Any) -> Any:
    """A key of its own for each step, also of loops inside loops."""
    with nullcontext() if isinstance(key, Traced) else np.errstate(over="ignore"):
        word = key[1:] * _MIX + number + np.uint32(1)
        return np.concatenate([key[:1], word])
