"""`cr.fixed_point`: a function iterated until its value stays, differentiated where it stays."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from chainrule import tracing
from chainrule.errors import ConvergenceError, ShapeError, UsageError
from chainrule.graph import build
from chainrule.loops.bodies import (
    as_array,
    capture,
    draws_so_far,
    skeleton,
    step_context,
    with_dtypes,
)
from chainrule.tracing import trees
from chainrule.tracing.capture import argument_names
from chainrule.tracing.frames import user_origin
from chainrule.tracing.traced import here, is_weak, lift, wrap


class FixedPoint(NamedTuple):
    """Where an iteration ended, and whether it came to rest there.

    `value` is the tree of states. `iterations` counts how often the function was called, `change`
    is how much the last call changed a state, relative to the largest one; `converged` says whether
    that is within the tolerance.
    """

    value: Any
    converged: Any
    iterations: Any
    change: Any


def fixed_point(
    function: Callable[..., Any],
    start: Any,
    *args: Any,
    tolerance: float = 1e-6,
    max_iterations: int = 100,
    strict: bool = True,
) -> FixedPoint:
    """Iterates `x = function(x, *args)` from `start` until x stays: a `FixedPoint` with its value.

    x may be a tree of floating-point arrays; `function` returns the same tree. It has come to rest
    when no element changes by more than `tolerance` times the largest element (or the largest first
    change). Where it does not within `max_iterations`, or becomes infinite or NaN, ConvergenceError
    is raised when it runs; with `strict=False` the last x is taken, and `.converged` is False.

    The derivative is that of the solution, by the implicit function theorem: its linear equation is
    solved by the same kind of iteration, with the same settings, and no step on the way is kept. It
    is zero for `start`, and right for `args` and all that the function closes over, to any order.

    Raises ShapeError where the function does not return what it gets, UsageError for a setting out
    of range.

    Sources: Almeida, "A learning rule for asynchronous perceptrons with feedback in a combinatorial
    environment", 1987; Pineda, "Generalization of back-propagation to recurrent neural networks",
    1987.
    """
    given: dict[str, Any] = {"tolerance": tolerance, "max_iterations": max_iterations}
    for name, value in given.items():
        if not (isinstance(value, float | int | np.number) and value > 0):
            raise UsageError(f"cr.fixed_point: {name}={value!r}", do="give a number above 0")
    if max_iterations != int(max_iterations):
        raise UsageError(
            f"cr.fixed_point: max_iterations={max_iterations!r}", do="give a whole number"
        )
    settings: dict[str, Any] = {
        "tolerance": float(tolerance),
        "max_iterations": int(max_iterations),
        "strict": bool(strict),
    }
    if tracing.is_tracing():
        return _traced(function, start, args, settings)
    return _loop(function, start, args, **settings)


# --- on plain arrays ----------------------------------------------------------------------------


def _loop(
    function: Callable[..., Any],
    start: Any,
    args: tuple[Any, ...],
    tolerance: float,
    max_iterations: int,
    strict: bool,
) -> FixedPoint:
    name, draws = argument_names(function, 1)[0], draws_so_far()
    now, first, change = start, 0.0, math.inf
    for number in range(max_iterations):
        with step_context(np.uint32(0), "cr.fixed_point", draws):
            after = trees.map_leaves(as_array, function(now, *args))
        if not number:
            now = with_dtypes(now, after)
        _check(now, after, name)
        before, found = ([leaf.value for leaf in trees.leaves(x)] for x in (now, after))
        moved = _largest([y - x for x, y in zip(before, found, strict=True)])
        first = first if number else moved
        scale = max(first, _largest(found))
        change = moved / scale if scale else 0.0
        now = after
        if not math.isfinite(moved) or change <= tolerance:
            break
    converged = change <= tolerance
    if strict and not converged:
        raise ConvergenceError.after(number + 1, change, tolerance, str(user_origin()))
    told = np.bool_(converged), np.int64(number + 1), np.float64(change)
    return FixedPoint(now, *told)


def _largest(arrays: list[Any]) -> float:
    """The largest magnitude of all elements; NaN where there is one."""
    return float(np.max([np.max(np.abs(x), initial=0.0) for x in arrays], initial=0.0))


# --- in a trace ---------------------------------------------------------------------------------


def _traced(
    function: Callable[..., Any], start: Any, args: tuple[Any, ...], settings: dict[str, Any]
) -> FixedPoint:
    draws = draws_so_far()

    def step(*given: Any) -> Any:
        with step_context(np.uint32(0), "cr.fixed_point", draws):
            return function(*given)

    step.__name__ = getattr(function, "__name__", "step")
    names = argument_names(function, 1 + len(args))
    body = capture(step, (start, *args), names)
    strong = with_dtypes(start, body.result)
    if any(is_weak(leaf.value) for leaf in trees.leaves(start)):
        body = capture(step, (strong, *args), names)
    start = strong
    _check(start, body.result, names[0])
    operands = [lift(leaf.value) for part in (start, *args) for leaf in trees.leaves(part)]
    count = len(trees.leaves(start))
    with here():
        loop = build.make(
            "fixed_point", *operands, *body.shared, body=body.graph, states=count, **settings
        )
        *states, iterations, change = (wrap(build.part(loop, k)) for k in range(count + 2))
        value = trees.replace_leaves(start, states)
        return FixedPoint(value, change <= settings["tolerance"], iterations, change)


def _check(start: Any, after: Any, name: str) -> None:
    before, found = trees.leaves(start, name), trees.leaves(after, name)
    if not before or skeleton(start) != skeleton(after):
        raise ShapeError(
            f"cr.fixed_point: the function gets {[leaf.name for leaf in before]} and returns "
            f"{[leaf.name for leaf in found]}",
            where=str(user_origin()) or None,
            do="return the same tree of arrays that it gets"
            if before
            else "start from floating-point arrays, such as np.zeros(3) or 0.0",
        )
    for one, other in zip(before, found, strict=True):
        kinds = [(leaf.value.dtype, tuple(leaf.value.shape)) for leaf in (one, other)]
        if kinds[0] != kinds[1] or kinds[0][0].kind != "f":
            raise ShapeError(
                f"cr.fixed_point: {one.name} is {kinds[0][0]}{list(kinds[0][1])} and the function "
                f"returns {kinds[1][0]}{list(kinds[1][1])}",
                where=str(user_origin()) or None,
                do="start from floating-point arrays of the shape and dtype that it returns",
            )
