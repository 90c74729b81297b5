"""Every op and every supported NumPy function, through every stage, from the table of samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.backward import NO_DELTA, RULES
from chainrule.graph import OPS, Graph, ancestors, from_text, to_text, verify
from chainrule.pipeline import Program
from chainrule.reference import OPS_WITH_MEANING, evaluate
from chainrule.rewrite import PASSES, ROUNDING
from chainrule.tracing import leaves
from chainrule.tracing.traced import FUNCTIONS, METHODS, UFUNCS
from samples import SAMPLES, Case, Sample, arguments, rows

ROWS = list(rows())
each_row = pytest.mark.parametrize(
    ("row", "case"), [pytest.param(row, case, id=name) for name, row, case in ROWS]
)
DIFFERENTIABLE = [
    (name, row, case)
    for name, row, case in ROWS
    if row.order
    and any(np.asarray(leaf.value).dtype.kind == "f" for leaf in leaves(arguments(case)))
]

# -0.0 in, 0.0 out: keeping the sign would cost a formula its derivative at 0.
SIGN_OF_ZERO_LOST = {"cbrt of special values", "fmod of special values"}


def arrays(tree: Any) -> list[np.ndarray]:
    """The arrays of a tree; a lone number counts."""
    if isinstance(tree, bool | int):
        tree = np.asarray(tree)
    return [np.asarray(leaf.value) for leaf in leaves(tree)]


def plain(row: Sample, args: Sequence[Any]) -> list[np.ndarray]:
    with np.errstate(all="ignore"):
        return arrays(row.function(*args))


def assert_close(got: np.ndarray, want: np.ndarray, ulps: float, floor: float) -> None:
    """Same dtype, shape, NaN and infinities; the rest within some units in the last place."""
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    if want.dtype.kind != "f":
        np.testing.assert_array_equal(got, want)
        return
    finite = np.isfinite(want)
    np.testing.assert_array_equal(np.where(finite, 0, got), np.where(finite, 0, want))
    unit = np.finfo(want.dtype).eps * np.maximum(np.abs(want[finite]), floor)
    wrong = np.abs(got[finite] - want[finite]) > ulps * unit
    assert not wrong.any(), f"{got[finite][wrong]} instead of {want[finite][wrong]}"


def gradient_graph(row: Sample, args: Sequence[Any]) -> Graph | None:
    """The graph of the values and of all gradients of their sum, or None where there are none."""
    floats = [i for i, a in enumerate(args) if _all_float(a)]
    if not row.order or not floats:
        return None

    def total(*values: Any) -> Any:
        parts = [leaf.value for leaf in leaves(row.function(*values))]
        return sum(np.sum(p * p) for p in parts if p.dtype.kind == "f") + 0.0

    return cr.trace(cr.value_and_grad(total, floats), *args)


def _all_float(tree: Any) -> bool:
    values = leaves(tree)
    return bool(values) and all(np.asarray(leaf.value).dtype.kind == "f" for leaf in values)


@each_row
@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["f64", "f32"])
def test_traced_code_computes_what_numpy_computes(row: Sample, case: Case, dtype: Any) -> None:
    """Tracing and the reference interpreter give NumPy's values, dtypes and shapes."""
    args = arguments(case, dtype)
    want = plain(row, args)
    got = Program(cr.trace(row.function, *args), "reference")(arrays(args))
    for one, other in zip(got, want, strict=True):
        assert_close(one, other, row.ulps, row.floor)
        if row.floor == 0 and row.name not in SIGN_OF_ZERO_LOST:
            zeros = other == 0
            np.testing.assert_array_equal(np.signbit(one[zeros]), np.signbit(other[zeros]))


@pytest.mark.parametrize(
    ("row", "case"), [pytest.param(row, case, id=name) for name, row, case in DIFFERENTIABLE]
)
def test_gradients_agree_with_differences_to_second_order(row: Sample, case: Case) -> None:
    """First and second derivatives, along random directions, in float64."""
    cr.check_grads(row.function, arguments(case), order=row.order, eps=row.step)


