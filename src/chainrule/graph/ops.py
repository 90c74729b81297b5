"""The closed table of primitive ops: what each means, and the type of its result.

One file because it is one table. `reference.py` holds the executable meaning of each op,
`backward/rules.py` its derivative; a test holds that none is missing. What can be written with
these ops (softmax, convolution, Adam) is a plain function elsewhere and needs no entry.

Elementwise ops want operands of one shape and dtype: broadcasting and casts are nodes of their
own, so that their gradients are too.
"""

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


def _op(
    name: str,
    arity: int | None,
    attributes: str,
    infer: Infer,
    meaning: str,
    elementwise: bool = False,
) -> None:
    OPS[name] = Op(name, arity, tuple(attributes.split()), infer, meaning, elementwise)


def _fail(message: str) -> ShapeError:
    return ShapeError(message)


def _same(types: Types, attributes: Attributes) -> ArrayType:
    first = types[0]
    for other in types[1:]:
        if other != first:
            raise _fail(f"elementwise op on {first} and {other}: shapes and dtypes must be equal")
    return first


def _float(types: Types, attributes: Attributes) -> ArrayType:
    result = _same(types, attributes)
    if not result.is_float:
        raise TraceError(f"an op of floating-point arrays got {result}")
    return result


def _number(types: Types, attributes: Attributes) -> ArrayType:
    result = _same(types, attributes)
    if result.dtype == BOOL:
        raise TraceError("an arithmetic op got booleans", do="cast with .astype first")
    return result


def _logical(types: Types, attributes: Attributes) -> ArrayType:
    result = _same(types, attributes)
    if result.is_float:
        raise TraceError(f"a logical op got {result}")
    return result


def _compare(types: Types, attributes: Attributes) -> ArrayType:
    return ArrayType(BOOL, _same(types, attributes).shape)


def _where(types: Types, attributes: Attributes) -> ArrayType:
    condition, *branches = types
    result = _same(tuple(branches), attributes)
    if condition != ArrayType(BOOL, result.shape):
        raise _fail(f"where: the condition is {condition}, the branches are {result}")
    return result


def _input(types: Types, attributes: Attributes) -> ArrayType:
    result: ArrayType = attributes["type"]
    return result


def _constant(types: Types, attributes: Attributes) -> ArrayType:
    return ArrayType.of(attributes["value"])


def _iota(types: Types, attributes: Attributes) -> ArrayType:
    return ArrayType(attributes["dtype"], attributes["shape"])


def _random_bits(types: Types, attributes: Attributes) -> ArrayType:
    if types != (ArrayType(WORD, (2,)), ArrayType(WORD, ())):
        raise TraceError("random_bits takes a key u32[2] and a step u32[]")
    return ArrayType(WORD, attributes["shape"])


def _cast(types: Types, attributes: Attributes) -> ArrayType:
    return ArrayType(attributes["dtype"], types[0].shape)


def _without(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    for axis in axes:
        if not 0 <= axis < len(shape):
            raise _fail(f"axis {axis} is out of range for shape {shape}")
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)


def _sum(types: Types, attributes: Attributes) -> ArrayType:
    if types[0].dtype == BOOL:
        raise TraceError("sum got booleans", do="cast with .astype first")
    return ArrayType(types[0].dtype, _without(types[0].shape, attributes["axes"]))


def _max(types: Types, attributes: Attributes) -> ArrayType:
    for axis in attributes["axes"]:
        if 0 <= axis < types[0].ndim and types[0].shape[axis] == 0:
            raise _fail(f"the maximum over axis {axis} of {types[0]}, which has no elements")
    return ArrayType(types[0].dtype, _without(types[0].shape, attributes["axes"]))


def _argmax(types: Types, attributes: Attributes) -> ArrayType:
    _max(types, {"axes": (attributes["axis"],)})
    return ArrayType(INDEX, _without(types[0].shape, (attributes["axis"],)))


def _argsort(types: Types, attributes: Attributes) -> ArrayType:
    _without(types[0].shape, (attributes["axis"],))
    return ArrayType(INDEX, types[0].shape)


def _reshape(types: Types, attributes: Attributes) -> ArrayType:
    result = ArrayType(types[0].dtype, attributes["shape"])
    if result.size != types[0].size:
        raise _fail(f"{types[0]} cannot be reshaped to {list(result.shape)}")
    return result


