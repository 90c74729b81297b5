"""Traced code equals plain NumPy on random programs, dtypes, indices and einsum specs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from test_core_samples import assert_close

import chainrule as cr
from chainrule.errors import TraceError
from chainrule.graph import from_text, to_text, verify
from chainrule.graph.types import DTYPE_NAMES
from chainrule.pipeline import Program
from chainrule.tracing.traced import UFUNCS

DTYPES = list(DTYPE_NAMES.values())


def run(function: Callable[..., Any], *args: Any) -> np.ndarray:
    """The one result of a traced function on the reference backend, rewritten."""
    (result,) = Program(verify(cr.trace(function, *args)))([np.asarray(a) for a in args])
    return result


# --- random programs ---

# Every operation keeps values of size about 1, and is smooth or has its kinks where random values
# do not fall. Results of one become operands of the next.
UNARY: dict[str, Callable[[Any], Any]] = {
    "tanh": np.tanh,
    "sin": np.sin,
    "bell": lambda x: np.exp(-x * x),
    "root": lambda x: np.sqrt(1 + x * x),
    "arctan": np.arctan,
    "logistic": lambda x: 1 / (1 + np.exp(-x)),
    "relu": lambda x: np.maximum(x, 0),
    "abs": abs,
    "log": lambda x: np.log1p(np.square(x)),
    "power": lambda x: (1.5 + np.tanh(x)) ** 1.7,
    "cumsum": lambda x: np.tanh(np.cumsum(x, axis=-1)) if x.ndim else x,
    "sort": lambda x: np.sort(x, axis=-1) if x.ndim else x,
    "tril": lambda x: np.tril(x) if x.ndim > 1 else x,
}
BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda x, y: x + y,
    "subtract": lambda x, y: x - y,
    "multiply": lambda x, y: np.tanh(x) * y,
    "divide": lambda x, y: x / (1 + y * y),
    "maximum": np.maximum,
    "minimum": np.minimum,
    "where": lambda x, y: np.where(x > y, 2 * x, np.sin(y)),
    "logaddexp": np.logaddexp,
    "hypot": lambda x, y: np.hypot(1 + x * x, y),
    "arctan2": lambda x, y: np.arctan2(x, 2 + y * y),
}
REDUCTIONS = ("sum", "mean", "max", "min", "var", "norm", "prod", "std")


@st.composite
def steps(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    """A program: each step names an operation and numbers that choose its operands and axes."""
    kinds = ("unary", "binary", "reduce", "shape", "index", "join", "product")
    count = draw(st.integers(1, 6))
    numbers = st.integers(0, 10**6)
    return [
        (draw(st.sampled_from(kinds)), draw(numbers), draw(numbers), draw(numbers))
        for _ in range(count)
    ]


def execute(program: list[tuple[Any, ...]], *arrays: Any) -> Any:
    """Runs a program on plain or traced arrays; what does not fit is skipped, by shape alone."""
    values = list(arrays)
    for kind, a, b, c in program:
        x, y = values[a % len(values)], values[b % len(values)]
        made = _STEPS[kind](x, y, b, c)
        if made is not None and made.size <= 400:
            values.append(made)
    return values[-1]


def _binary(x: Any, y: Any, b: int, c: int) -> Any:
    try:
        np.broadcast_shapes(x.shape, y.shape)
    except ValueError:
        return None
    return BINARY[list(BINARY)[c % len(BINARY)]](x, y)


def _reduce(x: Any, y: Any, b: int, c: int) -> Any:
    if not x.size:
        return None
    axis: Any = None if c % 4 == 0 or not x.ndim else (c // 4) % x.ndim
    if x.ndim > 1 and c % 4 == 1:
        axis = (-1, 0)
    keepdims = bool(b % 2)
    name = REDUCTIONS[(b // 2) % len(REDUCTIONS)]
    if name == "norm":
        return (
            np.linalg.norm(x, axis=axis, keepdims=keepdims) if not isinstance(axis, tuple) else None
        )
    if name == "std":
        return np.sqrt(0.1 + np.var(x, axis=axis, keepdims=keepdims))
    source = np.tanh(x) if name == "prod" else x
    return getattr(np, name)(source, axis=axis, keepdims=keepdims)


def _shape(x: Any, y: Any, b: int, c: int) -> Any:
    axis = c % x.ndim if x.ndim else 0
    makers: list[Callable[[], Any]] = [
        lambda: x.T,
        lambda: x.reshape(-1),
        lambda: x.reshape(*x.shape[:axis], 1, *x.shape[axis:]),
        lambda: np.expand_dims(x, -1),
        lambda: np.squeeze(x),
        lambda: np.flip(x, axis) if x.ndim else x,
        lambda: np.roll(x, c % 5, axis) if x.ndim else x,
        lambda: np.swapaxes(x, 0, -1) if x.ndim else x,
        lambda: np.broadcast_to(x, (2, *x.shape)),
        lambda: np.tile(x, 2),
        lambda: np.repeat(x, 2, axis) if x.ndim else x,
        lambda: np.pad(x, 1) if x.ndim else x,
        lambda: np.pad(x, 1, mode="edge") if x.ndim and x.size else x,
        lambda: np.zeros_like(x) + x,
    ]
    return makers[b % len(makers)]()


def _index(x: Any, y: Any, b: int, c: int) -> Any:
    if not x.ndim or not x.shape[0]:
        return None
    n = x.shape[0]
    keys: list[Any] = [
        c % n,
        slice(None, None, -1),
        slice(c % n, None),
        slice(None, None, 2),
        (..., None),
        [c % n, -1, c % n],
        np.array([[0], [c % n]]),
        np.arange(n) % 2 == c % 2,
    ]
    return x[keys[b % len(keys)]]


def _join(x: Any, y: Any, b: int, c: int) -> Any:
    if x.shape != y.shape:
        return None
    return (
        np.stack([x, y], axis=c % (x.ndim + 1)) if b % 2 or not x.ndim else np.concatenate([y, x])
    )


def _product(x: Any, y: Any, b: int, c: int) -> Any:
    if not x.ndim or not y.ndim:
        return None
    if y.shape[-2 if y.ndim > 1 else 0] == x.shape[-1] and x.ndim < 3 and y.ndim < 3:
        return np.tanh(x @ y)
    return np.einsum("...i,...i->...", x, x)


_STEPS: dict[str, Callable[..., Any]] = {
    "unary": lambda x, y, b, c: UNARY[list(UNARY)[c % len(UNARY)]](x),
    "binary": _binary,
    "reduce": _reduce,
    "shape": _shape,
    "index": _index,
    "join": _join,
    "product": _product,
}

SHAPES = st.lists(
    st.lists(st.integers(0, 4), max_size=3).map(tuple), min_size=1, max_size=3
).filter(lambda shapes: all(math.prod(s) <= 40 for s in shapes))


def _arrays(shapes: list[tuple[int, ...]], seed: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [np.asarray(random.normal(size=shape)) for shape in shapes]


@settings(max_examples=150)
@given(steps(), SHAPES, st.integers(0, 1000))
def test_a_random_program_traced_equals_numpy(
    program: list[tuple[Any, ...]], shapes: list[tuple[int, ...]], seed: int
) -> None:
    """Values, dtype and shape; and the text of its graph parses back."""
    arrays = _arrays(shapes, seed)

    def function(*values: Any) -> Any:
        return execute(program, *values)

    want = np.asarray(function(*arrays))
    assert_close(run(function, *arrays), want, ulps=64, floor=1.0)
    single = [a.astype(np.float32) for a in arrays]
    assert run(function, *single).dtype == np.asarray(function(*single)).dtype
    text = to_text(cr.trace(function, *arrays), data=True)
    assert to_text(from_text(text), data=True) == text


@settings(max_examples=100)
@given(steps(), SHAPES, st.integers(0, 1000))
def test_the_gradient_of_a_random_program_agrees_with_differences(
    program: list[tuple[Any, ...]], shapes: list[tuple[int, ...]], seed: int
) -> None:
    """To second order, in float64."""
    arrays = _arrays(shapes, seed)

    def function(*values: Any) -> Any:
        return execute(program, *values)

    cr.check_grads(function, tuple(arrays), rtol=1e-4, atol=1e-5)


# --- indexing ---

SMALL = npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)


@st.composite
def keys(draw: st.DrawFn, shape: tuple[int, ...]) -> Any:
    """An index: slices, integers, new axes, dots, and arrays of integers or a mask among them."""
    key = draw(npst.basic_indices(shape, allow_newaxis=True))
    parts = list(key) if isinstance(key, tuple) else [key]
    if draw(st.booleans()) or not shape:
        return tuple(parts) if isinstance(key, tuple) else key
    wide = draw(npst.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3))
    arrays = []
    for size in shape[: draw(st.integers(1, len(shape)))]:
        one = draw(st.sampled_from([(), (1,), wide]))
        if not size:
            one = (0,)
        places = st.integers(-size, max(size - 1, -size))
        arrays.append(np.array(draw(npst.arrays(np.int64, one, elements=places if size else None))))
    try:
        np.broadcast_shapes(*[a.shape for a in arrays])
    except ValueError:
        assume(False)
    extra = [p for p in parts if p is None or isinstance(p, slice)][: len(shape) - len(arrays)]
    return tuple(draw(st.permutations([*arrays, *extra])))


def _selects(array: np.ndarray, key: Any) -> np.ndarray:
    try:
        chosen = np.asarray(array[key])
        # NumPy does not look at indices when nothing is selected; chainrule does.
        assume(chosen.size or not _split(key)[1])
        return chosen
    except IndexError:
        assume(False)
        raise


def _split(key: Any) -> tuple[Callable[..., Any], list[np.ndarray]]:
    """The key as a function of its arrays, so that they can be traced."""
    parts = list(key) if isinstance(key, tuple) else [key]
    arrays = [p for p in parts if isinstance(p, np.ndarray)]

    def rebuild(*given: Any) -> Any:
        rest = iter(given)
        filled = tuple(next(rest) if isinstance(p, np.ndarray) else p for p in parts)
        return filled if isinstance(key, tuple) else filled[0]

    return rebuild, arrays


@settings(max_examples=150)
@given(st.data(), SMALL, st.booleans())
def test_reading_by_index_equals_numpy(data: st.DataObject, shape: Any, traced: bool) -> None:
    """Basic and integer indices, known or traced, in any combination."""
    key = data.draw(keys(shape))
    array = np.arange(math.prod(shape), dtype=np.float64).reshape(shape)
    want = _selects(array, key)
    rebuild, indices = _split(key)
    if traced:
        got = run(lambda x, *i: x[rebuild(*i)], array, *indices)
    else:
        got = run(lambda x: x[key], array)
    assert_close(got, want, ulps=0, floor=0)


@settings(max_examples=150)
@given(st.data(), SMALL, st.booleans(), st.booleans())
def test_writing_by_index_equals_numpy(
    data: st.DataObject, shape: Any, traced: bool, adds: bool
) -> None:
    """`x[key] = v` and `x[key] += v`; of several writes to one place the last stays."""
    key = data.draw(keys(shape))
    array = np.arange(math.prod(shape), dtype=np.float64).reshape(shape)
    chosen = _selects(array, key)
    values = -1.5 - np.arange(chosen.size, dtype=np.float64).reshape(chosen.shape)
    if chosen.ndim and data.draw(st.booleans()):
        values = values[:1]
    rebuild, indices = _split(key)
    known = [] if traced else indices

    def write(x: Any, v: Any, *i: Any) -> Any:
        y = x.copy()
        if adds:
            y[rebuild(*known, *i)] += v
        else:
            y[rebuild(*known, *i)] = v
        return y

    want = write(array, values, *(indices if traced else ()))
    got = run(write, array, values, *(indices if traced else ()))
    assert_close(got, want, ulps=0, floor=0)


# --- einsum ---


@st.composite
def specs(draw: st.DrawFn) -> tuple[str, list[tuple[int, ...]]]:
    """A spec of one to three operands with repeated letters, dots, and any order of the result."""
    sizes = {letter: draw(st.integers(0, 3)) for letter in "ijkl"}
    terms, shapes = [], []
    for _ in range(draw(st.integers(1, 3))):
        letters = draw(st.lists(st.sampled_from("ijkl"), max_size=3))
        shape = [sizes[c] for c in letters]
        if draw(st.booleans()):
            place = draw(st.integers(0, len(letters)))
            letters[place:place] = ["..."]
            shape[place:place] = draw(st.sampled_from([(), (2,), (1, 2)]))
        terms.append("".join(letters))
        shapes.append(tuple(shape))
    spec = ",".join(terms)
    if draw(st.booleans()):
        free = sorted(set(spec) & set("ijkl"))
        chosen = draw(st.lists(st.sampled_from(free), unique=True)) if free else []
        dots = "..." if "..." in spec else ""
        spec += f"->{dots}{''.join(chosen)}"
    return spec, shapes


@settings(max_examples=300)
@given(specs(), st.integers(0, 100))
def test_einsum_equals_numpy(case: tuple[str, list[tuple[int, ...]]], seed: int) -> None:
    """Implicit and explicit results, diagonals, dots, axes that only one operand has."""
    spec, shapes = case
    arrays = _arrays(shapes, seed)
    want = np.asarray(np.einsum(spec, *arrays))
    got = run(lambda *xs: np.einsum(spec, *xs), *arrays)
    assert_close(got, want, ulps=64, floor=1.0)


# --- dtypes ---

SCALARS = (2, 2.5, True, -1, 300, np.float32(2), np.int8(3), np.bool_(True))
_VALUES = {"f": [1.5, 2, 3, 0.5], "i": [1, 2, 3, -4], "u": [1, 2, 3, 4], "b": [1, 0, 1, 1]}


def _of(dtype: np.dtype) -> np.ndarray:
    return np.array(_VALUES[dtype.kind], dtype)


def _operands() -> list[tuple[Any, Any]]:
    pairs: list[tuple[Any, Any]] = [(_of(a), _of(b)[::-1]) for a in DTYPES for b in DTYPES]
    for dtype in DTYPES:
        pairs += [(_of(dtype), s) for s in SCALARS] + [(s, _of(dtype)) for s in SCALARS]
    return pairs


def _compare(name: str, function: Callable[..., Any], args: tuple[Any, ...]) -> str | None:
    """What is wrong with the traced result, or None. A clear refusal is right where NumPy would
    give float16, and for the few integer forms that the docs exclude."""
    arrays = [a for a in args if isinstance(a, np.ndarray)]

    def traced(*given: Any) -> Any:
        rest = iter(given)
        return function(*[next(rest) if isinstance(a, np.ndarray) else a for a in args])

    shown = f"{name}({', '.join(str(getattr(a, 'dtype', a)) for a in args)})"
    try:
        with np.errstate(all="ignore"):
            want = np.asarray(function(*args))
    except (TypeError, ValueError, OverflowError) as error:
        with pytest.raises(type(error) if type(error) is OverflowError else Exception):
            run(traced, *arrays)
        return None
    try:
        got = run(traced, *arrays)
    except OverflowError:  # NumPy's where and select wrap such a Python integer in silence
        return None if name in ("where", "select") else f"{shown}: OverflowError"
    except TraceError as error:
        kinds = {str(a.dtype) for a in args if hasattr(a, "dtype")}
        excluded = (
            want.dtype == np.float16
            or (name in ("power", "reciprocal") and want.dtype.kind in "iu")
            or (want.dtype == np.bool_ and "uint64" in kinds and len(kinds) == 2)
            or (name in ("dot", "outer", "einsum") and kinds == {"bool"})
        )
        return None if excluded else f"{shown}: {error.what}"
    if got.dtype != want.dtype:
        return f"{shown} is {want.dtype}, traced {got.dtype}"
    close = np.allclose(got, want, rtol=1e-5 if want.dtype == np.float32 else 1e-12, equal_nan=True)
    return None if close else f"{shown} is {want}, traced {got}"


@pytest.mark.parametrize("ufunc", [u for u in UFUNCS if u.signature is None and u.nout == 1])
def test_dtypes_of_ufuncs_are_numpys(ufunc: np.ufunc) -> None:
    """All pairs of dtypes, and Python and NumPy scalars on either side: NEP 50."""
    operands = _operands() if ufunc.nin == 2 else [(_of(dtype),) for dtype in DTYPES]
    wrong = [_compare(ufunc.__name__, ufunc, pair) for pair in operands]
    assert not [message for message in wrong if message]


PROMOTING: dict[str, Callable[..., Any]] = {
    "where": lambda x, y: np.where(np.array([True, False, True, True]), x, y),
    "concatenate": lambda x, y: np.concatenate([np.atleast_1d(x), np.atleast_1d(y)]),
    "stack": lambda x, y: np.stack([x, np.broadcast_to(y, 4)]),
    "clip": lambda x, y: np.clip(x, y, None),
    "dot": np.dot,
    "outer": np.outer,
    "einsum": lambda x, y: np.einsum("i,...->...i", x, y),
    "select": lambda x, y: np.select([np.array([True, False, True, False])], [x], y),
}


@pytest.mark.parametrize("name", PROMOTING)
def test_dtypes_of_functions_that_promote_are_numpys(name: str) -> None:
    """Functions of several arrays, on all pairs of dtypes and with scalars."""
    pairs = [(x, y) for x, y in _operands() if isinstance(x, np.ndarray)]
    wrong = [_compare(name, PROMOTING[name], pair) for pair in pairs]
    assert not [message for message in wrong if message]


def _filled(x: Any, s: Any) -> Any:
    y = x.copy()
    y[0] = s
    return y


WITH_NUMBER: dict[str, Callable[[Any, Any], Any]] = {
    "operators": lambda x, s: x * (2 * s + 1) / -s,
    "a function of it": lambda x, s: x * np.exp(s),
    "a comparison": lambda x, s: np.where(np.logical_not(s > 0), x, x + 1),
    "negated comparisons": lambda x, s: x * (s > 0) + ((s < 0) | (s > 2)),
    "where": lambda x, s: np.where(x > s, x, s),
    "clip": lambda x, s: np.clip(x, -s, s),
    "maximum": np.maximum,
    "stack": lambda x, s: np.stack([x[0], s, 1.0]),
    "full_like": np.full_like,
    "power": lambda x, s: np.abs(x) ** s,
    "written": _filled,
    "dot": np.dot,
    "reshaped": lambda x, s: x * np.reshape(s, (1,)),
    "sum": lambda x, s: x + np.sum(s),
    "mean": lambda x, s: x + np.mean(s),
    "astype": lambda x, s: x * np.float32(1) + s,
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("name", WITH_NUMBER)
def test_python_floats_as_arguments_are_as_weak_as_in_numpy(name: str, dtype: Any) -> None:
    """They take the dtype of the array they meet; what NumPy functions make of them does not."""
    function = WITH_NUMBER[name]
    x = np.array([-1, 2, 3], dtype)
    want = np.asarray(function(x, 1.5))
    got = np.asarray(cr.compile(function)(x, 1.5))
    assert_close(got, want, ulps=8, floor=1.0)


@pytest.mark.parametrize(
    "name",
    "sum mean prod max min var std cumsum cumprod argmax sort median ptp count_nonzero any diff "
    "tril trace round".split(),
)
def test_dtypes_of_reductions_are_numpys(name: str) -> None:
    """Every dtype through functions of one array."""
    function = getattr(np, name)
    if name in ("tril", "trace"):
        function = lambda x: getattr(np, name)(np.reshape(x, (2, 2)))  # noqa: E731
    wrong = [_compare(name, function, (_of(dtype),)) for dtype in DTYPES]
    assert not [message for message in wrong if message]
