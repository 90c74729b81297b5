"""erf: a series near 0, and 1 - e^-g(|x|) with a polynomial g further out."""

from __future__ import annotations

from chainrule.native.ir import Function, Value
from chainrule.native.vmath import coefficients as fitted
from chainrule.native.vmath.parts import (
    FORMATS,
    at_most,
    magnitude,
    polynomial,
    power_of_two,
    reduced,
    with_sign,
)

# Below the first the series; from the second on erf rounds to 1.
ERF_RANGE = {"f32": (0.921875, 3.9375), "f64": (1.0, 5.9375)}


def erf(fn: Function, x: Value) -> Value:
    """The error function."""
    near_below, one_from = ERF_RANGE[x.kind]
    size = magnitude(fn, x)
    clamped = at_most(fn, size, one_from)
    g = polynomial(
        fn, fn.sub(clamped, fn.same(x, fitted.ERF_CENTRE)), fitted.MINUS_LOG_ERFC[x.kind]
    )
    _, biased, high, low = reduced(fn, fn.negative(g), FORMATS[x.kind].bias)
    grown = polynomial(fn, fn.add(high, low), (1.0, 1.0, *fitted.EXPM1[x.kind]))
    scale = power_of_two(fn, biased, x.kind)
    far = fn.fma(fn.negative(scale), grown, fn.same(x, 1))
    square = fn.mul(x, x)
    near = fn.fma(size, polynomial(fn, square, fitted.ERF[x.kind]), size)
    y = fn.select(fn.compare("lt", size, fn.same(x, near_below)), near, far)
    return with_sign(fn, y, x)
