"""The table itself: what an entry holds, and what the inference of types needs everywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.errors import ShapeError, TraceError
from chainrule.graph.types import ArrayType

Types = tuple[ArrayType, ...]
Attributes = Mapping[str, Any]
Infer = Callable[[Types, Attributes], ArrayType]

BOOL = np.dtype(np.bool_)
INDEX = np.dtype(np.int64)
WORD = np.dtype(np.uint32)


@dataclass(frozen=True)
class Op:
    """An entry of the table. `arity` is None where any number of operands is allowed."""

    name: str
    arity: int | None
    attributes: tuple[str, ...]
    infer: Infer
    meaning: str
    elementwise: bool = False


OPS: dict[str, Op] = {}


def declare(
    name: str,
    arity: int | None,
    attributes: str,
    infer: Infer,
    meaning: str,
    elementwise: bool = False,
) -> None:
    """Adds an entry to the table."""
    OPS[name] = Op(name, arity, tuple(attributes.split()), infer, meaning, elementwise)


def fail(message: str) -> ShapeError:
    """The error for operands that do not fit; to be raised."""
    return ShapeError(message)


def same(types: Types, attributes: Attributes) -> ArrayType:
    """Operands of one type, which is that of the result."""
    first = types[0]
    for other in types[1:]:
        if other != first:
            raise fail(f"elementwise op on {first} and {other}: shapes and dtypes must be equal")
    return first


def number(types: Types, attributes: Attributes) -> ArrayType:
    """Operands of one type, which is that of the result, and no booleans."""
    result = same(types, attributes)
    if result.dtype == BOOL:
        raise TraceError("an arithmetic op got booleans", do="cast with .astype first")
    return result


def without(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """The sizes that are left when some axes are gone; ShapeError for an axis that is not there."""
    for axis in axes:
        if not 0 <= axis < len(shape):
            raise fail(f"axis {axis} is out of range for shape {shape}")
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)
