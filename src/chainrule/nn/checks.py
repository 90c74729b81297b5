"""Checks of layers' settings and of the arrays they were given."""

from __future__ import annotations

import math
from typing import Any

from chainrule.errors import ShapeError, UsageError
from chainrule.nn.initialisers import by_name
from chainrule.tracing.trees import is_array


def size(layer: str, setting: str, value: Any, least: int = 1) -> None:
    """A whole number, `least` or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UsageError(
            f"{layer}: {setting} must be a whole number, {least} or more, not {value!r}",
            do=f"give such a number, such as {setting}={max(least, 2)}",
        )


def number(layer: str, setting: str, value: Any, low: float, high: float) -> None:
    """A number from `low` up to, but not including, `high`."""
    real = isinstance(value, int | float) and not isinstance(value, bool)
    if not real or not low <= value < high:
        above = "" if math.isinf(high) else f" and below {high:g}"
        raise UsageError(f"{layer}: {setting} must be at least {low:g}{above}, not {value!r}")


def initialiser(layer: str, setting: str, value: Any) -> None:
    """A known name, or a function."""
    try:
        by_name(value)
    except UsageError as error:
        raise UsageError(f"{layer}: {setting}: {error.what}", do=error.do) from None


def shape(layer: str, field: str, value: Any, *expected: int | None) -> None:
    """An array of the expected shape (None for any size), where there is an array at all."""
    if not is_array(value):
        return
    found = tuple(value.shape)
    sizes = zip(found, expected, strict=False)
    if len(found) != len(expected) or any(e not in (None, n) for n, e in sizes):
        wanted = ", ".join("any" if n is None else str(n) for n in expected)
        raise ShapeError(f"{layer}: {field} has shape {found}, expected ({wanted})")


def optional(layer: str, field: str, value: Any) -> None:
    """True (make one), False (none) or an array."""
    if not (isinstance(value, bool) or is_array(value)):
        raise UsageError(f"{layer}: {field} must be True, False or an array, not {value!r}")
