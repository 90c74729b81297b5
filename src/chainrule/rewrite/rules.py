"""Algebraic simplifications of one node, each exact to the bit (or where it says so, not)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from chainrule.graph import Node, build
from chainrule.graph.build import make
from chainrule.graph.ops import split_spec, strong_marks

Rule = Callable[[Node], Node | None]
_RULES: dict[str, list[Rule]] = {}


def simplified(node: Node) -> Node:
    """A cheaper node of the same value, or the node itself."""
    for simplify in _RULES.get(node.op, ()):
        cheaper = simplify(node)
        if cheaper is not None:
            return cheaper
    return node


def rule(*ops: str) -> Callable[[Rule], Rule]:
    """Makes the decorated function a rule of these ops; the first that finds something counts."""

    def register(function: Rule) -> Rule:
        for op in ops:
            _RULES.setdefault(op, []).append(function)
        return function

    return register


def known(x: Node) -> float | None:
    """The one value of a scalar constant, or of what repeats it."""
    while x.op in ("broadcast", "reshape"):
        (x,) = x.operands
    if x.op == "constant" and x["value"].size == 1:
        return float(x["value"].reshape(-1)[0])
    return None


def _is(x: Node, value: float) -> bool:
    number = known(x)
    return number is not None and number == value and np.signbit(number) == np.signbit(value)


@rule("multiply")
def _times_one(node: Node) -> Node | None:
    x, y = node.operands
    if _is(y, 1):
        return x
    return y if _is(x, 1) else None


@rule("scale")
def _scale_one(node: Node) -> Node | None:
    x, y = node.operands
    if _is(y, 1):
        return x
    if _is(x, 0):  # strong zero
        return x
    # Where the factor is surely finite, 0 * y is 0 anyway.
    return make("multiply", x, y) if is_finite(y) else None


@rule("scale")
def _scale_of_one(node: Node) -> Node | None:
    x, y = node.operands
    return y if _is(x, 1) else None


@rule("divide")
def _divide_by_one(node: Node) -> Node | None:
    x, y = node.operands
    return x if _is(y, 1) else None


@rule("add", "subtract")
def _plus_zero(node: Node) -> Node | None:
    """x + (-0.0) and x - 0.0 keep every x, x + 0.0 would turn -0.0 into 0.0."""
    x, y = node.operands
    if node.op == "subtract":
        return x if _is(y, 0.0) else None
    if _is(y, -0.0) or (not x.type.is_float and _is(y, 0)):
        return x
    return y if _is(x, -0.0) or (not x.type.is_float and _is(x, 0)) else None


@rule("negative", "not")
def _twice(node: Node) -> Node | None:
    (x,) = node.operands
    return x.operands[0] if x.op == node.op else None


@rule("where")
def _where_known(node: Node) -> Node | None:
    condition, x, y = node.operands
    if x is y:
        return x
    value = known(condition)
    if value is None:
        return None
    return x if value else y


@rule("reshape")
def _reshape_twice(node: Node) -> Node | None:
    (x,) = node.operands
    if x.op == "reshape":
        return build.reshape(x.operands[0], node["shape"])
    if x.shape == node.shape:
        return x
    # A scalar repeated stays a scalar repeated.
    if x.op == "broadcast" and not x.operands[0].shape:
        return build.broadcast(x.operands[0], node.shape)
    return None


@rule("broadcast")
def _broadcast_twice(node: Node) -> Node | None:
    (x,) = node.operands
    if x.op == "broadcast":
        return build.broadcast(x.operands[0], node["shape"])
    # What only adds axes in front of a scalar's reshape is the scalar's own broadcast.
    if x.op == "reshape" and x.type.size == 1:
        return build.broadcast(build.reshape(x, ()), node["shape"]) if x.shape else None
    return None


@rule("transpose")
def _transpose_twice(node: Node) -> Node | None:
    (x,) = node.operands
    if x.op == "transpose":
        inner = x["axes"]
        return build.transpose(x.operands[0], [inner[a] for a in node["axes"]])
    if x.op == "broadcast" and not x.operands[0].shape:
        return build.broadcast(x.operands[0], node.shape)
    return None


@rule("reverse")
def _reverse_twice(node: Node) -> Node | None:
    (x,) = node.operands
    return x.operands[0] if x.op == "reverse" and x["axes"] == node["axes"] else None


@rule("cast")
def _cast_twice(node: Node) -> Node | None:
    """Through a wider type and back is the way of nothing."""
    (x,) = node.operands
    if x.type.dtype == node["dtype"]:
        return x
    if x.op == "cast" and x.operands[0].type.dtype == node["dtype"]:
        source = x.operands[0]
        if _holds_all(x.type.dtype, source.type.dtype):
            return source
    return None


def _holds_all(wide: np.dtype, narrow: np.dtype) -> bool:
    """Whether every value of one dtype is one of another. NumPy calls int64 to float64 safe, but
    floats hold only integers of as many bits as their mantissa has."""
    if wide.kind == "f" and narrow.kind in "iu":
        return narrow.itemsize * 8 <= np.finfo(wide).nmant + 1
    return np.can_cast(narrow, wide, "safe")


@rule("contract")
def _contract_transposed(node: Node) -> Node | None:
    """A transposed operand is the same contraction with its letters in another order."""
    left, right, result = split_spec(node["spec"])
    left_mark, right_mark = strong_marks(node["spec"])
    x, y = node.operands
    if x.op == "transpose":
        left, x = _untransposed(left, x)
    elif y.op == "transpose":
        right, y = _untransposed(right, y)
    else:
        return None
    return build.contract(x, y, f"{left}{left_mark},{right}{right_mark}->{result}")


def _untransposed(letters: str, x: Node) -> tuple[str, Node]:
    axes = x["axes"]
    return "".join(letters[axes.index(i)] for i in range(len(axes))), x.operands[0]


def is_finite(x: Node) -> bool:
    """Whether a value is surely neither infinite nor NaN, whatever the inputs are."""
    if x.op == "constant":
        return bool(np.isfinite(x["value"]).all())
    if x.op == "cast":
        source = x.operands[0].type
        return not source.is_float or (
            np.can_cast(source.dtype, x.type.dtype, "safe") and is_finite(x.operands[0])
        )
    if x.op in (
        "broadcast",
        "reshape",
        "transpose",
        "reverse",
        "slice",
        "negative",
        "iota",
        "window",
    ):
        return all(is_finite(n) for n in x.operands)
    if x.op == "where":
        return is_finite(x.operands[1]) and is_finite(x.operands[2])
    return not x.type.is_float
