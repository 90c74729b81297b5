"""What the vector functions share: number formats, polynomials, clamps, rounding, powers of two.

Everything is exact about what it assumes: round to nearest, subnormals kept, and fused multiply-add
as one rounding. Selections are written so that NaN passes through them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chainrule.native.ir import Function, Value


@dataclass(frozen=True)
class Format:
    """A floating-point format: the unsigned kind of its size, its stored digits, its bias."""

    kind: str
    whole: str
    digits: int
    bias: int

    def rounded(self, value: float) -> float:
        """The number of this format that is nearest."""
        return float(np.float32(value)) if self.kind == "f32" else value

    @property
    def tiniest_normal(self) -> float:
        return 2.0 ** (1 - self.bias)


FORMATS = {"f32": Format("f32", "u32", 23, 127), "f64": Format("f64", "u64", 52, 1023)}

# ln 2 as the sum of two numbers of each format.
LN2 = {
    "f32": (0.6931471824645996, -1.904654323148236e-09),
    "f64": (0.6931471805599453, 2.3190468138462996e-17),
}


def polynomial(fn: Function, x: Value, coefficients: Sequence[float]) -> Value:
    """Horner's rule with fused multiply-adds; the constant term comes first."""
    result = fn.same(x, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        result = fn.fma(result, x, fn.same(x, c))
    return result


def at_most(fn: Function, x: Value, limit: float) -> Value:
    """The smaller of x and a constant; NaN stays."""
    bound = fn.same(x, limit)
    return fn.select(fn.compare("lt", bound, x), bound, x)


def at_least(fn: Function, x: Value, limit: float) -> Value:
    """The larger of x and a constant; NaN stays."""
    bound = fn.same(x, limit)
    return fn.select(fn.compare("lt", x, bound), bound, x)


def magnitude(fn: Function, x: Value) -> Value:
    """|x|."""
    return fn.intrinsic("fabs", x)


def with_sign(fn: Function, x: Value, sign: Value) -> Value:
    """|x| with the sign of another value."""
    return fn.intrinsic("copysign", x, sign)


def both(fn: Function, x: Value, y: Value) -> Value:
    """Whether two conditions hold."""
    return fn.binary("and", x, y)


def either(fn: Function, x: Value, y: Value) -> Value:
    """Whether one of two conditions holds."""
    return fn.binary("or", x, y)


def bits(fn: Function, x: Value) -> Value:
    """The bits of a number, as an unsigned integer."""
    return fn.bitcast(x, FORMATS[x.kind].whole)


def shifted(fn: Function, op: str, x: Value, by: int) -> Value:
    """`op` is shl or lshr."""
    return fn.binary(op, x, fn.same(x, by))


def nearest_whole(fn: Function, x: Value, factor: float, plus: int) -> tuple[Value, Value]:
    """The whole number n next to factor * x, and an integer whose lowest bits are n + plus.

    The last digit of a number as large as the one added is 1; |n| must stay far below it.
    """
    shift = fn.same(x, 1.5 * 2.0 ** FORMATS[x.kind].digits + plus)
    total = fn.fma(x, fn.same(x, factor), shift)
    return fn.sub(total, shift), bits(fn, total)


def power_of_two(fn: Function, biased: Value, kind: str) -> Value:
    """2^n, from an integer whose lowest bits are n + bias; 2^n must be a normal number."""
    return fn.bitcast(shifted(fn, "shl", biased, FORMATS[kind].digits), kind)


def times_power_of_two(fn: Function, x: Value, biased: Value) -> Value:
    """x * 2^n, rounded once wherever it lies; the lowest bits of the integer are n + 2 * bias."""
    # In two steps: 2^n itself may lie outside the format. Each half keeps one bias.
    half = shifted(fn, "lshr", biased, 1)
    first = fn.mul(x, power_of_two(fn, half, x.kind))
    return fn.mul(first, power_of_two(fn, fn.sub(biased, half), x.kind))


def reduced(fn: Function, x: Value, plus: int) -> tuple[Value, Value, Value, Value]:
    """x = n ln 2 + high + low, |high| <= ln 2 / 2: n, n + plus as `nearest_whole`, high, low."""
    high, low = LN2[x.kind]
    n, biased = nearest_whole(fn, x, 1 / math.log(2), plus)
    # Exact: a multiple of the last digit of ln 2 that is smaller than 1/2.
    rest = fn.fma(n, fn.same(x, -high), x)
    return n, biased, rest, fn.mul(n, fn.same(x, -low))


def two_sum(fn: Function, x: Value, y: Value) -> tuple[Value, Value]:
    """x + y and its rounding error, whichever is larger (Knuth 1969)."""
    total = fn.add(x, y)
    of_y = fn.sub(total, x)
    of_x = fn.sub(total, of_y)
    return total, fn.add(fn.sub(x, of_x), fn.sub(y, of_y))


def ordered_sum(fn: Function, x: Value, y: Value) -> tuple[Value, Value]:
    """x + y and its rounding error, where |x| >= |y| or x is 0 (Dekker 1971)."""
    total = fn.add(x, y)
    return total, fn.add(fn.sub(x, total), y)


def product(fn: Function, x: Value, y: Value) -> tuple[Value, Value]:
    """x * y and its rounding error."""
    result = fn.mul(x, y)
    return result, fn.fma(x, y, fn.negative(result))
