"""fmod: exact, by the fused multiply-add that takes whole multiples off."""

from __future__ import annotations

import math

from chainrule.native.ir import Function, Value, index
from chainrule.native.vmath.lanes import where_rare
from chainrule.native.vmath.parts import (
    FORMATS,
    bits,
    both,
    magnitude,
    power_of_two,
    shifted,
    with_sign,
)


def fmod(fn: Function, x: Value, y: Value) -> Value:
    """x - y * trunc(x / y), exact, with the sign of x; NaN for infinite x and for y = 0."""
    size, by = magnitude(fn, x), magnitude(fn, y)
    zero, infinity = fn.same(x, 0), fn.same(x, math.inf)
    rest = _take_off(fn, size, by)
    # So many times y that the quotient has no room for its last digit.
    limit = fn.mul(by, fn.same(x, 2.0 ** _step(x.kind)))
    far = both(fn, fn.compare("le", limit, size), fn.compare("lt", zero, by))
    far = both(fn, far, fn.compare("lt", size, infinity))
    (rest,) = where_rare(fn, far, f"fmod_{x.kind}", _in_steps, [size, by], [rest])
    return fn.select(fn.compare("lt", size, by), x, with_sign(fn, rest, x))


def _step(kind: str) -> int:
    """A quotient below 2 to this, and to one more, is rounded by less than 1."""
    return FORMATS[kind].digits - 2


def _take_off(fn: Function, x: Value, y: Value) -> Value:
    """x - y * trunc(x / y) for positive numbers whose quotient is not too large."""
    quotient = fn.intrinsic("trunc", fn.binary("fdiv", x, y))
    # Exact, like the sum below: multiples of y's last digit no larger than y.
    rest = fn.fma(fn.negative(quotient), y, x)
    return fn.select(fn.compare("lt", rest, fn.same(x, 0)), fn.add(rest, y), rest)


def _in_steps(fn: Function, x: Value, y: Value) -> tuple[Value]:
    """The same for any quotient: multiples of y * 2^(i * step), for i from large to 0."""
    form, step = FORMATS[x.kind], _step(x.kind)
    # A subnormal y has a larger exponent than it says, which costs a turn too many.
    apart = fn.sub(_exponent(fn, x), _exponent(fn, y))
    turns = fn.add(fn.binary("sdiv", fn.add(apart, index(form.digits)), index(step)), index(1))
    left = fn.slot(x.kind)
    fn.put(left, x)
    with fn.loop(index(0), turns) as turn:
        i = fn.sub(fn.sub(turns, index(1)), turn)
        multiple = _raised(fn, y, fn.mul(i, index(step)))
        now = fn.get(left, x.kind)
        # An infinite multiple is too large.
        fits = fn.compare("le", multiple, now)
        fn.put(left, fn.select(fits, _take_off(fn, now, multiple), now))
    return (fn.get(left, x.kind),)


def _exponent(fn: Function, x: Value) -> Value:
    """The biased exponent of a positive number; 0 for a subnormal one."""
    return fn.cast(shifted(fn, "lshr", bits(fn, x), FORMATS[x.kind].digits), "i64")


def _raised(fn: Function, x: Value, n: Value) -> Value:
    """x * 2^n for whole n >= 0, in factors that are normal numbers."""
    form = FORMATS[x.kind]
    most = index(form.bias - form.digits)
    for _ in range(3):
        part = fn.select(fn.compare("lt", n, most), n, most)
        biased = fn.cast(fn.add(part, index(form.bias)), form.whole)
        x = fn.mul(x, power_of_two(fn, biased, form.kind))
        n = fn.sub(n, part)
    return x
