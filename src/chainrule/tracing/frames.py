"""Finding the user's line: the innermost frame outside chainrule, NumPy and Python's library."""

from __future__ import annotations

import os
import sys
from functools import lru_cache

import numpy as np

from chainrule.graph import Origin

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_NUMPY = os.path.dirname(os.path.abspath(np.__file__))
_STANDARD = os.path.dirname(os.path.abspath(os.__file__))
_HIDDEN = ("<frozen", "<__array_function__")


@lru_cache(maxsize=4096)
def _is_user_file(filename: str) -> bool:
    if filename.startswith((_OURS + os.sep, _NUMPY + os.sep, *_HIDDEN)):
        return False
    return not filename.startswith(_STANDARD + os.sep) or "-packages" in filename


@lru_cache(maxsize=4096)
def _shown(filename: str) -> str:
    """A path as short as it stays clear: relative where it lies below the current directory."""
    relative = os.path.relpath(filename) if os.path.isabs(filename) else filename
    return filename if relative.startswith("..") else relative


def user_origin(scope: str = "") -> Origin:
    """The file and line of the user's code that is running now."""
    frame = sys._getframe(1)
    while frame is not None:
        filename = frame.f_code.co_filename
        if _is_user_file(filename) and frame.f_back is not None:
            return Origin(_shown(filename), frame.f_lineno, scope)
        frame = frame.f_back  # type: ignore[assignment]
    return Origin(scope=scope)
