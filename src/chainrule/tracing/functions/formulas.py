"""Formulas for the ufuncs that are not primitive ops: nodes of one shape and dtype in, one out.

Each is chosen to be accurate and to have exact derivatives, also of second order, where the
function is smooth: a formula must not pass through |x|, max or min at a point where the function
itself has no kink.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from chainrule.graph import Node, build
from chainrule.graph.build import add, divide, like, make, multiply, negative, subtract, where
from chainrule.graph.ops import BOOL
from chainrule.graph.types import ArrayType
from chainrule.tracing.advice import unsupported

Formula = Callable[..., Node]


def primitive(op: str) -> Formula:
    return lambda *nodes: make(op, *nodes)


def bool_as(logical: str, arithmetic: str) -> Formula:
    """NumPy's arithmetic on booleans is logic."""
    return lambda x, y: make(logical if x.type.dtype == BOOL else arithmetic, x, y)


def swapped(op: str) -> Formula:
    return lambda x, y: make(op, y, x)


def truth(x: Node) -> Node:
    return x if x.type.dtype == BOOL else make("not_equal", x, like(x, 0))


def is_infinite(x: Node) -> Node:
    return build.equal(make("absolute", x), like(x, math.inf))


def is_nan(x: Node) -> Node:
    if not x.type.is_float:
        return build.full(ArrayType(BOOL, x.shape), False)
    return make("not_equal", x, x)


def is_finite(x: Node) -> Node:
    if not x.type.is_float:
        return build.full(ArrayType(BOOL, x.shape), True)
    return build.less(make("absolute", x), like(x, math.inf))


def rint(x: Node) -> Node:
    """The nearest integer; halves go to the even one."""
    half = like(x, 0.5)
    down = make("floor", x)
    above = subtract(x, down)  # exact; 0 from where on every number is an integer
    is_odd = build.equal(make("remainder", down, like(x, 2)), like(x, 1))
    to_even = make("and", build.equal(above, half), is_odd)
    return where(make("or", build.less(half, above), to_even), ceil(x), down)


def ceil(x: Node) -> Node:
    return negative(make("floor", negative(x))) if x.type.is_float else x


def trunc(x: Node) -> Node:
    if not x.type.is_float:
        return x
    return where(build.less(x, like(x, 0)), ceil(x), make("floor", x))


def cbrt(x: Node) -> Node:
    third = like(x, 1 / 3)
    minus = build.less(x, like(x, 0))
    size = make("power", where(minus, negative(x), x), third)
    return where(minus, negative(size), size)


def arcsin(x: Node) -> Node:
    return make("arctan2", x, _other_leg(x))


def arccos(x: Node) -> Node:
    return make("arctan2", _other_leg(x), x)


def _other_leg(x: Node) -> Node:
    """The square root of 1 - x^2, as a product of two: exact near 1, and its derivative at 1 is
    infinite, not NaN."""
    one = like(x, 1)
    return multiply(make("sqrt", subtract(one, x)), make("sqrt", add(one, x)))


def sinh(x: Node) -> Node:
    """By expm1, with the sign taken out so that nothing cancels or overflows early."""
    minus = build.less(x, like(x, 0))
    e = make("expm1", where(minus, negative(x), x))
    half = like(x, 0.5)
    size = add(multiply(half, e), multiply(half, divide(e, add(e, like(x, 1)))))
    # Beyond the range of exp the quotient is inf / inf.
    large = build.equal(e, like(x, math.inf))
    size = where(large, e, size)
    return where(minus, negative(size), size)


def cosh(x: Node) -> Node:
    half = like(x, 0.5)
    return add(multiply(half, make("exp", x)), multiply(half, make("exp", negative(x))))


def arcsinh(x: Node) -> Node:
    one = like(x, 1)
    minus = build.less(x, like(x, 0))
    a = where(minus, negative(x), x)
    root = make("sqrt", add(multiply(a, a), one))
    inner = multiply(a, add(one, divide(a, add(one, root))))
    # From the square root of the largest number on, a * a overflows; there it is log(2 a).
    limit = like(x, math.sqrt(float(np.finfo(x.type.dtype).max)) / 2)
    large = build.less(limit, a)
    far = add(make("log", where(large, a, one)), like(x, math.log(2)))
    near = make("log1p", where(large, one, inner))
    size = where(large, far, near)
    return where(minus, negative(size), size)


