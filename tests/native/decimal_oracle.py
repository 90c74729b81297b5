"""What elementary functions of float64 numbers are, to at least 30 digits, in the standard
library's decimal arithmetic: textbook series, chosen for being easy to believe."""

from __future__ import annotations

from decimal import Context, Decimal, localcontext
from functools import lru_cache

DIGITS = 50


def _context(extra: int = 0) -> Context:
    return Context(prec=DIGITS + extra, Emax=10**9, Emin=-(10**9))


def _depth(x: float) -> int:
    """How many digits lie between 1 and the first digit of x, for digits that cancel."""
    return abs(Decimal(x).adjusted()) if x else 0


def exp(x: float) -> Decimal:
    with localcontext(_context()):
        return Decimal(x).exp()


def expm1(x: float) -> Decimal:
    with localcontext(_context(_depth(x))):
        return Decimal(x).exp() - 1


def log(x: float) -> Decimal:
    with localcontext(_context(20)):
        return Decimal(x).ln()


def log1p(x: float) -> Decimal:
    with localcontext(_context(2 * _depth(x))):
        return (1 + Decimal(x)).ln()


def tanh(x: float) -> Decimal:
    with localcontext(_context(_depth(x))):
        grown = (2 * Decimal(x)).exp()
        return (grown - 1) / (grown + 1)


def power(x: float, y: float) -> Decimal:
    with localcontext(_context(20)):
        return (Decimal(y) * Decimal(x).ln()).exp()


@lru_cache(maxsize=1)
def pi() -> Decimal:
    """Machin 1706: pi / 4 = 4 arctan(1/5) - arctan(1/239); to 400 digits."""

    def arctan_of_inverse(n: int) -> Decimal:
        power, total, k = Decimal(1) / n, Decimal(0), 0
        while power.adjusted() > -420:
            total += (-1) ** k * power / (2 * k + 1)
            power /= n * n
            k += 1
        return total

    with localcontext(Context(prec=420)):
        return 4 * (4 * arctan_of_inverse(5) - arctan_of_inverse(239))


def _quarter_turns(x: float) -> tuple[int, Decimal]:
    """q and r with x = q pi / 2 + r, |r| <= pi / 4."""
    with localcontext(_context(2 * _depth(x))):
        half_pi = pi() / 2
        q = (Decimal(x) / half_pi).to_integral_value()
        return int(q), Decimal(x) - q * half_pi


def _alternating(first: Decimal, ratio: Decimal, k: int) -> Decimal:
    """first - first * ratio / (k (k + 1)) + ..., the series of sine and cosine."""
    total = term = first
    while term and term.adjusted() > first.adjusted() - DIGITS - 5:
        term *= -ratio / (k * (k + 1))
        total += term
        k += 2
    return total


def sin(x: float, ahead: int = 0) -> Decimal:
    q, r = _quarter_turns(x)
    q += ahead
    with localcontext(_context(5)):
        value = _alternating(Decimal(1), r * r, 1) if q % 2 else _alternating(r, r * r, 2)
        return -value if q % 4 >= 2 else value


def cos(x: float) -> Decimal:
    return sin(x, 1)


def arctan2(y: float, x: float) -> Decimal:
    """For finite x and y that are not 0."""
    with localcontext(_context(20)):
        slope = abs(Decimal(y) / Decimal(x))
        turned = slope > 1
        t = 1 / slope if turned else slope
        for _ in range(3):  # half the angle, three times
            t = t / (1 + (1 + t * t).sqrt())
        total, power, k = Decimal(0), t, 1
        while power.adjusted() > t.adjusted() - DIGITS - 10:
            total += power / k if k % 4 == 1 else -power / k
            power *= t * t
            k += 2
        angle = pi() / 2 - 8 * total if turned else 8 * total
        angle = pi() - angle if x < 0 else angle
        return angle.copy_sign(Decimal(y))


def erf(x: float) -> Decimal:
    """2 / sqrt(pi) e^-x^2 (x + 2/3 x^3 + 4/15 x^5 + ...): nothing cancels."""
    with localcontext(_context(10)):
        square = Decimal(x) ** 2
        total = term = Decimal(x)
        k = 1
        while term and term.adjusted() > total.adjusted() - DIGITS - 5:
            term *= 2 * square / (2 * k + 1)
            total += term
            k += 1
        return total * (-square).exp() * 2 / pi().sqrt()
