"""Nothing is silently wrong: what a trace cannot follow is an error that says what, where, what to
do instead."""

from __future__ import annotations

import copy
import math
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import ChainruleError, IndexRangeError, ShapeError, TraceError, UsageError
from chainrule.tracing.advice import ADVICE
from chainrule.tracing.traced import FUNCTIONS, METHODS, UFUNCS

X = np.arange(6.0).reshape(2, 3)
HERE = Path(__file__).name
GENERATOR = np.random.default_rng(0)
LEGACY = np.random.RandomState(0)


def fails(
    function: Callable[..., Any], kind: type[ChainruleError], *says: str, args: Any = (X,)
) -> None:
    """Tracing raises this kind of error, with these words, and names the line in this file."""
    with pytest.raises(kind) as caught:
        cr.trace(function, *args)
    text = str(caught.value)
    for words in says:
        assert words in text, text
    lines = (function.__code__.co_firstlineno + n for n in range(12))
    assert any(f"{HERE}:{line}" in text for line in lines), text


def _set(x: Any, key: Any) -> Any:
    y = x.copy()
    y[key] = 1.0
    return y


# --- values that are not known ---


@pytest.mark.parametrize(
    "function",
    [
        lambda x: float(x[0, 0]),
        lambda x: int(x[0, 0]),
        lambda x: math.sin(x[0, 0]),
        lambda x: x[0, 0].item(),
        lambda x: x.tolist(),
        lambda x: list(range(x[0, 0])),
        lambda x: f"{x[0, 0]:.3f}",
        lambda x: x[: x.astype(int)[0, 0]],
        lambda x: [1, 2, 3][x.astype(int)[0, 0]],
    ],
)
def test_a_traced_array_is_no_python_number(function: Callable[..., Any]) -> None:
    """float(x), x.item(), math.sin(x), range(x), a slice's bound, a number's format."""
    fails(function, TraceError, "cannot be turned into a Python number", "keep it an array")


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x if x[0, 0] > 0 else -x,
        lambda x: x if (x > 0).all() else -x,
        lambda x: (x[0, 0] > 0) and x,
        lambda x: not x[0, 0],
        lambda x: 3.0 in x,
        lambda x: max(x[0, 0], x[0, 1]),
    ],
)
def test_a_traced_array_has_no_truth(function: Callable[..., Any]) -> None:
    """if, and, not, in, the builtin max."""
    fails(function, TraceError, "truth of a traced array", "np.where(condition, a, b)")


@pytest.mark.parametrize(
    "function",
    [
        lambda x: np.asarray(x) + 1,
        lambda x: np.array([x[0, 0], x[0, 1]]),
        lambda x: np.array([[x[0, 0], 1.0]]),
        lambda x: np.arange(x[0, 0]),
        lambda x: np.random.normal(x) + 1,  # noqa: NPY002
        lambda x: X[x[0, :2].astype(int)],
    ],
)
def test_a_traced_array_is_no_numpy_array(function: Callable[..., Any]) -> None:
    """np.asarray(x), np.array([x, y]), and functions of NumPy that know nothing of protocols."""
    fails(function, TraceError, "where NumPy needs numbers", "np.stack")


def test_writing_a_traced_number_into_a_plain_array_is_a_clear_error() -> None:
    """NumPy hides our error behind "setting an array element with a sequence"."""

    def element(x: Any) -> Any:
        out = np.zeros(3)
        out[0] = x[0, 0]
        return out

    def row(x: Any) -> Any:
        out = np.zeros((2, 3))
        out[0] = x[0]
        return out

    fails(element, TraceError, "np.zeros_like(x)")
    fails(row, TraceError, "np.zeros_like(x)")


def test_adding_to_a_plain_array_in_place_says_what_to_write() -> None:
    """`total += x`, where total is a plain NumPy array."""

    def accumulate(x: Any) -> Any:
        total = np.zeros(3)
        total += x[0]
        return total

    fails(accumulate, TraceError, "np.add with out=", "a = a + x instead of a += x")


