"""The tests of the tests: what is wrong by 0.1 % turns a sample red."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import reference
from chainrule.backward import RULES
from chainrule.checking import GradientMismatchError
from chainrule.graph import Node, build
from chainrule.graph.types import TupleType
from chainrule.pipeline import Program
from chainrule.tracing import leaves
from samples import Case, Sample, arguments, rows

WRONG = 1.001
CURVED = (
    "exp expm1 log log1p sqrt sin cos tanh erf multiply divide power arctan2 contract scale scan "
    "fixed_point"
)


NO_DERIVATIVE = {"stop", "sign", "floor", "floor_divide"}


def _differentiable(node: Node) -> bool:
    return node.type.is_float and any(operand.type.is_float for operand in node.operands)


@cache
def _by_op() -> dict[str, list[tuple[Sample, Case, Node]]]:
    """The differentiable samples in which each op occurs, small graphs first."""
    found: dict[str, list[tuple[int, Sample, Case, Node]]] = {}
    for _, row, case in rows():
        args = arguments(case)
        if not row.order or any(np.size(leaf.value) == 0 for leaf in leaves(args)):
            continue
        nodes = cr.trace(row.function, *args).nodes()
        for op, node in {node.op: node for node in nodes if _differentiable(node)}.items():
            found.setdefault(op, []).append((len(nodes), row, case, node))
    return {
        op: [entry[1:] for entry in sorted(entries, key=lambda entry: entry[0])]
        for op, entries in found.items()
    }


def _turns_red(op: str, order: int) -> bool:
    for row, case, _ in _by_op()[op]:
        try:
            cr.check_grads(row.function, arguments(case), order=order, eps=row.step)
        except GradientMismatchError:
            return True
    return False


@pytest.mark.parametrize("op", sorted(set(RULES) - NO_DERIVATIVE))
def test_a_rule_wrong_by_a_thousandth_turns_a_sample_red(
    op: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For every op with a derivative, and each of its operands in turn."""
    right = RULES[op]
    _, _, node = _by_op()[op][0]
    parts = right(node, _ones(node))
    places = [place for place, part in enumerate(parts[:2]) if part is not None]
    assert places
    for place in places:

        def wrong(node: Node, delta: Any, place: int = place, **wanted: Any) -> Any:
            parts = list(right(node, delta, **wanted))
            if place < len(parts) and parts[place] is not None:
                parts[place] = _grown(parts[place])
            return tuple(parts)

        monkeypatch.setitem(RULES, op, wrong)
        assert _turns_red(op, order=1), place


def _ones(node: Node) -> Any:
    """A delta for a node; for a loop, one for each of its arrays."""
    if not isinstance(node.type, TupleType):
        return build.like(node, 1)
    return {k: build.full(kind, 1) for k, kind in enumerate(node.type.parts) if kind.is_float}


def _grown(delta: Any) -> Any:
    if isinstance(delta, dict):
        return {number: _grown(part) for number, part in delta.items()}
    return build.multiply(delta, build.like(delta, WRONG))


@pytest.mark.parametrize("op", CURVED.split())
def test_a_rule_that_forgets_its_own_derivative_turns_a_sample_red(
    op: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Right to first order, wrong to second: the factor of the delta taken as a constant."""
    right = RULES[op]

    def forgetful(node: Node, delta: Any, **wanted: Any) -> Any:
        operands = [build.make("stop", operand) for operand in node.operands]
        return right(build.make(op, *operands, **node.attributes), delta, **wanted)

    monkeypatch.setitem(RULES, op, forgetful)
    assert _turns_red(op, order=2)


@pytest.mark.parametrize("op", sorted(reference.KERNELS))
def test_a_kernel_wrong_by_a_thousandth_turns_a_sample_red(
    op: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For every op with floating-point results; of the others the values are compared exactly."""
    right = reference.KERNELS[op]

    def wrong(node: Node) -> Any:
        kernel = right(node)
        return lambda *arrays: _spoilt(kernel(*arrays))

    monkeypatch.setitem(reference.KERNELS, op, wrong)
    assert not all(_agrees(row, arguments(case)) for row, case in _with_op()[op])


@cache
def _with_op() -> dict[str, list[tuple[Sample, Case]]]:
    """All samples in which each op occurs."""
    found: dict[str, list[tuple[Sample, Case]]] = {}
    for _, row, case in rows():
        for op in {node.op for node in cr.trace(row.function, *arguments(case)).nodes()}:
            found.setdefault(op, []).append((row, case))
    return found


def _spoilt(result: Any) -> Any:
    if isinstance(result, tuple):
        return tuple(_spoilt(part) for part in result)
    if result.dtype.kind == "f":
        return result * result.dtype.type(WRONG)
    return ~result if result.dtype == np.bool_ else result + result.dtype.type(1)


def _agrees(row: Sample, args: tuple[Any, ...]) -> bool:
    from test_core_samples import arrays, assert_close, plain

    try:
        got = Program(cr.trace(row.function, *args))(arrays(args))
        for one, other in zip(got, plain(row, args), strict=True):
            assert_close(one, other, row.ulps, row.floor)
    except (AssertionError, IndexError):
        return False
    return True
