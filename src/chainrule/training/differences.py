"""Numeric derivatives of a function of one number, good to about ten digits in float64."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from chainrule.observe.walkthrough import AGREES, AT_A_KINK, DIFFERS

EPSILON = 2.0**-52
_STEPS = tuple(2.0**-k for k in range(6, 21))
_KINK_STEP = 2.0**-20
_KINK_SHARE = 1e-3  # of the steeper side, by which the slopes on the two sides of a kink differ


def derivative(function: Callable[[float], float], at: float) -> float:
    """f'(at) by central differences, (f(at + h) - f(at - h)) / 2h, extrapolated to h = 0.

    Two steps 2h and h cancel the error in h² (Richardson 1911). Of several such pairs the one is
    taken that its neighbour confirms best: large steps curve or cross a kink, small ones are lost
    in rounding.
    """
    size = max(1.0, abs(at))
    rounding = EPSILON * (1.0 + abs(function(at)))
    slopes = [_central(function, at, step * size) for step in _STEPS]
    better = [(4 * fine - coarse) / 3 for coarse, fine in pairwise(slopes)]
    doubts = [
        abs(after - before) + rounding / (step * size)
        for (before, after), step in zip(pairwise(better), _STEPS[2:], strict=True)
    ]
    return better[doubts.index(min(doubts)) + 1]


def verdict(
    function: Callable[[float], float],
    at: float,
    gradient: float,
    numeric: float,
    tolerance: float,
) -> str:
    """Whether a gradient agrees with its numeric partner; at a kink, whether it lies between the
    slopes on its two sides."""
    if abs(gradient - numeric) <= tolerance:
        return AGREES
    h = _KINK_STEP * max(1.0, abs(at))
    middle = function(at)
    sides = sorted([(function(at + h) - middle) / h, (middle - function(at - h)) / h])
    steeper = max(abs(side) for side in sides)
    is_kink = sides[1] - sides[0] > _KINK_SHARE * steeper
    room = tolerance + _KINK_SHARE * steeper
    return AT_A_KINK if is_kink and sides[0] - room <= gradient <= sides[1] + room else DIFFERS


def _central(function: Callable[[float], float], at: float, h: float) -> float:
    return (function(at + h) - function(at - h)) / (2 * h)
