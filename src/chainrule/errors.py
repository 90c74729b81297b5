"""Errors that say what went wrong, where, and what to do about it.

Every error a user can cause is a `ChainruleError`. The command line prints its text without a
traceback; in Python it is an ordinary exception, and each kind is also the built-in kind that
people would expect to catch (`ShapeError` is a `ValueError`, and so on).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class ChainruleError(Exception):
    """A mistake that a person can mend.

    `what` is one sentence about what is wrong, `where` names the place (file and line, layer,
    column, row), and `do` says what to do. The text of the exception is the three together.
    """

    def __init__(self, what: str, *, where: str | None = None, do: str | None = None) -> None:
        self.what = what
        self.where = where
        self.do = do
        lines = [what]
        if where:
            lines.append(f"  where: {where}")
        if do:
            lines.append(f"  do:    {do}")
        super().__init__("\n".join(lines))


class UsageError(ChainruleError, ValueError):
    """The call itself is wrong: an unknown option, a value out of its range, a bad combination."""


class ShapeError(ChainruleError, ValueError):
    """Shapes that do not fit together."""


class TraceError(ChainruleError, TypeError):
    """Code that cannot be traced: an unsupported NumPy function, `if` on a traced value, ..."""


class NoDerivativeError(ChainruleError, ArithmeticError):
    """A gradient was asked for through an op that has none."""


class ConvergenceError(ChainruleError, ArithmeticError):
    """An iteration that did not come to rest.

    `run` is the `Run` so far, with the last good weights, where `train` raised it.
    """

    run: Any = None

    @staticmethod
    def after(steps: int, change: float, tolerance: float, where: str) -> ConvergenceError:
        """The error of a fixed point that was not reached."""
        return ConvergenceError(
            f"cr.fixed_point did not converge: after {steps} iterations the states still change by "
            f"{change:.3g} of their size, and the tolerance is {tolerance:.3g}",
            where=where or None,
            do="check that the function brings any two states closer together (smaller weights, a "
            "mean of the old and the new state), allow more max_iterations or a larger tolerance, "
            "or pass strict=False to go on with the last states",
        )


class IndexRangeError(ChainruleError, IndexError):
    """An index that points outside the array it selects from."""


def index_out_of_range(index: int, size: int, where: str) -> IndexRangeError:
    """The error for an index counted from 0 (negative ones were wrapped once already, so what is
    still negative was too low) along an axis of some size."""
    return IndexRangeError(
        f"index {index - size if index < 0 else index} is out of range for an axis of size {size}",
        where=where or None,
        do=f"indices must lie in -{size}..{size - 1}" if size else None,
    )


class DataError(ChainruleError, ValueError):
    """Data that cannot be learned from: a missing column, NaN in a row, a single class, ..."""


# What to do where there is no file or folder of a name, and none of a similar one.
CHECK_PATH = "check the path, which begins in the current directory unless with /"


class FileError(ChainruleError, OSError):
    """A file or directory that cannot be read or written."""


class DamagedFileError(FileError):
    """A model or checkpoint file that is truncated, tampered with, or not one of ours."""


class NonFiniteError(ChainruleError, ArithmeticError):
    """The loss or a weight became NaN or infinite during training.

    `run` is the `Run` so far, with the last good weights, where `train` raised it.
    """

    run: Any = None


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word most like `word`, or None when nothing is close."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return close[0] if close else None


def unknown(kind: str, word: str, known: Iterable[str]) -> UsageError:
    """The error for a name that is not one of a closed list; it names the nearest known one."""
    names = sorted(known)
    close = nearest(word, names)
    hint = f"did you mean {close!r}? " if close else ""
    return UsageError(f"unknown {kind} {word!r}", do=f"{hint}known: {', '.join(names)}")