def _transpose(types: Types, attributes: Attributes) -> ArrayType:
    axes = attributes["axes"]
    if sorted(axes) != list(range(types[0].ndim)):
        raise _fail(f"{axes} is not an order of the axes of {types[0]}")
    return ArrayType(types[0].dtype, tuple(types[0].shape[a] for a in axes))


def _broadcast(types: Types, attributes: Attributes) -> ArrayType:
    old, new = types[0].shape, attributes["shape"]
    tail = new[len(new) - len(old) :]
    if len(old) > len(new) or any(a not in (1, b) for a, b in zip(old, tail, strict=True)):
        raise _fail(f"{types[0]} cannot be broadcast to {list(new)}")
    return ArrayType(types[0].dtype, new)


def _slice(types: Types, attributes: Attributes) -> ArrayType:
    shape = []
    bounds = zip(attributes["start"], attributes["stop"], attributes["step"], strict=True)
    for size, (start, stop, step) in zip(types[0].shape, bounds, strict=True):
        if not (0 <= start <= stop <= size and step > 0):
            raise _fail(f"slice {start}:{stop}:{step} of an axis of size {size}")
        shape.append(-(-(stop - start) // step))
    return ArrayType(types[0].dtype, tuple(shape))


def _pad(types: Types, attributes: Attributes) -> ArrayType:
    shape = []
    sides = zip(attributes["low"], attributes["high"], attributes["interior"], strict=True)
    for size, (low, high, interior) in zip(types[0].shape, sides, strict=True):
        if low < 0 or high < 0 or interior < 0:
            raise _fail(f"padding {low}, {high}, {interior} is negative")
        shape.append(low + size + interior * max(size - 1, 0) + high)
    return ArrayType(types[0].dtype, tuple(shape))


def _concatenate(types: Types, attributes: Attributes) -> ArrayType:
    axis, first = attributes["axis"], types[0]
    rest = _without(first.shape, (axis,))
    for other in types[1:]:
        same_rank = other.ndim == first.ndim and other.dtype == first.dtype
        if not same_rank or _without(other.shape, (axis,)) != rest:
            raise _fail(f"{first} and {other} cannot be joined along axis {axis}")
    size = sum(t.shape[axis] for t in types)
    return ArrayType(first.dtype, (*first.shape[:axis], size, *first.shape[axis + 1 :]))


def _reverse(types: Types, attributes: Attributes) -> ArrayType:
    _without(types[0].shape, attributes["axes"])
    return types[0]


def split_spec(spec: str) -> tuple[str, str, str]:
    """The letters of the left operand, the right operand and the result of "ij,jk->ik".

    A "!" behind an operand's letters says that its zeros are strong: 0 times anything is 0 there,
    also times infinity and NaN. Deltas have strong zeros.
    """
    operands, result = spec.replace("!", "").split("->")
    left, right = operands.split(",")
    return left, right, result


def strong_marks(spec: str) -> tuple[str, str]:
    """The "!" of each operand of a contraction, or "" where it has none."""
    left, right = spec.split("->")[0].split(",")
    return "!" * left.endswith("!"), "!" * right.endswith("!")


def _contract(types: Types, attributes: Attributes) -> ArrayType:
    sizes: dict[str, int] = {}
    *letters, result = split_spec(attributes["spec"])
    for subscripts, operand in zip(letters, types, strict=True):
        if len(subscripts) != operand.ndim or len(set(subscripts)) != len(subscripts):
            raise _fail(f"contract: {subscripts!r} does not name the axes of {operand}")
        for letter, size in zip(subscripts, operand.shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                raise _fail(
                    f"contract {attributes['spec']}: axis {letter!r} has size "
                    f"{sizes[letter]} on the left and {size} on the right"
                )
    if strong_marks(attributes["spec"]) == ("", "!"):
        raise _fail("contract: only the left operand, or both, can have strong zeros")
    summed = set(sizes) - set(result)
    if len(set(result)) != len(result) or not set(result) <= set(sizes):
        raise _fail(f"contract: {result!r} is not a choice of the operands' axes")
    if not summed <= set(letters[0]) & set(letters[1]):
        raise _fail(f"contract {attributes['spec']}: a summed axis must be in both operands")
    return ArrayType(_number(_scalars(types), {}).dtype, tuple(sizes[c] for c in result))


def _scalars(types: Types) -> Types:
    return tuple(ArrayType(t.dtype, ()) for t in types)


def _take(types: Types, attributes: Attributes) -> ArrayType:
    source, index = types
    axis = attributes["axis"]
    _without(source.shape, (axis,))
    if index.dtype.kind not in "iu":
        raise TraceError(f"take: the indices are {index}, not integers")
    shape = (*source.shape[:axis], *index.shape, *source.shape[axis + 1 :])
    return ArrayType(source.dtype, shape)


def _scatter(types: Types, attributes: Attributes) -> ArrayType:
    update, index = types
    axis, size = attributes["axis"], attributes["size"]
    if update.shape[axis : axis + index.ndim] != index.shape:
        raise _fail(f"scatter: {update} does not hold one row for each of {index}")
    shape = (*update.shape[:axis], size, *update.shape[axis + index.ndim :])
    return ArrayType(update.dtype, shape)


_op("input", 0, "name type", _input, "an argument of the graph")
_op("constant", 0, "value", _constant, "an array known when the graph was made")
_op("iota", 0, "shape axis dtype", _iota, "the index along `axis`, at every place")
_op("random_bits", 2, "shape salt", _random_bits, "Philox bits: a function of key, step, salt")

for _name, _meaning in {
    "negative": "-x",
    "absolute": "|x|",
    "sign": "-1, 0 or 1 (NaN for NaN)",
}.items():
    _op(_name, 1, "", _number, _meaning, elementwise=True)
for _name, _meaning in {
    "floor": "the largest integer <= x",
    "exp": "e to the x",
    "expm1": "exp(x) - 1, accurate near 0",
    "log": "natural logarithm",
    "log1p": "log(1 + x), accurate near 0",
    "sqrt": "square root",
    "sin": "sine of radians",
    "cos": "cosine of radians",
    "tanh": "hyperbolic tangent",
    "erf": "the error function",
}.items():
    _op(_name, 1, "", _float, _meaning, elementwise=True)
_op("not", 1, "", _logical, "logical (bool) or bitwise (integer) complement", elementwise=True)
_op("stop", 1, "", _same, "x, without a derivative", elementwise=True)
for _name, _meaning in {
    "add": "x + y",
    "subtract": "x - y",
    "multiply": "x * y",
    "maximum": "the larger; NaN if either is",
    "minimum": "the smaller; NaN if either is",
    "floor_divide": "the floor of x / y",
    "remainder": "x - y * floor(x / y), with the sign of y",
}.items():
    _op(_name, 2, "", _number, _meaning, elementwise=True)
for _name, _meaning in {
    "divide": "x / y",
    "power": "x to the y",
    "arctan2": "the angle of the point (y, x), radians; the first operand is y",
    "scale": "x * y, but 0 wherever x is 0, whatever y is",
}.items():
    _op(_name, 2, "", _float, _meaning, elementwise=True)
for _name in ("equal", "not_equal", "less", "less_equal"):
    _op(_name, 2, "", _compare, "elementwise comparison", elementwise=True)
for _name in ("and", "or"):
    _op(_name, 2, "", _logical, "logical (bool) or bitwise (integer)", elementwise=True)
_op("where", 3, "", _where, "x where the condition holds, else y", elementwise=True)
_op("cast", 1, "dtype", _cast, "the same values in another dtype", elementwise=True)

_op("sum", 1, "axes", _sum, "sum over axes")
_op("max", 1, "axes", _max, "maximum over axes; NaN if any is")
_op("argmax", 1, "axis", _argmax, "the first index of the maximum")
_op("argsort", 1, "axis", _argsort, "the stable order of an axis, NaN last")
_op("reshape", 1, "shape", _reshape, "the same elements, row-major, in another shape")
_op("transpose", 1, "axes", _transpose, "axes in another order")
_op("broadcast", 1, "shape", _broadcast, "repeated by NumPy's broadcasting rule")
_op("slice", 1, "start stop step", _slice, "every step-th element of each axis")
_op("pad", 1, "low high interior value", _pad, "a border and gaps between elements")
_op("concatenate", None, "axis", _concatenate, "joined along an axis")
_op("reverse", 1, "axes", _reverse, "axes run backwards")
_op("contract", 2, "spec", _contract, "the einsum of two operands; ! marks strong zeros")
_op("take", 2, "axis", _take, "x at integer indices (>= 0) along an axis")
_op("scatter", 2, "axis size", _scatter, "zeros, plus x added at indices: the transpose of take")
