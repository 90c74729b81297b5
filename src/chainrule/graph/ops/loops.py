"""Ops that run a graph many times: a scan over sequences, and the iteration to a fixed point.

Their attribute `body` is a graph. What it closes over are operands like any others, so that it is
closed: a backend compiles it once and loops over it. Both give several arrays; a `part` is one.
"""

from __future__ import annotations

from typing import Any

from chainrule.errors import TraceError
from chainrule.graph.ops.table import Attributes, Types, declare, fail
from chainrule.graph.types import ArrayType, TupleType

WITH_BODY = frozenset({"scan", "fixed_point"})


def _check_inputs(op: str, body: Any, given: Types) -> None:
    expected = tuple(n.type for n in body.inputs)
    if expected != given:
        differ = zip(expected, given, strict=False)
        odd = next(((n, e, g) for n, (e, g) in enumerate(differ) if e != g), None)
        if odd is None:
            raise fail(f"{op}: the body takes {len(expected)} arrays, {len(given)} are given")
        number, wanted, got = odd
        name = body.inputs[number]["name"]
        raise fail(f"{op}: the body takes {wanted} as {name}, {got} is given")


def _check_carry(op: str, body: Any, count: int) -> Types:
    results = tuple(n.type for n in body.outputs)
    for before, after in zip(body.inputs[:count], results, strict=False):
        if before.type != after:
            raise fail(f"{op}: {before['name']} is {before.type} before a step and {after} after")
    if len(results) < count:
        raise fail(f"{op}: the body gives {len(results)} arrays, {count} are carried")
    return results


def _scan(types: Types, attributes: Attributes) -> ArrayType:
    body, length = attributes["body"], attributes["length"]
    carried, sequences = attributes["carries"], attributes["sequences"]
    along = types[carried : carried + sequences]
    for kind in along:
        if not kind.shape or kind.shape[0] != length:
            raise fail(f"scan of {length} steps over {kind}")
    steps = tuple(ArrayType(kind.dtype, kind.shape[1:]) for kind in along)
    _check_inputs("scan", body, types[:carried] + steps + types[carried + sequences :])
    results = _check_carry("scan", body, carried)
    stacked = (ArrayType(kind.dtype, (length, *kind.shape)) for kind in results[carried:])
    return TupleType.of_parts((*results[:carried], *stacked))


def _fixed_point(types: Types, attributes: Attributes) -> ArrayType:
    """The states, then how many steps were made (i64), and how much the last one changed (f64),
    relative to the size of the states."""
    body, states = attributes["body"], attributes["states"]
    _check_inputs("fixed_point", body, types)
    results = _check_carry("fixed_point", body, states)
    if len(results) != states or not states or not all(kind.is_float for kind in results):
        raise fail(f"fixed_point: the body gives {len(results)} arrays, {states} floats are states")
    told = (ArrayType.of_name("i64", ()), ArrayType.of_name("f64", ()))
    return TupleType.of_parts((*results, *told))


def _part(types: Types, attributes: Attributes) -> ArrayType:
    (whole,) = types
    if not isinstance(whole, TupleType):
        raise TraceError(f"part of {whole}, which is one array")
    if not 0 <= attributes["index"] < len(whole.parts):
        raise fail(f"part {attributes['index']} of {len(whole.parts)}")
    return whole.parts[attributes["index"]]


declare(
    "scan",
    None,
    "body carries sequences length reverse",
    _scan,
    "the body for each step of sequences, with arrays carried from step to step",
)
declare(
    "fixed_point",
    None,
    "body states tolerance max_iterations strict",
    _fixed_point,
    "the body, again and again, until the states stay as they are",
)
declare("part", 1, "index", _part, "one of the arrays that a loop gives")
