"""`cr.scan`: a step for each element of sequences, with values carried from step to step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chainrule import tracing
from chainrule.backward import stored_bytes
from chainrule.errors import ShapeError, UsageError
from chainrule.graph import Node, build
from chainrule.loops.bodies import (
    Body,
    as_array,
    capture,
    draws_so_far,
    skeleton,
    step_context,
    with_dtypes,
)
from chainrule.tracing import trees
from chainrule.tracing.frames import user_origin
from chainrule.tracing.traced import as_traced, here, is_weak, lift, wrap

Step = Callable[[Any, Any], Any]


def scan(
    step: Step,
    carry: Any,
    xs: Any,
    *,
    reverse: bool = False,
    checkpoint: bool | int = False,
    memory: int | None = None,
    truncate: int | None = None,
) -> tuple[Any, Any]:
    """Runs `carry, y = step(carry, x)` for each x of `xs`: (the last carry, all ys stacked).

    `carry`, `xs` and what `step` returns may be trees of arrays; an x is the same tree as `xs` with
    one element of each array's first axis, whose sizes must be equal. The carry keeps its
    structure, shapes and dtypes from step to step; y may be None. With `reverse` the last x comes
    first, and ys stand where their xs stood. Random numbers of `cr.random` differ from step to
    step.

    In a gradient every step's values are kept until the way back needs them. `checkpoint` keeps
    only the carry, every so many steps (True: about the root of their number), and computes the
    steps between anew: the work of one more forward pass, and memory that grows like the square
    root. `memory` does so only where more than about this many bytes would be kept. `truncate` cuts
    the gradient between chunks of so many steps: the carry goes on, its delta does not.

    Raises UsageError for a step that does not return a pair or a setting out of range, or where
    `memory` is too small; ShapeError for sequences of unequal length and a carry that changes.

    Sources: Werbos, "Backpropagation through time", 1990; Williams and Peng 1990 (truncated);
    Chen, Xu, Zhang and Guestrin, "Training deep nets with sublinear memory cost", 2016.
    """
    length = _length(xs)
    _check_settings(checkpoint, memory, truncate)
    # A Python float takes the dtype that the first step gives it.
    carry = trees.map_leaves(lambda x: x if isinstance(x, float) else as_array(x), carry)
    if not tracing.is_tracing():
        if length:
            return _loop(step, carry, xs, length, reverse)
        from chainrule.pipeline import compile  # only a trace tells the shapes of no steps

        whole: tuple[Any, Any] = compile(lambda c, x: _traced(step, c, x, length, _Plan(reverse)))(
            carry, xs
        )
        return whole
    segment = None if checkpoint is False else checkpoint
    return _traced(step, carry, xs, length, _Plan(reverse, segment, memory, truncate))


@dataclass(frozen=True)
class _Plan:
    """How the steps are run."""

    reverse: bool
    checkpoint: bool | int | None = None
    memory: int | None = None
    truncate: int | None = None


def _check_settings(checkpoint: Any, memory: Any, truncate: Any) -> None:
    for name, value in (("checkpoint", checkpoint), ("memory", memory), ("truncate", truncate)):
        given = value is not None and not (name == "checkpoint" and isinstance(value, bool))
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if given and not (whole and value >= 1):
            raise UsageError(
                f"cr.scan: {name}={value!r}",
                do="give a number of bytes" if name == "memory" else "give a number of steps",
            )


def _length(xs: Any) -> int:
    leaves = trees.leaves(xs, "xs")
    if not leaves:
        raise UsageError(
            "cr.scan: xs holds no arrays, so the number of steps is not known",
            do="give sequences to run over; to count only, np.arange(steps)",
        )
    sizes = {}
    for leaf in leaves:
        if not np.ndim(leaf.value):
            raise ShapeError(
                f"cr.scan: {leaf.name} is a single number, not a sequence",
                where=str(user_origin()) or None,
                do="what stays the same in all steps is not part of xs: the step can just use it",
            )
        sizes[leaf.name] = int(np.shape(leaf.value)[0])
    (first, length), *others = sizes.items()
    for name, size in others:
        if size != length:
            raise ShapeError(
                f"cr.scan: {first} has {length} steps and {name} has {size}",
                where=str(user_origin()) or None,
                do="the first axes of all arrays in xs must be equal; time comes first: "
                "np.swapaxes(x, 0, 1)",
            )
    return length


# --- on plain arrays ----------------------------------------------------------------------------


def _loop(step: Step, carry: Any, xs: Any, length: int, reverse: bool) -> tuple[Any, Any]:
    values = [leaf.value for leaf in trees.leaves(xs)]
    draws = draws_so_far()
    found: list[Any] = [None] * length
    order = range(length)[::-1] if reverse else range(length)

    def run(number: int, carry: Any) -> tuple[Any, Any]:
        x = trees.replace_leaves(xs, [value[number] for value in values])
        with step_context(np.uint32(number), "cr.scan", draws):
            after, y = _pair(step(carry, x))
        _check_carry(carry, after)
        return trees.map_leaves(as_array, after), y

    if any(is_weak(leaf.value) for leaf in trees.leaves(carry)):
        carry = with_dtypes(carry, run(order[0], carry)[0])
    for number in order:
        carry, found[number] = run(number, carry)
    columns = zip(*([leaf.value for leaf in trees.leaves(y)] for y in found), strict=True)
    return carry, trees.replace_leaves(found[0], [np.stack(column) for column in columns])


def _pair(result: Any) -> tuple[Any, Any]:
    if not (isinstance(result, tuple) and len(result) == 2):
        raise UsageError(
            f"the step of cr.scan returned {type(result).__name__}, not a pair",
            do="return carry, y; where nothing is to be stacked, return carry, None",
        )
    return result


def _check_carry(before: Any, after: Any) -> None:
    """Raises ShapeError where a step gives another kind of carry than it got."""
    old, new = trees.leaves(before, "carry"), trees.leaves(after, "carry")
    if skeleton(before) != skeleton(after):
        shown = [", ".join(x.name for x in leaves) or "nothing" for leaves in (old, new)]
        if shown[0] == shown[1]:  # they differ in what is neither an array nor a float
            shown = [repr(before), repr(after)]
        raise ShapeError(
            f"cr.scan: the carry changes: {shown[0]} before a step, {shown[1]} after it",
            where=str(user_origin()) or None,
            do="return the same tree that the step gets; numbers that change must be arrays, such "
            "as np.array(0)",
        )
    for one, other in zip(old, new, strict=True):
        kinds = [_kind(leaf.value) for leaf in (one, other)]
        if kinds[0] != kinds[1] and not is_weak(one.value):
            raise ShapeError(
                f"cr.scan: {one.name} is {kinds[0]} before a step and {kinds[1]} after it",
                where=str(user_origin()) or None,
                do="begin with an array of the shape and dtype that the step returns, or cast what "
                "it returns with .astype",
            )


def _kind(value: Any) -> str:
    array = as_array(value)
    return f"{np.dtype(array.dtype)}{list(array.shape)}"


# --- in a trace ---------------------------------------------------------------------------------


def _traced(step: Step, carry: Any, xs: Any, length: int, plan: _Plan) -> tuple[Any, Any]:
    """The steps' numbers come along, for random draws; unless those need them they are dropped."""
    with here():
        numbers = wrap(build.iota((length,), 0, np.dtype(np.uint32)))

    draws = draws_so_far()

    def numbered(carry: Any, both: Any) -> Any:
        number, x = both
        with step_context(number, "cr.scan", draws):
            return _pair(step(carry, x))

    numbered.__name__ = getattr(step, "__name__", "step")
    carry = _strong(numbered, carry, (numbers, xs))
    return _chunked(numbered, carry, (numbers, xs), length, plan)