# --- functions that are not supported ---


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda x: np.linalg.inv(x) + 1, "np.linalg.inv"),
        (lambda x: np.unique(x) + 1, "np.unique"),
        (lambda x: np.bitwise_xor(x, x), "use (a | b)"),
        (lambda x: np.ldexp(x, 2), "np.ldexp"),
        (lambda x: x.sort() or x, "use np.sort(x)"),
        (lambda x: x.nonzero()[0], "use np.where(condition, a, b)"),
        (lambda x: x.real, "ndarray.real"),
        (lambda x: np.add.accumulate(x) + 1, "np.add.accumulate"),
        (lambda x: np.add.at(x, 0, 1.0), "np.add.at"),
        (lambda x: np.where(x > 0), "np.where with one argument"),
        (lambda x: np.linspace(0, x[0, 0], 3), "np.linspace"),
        (lambda x: np.sum(x, initial=3.0), "'initial'"),
        (lambda x: np.sum(x, out=np.zeros(3), axis=0), "'out'"),
        (lambda x: np.sort(x, order="a"), "'order'"),
        (lambda x: np.add(x, x, out=np.zeros((2, 3))), "leave out= away"),
        (lambda x: np.add(x, x, where=X > 0), "use np.where"),
        (lambda x: np.add(x, x, dtype=np.float32), "cast with .astype"),
        (lambda x: np.reshape(x, 6, order="F"), "order='F'"),
        (lambda x: np.pad(x, 1, mode="mean"), "mode='mean'"),
        (lambda x: np.quantile(x, [0.1, 0.9]), "np.quantile"),
        (lambda x: np.percentile(x, 101), "np.quantile"),
        (lambda x: np.linalg.norm(x, ord="nuc"), "ord='nuc'"),
        (lambda x: x.astype(int) ** x.astype(int), "np.power of integers"),
        (lambda x: np.divmod(x, 2, out=(x, x)), "np.divmod with out="),
    ],
)
def test_what_is_not_supported_is_named(function: Callable[..., Any], says: str) -> None:
    """The function, method or parameter; the line; what to use instead."""
    fails(function, TraceError, "not supported in traced code", says)


