"""`jacobian`: all derivatives of a function whose result is an array.

Receives: a function of NumPy code. Returns: a function for its Jacobian. Next: `optim` fits curves
with it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from chainrule import tracing
from chainrule.backward.jacobians import jacobians
from chainrule.errors import TraceError
from chainrule.graph.substitution import substitute
from chainrule.pipeline import compile
from chainrule.tracing import trees
from chainrule.tracing.calls import (
    check_differentiable,
    name_of,
    names_of,
    places_of,
    with_keywords,
)
from chainrule.tracing.traced import Traced, lift, wrap

Function = Callable[..., Any]


def jacobian(function: Function, argnums: int | Sequence[int] = 0) -> Function:
    """The derivatives of every element of the result by every element of an argument.

    A tree like the argument at `argnums` (with several, a tuple of trees); each leaf has the
    result's shape followed by that of the argument's leaf. Exact, by reverse mode: the rows of all
    results in one backward pass where the function keeps rows apart, else by the rows or the
    columns, whichever is less work. Raises TraceError unless the function returns one floating-
    point array, and what `grad` raises.
    """
    both = value_and_jacobian(function, argnums)

    @functools.wraps(function)
    def derivatives(*args: Any, **kwargs: Any) -> Any:
        return both(*args, **kwargs)[1]

    return compile(derivatives)


def value_and_jacobian(function: Function, argnums: int | Sequence[int] = 0) -> Function:
    """Like `jacobian`, but returns (value, jacobian)."""

    @functools.wraps(function)
    def differentiated(*args: Any, **kwargs: Any) -> Any:
        return _value_and_jacobian(function, args, kwargs, argnums)

    return compile(differentiated)


def _value_and_jacobian(
    function: Function,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    argnums: int | Sequence[int],
) -> Any:
    """As for `grad`: on placeholders of its own, which are then replaced by the real arguments."""
    positional, call = with_keywords(function, args, kwargs)
    names = names_of(function, len(args), kwargs)
    captured = tracing.capture(call, positional, name=name_of(function), names=names)
    value = _array(captured.result, function)
    places = places_of(argnums, len(args))
    inputs = iter(captured.graph.inputs)
    by_argument = [[next(inputs) for _ in trees.leaves(argument)] for argument in positional]
    wrt = []
    for place in places:
        check_differentiable(by_argument[place], names[place], args[place])
        wrt += by_argument[place]
    actual = [lift(leaf.value) for argument in positional for leaf in trees.leaves(argument)]
    table = dict(zip(captured.graph.inputs, actual, strict=True))
    first, *rest = map(wrap, substitute([value.node, *jacobians(value.node, wrt)], table))
    found = iter(rest)
    parts = [
        trees.replace_leaves(args[place], [next(found) for _ in by_argument[place]])
        for place in places
    ]
    return first, parts[0] if isinstance(argnums, int) else tuple(parts)


def _array(value: Any, function: Function) -> Traced:
    if isinstance(value, Traced) and value.dtype.kind == "f":
        return value
    got = value.dtype if isinstance(value, Traced) else type(value).__name__
    raise TraceError(
        f"{name_of(function)} returned {got}, but a Jacobian needs one array of floating-point "
        "numbers",
        do="return one array; join several with np.concatenate",
    )
