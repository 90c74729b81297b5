"""x modulo pi/2, exactly enough for every float: x = q pi/2 + high + low, |high| <= pi/4.

Up to 2^30, pi/2 in three parts of 53 bits each and fused multiply-adds (Cody and Waite 1980).
Beyond, the bits of 2/pi that matter for the exponent at hand times the significand, in integers
(Payne and Hanek 1983).
"""

from __future__ import annotations

import math

from chainrule.native.ir import Function, Value, index
from chainrule.native.vmath.coefficients import HALF_PI, TWO_OVER_PI
from chainrule.native.vmath.lanes import where_rare
from chainrule.native.vmath.parts import (
    both,
    magnitude,
    nearest_whole,
    ordered_sum,
    product,
    shifted,
    two_sum,
)

LARGE = 2.0**30  # from here on the integers
DIGITS = 6  # of 32 bits each, in the window of 2/pi that is multiplied


def by_half_pi(fn: Function, x: Value) -> tuple[Value, Value, Value]:
    """For float64 x: an integer whose lowest two bits are those of q, then high and low.

    high + low is within 2^-70 of itself. NaN for NaN and infinities.
    """
    n, quadrant, rest = _first_step(fn, x)
    below, error = product(fn, n, fn.same(x, HALF_PI[1]))
    high, low = two_sum(fn, rest, fn.negative(below))
    low = fn.fma(n, fn.same(x, -HALF_PI[2]), fn.sub(low, error))
    return _unless_large(fn, x, quadrant, high, low)


def by_half_pi_single(fn: Function, x: Value) -> tuple[Value, Value]:
    """For float64 x that came from a float32: the quadrant as above, and high to 40 bits."""
    n, quadrant, rest = _first_step(fn, x)
    high = fn.fma(n, fn.same(x, -HALF_PI[1]), rest)
    return _unless_large(fn, x, quadrant, high, fn.same(x, 0))[:2]


def _first_step(fn: Function, x: Value) -> tuple[Value, Value, Value]:
    """n, n in the lowest bits of an integer, and x - n * HALF_PI[0], which is exact."""
    n, quadrant = nearest_whole(fn, x, 2 / math.pi, 0)
    return n, quadrant, fn.fma(n, fn.same(x, -HALF_PI[0]), x)


def _unless_large(
    fn: Function, x: Value, quadrant: Value, high: Value, low: Value
) -> tuple[Value, Value, Value]:
    size = magnitude(fn, x)
    large = fn.compare("le", fn.same(x, LARGE), size)
    finite = fn.compare("lt", size, fn.same(x, math.inf))
    usual = (quadrant, high, low)
    quadrant, high, low = where_rare(
        fn, both(fn, large, finite), "by_half_pi", _of_large, [x], usual
    )
    return quadrant, high, low


def _of_large(fn: Function, x: Value) -> tuple[Value, Value, Value]:
    """The same for one number of at least 2^30: 192 bits of x * 2/pi modulo 4."""
    found = fn.bitcast(x, "u64")
    field = fn.binary("and", shifted(fn, "lshr", found, 52), fn.same(found, 2**11 - 1))
    digits = fn.binary("and", found, fn.same(found, 2**52 - 1))
    significand = fn.binary("or", digits, fn.same(found, 2**52))
    # x = significand * 2^e: a bit of 2/pi at 2^-i makes multiples of 4 as long as i <= e - 2, so
    # the window starts at i = e - 1. The table has 32 zeros before i = 1.
    start = fn.sub(field, fn.same(field, 1023 + 52 + 2 - 32))
    parts = _times(fn, significand, _window(fn, start))
    top, middle, bottom = (_joined(fn, parts[i], parts[i - 1]) for i in (5, 3, 1))
    # Two bits stand before the point. What follows, read as a signed number, is the rest that
    # belongs to the nearest whole number.
    carry = fn.binary("and", shifted(fn, "lshr", top, 61), fn.same(top, 1))
    quadrant = fn.add(shifted(fn, "lshr", top, 62), carry)
    high, low = _fraction(fn, _next_64(fn, top, middle), _next_64(fn, middle, bottom))
    turned, error = product(fn, high, fn.same(x, HALF_PI[0]))
    error = fn.fma(high, fn.same(x, HALF_PI[1]), error)
    high, low = ordered_sum(fn, turned, fn.fma(low, fn.same(x, HALF_PI[0]), error))
    minus = fn.compare("lt", x, fn.same(x, 0))
    signed = [fn.select(minus, fn.negative(v), v) for v in (quadrant, high, low)]
    return signed[0], signed[1], signed[2]


def _window(fn: Function, start: Value) -> list[Value]:
    """The digits of 2/pi from a bit on, the first one first."""
    listed = ", ".join(f"i32 {word}" for word in (0, *TWO_OVER_PI))
    size = 1 + len(TWO_OVER_PI)
    fn.declared.add(f"@two_over_pi = internal constant [{size} x i32] [{listed}]")
    table = Value("@two_over_pi", "ptr")
    first = shifted(fn, "lshr", start, 5)
    places = [fn.at(table, fn.add(first, index(i)), "u32") for i in range(DIGITS + 1)]
    words = [fn.cast(fn.load(place, "u32"), "u64") for place in places]
    down = fn.sub(fn.same(start, 32), fn.binary("and", start, fn.same(start, 31)))
    pairs = [_joined(fn, words[i], words[i + 1]) for i in range(DIGITS)]
    return [_low_32(fn, fn.binary("lshr", pair, down)) for pair in pairs]


def _times(fn: Function, x: Value, digits: list[Value]) -> list[Value]:
    """x times a number of six digits, modulo six digits; the last digit comes first."""
    low, high = _low_32(fn, x), shifted(fn, "lshr", x, 32)
    result = []
    carry = before = fn.same(x, 0)
    for digit in reversed(digits):
        inner = fn.mul(low, digit)
        # high has 21 bits, so that nothing here overflows.
        total = fn.add(fn.add(_low_32(fn, inner), carry), fn.mul(high, before))
        result.append(_low_32(fn, total))
        carry = fn.add(shifted(fn, "lshr", inner, 32), shifted(fn, "lshr", total, 32))
        before = digit
    return result


def _fraction(fn: Function, upper: Value, lower: Value) -> tuple[Value, Value]:
    """128 bits after the point, signed, as a sum of two float64."""
    whole = fn.bitcast(upper, "i64")
    first = fn.cast(shifted(fn, "ashr", whole, 32), "f64")
    rest = (_low_32(fn, upper), shifted(fn, "lshr", lower, 32), _low_32(fn, lower))
    values = [first, *(fn.cast(x, "f64") for x in rest)]
    a, b, c, d = (
        fn.mul(value, fn.same(value, 2.0 ** (-32 * (i + 1)))) for i, value in enumerate(values)
    )
    high, first_error = ordered_sum(fn, a, b)
    high, second_error = two_sum(fn, high, c)
    return high, fn.add(fn.add(second_error, first_error), d)


def _low_32(fn: Function, x: Value) -> Value:
    return fn.binary("and", x, fn.same(x, 2**32 - 1))


def _joined(fn: Function, high: Value, low: Value) -> Value:
    """Two digits as 64 bits."""
    return fn.binary("or", shifted(fn, "shl", high, 32), low)


def _next_64(fn: Function, high: Value, low: Value) -> Value:
    """The 64 bits that follow the first two of a pair."""
    return fn.binary("or", shifted(fn, "shl", high, 2), shifted(fn, "lshr", low, 62))