def test_the_docs_list_what_is_supported() -> None:
    """docs/numpy.md, where the error sends people, has every entry and every piece of advice."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "numpy.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w.]+)`", text))
    functions = {f"{f.__module__}.{f.__name__}".removeprefix("numpy.") for f in FUNCTIONS}
    methods = {name for name in METHODS if not name.startswith("__")}
    assert {u.__name__ for u in UFUNCS} | functions | methods | set(ADVICE) <= named


def test_advice_is_for_what_is_not_supported() -> None:
    """No entry of the table of advice works after all (np.where does, with three arguments)."""
    supported = {f"np.{u.__name__}" for u in UFUNCS} | {f"ndarray.{m}" for m in METHODS}
    assert not supported & set(ADVICE)


# --- shapes, axes, dtypes ---


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda x: x @ x, "(2, 3) @ (2, 3)"),
        (lambda x: x @ 2.0, "use * for scalars"),
        (lambda x: np.ones((4, 2, 2)) @ x[None][[0, 0, 0]].transpose(0, 2, 1)[:, :2], "batch axes"),
        (lambda x: x + np.ones(4), "(2, 3) and (4,)"),
        (lambda x: np.where(x[0] > 0, x, x.T), "np.where"),
        (lambda x: x.reshape(4), "(2, 3) cannot be reshaped to (4,)"),
        (lambda x: x.reshape(-1, -1), "(-1, -1)"),
        (lambda x: np.concatenate([x, x[0]]), "(2, 3) and (3,)"),
        (lambda x: np.stack([x, x[0]]), "(2, 3) and (3,)"),
        (lambda x: np.split(x, 2, axis=1), "2 equal parts"),
        (lambda x: np.broadcast_to(x, (3, 2)), "(2, 3)"),
        (lambda x: np.squeeze(x, axis=0), "axis 0"),
        (lambda x: np.transpose(x, (0, 0)), "(0, 0)"),
        (lambda x: np.tensordot(x, x, axes=1), "axes"),
        (lambda x: np.einsum("ij,ij->k", x, x), "'k'"),
        (lambda x: np.einsum("ij,jk->ik", x, x), "axis 'j' has sizes 3, 2"),
        (lambda x: np.einsum("ij", x, x), "names 1 operands, 2 were given"),
        (lambda x: np.einsum("ijk->i", x), "'ijk'"),
        (lambda x: np.cross(x[:, :2], x), "(2, 2) and (2, 3)"),
        (lambda x: np.sum(x, axis=2), "axis 2 is out of range for an array of 2 axes"),
        (lambda x: x.mean(-3), "axis -3"),
        (lambda x: x.sum(axis=(0, 0)), "duplicate axes"),
        (lambda x: np.max(x[:0], axis=0), "no elements"),
        (lambda x: np.argmin(x[:0], axis=0), "no elements"),
        (lambda x: np.average(x, weights=np.ones(3)), "weights of shape (3,)"),
        (lambda x: x[0, 0, 0], "3 indices for an array of 2 axes"),
        (lambda x: x[..., ...], "more than one '...'"),
        (lambda x: x[np.array([True, False, True])], "a mask of shape (3,)"),
        (lambda x: x.copy().__setitem__(x[0] > 0, 1.0), "a mask of shape (3,)"),
        (lambda x: x[[0, 1], [0, 1, 2]], "(2,) and (3,)"),
        (lambda x: np.zeros_like(x).__setitem__(0, np.ones(4)), "(4,) do not fit"),
        (lambda x: np.ones_like(x[0]).__iadd__(x), "in-place add"),
    ],
)
def test_shapes_that_do_not_fit_are_named(function: Callable[..., Any], says: str) -> None:
    """Both shapes, or the axis; and the line."""
    fails(function, ShapeError, says)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda x: x.mean(axis=1.0), "axis must be a Python integer"),
        (lambda x: x.astype(np.float16), "float16"),
        (lambda x: np.zeros_like(x, dtype=complex), "complex128"),
        (lambda x: x * 1j, "complex128"),
        (lambda x: x * np.array([1, None, 2], object), "object"),
        (lambda x: np.exp(x.astype(np.int8)), "float16"),
        (lambda x: x.astype(np.uint64) < x.astype(np.int64), "uint64 and int64"),
        (lambda x: x & x, "bitwise_and"),
        (lambda x: -(x > 0), "negative"),
        (lambda x: x * np.matrix(X), "matrix"),
        (lambda x: x + np.ma.array(X, mask=X > 1), "MaskedArray"),
        (lambda x: (x > 0).astype(int).__iadd__(x), "float64 does not fit into int64"),
        (lambda x: np.zeros_like(x, dtype=int).__setitem__(0, x[0]), "do not fit into an array"),
        (lambda x: x[x > 0], "cannot be an index"),
        (lambda x: x.copy().__setitem__(x > 0, x[0, :2]), "where a traced mask says"),
        (lambda x: x[x], "indices of dtype float64"),
        (lambda x: x[1.0], "1.0 is not an index"),
        (lambda x: x["a"], "'a' is not an index"),
        (lambda x: x[True], "boolean"),
        (lambda x: np.repeat(x, x[0].astype(int), axis=1), "the counts decide the shape"),
    ],
)
@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_kinds_that_do_not_fit_are_named(function: Callable[..., Any], says: str) -> None:
    """dtypes that the graph does not have, indices that are none, array classes of other rules."""
    fails(function, TraceError, says)


class Tensor:
    """Stands for the array of another library."""

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        return X


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        (np.ma.array(X, mask=X > 1), "MaskedArray"),
        ({"w": Tensor()}, "argument x holds a test_core_errors.Tensor"),
        (X.astype(np.float16), "argument x: arrays of dtype float16"),
        (np.array(["a"]), "argument x: arrays of dtype <U1"),
    ],
)
def test_arguments_that_are_no_arrays_are_named(argument: Any, says: str) -> None:
    """Masked arrays, tensors of other libraries, dtypes that the graph does not have."""
    with pytest.raises(TraceError, match=re.escape(says)):
        cr.trace(lambda x: x, argument)


def test_a_compiled_function_refuses_a_masked_array_that_a_trace_fits() -> None:
    """The program exists already, and would not look at the mask."""
    double = cr.compile(lambda x: 2 * x)
    double(X)
    with pytest.raises(TraceError, match="MaskedArray"):
        double(np.ma.array(X, mask=X > 1))


# --- indices out of range ---


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda x: x[2], "index 2 is out of range for an axis of size 2"),
        (lambda x: x[-3], "index -3"),
        (lambda x: x[0, 3], "index 3 is out of range for an axis of size 3"),
        (lambda x: x[[0, 7]], "index 7"),
        (lambda x: x[:, [-4]], "index -4"),
        (lambda x: np.take(x, [9], axis=1), "index 9"),
        (lambda x: np.zeros_like(x).__setitem__(5, 0.0), "index 5"),
    ],
)
def test_known_indices_out_of_range_are_found_while_tracing(
    function: Callable[..., Any], says: str
) -> None:
    """The line, the index and the size."""
    fails(function, IndexRangeError, says)


@pytest.mark.parametrize(
    ("function", "indices", "says"),
    [
        (lambda x, i: x[i], [2], "index 2 is out of range for an axis of size 2"),
        (lambda x, i: x[i], [0, -3], "index -3"),
        (lambda x, i: x[:, i], [5], "axis of size 3"),
        (lambda x, i: x[i, i], [0, 2], "out of range"),  # 2 * 3 + 2 would lie outside
        (lambda x, i: x[[0], i], [4], "out of range"),  # 0 * 3 + 4 would lie inside
        (lambda x, i: x[i, [0, 1]], [-4], "out of range"),
        (lambda x, i: np.take(x, i, axis=1), [3], "index 3"),
        (lambda x, i: np.take_along_axis(x, i[None], axis=1), [3], "out of range"),
        (lambda x, i: _set(x, i[0]), [2], "index 2"),
        (lambda x, i: _set(x, (slice(None), i)), [-4], "out of range"),
    ],
)
def test_traced_indices_out_of_range_are_found_before_the_run(
    function: Callable[..., Any], indices: list[int], says: str
) -> None:
    """Reading and writing, below and above, one of several; with the user's line."""
    program = cr.compile(function)
    valid = np.zeros(len(indices), np.int64)
    program(X, valid)
    with pytest.raises(IndexRangeError, match=re.escape(says)) as caught:
        program(X, np.array(indices))
    assert HERE in str(caught.value)