@each_row
def test_every_stage_is_sound_prints_parses_back_and_computes_the_same(
    row: Sample, case: Case
) -> None:
    """The traced graph, its gradient, and each rewrite of both: verify passes, the text parses
    back to the same text, and no rewrite changes a bit of the result, but for those that are said
    to: they add in another order."""
    args = arguments(case)
    for graph in (cr.trace(row.function, *args), gradient_graph(row, args)):
        if graph is None:
            continue
        inputs = arrays(args)
        want = evaluate(verify(graph), inputs)
        rounded = False
        for name, run in (("traced", lambda g: g), *PASSES):
            before, graph = graph, verify(run(graph))
            rounded |= name in ROUNDING and len(graph.nodes()) != len(before.nodes())
            text = to_text(graph, data=True)
            assert to_text(from_text(text), data=True) == text, name
            for one, other in zip(evaluate(graph, inputs), want, strict=True):
                assert (one.dtype, one.shape) == (other.dtype, other.shape), name
                if rounded:
                    np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9, err_msg=name)
                else:
                    np.testing.assert_array_equal(one, other, err_msg=name)


def _ops(graph: Graph | None) -> set[str]:
    return set() if graph is None else {node.op for node in graph.nodes()}


def test_every_op_has_a_sample() -> None:
    """The samples, with their gradients, reach the whole table of ops."""
    reached: set[str] = set()
    for _, row, case in ROWS:
        args = arguments(case)
        reached |= _ops(cr.trace(row.function, *args)) | _ops(gradient_graph(row, args))
    assert reached == set(OPS)


def test_every_op_has_a_meaning() -> None:
    """The reference interpreter runs every op of the table."""
    assert set(OPS) == OPS_WITH_MEANING


def test_every_op_has_a_rule_of_differentiation_or_a_reason() -> None:
    """Ops without a rule have no floating-point result that depends on an operand."""
    assert set(RULES) | NO_DELTA == set(OPS)
    assert not set(RULES) & NO_DELTA
    for _, row, case in ROWS:
        for node in ancestors(cr.trace(row.function, *arguments(case)).outputs):
            assert node.op not in NO_DELTA or not node.operands or not node.type.is_float


def _covered() -> set[Any]:
    return {covered for row in SAMPLES for covered in row.covers}


def test_every_supported_ufunc_function_and_method_has_a_sample() -> None:
    """What can be traced is what is tested."""
    covered = _covered()
    assert set(UFUNCS) <= covered
    assert set(FUNCTIONS) <= covered
    assert {f"ndarray.{name}" for name in METHODS} <= covered


def test_the_numpy_functions_that_people_use_are_supported() -> None:
    """The promised list: no entry may disappear from the tables."""
    functions = (
        "sum mean var std max min prod argmax reshape transpose swapaxes moveaxis squeeze "
        "expand_dims broadcast_to where concatenate stack split tile repeat pad flip roll dot "
        "outer einsum tensordot clip cumsum tril triu take sort median argsort diagonal trace"
    )
    ufuncs = (
        "matmul maximum minimum logaddexp add subtract multiply divide power negative absolute "
        "exp exp2 expm1 log log2 log10 log1p sqrt cbrt square reciprocal sin cos tan arcsin "
        "arccos arctan arctan2 hypot sinh cosh tanh arcsinh arccosh arctanh deg2rad rad2deg "
        "logaddexp2 fmax fmin remainder fmod copysign equal not_equal less less_equal greater "
        "greater_equal"
    )
    assert {getattr(np, name) for name in functions.split()} <= set(FUNCTIONS)
    assert {getattr(np, name) for name in ufuncs.split()} <= set(UFUNCS)
    assert np.linalg.norm in FUNCTIONS
