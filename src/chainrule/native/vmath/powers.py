"""power: 2^(y log2 |x|) with the logarithm to more digits than the result has."""

from __future__ import annotations

import math

from chainrule.native.ir import Function, Value
from chainrule.native.vmath import coefficients as fitted
from chainrule.native.vmath.logarithms import LN2_REST, LN2_SHORT, exponent
from chainrule.native.vmath.parts import (
    FORMATS,
    LN2,
    at_least,
    at_most,
    bits,
    both,
    either,
    magnitude,
    nearest_whole,
    ordered_sum,
    polynomial,
    power_of_two,
    product,
    times_power_of_two,
    with_sign,
)

THIRD = (1 / 3, 1.850371707708594e-17)  # 1/3 as the sum of two float64
# Where the logarithm of a result lies outside, the result is 0 or infinite.
LOG_RANGE = (720.0, -760.0)
LOG2_RANGE = (300.0, -300.0)


def power(fn: Function, x: Value, y: Value) -> Value:
    """x^y, with C99's table of special cases: 1 for y = 0 and for x = 1, whatever the other is."""
    size = magnitude(fn, x)
    result = _single(fn, size, y) if x.kind == "f32" else _double(fn, size, y)
    zero, half = fn.same(x, 0), fn.mul(y, fn.same(y, 0.5))
    is_whole = fn.compare("eq", fn.intrinsic("floor", y), y)
    halves = fn.compare("ne", fn.intrinsic("floor", half), half)
    result = fn.select(both(fn, is_whole, halves), with_sign(fn, result, x), result)
    negative = fn.compare("lt", x, zero)
    finite = fn.compare("lt", size, fn.same(x, math.inf))
    real = either(fn, is_whole, _not(fn, both(fn, negative, finite)))
    return fn.select(real, result, fn.same(x, math.nan))


def _not(fn: Function, condition: Value) -> Value:
    return fn.binary("xor", condition, fn.same(condition, True))


def _single(fn: Function, size: Value, y: Value) -> Value:
    """|x|^y of float32 in float64, which has every subnormal of float32 among its normal numbers
    and enough digits to spare."""
    wide, times = fn.cast(size, "f64"), fn.cast(y, "f64")
    one = fn.same(wide, 1)
    place, k = exponent(fn, wide, fn.same(wide, 0))
    m = fn.bitcast(fn.sub(bits(fn, wide), place), "f64")
    s = fn.binary("fdiv", fn.sub(m, one), fn.add(m, one))
    log2 = fn.fma(s, polynomial(fn, fn.mul(s, s), fitted.LOG2_OF_POWER["f64"]), k)
    log2 = _at_the_ends(fn, wide, log2)
    total = _none_of_nothing(fn, log2, times, fn.mul(log2, times))
    top, bottom = LOG2_RANGE
    clamped = at_least(fn, at_most(fn, total, top), bottom)
    n, biased = nearest_whole(fn, clamped, 1.0, FORMATS["f64"].bias)
    grown = polynomial(fn, fn.sub(clamped, n), (1.0, *fitted.EXP2_OF_POWER["f64"]))
    # The conversion rounds once, to subnormals and infinity too.
    return fn.cast(fn.mul(grown, power_of_two(fn, biased, "f64")), "f32")


def _double(fn: Function, size: Value, y: Value) -> Value:
    """|x|^y of float64 by a logarithm of 65 bits."""
    high, low = _logarithm(fn, size)
    high = _at_the_ends(fn, size, high)
    total, error = product(fn, y, high)
    top, bottom = LOG_RANGE
    clamped = at_least(fn, at_most(fn, _none_of_nothing(fn, high, y, total), top), bottom)
    # Where the product was replaced, its error means nothing.
    kept = fn.compare("eq", clamped, total)
    error = fn.select(kept, fn.fma(y, low, error), fn.same(error, 0))
    ln2 = LN2["f64"]
    n, biased = nearest_whole(fn, clamped, 1 / math.log(2), 2 * FORMATS["f64"].bias)
    rest = fn.fma(n, fn.same(y, -ln2[0]), clamped)
    rest = fn.add(rest, fn.fma(n, fn.same(y, -ln2[1]), error))
    grown = polynomial(fn, rest, (1.0, 1.0, *fitted.EXPM1["f64"]))
    return times_power_of_two(fn, grown, biased)


def _at_the_ends(fn: Function, size: Value, log: Value) -> Value:
    """The logarithm of 0, infinity and NaN; that of a subnormal is taken care of elsewhere."""
    log = fn.select(fn.compare("lt", size, fn.same(size, math.inf)), log, size)
    return fn.select(fn.compare("eq", size, fn.same(size, 0)), fn.same(log, -math.inf), log)


def _none_of_nothing(fn: Function, log: Value, y: Value, times: Value) -> Value:
    """y * log, but 0 where one is 0, even if the other is infinite or not a number."""
    zero = fn.same(y, 0)
    nothing = either(fn, fn.compare("eq", log, zero), fn.compare("eq", y, zero))
    return fn.select(nothing, zero, times)


def _logarithm(fn: Function, size: Value) -> tuple[Value, Value]:
    """log of a positive finite float64 as the sum of two, to 65 bits.

    |x| = 2^k m, s = (m - 1) / (m + 1), log m = 2 s (1 + s^2 (1/3 + s^2 P(s^2))).
    """
    form, one = FORMATS["f64"], fn.same(size, 1)
    subnormal = fn.compare("lt", size, fn.same(size, form.tiniest_normal))
    raised = fn.select(subnormal, fn.mul(size, fn.same(size, 2.0**form.digits)), size)
    raised_by = fn.select(subnormal, fn.same(size, -form.digits), fn.same(size, 0))
    place, k = exponent(fn, raised, raised_by)
    m = fn.bitcast(fn.sub(bits(fn, raised), place), "f64")
    f = fn.sub(m, one)
    below = fn.add(m, one)
    below_low = fn.sub(m, fn.sub(below, one))
    inverse = fn.binary("fdiv", one, below)
    s = fn.mul(f, inverse)
    left = fn.fma(fn.negative(s), below_low, fn.fma(fn.negative(s), below, f))
    s_low = fn.mul(left, inverse)
    z, z_low = product(fn, s, s)
    z_low = fn.fma(fn.add(s, s), s_low, z_low)
    # 1/3 + s^2 P
    series = polynomial(fn, z, fitted.LOG_OF_POWER["f64"])
    bend, bend_low = product(fn, z, series)
    bend_low = fn.fma(z_low, series, bend_low)
    v, v_low = ordered_sum(fn, fn.same(z, THIRD[0]), bend)
    v_low = fn.add(v_low, fn.add(bend_low, fn.same(z, THIRD[1])))
    # times s^2, times s
    u, u_low = product(fn, z, v)
    u_low = fn.fma(z, v_low, fn.fma(z_low, v, u_low))
    w, w_low = product(fn, s, u)
    w_low = fn.fma(s, u_low, fn.fma(s_low, u, w_low))
    h, h_low = ordered_sum(fn, s, w)
    h_low = fn.add(h_low, fn.add(w_low, s_low))
    # k ln 2 + twice that
    whole = fn.mul(k, fn.same(k, LN2_SHORT))
    high, low = ordered_sum(fn, whole, fn.add(h, h))
    return high, fn.add(low, fn.fma(k, fn.same(k, LN2_REST), fn.add(h_low, h_low)))