def test_indices_computed_from_floats_are_checked_while_running() -> None:
    """They cannot be known before."""
    program = cr.compile(lambda x: np.asarray(X, like=x)[(x * 2).astype(np.int64)])
    assert program(np.array([0.5])).shape == (1, 3)
    with pytest.raises(IndexRangeError):
        program(np.array([1.5]))


# --- writing in place ---


def test_writing_to_an_argument_is_an_error() -> None:
    """It would change the caller's data."""

    def assign(x: Any) -> Any:
        x[0] = 1.0
        return x

    def add(x: Any) -> Any:
        x += 1
        return x

    def through_a_view(x: Any) -> Any:
        x[0] += 1
        return x

    for function in (assign, add, through_a_view):
        fails(function, TraceError, "argument", "x = x.copy()")


def test_writing_to_a_view_is_an_error() -> None:
    """In NumPy the array would change with it."""

    def row(x: Any) -> Any:
        y = 2 * x
        row = y[0]
        row[1] = 3.0
        return y

    def transposed(x: Any) -> Any:
        y = 2 * x
        y.T[0] = 1.0
        return y

    for function in (row, transposed):
        fails(function, TraceError, "view of another", "x = x.copy()")


def test_an_array_cannot_be_read_after_its_view_changed() -> None:
    """`row += 1` changes the array in NumPy, too; so does a view of a view."""

    def row(x: Any) -> Any:
        y = 2 * x
        row = y[0]
        row += 1
        return y

    def other_view(x: Any) -> Any:
        y = 2 * x
        first, second = y[0], y[0]
        first += 1
        return second + 0

    def elsewhere(x: Any) -> Any:
        y = 2 * x
        row = y[0]
        row += 1
        y[1] = row
        return y

    for function in (row, other_view, elsewhere):
        fails(function, TraceError, "after a view of it was changed")


