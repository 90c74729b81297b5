"""What each elementwise op is in LLVM: one function per op, for vectors and scalars alike."""

from __future__ import annotations

import math
from collections.abc import Callable

from chainrule.graph import Node
from chainrule.graph.types import short_name
from chainrule.native import vmath
from chainrule.native.ir import SIZES, Function, Value, literal

Emit = Callable[..., Value]
OPS: dict[str, Emit] = {}


def op(name: str) -> Callable[[Emit], Emit]:
    """Makes the decorated function the emission of an op."""

    def register(function: Emit) -> Emit:
        OPS[name] = function
        return function

    return register


def emit_op(fn: Function, node: Node, values: list[Value]) -> Value:
    """The node's value from its operands' values."""
    if node.op == "cast":
        kind, x = short_name(node.type.dtype), values[0]
        return truncated(fn, x, kind) if x.is_float and kind[0] in "iu" else fn.cast(x, kind)
    return OPS[node.op](fn, *values)


def truncated(fn: Function, x: Value, kind: str) -> Value:
    """A float as an integer, without its fraction. C leaves open what becomes of numbers that do
    not fit; here it is what NumPy gives on x86: the smallest integer of 32 or 64 bits, cut to size.
    """
    wide = "i64" if kind in ("i64", "u32", "u64") else "i32"
    least = -(2 ** (8 * SIZES[wide] - 1))
    low, high = fn.same(x, least), fn.same(x, -least)
    smallest = fn.splat(literal(least, wide), x.lanes)
    whole = fn.let(f"fptosi {x} to {smallest.type}", wide, x.lanes)
    whole = fn.select(_between(fn, x, low, high), whole, smallest)
    if kind == "u64":
        large = fn.let(f"fptoui {x} to {whole.type}", wide, x.lanes)
        higher = fn.same(x, 2.0**64)
        whole = fn.select(_between(fn, x, high, higher), large, whole)
        whole = fn.select(fn.compare("le", higher, x), fn.same(whole, 0), whole)
    return fn.cast(whole, kind)


def _between(fn: Function, x: Value, low: Value, high: Value) -> Value:
    return fn.binary("and", fn.compare("le", low, x), fn.compare("lt", x, high))


def is_nan(fn: Function, x: Value) -> Value:
    """Whether x is NaN, in each lane."""
    return fn.let(f"fcmp uno {x}, {x.text}", "bool", x.lanes)


def _either(fn: Function, x: Value, y: Value) -> Value:
    return fn.binary("or", x, y)


OPS["stop"] = lambda fn, x: x
OPS["negative"] = lambda fn, x: fn.negative(x)
OPS["add"] = lambda fn, x, y: fn.add(x, y)
OPS["subtract"] = lambda fn, x, y: fn.sub(x, y)
OPS["multiply"] = lambda fn, x, y: fn.mul(x, y)
OPS["divide"] = lambda fn, x, y: fn.binary("fdiv", x, y)
OPS["equal"] = lambda fn, x, y: fn.compare("eq", x, y)
OPS["not_equal"] = lambda fn, x, y: fn.compare("ne", x, y)
OPS["less"] = lambda fn, x, y: fn.compare("lt", x, y)
OPS["less_equal"] = lambda fn, x, y: fn.compare("le", x, y)
OPS["and"] = lambda fn, x, y: fn.binary("and", x, y)
OPS["or"] = lambda fn, x, y: fn.binary("or", x, y)
OPS["where"] = lambda fn, c, x, y: fn.select(c, x, y)
OPS["sqrt"] = lambda fn, x: fn.intrinsic("sqrt", x)
OPS["floor"] = lambda fn, x: fn.intrinsic("floor", x)
OPS["exp"] = vmath.exp
OPS["expm1"] = vmath.expm1
OPS["log"] = vmath.log
OPS["log1p"] = vmath.log1p
OPS["tanh"] = vmath.tanh
OPS["sin"] = vmath.sin
OPS["cos"] = vmath.cos
OPS["erf"] = vmath.erf
OPS["power"] = vmath.power
OPS["arctan2"] = vmath.arctan2


@op("not")
def _not(fn: Function, x: Value) -> Value:
    ones = "true" if x.kind == "bool" else "-1"
    return fn.binary("xor", x, fn.splat(Value(ones, x.kind), x.lanes))


@op("absolute")
def _absolute(fn: Function, x: Value) -> Value:
    if x.is_float:
        return fn.intrinsic("fabs", x)
    if not x.is_signed:
        return x
    return fn.select(fn.compare("lt", x, fn.same(x, 0)), fn.negative(x), x)