def _strong(step: Step, carry: Any, xs: Any) -> Any:
    """The carry with Python floats as arrays of the dtype that a step gives them."""
    if not any(is_weak(leaf.value) for leaf in trees.leaves(carry)):
        return carry
    return with_dtypes(carry, _body(step, carry, xs).result[0])


def _chunked(step: Step, carry: Any, xs: Any, length: int, plan: _Plan) -> tuple[Any, Any]:
    """With `truncate`, a scan over chunks, each of which cuts the carry's delta but the first."""
    if plan.truncate is None or plan.truncate >= length:
        return _checkpointed(step, carry, xs, length, plan)
    inner = replace(plan, truncate=None)

    def chunk(carry: Any, both: Any) -> tuple[Any, Any]:
        is_first, x = both
        kept = trees.map_leaves(lambda c: np.where(is_first, c, _stopped(c)), carry)
        return _checkpointed(step, kept, x, plan.truncate or 1, inner)

    def rest(carry: Any, x: Any, count: int) -> tuple[Any, Any]:
        return _checkpointed(step, trees.map_leaves(_stopped, carry), x, count, inner)

    return _in_segments(chunk, rest, carry, xs, length, plan.truncate, plan.reverse, flagged=True)


def _stopped(x: Any) -> Any:
    with here():
        return wrap(build.make("stop", as_traced(x).node))


