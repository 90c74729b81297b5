"""exp, expm1 and tanh: x = n ln 2 + r, a polynomial in r, and 2^n from its bits."""

from __future__ import annotations

import math

from chainrule.native.ir import Function, Value
from chainrule.native.vmath import coefficients as fitted
from chainrule.native.vmath.parts import (
    FORMATS,
    LN2,
    at_least,
    at_most,
    magnitude,
    nearest_whole,
    polynomial,
    power_of_two,
    reduced,
    times_power_of_two,
    with_sign,
)

# From the first on e^x is infinite; up to the second it is 0.
EXP_RANGE = {"f32": (89.0, -104.0), "f64": (710.0, -746.0)}
# From here on down expm1 rounds to -1, and from here on up tanh rounds to 1.
EXPM1_FLOOR = {"f32": -20.0, "f64": -40.0}
TANH_CEILING = {"f32": 10.0, "f64": 20.0}
# Below, tanh needs a correction.
TANH_NEAR = 0.3
# Below, expm1(x) rounds to x.
EXPM1_TINY = {"f32": 2.0**-26, "f64": 2.0**-55}


def exp(fn: Function, x: Value) -> Value:
    """e^x, infinite where it overflows, subnormal and then 0 far below 0."""
    top, bottom = EXP_RANGE[x.kind]
    clamped = at_least(fn, at_most(fn, x, top), bottom)
    _, biased, high, low = reduced(fn, clamped, 2 * FORMATS[x.kind].bias)
    y = polynomial(fn, fn.add(high, low), (1.0, 1.0, *fitted.EXPM1[x.kind]))
    return times_power_of_two(fn, y, biased)


def expm1(fn: Function, x: Value) -> Value:
    """e^x - 1, precise near 0 too.

    e^x - 1 = 2^n (e^r - 1) + (2^n - 1), with the larger terms added first and r's low part among
    the smaller ones.
    """
    clamped = at_least(fn, at_most(fn, x, EXP_RANGE[x.kind][0]), EXPM1_FLOOR[x.kind])
    # Half of everything, since 2^n may be infinite where the result is still finite.
    _, biased, high, low = reduced(fn, clamped, FORMATS[x.kind].bias - 1)
    half = power_of_two(fn, biased, x.kind)
    r = fn.add(high, low)
    small = fn.fma(fn.mul(r, r), polynomial(fn, r, fitted.EXPM1[x.kind]), low)
    large = fn.fma(half, high, fn.sub(half, fn.same(x, 0.5)))
    y = fn.fma(half, small, large)
    # Half of a subnormal would lose a digit, and the sums lose the sign of -0.
    tiny = fn.compare("lt", magnitude(fn, x), fn.same(x, EXPM1_TINY[x.kind]))
    return fn.select(tiny, x, fn.add(y, y))


def tanh(fn: Function, x: Value) -> Value:
    """tanh x = h / (1 + h) with h = (e^2|x| - 1) / 2, computed as in expm1."""
    one, size = fn.same(x, 1), magnitude(fn, x)
    clamped = at_most(fn, size, TANH_CEILING[x.kind])
    n, biased = nearest_whole(fn, clamped, 2 / math.log(2), FORMATS[x.kind].bias)
    scale = power_of_two(fn, biased, x.kind)
    base = fn.fma(scale, fn.same(x, 0.5), fn.same(x, -0.5))
    first, second = LN2[x.kind]
    high = fn.fma(n, fn.same(x, -first / 2), clamped)
    # |x| = n ln 2 / 2 + r; (e^2r - 1) / 2 has the coefficients of e^r - 1 times powers of two.
    series = [c * 2.0 ** (i + 1) for i, c in enumerate(fitted.EXPM1[x.kind])]
    if x.kind == "f32":  # which has digits enough without the low part of ln 2
        bend = polynomial(fn, high, series)
        h = fn.fma(scale, fn.fma(bend, fn.mul(high, high), high), base)
    else:
        low = fn.mul(n, fn.same(x, -second / 2))
        r = fn.add(high, low)
        small = fn.fma(polynomial(fn, r, series), fn.mul(r, r), low)
        h = fn.fma(scale, small, fn.fma(scale, high, base))
    y = fn.binary("fdiv", h, fn.add(h, one))
    # h - h^2 / (1 + h) is the same, and better as long as what is taken off is small.
    near = fn.compare("lt", size, fn.same(x, TANH_NEAR))
    return with_sign(fn, fn.select(near, fn.fma(fn.negative(h), y, h), y), x)
