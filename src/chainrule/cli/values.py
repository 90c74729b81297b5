"""The values of options: from text to numbers, with messages that say what is wanted."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from collections.abc import Callable

LARGEST_SEED = 2**64 - 1


def whole(least: int, most: int | None = None, *, word: str | None = None) -> Callable[[str], int]:
    """A reader of whole numbers from `least` to `most`; `word` is what else may be given."""
    allowed = f"{least} or more" if most is None else f"{least} to {most}"
    wanted = f"a whole number, {allowed}" + (f", nor {word!r}" if word else "")

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least or (most is not None and number > most):
            raise ArgumentTypeError(f"{text!r} is {'neither' if word else 'not'} {wanted}")
        return number

    return read


def whole_or(word: str, least: int) -> Callable[[str], int | str]:
    """A reader of whole numbers from `least` and of one word."""
    read_number = whole(least, word=word)

    def read(text: str) -> int | str:
        return word if text == word else read_number(text)

    return read


def number(
    wanted: str, low: float, high: float, *, low_counts: bool = False
) -> Callable[[str], float]:
    """A reader of numbers between `low` and `high`; `low_counts` says that `low` itself is one."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (low < value < high or (low_counts and value == low)):
            raise ArgumentTypeError(f"{text!r} is not {wanted}")
        return value

    return read


def share(text: str) -> float | int:
    """A share such as 0.2, or a whole number of rows such as 500; 0 for none."""
    if text.isascii() and text.isdigit():
        return int(text)
    wanted = "a share of the rows such as 0.2, nor a number of rows such as 500"
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < 1:
        raise ArgumentTypeError(f"{text!r} is neither {wanted}")
    return value


def widths(text: str) -> tuple[int, ...]:
    """The widths of hidden layers, such as 64,32; none for `none`."""
    if text == "none":
        return ()
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError:
        found = (0,)
    if any(width < 1 for width in found):
        raise ArgumentTypeError(f"{text!r} is neither a list of widths such as 64,32, nor 'none'")
    return found