@op("sign")
def _sign(fn: Function, x: Value) -> Value:
    zero, one = fn.same(x, 0), fn.same(x, 1)
    rest = fn.add(x, zero) if x.is_float else x  # -0.0 becomes 0.0, NaN stays
    above = fn.select(fn.compare("lt", zero, x), one, rest)
    if x.kind[0] == "u":
        return above
    return fn.select(fn.compare("lt", x, zero), fn.same(x, -1), above)


@op("scale")
def _scale(fn: Function, x: Value, y: Value) -> Value:
    zero = fn.same(x, 0)
    return fn.select(fn.compare("eq", x, zero), zero, fn.mul(x, y))


@op("maximum")
def maximum(fn: Function, x: Value, y: Value) -> Value:
    """The larger; NaN if either is."""
    first = fn.compare("le", y, x)
    if x.is_float:
        first = _either(fn, first, is_nan(fn, x))
    return fn.select(first, x, y)


@op("minimum")
def _minimum(fn: Function, x: Value, y: Value) -> Value:
    first = fn.compare("le", x, y)
    if x.is_float:
        first = _either(fn, first, is_nan(fn, x))
    return fn.select(first, x, y)


def _float_remainder(fn: Function, x: Value, y: Value) -> tuple[Value, Value]:
    """fmod, and whether its sign is not that of y."""
    rest, zero = vmath.fmod(fn, x, y), fn.same(x, 0)
    differs = fn.binary("xor", fn.compare("lt", y, zero), fn.compare("lt", rest, zero))
    return rest, fn.binary("and", differs, fn.compare("ne", rest, zero))


@op("remainder")
def _remainder(fn: Function, x: Value, y: Value) -> Value:
    if not x.is_float:
        return _integer_division(fn, x, y)[1]
    rest, wrong = _float_remainder(fn, x, y)
    zero = fn.same(x, 0)
    signed = fn.select(wrong, fn.add(rest, y), rest)
    return fn.select(fn.compare("eq", rest, zero), fn.intrinsic("copysign", zero, y), signed)


@op("floor_divide")
def _floor_divide(fn: Function, x: Value, y: Value) -> Value:
    if not x.is_float:
        return _integer_division(fn, x, y)[0]
    rest, wrong = _float_remainder(fn, x, y)
    zero, one, quotient = fn.same(x, 0), fn.same(x, 1), fn.binary("fdiv", x, y)
    whole = fn.binary("fdiv", fn.sub(x, rest), y)
    whole = fn.select(wrong, fn.sub(whole, one), whole)
    # That is whole but for rounding: take the nearest whole number.
    down = fn.intrinsic("floor", whole)
    near = fn.compare("lt", fn.same(x, 0.5), fn.sub(whole, down))
    result = fn.select(near, fn.add(down, one), down)
    none = fn.compare("eq", whole, zero)
    result = fn.select(none, fn.intrinsic("copysign", zero, quotient), result)
    return fn.select(fn.compare("eq", y, zero), quotient, result)


def _integer_division(fn: Function, x: Value, y: Value) -> tuple[Value, Value]:
    """Quotient rounded down and its remainder; both 0 for a division by 0, as in NumPy."""
    zero, one = fn.same(x, 0), fn.same(x, 1)
    by_zero = fn.compare("eq", y, zero)
    safe = fn.select(by_zero, one, y)
    if not x.is_signed:
        quotient, rest = fn.binary("udiv", x, safe), fn.binary("urem", x, safe)
    else:
        # The smallest integer by -1 overflows: it is its own negative there, and that is exact.
        by_minus = fn.compare("eq", safe, fn.same(x, -1))
        divisor = fn.select(by_minus, one, safe)
        quotient, rest = fn.binary("sdiv", x, divisor), fn.binary("srem", x, divisor)
        quotient = fn.select(by_minus, fn.negative(x), quotient)
        differs = fn.compare("lt", fn.binary("xor", rest, safe), zero)
        down = fn.binary("and", differs, fn.compare("ne", rest, zero))
        quotient = fn.select(down, fn.sub(quotient, one), quotient)
        rest = fn.select(down, fn.add(rest, safe), rest)
    return fn.select(by_zero, zero, quotient), fn.select(by_zero, zero, rest)


def identity_of_max(kind: str) -> float:
    """What the maximum of nothing would be."""
    if kind[0] == "f":
        return -math.inf
    if kind[0] == "i":
        return -float(2 ** (int(kind[1:]) - 1))
    return 0
