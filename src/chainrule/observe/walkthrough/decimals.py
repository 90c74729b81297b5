"""Numbers for columns of arithmetic: aligned, short, and adding up as they are printed.

A column is written in one `Style`, so that its decimal points stand below each other. The terms of
a sum are rounded together (the method of the largest remainder), so that a reader who adds up what
is printed finds the printed total, to the last digit.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

DIGITS = 5  # significant ones, of the largest number of a column below 10
_FEWEST_DECIMALS, _MOST_DECIMALS = 1, 12


@dataclass(frozen=True)
class Style:
    """How the numbers of a column are written: with `decimals`, as multiples of 10**exponent."""

    decimals: int
    exponent: int = 0

    def whole(self, value: float) -> int:
        """The nearest multiple of the last digit, as a count of it."""
        return round(self.scaled(value))

    def text(self, whole: int) -> str:
        """`whole` times the last digit, written out."""
        sign = "-" if whole < 0 else ""
        digits = str(abs(whole)).rjust(self.decimals + 1, "0")
        point = len(digits) - self.decimals
        number = f"{digits[:point]}.{digits[point:]}" if self.decimals else digits
        return f"{sign}{number}{f'e{self.exponent:+03d}' if self.exponent else ''}"

    def write(self, value: float) -> str:
        """The number, rounded to the nearest."""
        return self.text(self.whole(value))

    def scaled(self, value: float) -> float:
        """The number in multiples of the last digit, not yet rounded."""
        return value / 10.0**self.exponent * 10.0**self.decimals


def style_for(values: Iterable[float], digits: int = DIGITS) -> Style:
    """The style in which the largest of these finite numbers has about `digits` digits.

    Small whole numbers are written without decimals. Between 0.001 and a million numbers are
    written plainly, else with a power of ten that all of the column share.
    """
    sizes = [abs(float(v)) for v in values]
    largest = max(sizes, default=0.0)
    if largest < 1000 and all(size.is_integer() for size in sizes):
        return Style(0)
    size = math.floor(math.log10(largest))
    if -3 <= size < 6:
        # From 0.1 up, a digit more than asked: 1.23456 stands well beside 0.12345.
        return Style(max(_FEWEST_DECIMALS, digits - size - (size < 0)))
    return Style(digits - 1, size)


def finer(style: Style, step: float, digits: int = 3) -> Style:
    """A style in which a change of this size shows, with about `digits` digits of its own."""
    if step == 0:
        return style
    decimals = digits - 1 - math.floor(math.log10(abs(step))) + style.exponent
    return Style(min(max(style.decimals, decimals), _MOST_DECIMALS), style.exponent)


def sum_texts(
    terms: Sequence[float], total: float, style: Style, fixed: Collection[int] = ()
) -> tuple[list[str], str]:
    """The terms and their total as texts that add up exactly.

    The total is rounded to the nearest, and so are the terms, save as many as the sum needs to be
    a last digit higher or lower. Terms at the places in `fixed` are never moved, because they stand
    elsewhere too; where that leaves no choice, the total is what the terms add up to.
    """
    exact = [style.scaled(term) for term in terms]
    wholes = [round(value) for value in exact]
    missing = style.whole(total) - sum(wholes)
    direction = 1 if missing > 0 else -1
    lost = [(value - whole) * direction for value, whole in zip(exact, wholes, strict=True)]
    free = [place for place in range(len(terms)) if place not in fixed and lost[place] != 0]
    for place in sorted(free, key=lambda place: -lost[place])[: abs(missing)]:
        wholes[place] += direction
    return [style.text(whole) for whole in wholes], style.text(sum(wholes))


def aligned(cells: Sequence[str]) -> list[str]:
    """The cells of a column, padded so that decimal points stand below each other."""
    parts = [cell.partition(".") for cell in cells]
    before = max((len(head) for head, _, _ in parts), default=0)
    after = max((len(point + tail) for _, point, tail in parts), default=0)
    return [f"{head:>{before}}{point + tail:<{after}}" for head, point, tail in parts]
