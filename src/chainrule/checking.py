"""Checking gradients numerically: the exact derivative against differences of the values.

Receives: a function and arguments. Returns: nothing, or raises `GradientMismatchError` naming the
array whose gradient is wrong. Next: nobody; it is a tool for tests and for people.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.errors import ChainruleError, UsageError
from chainrule.pipeline import compile, grad
from chainrule.tracing import Leaf, leaves, map_leaves, replace_leaves
from chainrule.tracing.capture import argument_names

# Central differences err by h^2 f''' / 6 + rounding / h: least near the cube root of the rounding.
STEP = float(np.finfo(np.float64).eps) ** (1 / 3)


class GradientMismatchError(ChainruleError, AssertionError):
    """The computed derivative and the differences of the values do not agree."""


@dataclass(frozen=True)
class _Tolerance:
    rtol: float
    atol: float
    step: float


def check_grads(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    *,
    order: int = 2,
    argnums: int | Sequence[int] | None = None,
    rtol: float = 1e-5,
    atol: float = 1e-7,
    eps: float | None = None,
    seed: int = 0,
) -> None:
    """Checks the derivatives of `function(*args)` up to `order` against central differences.

    Everything runs in float64: float32 arrays are cast. The differences call `function` on plain
    NumPy arrays, along one random direction for each array of the arguments in `argnums` (default:
    all that hold floating-point arrays). A result that is not one number is summed with random
    weights. For each further order, the directional derivative of the order before is checked in
    the same way. `eps` is the step for arrays of size about 1 (default 6e-6); `seed` chooses the
    directions. Computed and numeric value must agree within `atol + rtol * their size`.

    Raises GradientMismatchError naming the array (`w`, `layers.0.weight`), both numbers and the
    order; NoDerivativeError and TraceError as `grad` does; UsageError for a bad call.

    The check holds at the arguments given: choose none at a kink or tie, where differences see the
    mean of both sides. What `function` treats as constant by `cr.stop_gradient` disagrees.
    """
    if not isinstance(args, tuple):
        raise UsageError(
            f"check_grads takes the arguments as a tuple, not {type(args).__name__}",
            do="write cr.check_grads(f, (x,)) for one argument",
        )
    if order < 1:
        raise UsageError(f"check_grads to order {order}", do="use order=1 or more")
    args = tuple(map_leaves(_as_float64, argument) for argument in args)
    chosen = _chosen(function, args, argnums)
    random = np.random.Generator(np.random.Philox(seed))
    places = [place for place, _ in chosen]
    flat = [leaf.value for argument in args for leaf in leaves(argument)]

    def on_leaves(*values: Any) -> Any:
        """The function of the chosen arrays alone."""
        filled = list(flat)
        for place, value in zip(places, values, strict=True):
            filled[place] = value
        rest = iter(filled)
        return function(*[replace_leaves(a, [next(rest) for _ in leaves(a)]) for a in args])

    weights = [random.normal(size=np.shape(v)) for v in _float_leaves(on_leaves, flat, places)]
    tolerance = _Tolerance(rtol, atol, STEP if eps is None else eps)
    _check_order(
        lambda *values: _weighted(_floats(on_leaves(*values)), weights),
        [leaf for _, leaf in chosen],
        [flat[place] for place in places],
        tolerance,
        random,
        order,
        getattr(function, "__name__", "the function"),
    )


def _check_order(
    scalar: Callable[..., Any],
    chosen: Sequence[Leaf],
    values: Sequence[Any],
    tolerance: _Tolerance,
    random: np.random.Generator,
    order: int,
    name: str,
    level: int = 1,
) -> None:
    """Checks the gradient of `scalar`, then that of its directional derivative, and so on."""
    # On the reference, which is what gradients mean; and a program that is compiled for three calls
    # would take longer.
    gradient = compile(grad(scalar, tuple(range(len(values)))), backend="reference")
    found = gradient(*values)
    directions = [random.normal(size=np.shape(v)) for v in values]
    for number, leaf in enumerate(chosen):
        computed = float(np.sum(found[number] * directions[number]))
        numeric = _difference(scalar, values, number, directions[number], tolerance.step)
        # Also against the size of the terms: their sum may cancel, the rounding does not.
        size = max(abs(computed), abs(numeric), float(np.sum(np.abs(found[number]))) * 1e-3)
        if not abs(computed - numeric) <= tolerance.atol + tolerance.rtol * size:
            raise GradientMismatchError(
                f"the derivative of {name} for {leaf.name}, order {level}, is {computed:.9g} along "
                f"a random direction, but differences of its values give {numeric:.9g}",
                do="check the formulas for this array; at a kink, a tie or a pole move the "
                "arguments away from it; with large third derivatives pass a smaller eps",
            )
    if level < order:
        next_scalar = _directional(gradient, directions)
        _check_order(next_scalar, chosen, values, tolerance, random, order, name, level + 1)


def _directional(
    gradient: Callable[..., Any], directions: Sequence[np.ndarray]
) -> Callable[..., Any]:
    return lambda *values: _weighted(gradient(*values), directions)


def _difference(
    scalar: Callable[..., Any],
    values: Sequence[Any],
    number: int,
    direction: np.ndarray,
    step: float,
) -> float:
    """(f(x + h v) - f(x - h v)) / 2h, moving one array."""
    value = values[number]
    h = step * max(1.0, float(np.sqrt(np.mean(np.square(value)))) if np.size(value) else 1.0)
    ends = []
    for sign in (h, -h):
        moved = list(values)
        moved[number] = value + sign * direction
        with np.errstate(all="ignore"):  # NaN and infinity are reported as what they are
            ends.append(float(scalar(*moved)))
    return (ends[0] - ends[1]) / (2 * h)


def _weighted(parts: Sequence[Any], weights: Sequence[np.ndarray]) -> Any:
    terms = [np.sum(part * weight) for part, weight in zip(parts, weights, strict=True)]
    return sum(terms[1:], terms[0])


def _as_float64(value: Any) -> Any:
    if isinstance(value, float) and not isinstance(value, np.generic):
        return value
    array = np.asarray(value)
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def _is_float(value: Any) -> bool:
    return np.dtype(getattr(value, "dtype", type(value))).kind == "f"


def _floats(tree: Any) -> list[Any]:
    return [leaf.value for leaf in leaves(tree) if _is_float(leaf.value)]


def _float_leaves(
    function: Callable[..., Any], flat: Sequence[Any], places: Sequence[int]
) -> list[Any]:
    with np.errstate(all="ignore"):
        found = _floats(function(*[flat[place] for place in places]))
    if not found:
        raise UsageError("check_grads: the function returns no floating-point array")
    return found


def _chosen(
    function: Callable[..., Any], args: tuple[Any, ...], argnums: int | Sequence[int] | None
) -> list[tuple[int, Leaf]]:
    """The arrays to differentiate by, each with its place among all leaves of the arguments."""
    wanted = range(len(args)) if argnums is None else argnums
    numbers = [wanted] if isinstance(wanted, int) else list(wanted)
    if any(not -len(args) <= number < len(args) for number in numbers):
        raise UsageError(f"argnums={argnums!r}, but {len(args)} arguments were given")
    selected = {number % len(args) for number in numbers}
    found, place = [], 0
    for number, (argument, name) in enumerate(
        zip(args, argument_names(function, len(args)), strict=True)
    ):
        for leaf in leaves(argument, name):
            if number in selected and _is_float(leaf.value):
                found.append((place, leaf))
            place += 1
    if not found:
        raise UsageError("check_grads: no floating-point arrays to differentiate by")
    return found