def arccosh(x: Node) -> Node:
    one = like(x, 1)
    below = subtract(x, one)
    root = multiply(make("sqrt", below), make("sqrt", add(x, one)))
    return make("log1p", add(below, root))


def arctanh(x: Node) -> Node:
    both = subtract(make("log1p", x), make("log1p", negative(x)))
    return multiply(like(x, 0.5), both)


def hypot(x: Node, y: Node) -> Node:
    """Scaled by the larger, which is held constant: the scale cancels, in derivatives too."""
    largest = make("stop", make("maximum", make("absolute", x), make("absolute", y)))
    infinite = make("or", is_infinite(x), is_infinite(y))  # also beside NaN
    largest = where(infinite, like(x, math.inf), largest)
    usable = make("and", build.less(like(x, 0), largest), build.less(largest, like(x, math.inf)))
    unit = where(usable, largest, like(x, 1))
    a, b = divide(x, unit), divide(y, unit)
    squares = add(multiply(a, a), multiply(b, b))
    length = multiply(unit, make("sqrt", where(usable, squares, like(x, 1))))
    return where(usable, length, largest)


def logaddexp(x: Node, y: Node, base: float = math.e) -> Node:
    """The larger + log1p(exp(smaller - larger)). Which is larger is a choice without derivative,
    so at a tie each has exactly half."""
    first = make("less_equal", y, x)
    high, low = where(first, x, y), where(first, y, x)
    unbounded = is_infinite(high)
    beside = where(build.less(low, high), like(x, -math.inf), like(x, math.nan))
    limit = where(build.equal(low, high), like(x, 0), beside)
    difference = where(unbounded, limit, subtract(low, high))
    if base == math.e:
        return add(high, make("log1p", make("exp", difference)))
    ratio = like(x, math.log(base))
    grown = make("log1p", make("exp", multiply(difference, ratio)))
    return add(high, divide(grown, ratio))


def fmod(x: Node, y: Node) -> Node:
    """x - y * trunc(x / y): the remainder with the sign of x."""
    if x.type.dtype.kind == "u":
        return make("remainder", x, y)
    zero = like(x, 0)
    minus = build.less(x, zero)
    divisor = where(build.less(y, zero), negative(y), y)
    rest = make("remainder", where(minus, negative(x), x), divisor)
    return where(minus, negative(rest), rest)


def power(x: Node, y: Node) -> Node:
    """Whole exponents that are known are products: faster, and exact for negative x."""
    exponent = _known(y)
    if exponent == 2:
        return multiply(x, x)
    if exponent == 3:
        return multiply(multiply(x, x), x)
    if exponent == 1:
        return x
    if not x.type.is_float:
        return _integer_power(x, exponent)
    if exponent == 0.5:
        return make("sqrt", x)
    return make("power", x, y)


def _integer_power(x: Node, exponent: float | None) -> Node:
    if exponent is None or exponent < 0 or exponent != int(exponent):
        raise unsupported("np.power of integers with an exponent that is not a known whole number")
    result, square, left = like(x, 1), x, int(exponent)
    while left:
        if left & 1:
            result = multiply(result, square)
        square, left = multiply(square, square), left >> 1
    return result


def _known(x: Node) -> float | None:
    """The value of a broadcast scalar constant."""
    while x.op in ("broadcast", "cast"):
        (x,) = x.operands
    if x.op == "constant" and x.type.size == 1:
        return float(x["value"].reshape(-1)[0])
    return None


def copysign(x: Node, y: Node) -> Node:
    # 1 / -0 is -infinity: that tells the sign of zero.
    is_zero = build.equal(y, like(y, 0))
    signed = where(is_zero, divide(like(y, 1), y), y)
    size = make("absolute", x)
    return where(build.less(signed, like(y, 0)), negative(size), size)


def log_base(base: float) -> Formula:
    return lambda x: multiply(make("log", x), like(x, 1 / math.log(base)))


def times(factor: float) -> Formula:
    return lambda x: multiply(x, like(x, factor))


def choose_number(logical: str, op: str) -> Formula:
    """fmax and fmin: the other operand where one is NaN."""
    choose = bool_as(logical, op)
    return lambda x, y: where(is_nan(x), y, where(is_nan(y), x, choose(x, y)))


def heaviside(x: Node, y: Node) -> Node:
    zero = like(x, 0)
    above = where(build.less(zero, x), like(x, 1), like(x, math.nan))
    return where(build.equal(x, zero), y, where(build.less(x, zero), zero, above))