def test_a_view_cannot_be_read_after_its_array_was_written() -> None:
    """It may have changed; whether it did is not tracked."""

    def basic(x: Any) -> Any:
        y = 2 * x
        row = y[0]
        y[0] = 1.0
        return row + 0

    def transposed(x: Any) -> Any:
        y = 2 * x
        other = y.T
        y += 1
        return other + 0

    for function in (basic, transposed):
        fails(function, TraceError, "a view was read after its array was written")


def test_writing_functionally_is_right_where_it_is_allowed() -> None:
    """Views read before a write, copies, gathered rows, results of reductions: as in NumPy."""

    def function(x: Any) -> Any:
        y = x.copy()
        row = y[0]
        doubled = row * 2
        y[1] = doubled  # the view was read before
        kept = y[0].copy()
        y[0] = -1.0
        gathered = y[[0, 1]]  # by integers: a copy
        y *= 2
        gathered[0] += kept
        whole = y[:]
        total = whole.sum(axis=0)
        total[0] = 5.0
        y[0] += 1
        y[0, 1:] -= 3
        number = y[1, 2]  # a number in NumPy, not a view
        y[1, 2] = 0.25
        y[1, 0] += number
        return np.concatenate([y, gathered, total[None]])

    np.testing.assert_array_equal(cr.compile(function)(X), function(X))


def test_a_row_changed_in_place_and_written_back_may_be_used_again() -> None:
    """The two statements that `y[0] += 1` is."""

    def function(x: Any) -> Any:
        y = 2 * x
        row = y[0]
        row += 1
        y[0] = row
        return y + row

    np.testing.assert_array_equal(cr.compile(function)(X), function(X))


def test_deep_copies_of_traced_arrays_stay_in_the_trace() -> None:
    """copy.deepcopy of a tree of arrays inside a traced function."""

    def function(tree: Any) -> Any:
        other = copy.deepcopy(tree)
        other["w"] += 1
        return other["w"] * copy.copy(tree["w"])

    np.testing.assert_array_equal(cr.compile(function)({"w": X}), (X + 1) * X)


# --- results ---


def test_an_array_kept_from_an_earlier_trace_is_an_error() -> None:
    """It belongs to another program."""
    kept = []

    def leak(x: Any) -> Any:
        kept.append(x)
        return x

    cr.trace(leak, X)
    fails(lambda x: x + kept[0], TraceError, "earlier call (x)", "return them instead")


def test_a_function_that_returns_nothing_is_an_error() -> None:
    """It would compute nothing."""
    with pytest.raises(TraceError, match="returned None"):
        cr.trace(lambda x: None, X)


@pytest.mark.parametrize(
    ("call", "kind", "says"),
    [
        (lambda: cr.grad(lambda x: x)(X), ShapeError, "returned (2, 3)"),
        (lambda: cr.grad(lambda x: {"a": x})(X), ShapeError, "returned dict"),
        (lambda: cr.grad(lambda x: np.sum(x > 0))(X), TraceError, "int64"),
        (lambda: cr.grad(lambda n: 2.0 * np.sum(n))(np.arange(3)), UsageError, "int64"),
        (lambda: cr.grad(lambda n: 2.0 * n)(3), UsageError, "write 3.0 instead of 3"),
        (lambda: cr.grad(np.sum, argnums=1)(X), UsageError, "argnums names argument 1"),
        (
            lambda: cr.grad(lambda x, y: np.sum(x * y), argnums=1)(X, y=X),
            UsageError,
            "by position",
        ),
        (lambda: cr.value_and_grad(np.sum, has_aux=True)(X), UsageError, "has_aux"),
        (lambda: cr.hvp(np.sum)(X, X[0]), ShapeError, "shapes of the argument"),
        (lambda: cr.compile(np.sum, backend="tpu"), UsageError, "backend"),
    ],
)
def test_wrong_calls_of_transformations_are_named(
    call: Callable[[], Any], kind: type[ChainruleError], says: str
) -> None:
    """What was returned or given, and what is needed."""
    with pytest.raises(kind, match=re.escape(says)):
        call()


