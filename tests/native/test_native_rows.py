"""Steps that read their rows where they lie give what steps on copies give, for batches of any size
and layers that read rows in every way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.graph import ArrayType, Graph, build
from chainrule.native.program import NativeProgram
from chainrule.native.stored import rows_read_in_place
from chainrule.reference import Interpreter
from chainrule.runtime.batches import choosing

RANDOM = np.random.default_rng(5)


def programs(function: Any, x: np.ndarray, *rest: np.ndarray) -> tuple[Graph, Graph, Any]:
    """function(batch, *rest) traced on a batch, and the same that chooses the batch's rows."""
    plain = cr.trace(function, x, *rest)
    whole = np.zeros((37, *x.shape[1:]), x.dtype)
    chosen, rows = choosing(plain, 0, [whole])
    return plain, chosen, rows


FUNCTIONS = {
    "product": lambda x, w: x.reshape(len(x), -1) @ w,
    "product by the right": lambda x, w: w.T @ x.reshape(len(x), -1).T,
    "gradient": lambda x, w: x.reshape(len(x), -1).T @ np.ones((len(x), 20), x.dtype),
    "columns along the rows": lambda x, w: np.einsum("b...->b", x) + (w.sum(axis=1) @ x.T).sum(),
    "one output": lambda x, w: x.reshape(len(x), -1) @ w[:, :1],
    "slices": lambda x, w: x[1:, ::2] @ w[: (x.shape[1] + 1) // 2],
    "elementwise too": lambda x, w: np.tanh(x) @ w + x.sum(axis=1, keepdims=True),
    "turned": lambda x, w: (x[::-1] @ w) * 2,
}


@pytest.mark.parametrize("size", [1, 2, 5, 16, 33])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_chosen_rows_are_those_of_a_copy(name: str, size: int) -> None:
    if name == "slices" and size == 1:
        return
    function = FUNCTIONS[name]
    width = 24
    whole = RANDOM.normal(size=(37, width)).astype(np.float32)
    w = RANDOM.normal(size=(width, 20)).astype(np.float32)
    numbers = RANDOM.integers(0, 37, size)
    plain, chosen, rows = programs(function, whole[numbers], w)
    (want,) = NativeProgram(plain)([whole[numbers], w])
    (got,) = NativeProgram(chosen, trusted=[rows])([whole, numbers, w])
    np.testing.assert_array_equal(got, want)
    (meant,) = Interpreter(chosen)([whole, numbers, w])
    np.testing.assert_allclose(got, meant, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [1, 4, 9])
def test_rows_of_pictures_are_flattened_before_they_are_chosen(size: int) -> None:
    whole = RANDOM.normal(size=(37, 5, 4, 3)).astype(np.float32)
    w = RANDOM.normal(size=(60, 20)).astype(np.float32)
    numbers = RANDOM.integers(0, 37, size)
    plain, chosen, rows = programs(FUNCTIONS["product"], whole[numbers], w)
    assert len(rows_read_in_place(chosen, [rows])) == 1
    (want,) = NativeProgram(plain)([whole[numbers], w])
    (got,) = NativeProgram(chosen, trusted=[rows])([whole, numbers, w])
    np.testing.assert_array_equal(got, want)


def test_rows_that_more_than_contractions_read_are_copied() -> None:
    """A value that is computed from them at every place is cheaper to read from a copy."""
    rows = build.input("rows", ArrayType(np.dtype(np.int64), (8,)))
    x = build.input("x", ArrayType(np.dtype(np.float32), (37, 24)))
    w = build.input("w", ArrayType(np.dtype(np.float32), (24, 40)))
    taken = build.take(x, rows, 0)
    product = build.contract(taken, w, "ab,bc->ac")
    graph = Graph("both", (x, rows, w), (product, build.add(taken, taken)), ("a", "b"))
    assert rows_read_in_place(graph, [rows]) == set()
    alone = Graph("one", (x, rows, w), (product,), ("a",))
    assert rows_read_in_place(alone, [rows]) == {taken}
