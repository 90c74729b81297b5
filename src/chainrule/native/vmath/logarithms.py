"""log and log1p: x = 2^k (1 + f), and a series in f."""

from __future__ import annotations

import math

from chainrule.native.ir import Function, Value
from chainrule.native.vmath import coefficients as fitted
from chainrule.native.vmath.parts import (
    FORMATS,
    LN2,
    bits,
    polynomial,
    shifted,
    with_sign,
)

# The bits of the smallest 1 + f: 2/3 in float32, where the series is a polynomial in f, and the
# square root of 1/2 in float64, where it is one in f / (2 + f).
FIRST = {"f32": 0x3F2AAAAB, "f64": 0x3FE6A09E667F3BCD}
# The float64 nearest to ln 2 whose last 11 bits are 0: times a whole number below 2^11 it is exact.
LN2_SHORT, LN2_REST = 0.6931471805598903, 5.497923018708371e-14


def log(fn: Function, x: Value) -> Value:
    """The natural logarithm: -infinity at 0, NaN below it."""
    form, zero = FORMATS[x.kind], fn.same(x, 0)
    subnormal = fn.compare("lt", x, fn.same(x, form.tiniest_normal))
    raised = fn.select(subnormal, fn.mul(x, fn.same(x, 2.0**form.digits)), x)
    raised_by = fn.select(subnormal, fn.same(x, -form.digits), zero)
    power, k = exponent(fn, raised, raised_by)
    f = fn.sub(fn.bitcast(fn.sub(bits(fn, raised), power), x.kind), fn.same(x, 1))
    y = fn.select(fn.compare("lt", x, fn.same(x, math.inf)), _log_sum(fn, k, f), x)
    outside = fn.select(fn.compare("eq", x, zero), fn.same(x, -math.inf), fn.same(x, math.nan))
    return fn.select(fn.compare("lt", zero, x), y, outside)


def log1p(fn: Function, x: Value) -> Value:
    """log(1 + x), precise near 0 too: -infinity at -1, NaN below it.

    1 + x = 2^k (1 + f) with k from the rounded sum and f = 2^-k x + (2^-k - 1) without it.
    """
    form, least = FORMATS[x.kind], fn.same(x, -1)
    power, k = exponent(fn, fn.sub(x, least), fn.same(x, 0))
    # 2^-k itself may be subnormal: 4 times it is not.
    four = fn.same(power, (form.bias + 2) << form.digits)
    scale = fn.bitcast(fn.sub(four, power), x.kind)
    lowered = fn.bitcast(fn.sub(bits(fn, x), power), x.kind)
    f = fn.add(fn.fma(scale, fn.same(x, 0.25), least), lowered)
    y = with_sign(fn, _log_sum(fn, k, f), x)
    y = fn.select(fn.compare("lt", x, fn.same(x, math.inf)), y, x)
    outside = fn.select(fn.compare("eq", x, least), fn.same(x, -math.inf), fn.same(x, math.nan))
    return fn.select(fn.compare("lt", least, x), y, outside)


def exponent(fn: Function, x: Value, plus: Value) -> tuple[Value, Value]:
    """k of a positive normal number, at the place of the exponent's bits, and k + plus as a float.

    x / 2^k is at least the number whose bits are `FIRST` and less than twice it.
    """
    form = FORMATS[x.kind]
    found = bits(fn, x)
    above = fn.sub(found, fn.same(found, FIRST[x.kind]))
    power = fn.binary("and", above, fn.same(above, -1 << form.digits))
    if x.kind == "f32":
        scaled = fn.cast(fn.bitcast(power, "i32"), "f32")
        return power, fn.fma(scaled, fn.same(x, 2.0**-form.digits), plus)
    # Not every processor turns 64-bit integers into floats: k + 2^10 in the last digits of 2^52.
    positive = shifted(fn, "lshr", fn.add(power, fn.same(power, 2**10 << form.digits)), form.digits)
    base = 2.0**form.digits
    whole = fn.binary("or", positive, fn.same(positive, (form.bias + form.digits) << form.digits))
    return power, fn.add(fn.sub(fn.bitcast(whole, "f64"), fn.same(x, base + 2.0**10)), plus)


def _log_sum(fn: Function, k: Value, f: Value) -> Value:
    """k ln 2 + log(1 + f)."""
    square = fn.mul(f, f)
    if f.kind == "f32":
        bend = polynomial(fn, f, (-0.5, *fitted.LOG["f32"]))
        return fn.fma(k, fn.same(f, LN2["f32"][0]), fn.fma(bend, square, f))
    # log(1 + f) = f - (f^2/2 - s (f^2/2 + R(s^2))), s = f / (2 + f): the arrangement of fdlibm's
    # e_log.c (Ng 1993), whose rounding errors stay below those of the result.
    s = fn.binary("fdiv", f, fn.add(f, fn.same(f, 2)))
    half_square = fn.mul(square, fn.same(f, 0.5))
    z = fn.mul(s, s)
    rest = fn.mul(z, polynomial(fn, z, fitted.LOG["f64"]))
    low = fn.fma(k, fn.same(f, LN2_REST), fn.mul(s, fn.add(half_square, rest)))
    return fn.fma(k, fn.same(f, LN2_SHORT), fn.sub(f, fn.sub(half_square, low)))
