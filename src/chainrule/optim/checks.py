"""Settings are checked when an optimiser is made, long before the first step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from numbers import Integral, Real

from chainrule.errors import UsageError, unknown

# The smallest normal float32: anything below may be rounded to 0 beside float32 weights, and
# 0 / (0 + 0) is NaN.
SMALLEST = 1.1754944e-38
LARGEST = 1e38  # float32 ends at 3.4e38
MOST_STEPS = 2**31 - 2  # the step counter is an int32, and one more than it is still computed


def _wrong(owner: str, setting: str, value: object, needs: str, do: str) -> UsageError:
    what = f"{setting} must be {needs}, not {value!r}"
    return UsageError(what, where=f"optim.{owner}({setting}={value!r})", do=do)


def number(
    owner: str,
    setting: str,
    value: object,
    holds: Callable[[float], bool],
    needs: str,
    example: str,
) -> float:
    """`value` as a Python float, so that it never decides the dtype of an array beside it.

    Raises UsageError unless it is a real, finite number for which `holds`.
    """
    do = f"give a number such as {example}"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise _wrong(owner, setting, value, needs, do)
    try:
        result = float(value)
    except OverflowError:
        result = math.inf
    if not (math.isfinite(result) and holds(result)):
        raise _wrong(owner, setting, value, needs, do)
    return result


def positive(owner: str, setting: str, value: object, example: str = "1.0") -> float:
    """A number above 0 that float32 can hold."""
    needs = "a positive, finite number within float32's range"
    return number(owner, setting, value, lambda x: SMALLEST <= x <= LARGEST, needs, example)


def not_negative(owner: str, setting: str, value: object, example: str = "0.0001") -> float:
    """A number that is 0 or above, and that float32 can hold."""
    needs = "a finite number of at least 0"
    return number(owner, setting, value, lambda x: 0 <= x <= LARGEST, needs, example)


def divisor(owner: str, setting: str, value: object, example: str) -> float:
    """A number that makes others smaller: 1 or larger, and within float32's range."""
    needs = "a finite number of at least 1"
    return number(owner, setting, value, lambda x: 1 <= x <= LARGEST, needs, example)


def below_one(owner: str, setting: str, value: object, example: str = "0.9") -> float:
    """A number in [0, 1): how much of the past is kept."""
    needs = "at least 0 and below 1"
    return number(owner, setting, value, lambda x: 0 <= x < 1, needs, example)


def fraction(owner: str, setting: str, value: object, example: str = "0.5") -> float:
    """A number in (0, 1)."""
    needs = "between 0 and 1, both left out"
    return number(owner, setting, value, lambda x: SMALLEST <= x < 1, needs, example)


def whole(owner: str, setting: str, value: object, least: int = 1) -> int:
    """A whole number of steps or epochs, `least` or more."""
    needs = f"a whole number, {least} or more"
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise _wrong(owner, setting, value, needs, f"give {needs}")
    result = int(value)
    if not least <= result <= MOST_STEPS:
        raise _wrong(owner, setting, value, needs, f"give {needs}, and at most {MOST_STEPS}")
    return result


def flag(owner: str, setting: str, value: object) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise _wrong(owner, setting, value, "True or False", "give True or False")
    return value


def one_of(owner: str, setting: str, value: object, known: Iterable[str]) -> str:
    """One of a few words."""
    words = tuple(known)
    if isinstance(value, str) and value in words:
        return value
    if isinstance(value, str):
        raise unknown(f"{setting} of optim.{owner}", value, words)
    needs = " or ".join(repr(word) for word in words)
    raise _wrong(owner, setting, value, needs, f"give {needs}")