def _checkpointed(step: Step, carry: Any, xs: Any, length: int, plan: _Plan) -> tuple[Any, Any]:
    segment = _segment(step, carry, xs, length, plan)
    if segment is None or segment >= length:
        return _node(step, carry, xs, length, plan.reverse)

    def steps(carry: Any, x: Any) -> tuple[Any, Any]:
        return _node(step, carry, x, segment, plan.reverse)

    def rest(carry: Any, x: Any, count: int) -> tuple[Any, Any]:
        return _node(step, carry, x, count, plan.reverse)

    return _in_segments(steps, rest, carry, xs, length, segment, plan.reverse)


def _segment(step: Step, carry: Any, xs: Any, length: int, plan: _Plan) -> int | None:
    """How many steps are computed anew at once, or None where all are kept."""
    if plan.memory is None:
        return _dividing(length, math.isqrt(length)) if plan.checkpoint is True else plan.checkpoint
    body = _body(step, carry, xs)
    each = stored_bytes(_scan_node(body, carry, xs, length, plan.reverse))
    if length * each <= plan.memory:
        return None
    carried: int = sum(leaf.value.nbytes for leaf in trees.leaves(body.result[0]))

    def kept(segment: int) -> int:
        return math.ceil(length / segment) * carried + segment * each

    # Segments of k steps keep length / k carries and the values of k steps: least at this k.
    best = max(min(round(math.sqrt(length * carried / max(each, 1))), length), 1)
    even, least = _dividing(length, best), kept(best)
    if least > plan.memory:
        raise UsageError(
            f"cr.scan: {length} steps keep {least:,} bytes at least, and memory={plan.memory:,}",
            do=f"allow {least:,} bytes, make the carry smaller, or cut the gradient with truncate=",
        )
    return even if kept(even) <= plan.memory else best


def _dividing(length: int, near: int) -> int:
    """The steps of a segment: `near`, or no less than half of it where that divides their number.
    Steps that are left over cost copies of the sequences and of their deltas."""
    near = max(near, 1)
    return next((k for k in range(near, near // 2, -1) if length % k == 0), near)


def _in_segments(
    inner: Step,
    rest: Callable[[Any, Any, int], tuple[Any, Any]],
    carry: Any,
    xs: Any,
    length: int,
    size: int,
    reverse: bool,
    *,
    flagged: bool = False,
) -> tuple[Any, Any]:
    """A scan over segments of `size` steps, and what does not fill one behind it (in the order of
    the steps). With `flagged` the inner step also gets whether its segment is the first."""
    count, left = divmod(length, size)
    bounds = slice(left, None) if reverse else slice(count * size)
    others = slice(left) if reverse else slice(count * size, None)
    whole = _map(lambda x: x[bounds].reshape((count, size, *x.shape[1:])), xs)
    if flagged:
        with here():
            places = wrap(build.iota((count,), 0, np.dtype(np.int64)))
        whole = (places == (count - 1 if reverse else 0), whole)
    carry, ys = _node(inner, carry, whole, count, reverse)
    ys = _map(lambda y: y.reshape((count * size, *y.shape[2:])), ys)
    if not left:
        return carry, ys
    carry, last = rest(carry, _map(lambda x: x[others], xs), left)
    pairs = zip(trees.leaves(ys), trees.leaves(last), strict=True)
    parts = [(b.value, a.value) if reverse else (a.value, b.value) for a, b in pairs]
    return carry, trees.replace_leaves(ys, [np.concatenate(p) for p in parts])


def _map(function: Callable[[Any], Any], tree: Any) -> Any:
    return trees.map_leaves(lambda x: function(as_traced(x)), tree)


def _body(step: Step, carry: Any, xs: Any) -> Body:
    """A step, traced on one element of each sequence."""

    def element(x: Any) -> Any:
        a = as_traced(x)
        with here():  # never computed: only its type matters
            return wrap(build.input("x", a.node.type.without_first()))

    body = capture(step, (carry, trees.map_leaves(element, xs)), ("carry", "x"))
    _check_carry(carry, _pair(body.result)[0])
    return body


def _scan_node(body: Body, carry: Any, xs: Any, length: int, reverse: bool) -> Node:
    first = [lift(leaf.value) for leaf in trees.leaves(carry)]
    along = [lift(leaf.value) for leaf in trees.leaves(xs)]
    return build.scan(body.graph, first, along, body.shared, length, reverse)


def _node(step: Step, carry: Any, xs: Any, length: int, reverse: bool) -> tuple[Any, Any]:
    """One node of the graph for all steps."""
    body = _body(step, carry, xs)
    with here():
        loop = _scan_node(body, carry, xs, length, reverse)
        parts = [wrap(build.part(loop, number)) for number in range(len(body.graph.outputs))]
    after, y = body.result
    count = len(trees.leaves(after))
    return trees.replace_leaves(after, parts[:count]), trees.replace_leaves(y, parts[count:])
