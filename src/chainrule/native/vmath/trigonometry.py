"""sin and cos of the rest modulo pi/2, and arctan2."""

from __future__ import annotations

from chainrule.native.ir import Function, Value
from chainrule.native.vmath import coefficients as fitted
from chainrule.native.vmath.parts import (
    FORMATS,
    bits,
    magnitude,
    polynomial,
    shifted,
    with_sign,
)
from chainrule.native.vmath.reduction import by_half_pi, by_half_pi_single

# pi/2 as the sum of two numbers of each format.
HALF_PI = {"f32": (1.5707963705062866, -4.371139000186241e-08), "f64": fitted.HALF_PI[:2]}


def sin(fn: Function, x: Value) -> Value:
    """The sine of radians, exact reduction up to the largest number; NaN for infinities."""
    y = _of_quarters(fn, x, 0)
    # The rest of -0 is +0.
    return fn.select(fn.compare("eq", x, fn.same(x, 0)), x, y)


def cos(fn: Function, x: Value) -> Value:
    """The cosine of radians, exact reduction up to the largest number; NaN for infinities."""
    return _of_quarters(fn, x, 1)


def _of_quarters(fn: Function, x: Value, ahead: int) -> Value:
    """sin(x + ahead * pi/2)."""
    if x.kind == "f32":
        quadrant, rest = by_half_pi_single(fn, fn.cast(x, "f64"))
        quadrant, r = fn.cast(quadrant, "u32"), fn.cast(rest, "f32")
        sine, cosine = _single(fn, r)
    else:
        quadrant, high, low = by_half_pi(fn, x)
        sine, cosine = _double(fn, high, low)
    quadrant = fn.add(quadrant, fn.same(quadrant, ahead))
    one = fn.same(quadrant, 1)
    is_odd = fn.compare("eq", fn.binary("and", quadrant, one), one)
    y = fn.select(is_odd, cosine, sine)
    # The second lowest bit, moved to where the sign stands.
    top = 8 * (4 if x.kind == "f32" else 8) - 1
    flip = shifted(fn, "shl", shifted(fn, "lshr", quadrant, 1), top)
    return fn.bitcast(fn.binary("xor", bits(fn, y), flip), x.kind)


def _single(fn: Function, r: Value) -> tuple[Value, Value]:
    """sin r and cos r in float32, |r| <= pi/4."""
    z = fn.mul(r, r)
    sine = fn.fma(fn.mul(z, r), polynomial(fn, z, fitted.SIN["f32"]), r)
    cosine = polynomial(fn, z, (1.0, -0.5, *fitted.COS["f32"]))
    return sine, cosine


def _double(fn: Function, high: Value, low: Value) -> tuple[Value, Value]:
    """sin and cos of high + low in float64, in the arrangement of fdlibm (Ng 1993): the rounding
    error of the largest sum is added back."""
    one, half = fn.same(high, 1), fn.same(high, 0.5)
    z = fn.mul(high, high)
    cube = fn.mul(z, high)
    first, *others = fitted.SIN["f64"]
    bend = fn.mul(cube, polynomial(fn, z, others))
    # sin(high + low) = sin high + low (1 - high^2 / 2)
    tail = fn.sub(fn.mul(z, fn.sub(fn.mul(half, low), bend)), low)
    sine = fn.sub(high, fn.sub(tail, fn.mul(cube, fn.same(cube, first))))
    # cos(high + low) = cos high - low high
    half_z = fn.mul(half, z)
    near = fn.sub(one, half_z)
    lost = fn.sub(fn.sub(one, near), half_z)
    bend = fn.mul(fn.mul(z, z), polynomial(fn, z, fitted.COS["f64"]))
    cosine = fn.add(near, fn.add(lost, fn.sub(bend, fn.mul(high, low))))
    return sine, cosine


def arctan2(fn: Function, y: Value, x: Value) -> Value:
    """The angle of the point (x, y) in radians, from -pi to pi, with the sign of y; zeros and
    infinities as in C99."""
    zero, one = fn.same(x, 0), fn.same(x, 1)
    across, up = magnitude(fn, x), magnitude(fn, y)
    steep = fn.compare("lt", across, up)
    shorter, longer = fn.select(steep, across, up), fn.select(steep, up, across)
    slope = fn.binary("fdiv", shorter, longer)
    # Equal also where both are 0 or infinite and the quotient is not a number.
    diagonal = fn.select(fn.compare("eq", longer, zero), zero, one)
    slope = fn.select(fn.compare("eq", shorter, longer), diagonal, slope)
    z = fn.mul(slope, slope)
    angle = fn.fma(slope, fn.mul(z, polynomial(fn, z, fitted.ATAN[x.kind])), slope)
    # 0, pi/2 or pi, plus or minus the angle to the nearest axis.
    signed = fn.bitcast(x, "i" + FORMATS[x.kind].whole[1:])
    left = fn.compare("lt", signed, fn.same(signed, 0))
    high, low = HALF_PI[x.kind]
    axes = []
    for part in (high, low):
        sideways = fn.select(left, fn.same(x, 2 * part), zero)
        axes.append(fn.select(steep, fn.same(x, part), sideways))
    backwards = fn.binary("xor", steep, left)
    angle = fn.select(backwards, fn.negative(angle), angle)
    return with_sign(fn, fn.add(axes[0], fn.add(angle, axes[1])), y)
