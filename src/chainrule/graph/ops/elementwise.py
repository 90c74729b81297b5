"""Ops that start from nothing, and ops that act on each element."""

from __future__ import annotations

from chainrule.errors import TraceError
from chainrule.graph.ops.table import BOOL, WORD, Attributes, Types, declare, fail, number, same
from chainrule.graph.types import ArrayType


def _float(types: Types, attributes: Attributes) -> ArrayType:
    result = same(types, attributes)
    if not result.is_float:
        raise TraceError(f"an op of floating-point arrays got {result}")
    return result


def _logical(types: Types, attributes: Attributes) -> ArrayType:
    result = same(types, attributes)
    if result.is_float:
        raise TraceError(f"a logical op got {result}")
    return result


def _compare(types: Types, attributes: Attributes) -> ArrayType:
    return ArrayType(BOOL, same(types, attributes).shape)


def _where(types: Types, attributes: Attributes) -> ArrayType:
    condition, *branches = types
    result = same(tuple(branches), attributes)
    if condition != ArrayType(BOOL, result.shape):
        raise fail(f"where: the condition is {condition}, the branches are {result}")
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


declare("input", 0, "name type", _input, "an argument of the graph")
declare("constant", 0, "value", _constant, "an array known when the graph was made")
declare("iota", 0, "shape axis dtype", _iota, "the index along `axis`, at every place")
declare("random_bits", 2, "shape salt", _random_bits, "Philox bits: a function of key, step, salt")

for _name, _meaning in {
    "negative": "-x",
    "absolute": "|x|",
    "sign": "-1, 0 or 1 (NaN for NaN)",
}.items():
    declare(_name, 1, "", number, _meaning, elementwise=True)
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
    declare(_name, 1, "", _float, _meaning, elementwise=True)
declare("not", 1, "", _logical, "logical (bool) or bitwise (integer) complement", elementwise=True)
declare("stop", 1, "", same, "x, without a derivative", elementwise=True)
for _name, _meaning in {
    "add": "x + y",
    "subtract": "x - y",
    "multiply": "x * y",
    "maximum": "the larger; NaN if either is",
    "minimum": "the smaller; NaN if either is",
    "floor_divide": "the floor of x / y",
    "remainder": "x - y * floor(x / y), with the sign of y",
}.items():
    declare(_name, 2, "", number, _meaning, elementwise=True)
for _name, _meaning in {
    "divide": "x / y",
    "power": "x to the y",
    "arctan2": "the angle of the point (y, x), radians; the first operand is y",
    "scale": "x * y, but 0 wherever x is 0, whatever y is",
}.items():
    declare(_name, 2, "", _float, _meaning, elementwise=True)
for _name in ("equal", "not_equal", "less", "less_equal"):
    declare(_name, 2, "", _compare, "elementwise comparison", elementwise=True)
for _name in ("and", "or"):
    declare(_name, 2, "", _logical, "logical (bool) or bitwise (integer)", elementwise=True)
declare("where", 3, "", _where, "x where the condition holds, else y", elementwise=True)
declare("cast", 1, "dtype", _cast, "the same values in another dtype", elementwise=True)