# --- random numbers ---


def _own_generator(x: Any) -> Any:
    return x + GENERATOR.normal(size=3)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x + np.random.normal(size=3),  # noqa: NPY002
        lambda x: x * np.random.rand(),  # noqa: NPY002
        lambda x: x[0][np.random.permutation(99) % 3],  # noqa: NPY002
        lambda x: x + __import__("random").random(),
        _own_generator,
        lambda x: _own_generator(x) * 2,
        lambda x: x + LEGACY.normal(size=3),
        lambda x, rng=GENERATOR: x * rng.uniform(),
    ],
)
def test_random_numbers_in_a_trace_are_an_error(function: Callable[..., Any]) -> None:
    """They would be frozen into the program: np.random, random, generators that the code sees."""
    with pytest.raises(TraceError, match="random numbers were drawn") as caught:
        cr.compile(function)(X)
    assert HERE in str(caught.value)
    assert "cr.random" in str(caught.value)


def test_a_generator_as_an_argument_is_seen() -> None:
    """It is no array, so it would be a constant."""
    with pytest.raises(TraceError, match="random numbers were drawn"):
        cr.compile(lambda x, rng: x + rng.normal(size=3))(X, np.random.default_rng(1))


def test_random_numbers_as_a_result_are_an_error() -> None:
    """Without any op on them."""
    with pytest.raises(TraceError, match="random numbers were drawn"):
        cr.compile(lambda x: {"noise": np.random.rand(3), "x": x})(X)  # noqa: NPY002


def test_a_second_trace_leaves_no_mark_in_the_context() -> None:
    """Running statistics and draws are those of the first, also when numbers were drawn elsewhere
    meanwhile and the function is traced again."""
    net = cr.nn.BatchNorm(3)
    net = cr.nn.init(net, X)

    def forward(net: Any, x: Any) -> Any:
        GENERATOR.normal()
        return net(x) * cr.random.uniform((3,))

    with cr.nn.training(net, seed=1) as first:
        expected = net(X) * cr.random.uniform((3,))
    with cr.nn.training(net, seed=1) as second:
        graph = cr.trace(forward, net, X)
    assert second.draws == first.draws
    constants = [n["value"] for n in graph.nodes() if n.op == "constant"]
    with cr.nn.training(seed=1):
        mask = cr.random.uniform((3,))
    assert any(np.array_equal(c, mask) for c in constants)
    assert expected.shape == graph.outputs[0].shape


def test_random_numbers_that_do_not_change_the_program_are_no_error() -> None:
    """Drawn in another thread meanwhile, drawn and not used, or seeded where they are drawn."""

    def elsewhere(x: Any) -> Any:
        thread = threading.Thread(target=np.random.rand)
        thread.start()
        thread.join()
        GENERATOR.normal()
        return x * np.random.default_rng(7).normal()

    expected = X * np.random.default_rng(7).normal()
    np.testing.assert_array_equal(cr.compile(elsewhere)(X), expected)


def test_cr_random_draws_the_same_numbers_at_the_same_place_and_step() -> None:
    """A function of (seed, step, place), traced or not; and new ones at another step."""

    def draw(step: int) -> Any:
        with cr.nn.training(seed=3, step=step):
            return cr.random.uniform((4,)), cr.random.normal((2,)), cr.random.bernoulli(0.5, (8,))

    def traced(step: Any) -> Any:
        with cr.nn.training(seed=3, step=step):
            return cr.random.uniform((4,)), cr.random.normal((2,)), cr.random.bernoulli(0.5, (8,))

    program = cr.compile(traced)
    for step in (0, 5):
        for plain, ours in zip(draw(step), program(np.uint32(step)), strict=True):
            np.testing.assert_array_equal(plain, ours)
    assert not np.array_equal(draw(0)[0], draw(5)[0])
