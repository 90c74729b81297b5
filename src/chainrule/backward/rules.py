"""The chain rule, one rule per op: the delta of a result -> the deltas of its operands.

The delta of a value is the derivative of the loss with respect to it (Rumelhart, Hinton and
Williams 1986). A rule returns one delta for each operand, or None where nothing flows.

A zero delta stays zero. Deltas are multiplied by `scale` (elementwise) and by contractions with
strong zeros, so that a value which does not matter to the loss, such as the branch of a `where`
that was not taken, sends nothing back, not even when its own derivative is infinite or NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from chainrule.errors import NoDerivativeError
from chainrule.graph import Node, build
from chainrule.graph.build import (
    add,
    broadcast,
    cast,
    contract,
    divide,
    equal,
    less,
    like,
    make,
    multiply,
    negative,
    reshape,
    scale,
    subtract,
    where,
)
from chainrule.graph.ops import split_spec, strong_marks

# Of a loop, which gives several arrays, the deltas of those that have one, by their number.
Delta = Node | Mapping[int, Node]
Deltas = tuple[Delta | None, ...]
Rule = Callable[..., Deltas]

RULES: dict[str, Rule] = {}

# Ops that no delta can reach: they have no operands, or results that are not floating-point.
NO_DELTA = frozenset(
    "input constant iota random_bits "
    "not and or equal not_equal less less_equal argmax argsort".split()
)


def rule(op: str) -> Callable[[Rule], Rule]:
    """Makes the decorated function the rule of an op."""

    def register(function: Rule) -> Rule:
        RULES[op] = function
        return function

    return register


def _factor(op: str, derivative: Callable[[Node, Node], Node]) -> None:
    """A rule for an elementwise op: delta times derivative(x, result)."""
    RULES[op] = lambda node, delta: (scale(delta, derivative(node.operands[0], node)),)


def _one(x: Node) -> Node:
    return like(x, 1)


_factor("exp", lambda x, y: y)
_factor("expm1", lambda x, y: add(y, _one(y)))
_factor("log", lambda x, y: divide(_one(x), x))
_factor("log1p", lambda x, y: divide(_one(x), add(_one(x), x)))
_factor("sqrt", lambda x, y: divide(like(y, 0.5), y))
_factor("sin", lambda x, y: make("cos", x))
_factor("cos", lambda x, y: negative(make("sin", x)))
_factor("tanh", lambda x, y: subtract(_one(y), multiply(y, y)))
_factor("erf", lambda x, y: multiply(like(x, 2 / math.sqrt(math.pi)), _bell(x)))


def _bell(x: Node) -> Node:
    return make("exp", negative(multiply(x, x)))


@rule("negative")
def _negative(node: Node, delta: Node) -> Deltas:
    return (negative(delta),)


@rule("absolute")
def _absolute(node: Node, delta: Node) -> Deltas:
    """The sign of x; 0 at the kink."""
    (x,) = node.operands
    zero = like(x, 0)
    sided = where(less(x, zero), negative(delta), delta)
    return (where(equal(x, zero), zero, sided),)


def _no_derivative(op: str, why: str, instead: str) -> None:
    def raise_error(node: Node, delta: Node) -> Deltas:
        raise NoDerivativeError(
            f"{op} has no useful derivative: {why}",
            where=str(node.origin) or None,
            do=f"{instead}, or wrap it in cr.stop_gradient(...) to treat it as a constant",
        )

    RULES[op] = raise_error


_no_derivative("sign", "it is 0 wherever it exists", "use np.tanh(x / width)")
_no_derivative("floor", "it is 0 wherever it exists", "round after training")
_no_derivative("floor_divide", "it is 0 wherever it exists", "use /")


@rule("stop")
def _stop(node: Node, delta: Node) -> Deltas:
    return (None,)


@rule("add")
def _add(node: Node, delta: Node) -> Deltas:
    return delta, delta


@rule("subtract")
def _subtract(node: Node, delta: Node) -> Deltas:
    return delta, negative(delta)


@rule("multiply")
def _multiply(node: Node, delta: Node) -> Deltas:
    x, y = node.operands
    return scale(delta, y), scale(delta, x)


@rule("scale")
def _scale(node: Node, delta: Node) -> Deltas:
    """As of a product. x is itself a delta: towards y, its zeros and those of the new delta are
    both strong."""
    x, y = node.operands
    to_y = where(equal(x, like(x, 0)), scale(x, delta), scale(delta, x))
    return scale(delta, y), to_y


@rule("divide")
def _divide(node: Node, delta: Node) -> Deltas:
    _, y = node.operands
    return scale(delta, divide(_one(y), y)), negative(scale(delta, divide(node, y)))


@rule("power")
def _power(node: Node, delta: Node) -> Deltas:
    """y x^(y-1) and x^y log x; 0 for x^0, and 0 for 0^y with y > 0."""
    x, y = node.operands
    zero, one = like(x, 0), _one(x)
    is_zero_power = equal(y, zero)
    lowered = make("power", x, where(is_zero_power, one, subtract(y, one)))
    by_base = where(is_zero_power, zero, multiply(y, lowered))
    vanishes = make("and", equal(x, zero), make("less_equal", zero, y))
    logarithm = make("log", where(vanishes, one, x))
    by_exponent = where(vanishes, zero, multiply(node, logarithm))
    return scale(delta, by_base), scale(delta, by_exponent)


@rule("arctan2")
def _arctan2(node: Node, delta: Node) -> Deltas:
    """x / (x^2 + y^2) and -y / (x^2 + y^2); 0 at the origin, where the angle has none."""
    y, x = node.operands
    zero = like(x, 0)
    at_origin = make("and", equal(x, zero), equal(y, zero))
    square = where(at_origin, _one(x), add(multiply(x, x), multiply(y, y)))
    by_y, by_x = divide(x, square), negative(divide(y, square))
    return (
        scale(delta, where(at_origin, zero, by_y)),
        scale(delta, where(at_origin, zero, by_x)),
    )


@rule("remainder")
def _remainder(node: Node, delta: Node) -> Deltas:
    """x - y floor(x / y), where the floor is constant by pieces."""
    x, y = node.operands
    count = make("stop", make("floor_divide", x, y))
    return delta, negative(scale(delta, count))


def _larger(first_wins: Callable[[Node, Node], Node]) -> Rule:
    """The delta goes to the operand that was chosen. At a tie both get half, except that a known
    constant takes it all: so max(x, 0) has derivative 0 at 0, and clip has 0 at its bounds."""

    def larger(node: Node, delta: Node) -> Deltas:
        x, y = node.operands
        zero = like(delta, 0)
        if _is_constant(x) != _is_constant(y):
            to_x = where(first_wins(x, y), delta, zero)
            to_y = where(first_wins(y, x), delta, zero)
            return to_x, to_y
        half = multiply(delta, like(delta, 0.5))
        shared = where(equal(x, y), half, zero)
        return (
            where(first_wins(x, y), delta, shared),
            where(first_wins(y, x), delta, shared),
        )

    return larger


def _is_constant(x: Node) -> bool:
    while x.op in ("broadcast", "cast", "reshape"):
        (x,) = x.operands
    return x.op == "constant"


RULES["maximum"] = _larger(lambda x, y: less(y, x))
RULES["minimum"] = _larger(less)


@rule("where")
def _where(node: Node, delta: Node) -> Deltas:
    condition, _, _ = node.operands
    zero = like(delta, 0)
    return None, where(condition, delta, zero), where(condition, zero, delta)


@rule("cast")
def _cast(node: Node, delta: Node) -> Deltas:
    (x,) = node.operands
    return (cast(delta, x.type.dtype) if x.type.is_float else None,)


def _spread(delta: Node, source: Node, axes: tuple[int, ...]) -> Node:
    """Repeats a delta along the axes that a reduction removed."""
    kept = [1 if axis in axes else size for axis, size in enumerate(source.shape)]
    return broadcast(reshape(delta, kept), source.shape)


@rule("sum")
def _sum(node: Node, delta: Node) -> Deltas:
    (x,) = node.operands
    return (_spread(delta, x, node["axes"]),)


@rule("max")
def _max(node: Node, delta: Node) -> Deltas:
    """Elements that share the maximum share the delta equally."""
    (x,) = node.operands
    axes = node["axes"]
    hit = cast(equal(x, _spread(node, x, axes)), x.type.dtype)
    share = divide(hit, _spread(build.sum(hit, axes), x, axes))
    return (scale(_spread(delta, x, axes), share),)


@rule("reshape")
def _reshape(node: Node, delta: Node) -> Deltas:
    return (reshape(delta, node.operands[0].shape),)


@rule("transpose")
def _transpose(node: Node, delta: Node) -> Deltas:
    axes = node["axes"]
    return (build.transpose(delta, [axes.index(i) for i in range(len(axes))]),)


@rule("broadcast")
def _broadcast(node: Node, delta: Node) -> Deltas:
    (x,) = node.operands
    new = node.ndim - x.ndim
    repeated = [new + i for i, size in enumerate(x.shape) if size == 1 != node.shape[new + i]]
    return (reshape(build.sum(delta, [*range(new), *repeated]), x.shape),)


@rule("slice")
def _slice(node: Node, delta: Node) -> Deltas:
    (x,) = node.operands
    step = node["step"]
    # How far the last element read lies from the end; nothing was read of an empty axis.
    high = [
        size - start - max(s * (count - 1) + 1, 0) if count else size - start
        for size, start, s, count in zip(x.shape, node["start"], step, node.shape, strict=True)
    ]
    return (build.pad(delta, node["start"], high, [s - 1 for s in step]),)


@rule("pad")
def _pad(node: Node, delta: Node) -> Deltas:
    (x,) = node.operands
    low, interior = node["low"], node["interior"]
    stop = [
        start + (size - 1) * (gap + 1) + 1 if size else start
        for size, start, gap in zip(x.shape, low, interior, strict=True)
    ]
    return (build.slice(delta, low, stop, [gap + 1 for gap in interior]),)


@rule("concatenate")
def _concatenate(node: Node, delta: Node) -> Deltas:
    axis, offset = node["axis"], 0
    parts = []
    for x in node.operands:
        start, stop = [0] * node.ndim, list(node.shape)
        start[axis], stop[axis] = offset, offset + x.shape[axis]
        parts.append(build.slice(delta, start, stop, [1] * node.ndim))
        offset = stop[axis]
    return tuple(parts)


@rule("reverse")
def _reverse(node: Node, delta: Node) -> Deltas:
    return (build.reverse(delta, node["axes"]),)


@rule("contract")
def _contract(node: Node, delta: Node) -> Deltas:
    """delta @ w.T and x.T @ delta: again contractions, with the strong zeros of the delta."""
    x, y = node.operands
    left, right, result = split_spec(node["spec"])
    left_mark, right_mark = strong_marks(node["spec"])
    return (
        contract(delta, y, f"{result}!,{right}{right_mark}->{left}"),
        contract(delta, x, f"{result}!,{left}{left_mark}->{right}"),
    )


@rule("take")
def _take(node: Node, delta: Node) -> Deltas:
    x, index = node.operands
    axis = node["axis"]
    return build.scatter(delta, index, axis, x.shape[axis]), None


@rule("scatter")
def _scatter(node: Node, delta: Node) -> Deltas:
    _, index = node.operands
    return build.take(delta, index, node["axis"]), None
