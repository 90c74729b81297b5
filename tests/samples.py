"""The table of samples: every op and every NumPy function that can be traced, on small arguments.

One file because it is one table. A sample is a plain NumPy function with several lists of
arguments; the tests take it through tracing, the chain rule, each rewrite and each backend, and
compare with NumPy itself. `covers` names what the sample is there for: a NumPy function, a ufunc,
an array method ("ndarray.sum"), an op of the graph ("op.scatter"), or a form of indexing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import chainrule as cr
from chainrule.graph import build
from chainrule.tracing.context import Context, use
from chainrule.tracing.random import uniform
from chainrule.tracing.traced import Traced, as_traced, wrap

Maker = Callable[[np.random.Generator, Any], Any]
Case = tuple[Any, ...]


# --- makers of arguments ---
# Each takes a random generator and the floating-point dtype of the test.


def real(*shape: int, low: float = -2.0, high: float = 2.0) -> Maker:
    """Numbers in an interval, at least 0.05 away from 0: no kink or pole of abs, 1/x, ..."""

    def make(random: np.random.Generator, dtype: Any) -> Any:
        values = random.uniform(low, high, shape)
        return np.where(np.abs(values) < 0.05, values + 0.1, values).astype(dtype)[()]

    return make


def positive(*shape: int) -> Maker:
    return real(*shape, low=0.2, high=3.0)


def unit(*shape: int) -> Maker:
    """Inside (-1, 1)."""
    return real(*shape, low=-0.8, high=0.8)


def distinct(*shape: int) -> Maker:
    """No two alike and none near 0, in random order: no ties, no kinks."""

    def make(random: np.random.Generator, dtype: Any) -> Any:
        size = math.prod(shape)
        values = (random.permutation(size) - size // 2 + 0.37) * 0.61
        return values.reshape(shape).astype(dtype)[()]

    return make


def ints(*shape: int, low: int = -4, high: int = 5, dtype: Any = np.int64) -> Maker:
    return lambda random, _: random.integers(low, high, shape).astype(dtype)[()]


def bools(*shape: int) -> Maker:
    return lambda random, _: (random.random(shape) < 0.5)[()]


def exactly(*values: Any) -> Maker:
    """These numbers, in the floating-point dtype of the test."""
    return lambda random, dtype: np.array(values, dtype)


def array(value: Any) -> Maker:
    """This array as it is."""
    return lambda random, dtype: np.asarray(value)


def arguments(case: Case, dtype: Any = np.float64, seed: int = 0) -> tuple[Any, ...]:
    """The arguments of a case: makers are called, everything else is taken as it is."""
    random = np.random.default_rng(seed)
    return tuple(_made(part, random, dtype) for part in case)


def _made(part: Any, random: np.random.Generator, dtype: Any) -> Any:
    if callable(part):
        return part(random, dtype)
    if isinstance(part, list):
        return [_made(p, random, dtype) for p in part]
    return part


# --- the table ---


@dataclass(frozen=True)
class Sample:
    """`order` says to which order derivatives exist and are checked: 2, or 0 for none.

    Results agree with NumPy's within `ulps` units in the last place of the result, or of `floor`
    where the result is smaller: sums may cancel. `step` is that of the differences, where the
    usual one is too small.
    """

    name: str
    covers: tuple[Any, ...]
    function: Callable[..., Any]
    cases: tuple[Case, ...]
    order: int = 2
    ulps: float = 8
    floor: float = 1.0
    step: float | None = None


SAMPLES: list[Sample] = []


def _name(covered: Any) -> str:
    return covered if isinstance(covered, str) else getattr(covered, "__name__", str(covered))


def sample(
    covers: Any,
    function: Callable[..., Any] | None = None,
    *cases: Case,
    order: int = 2,
    ulps: float = 8,
    floor: float = 1.0,
    step: float | None = None,
    name: str = "",
) -> None:
    """Adds a row; without a function it is the covered NumPy function itself."""
    several = covers if isinstance(covers, tuple) else (covers,)
    called = several[0] if function is None else function
    title = name or _name(several[0])
    SAMPLES.append(Sample(title, several, called, cases, order, ulps, floor, step))


def rows() -> Iterator[tuple[str, Sample, Case]]:
    """Every case of every sample, with a name for the test."""
    counts: dict[str, int] = {}
    for row in SAMPLES:
        for case in row.cases:
            number = counts[row.name] = counts.get(row.name, -1) + 1
            yield f"{row.name}-{number}", row, case


# --- ops with no NumPy function of their own ---


def op(name: str, meaning: Callable[..., Any], **attributes: Any) -> Callable[..., Any]:
    """An op on traced arrays; on plain ones an independent statement of what it means."""

    def apply(*arrays: Any) -> Any:
        if not any(isinstance(a, Traced) for a in arrays):
            return meaning(*arrays)
        return wrap(build.make(name, *[as_traced(a).node for a in arrays], **attributes))

    return apply


def _erf(x: Any) -> Any:
    return np.vectorize(math.erf, otypes=[x.dtype])(x) if x.size else np.asarray(x)


def _scale(x: Any, y: Any) -> Any:
    with np.errstate(invalid="ignore"):
        return np.where(x == 0, x.dtype.type(0), x * y)


def _scatter(x: Any, index: Any) -> Any:
    result = np.zeros((3, 7), x.dtype)
    for place, at in np.ndenumerate(index):
        result[:, at] += x[:, *place]
    return result


def _strong(x: Any, y: Any) -> Any:
    with np.errstate(invalid="ignore"):
        products = np.where(x[:, :, None] == 0, 0, x[:, :, None] * y[None])
        return products.sum(axis=1, dtype=x.dtype)


def _random_bits(key: Any, step: Any) -> Any:
    with use(Context(training=True, key=key, step=step)):
        return uniform((5, 3), np.float64)


sample("op.erf", op("erf", _erf), (real(3, 4),), (real(),), (real(0, 2),))
sample(
    "op.scale",
    op("scale", _scale),
    (real(3, 4), real(3, 4)),
    (exactly(0.0, 1.0, 2.0), exactly(3.0, -1.0, 0.5)),
)
sample(
    "op.scale",
    op("scale", _scale),
    (exactly(0.0, 0.0, 2.0, -0.0), exactly(math.inf, math.nan, 3.0, -math.inf)),
    order=0,
)
sample("op.stop", op("stop", lambda x: x), (real(3, 2),), (ints(3),), order=0)
sample(
    "op.scatter",
    op("scatter", _scatter, axis=1, size=7),
    (real(3, 5), array([0, 6, 6, 2, 6])),
    (real(3, 2, 2), array([[0, 6], [0, 1]])),
    (real(3, 0), array(np.zeros(0, np.int64))),
)
sample(
    "op.contract",
    op("contract", _strong, spec="ab!,bc->ac"),
    (real(2, 3), real(3, 4)),
    (real(2, 0), real(0, 4)),
    name="contract with strong zeros",
)
sample(
    "op.contract",
    op("contract", _strong, spec="ab!,bc->ac"),
    (array([[0.0, 1.0, 0.0], [2.0, 0.0, -0.0]]), array([[np.nan, 1], [2, -np.inf], [np.inf, 3]])),
    (array([[0.0, np.inf], [1.0, 0.0]]), array([[np.nan, 1.0], [1.0, 0.0]])),
    (array([[0.0, np.nan], [3.0, 0.0]]), array([[np.inf, 1.0], [-np.inf, 0.5]])),
    order=0,
    name="contract with strong zeros",
)
sample(
    "op.random_bits",
    _random_bits,
    (array(np.array([1, 2], np.uint32)), array(np.uint32(7))),
    order=0,
)


# --- ufuncs ---


SHAPES: tuple[tuple[int, ...], ...] = ((3, 4), (), (1, 5), (2, 0))
PAIRS: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    ((3, 4), (4,)),
    ((2, 1, 3), (4, 1)),
    ((), (3,)),
    ((0, 3), (1, 3)),
    ((2, 3), ()),
)


def one(names: str, maker: Callable[..., Maker], **options: Any) -> None:
    """Rows of ufuncs of one argument."""
    for name in names.split():
        sample(getattr(np, name), None, *[(maker(*shape),) for shape in SHAPES], **options)


def two(
    names: str, first: Callable[..., Maker], second: Callable[..., Maker], **options: Any
) -> None:
    """Rows of ufuncs of two arguments, which broadcast."""
    for name in names.split():
        cases = [(first(*a), second(*b)) for a, b in PAIRS]
        sample(getattr(np, name), None, *cases, **options)


def wide(*shape: int) -> Maker:
    return real(*shape, low=-30.0, high=30.0)


def above_one(*shape: int) -> Maker:
    return real(*shape, low=1.2, high=4.0)


def above_three(*shape: int) -> Maker:
    return real(*shape, low=3.0, high=4.0)


def small(*shape: int) -> Maker:
    """Between 0 and the values of `distinct`."""
    return real(*shape, low=0.06, high=0.2)


one("negative positive absolute fabs square exp exp2 expm1 sin cos tanh sinh cosh arctan", real)
one("cbrt deg2rad radians rad2deg degrees", real)
one("log log2 log10 sqrt reciprocal", positive)
one("log1p tan arcsin arccos arctanh", unit)
one("arcsinh sinh cosh tanh expm1", wide)
one("arccosh", above_one)
two("add subtract multiply arctan2 hypot logaddexp logaddexp2", real, real)
two("logaddexp", wide, wide)
two("divide", real, positive)
two("power float_power", positive, real)
two("maximum minimum fmax fmin", distinct, small)
two("fmod remainder", real, above_three)
two("heaviside copysign", real, real, order=0)
one("sign rint floor ceil trunc isnan isinf isfinite", wide, order=0)
two("equal not_equal less less_equal greater greater_equal", ints, ints, order=0)
two("logical_and logical_or logical_xor", ints, bools, order=0)
one("logical_not invert", ints, order=0)
two("bitwise_and bitwise_or", ints, ints, order=0)
two("floor_divide divmod", wide, positive, order=0)
_TINY, _HUGE = 1e-30, 1e30
_SPECIAL = exactly(
    0.0, -0.0, math.inf, -math.inf, math.nan, 1.0, -1.0, _TINY, -_HUGE, _HUGE, 0.5, 2.5
)
for _ufunc in (
    "absolute sign rint floor ceil trunc exp exp2 expm1 log log2 log10 log1p sqrt cbrt square "
    "reciprocal sin cos tan arcsin arccos arctan sinh cosh tanh arcsinh arccosh arctanh isnan "
    "isinf isfinite negative"
).split():
    sample(
        getattr(np, _ufunc),
        None,
        (_SPECIAL,),
        order=0,
        floor=0,
        name=f"{_ufunc} of special values",
    )
_GRID = [
    [a, b]
    for a in (0.0, -0.0, math.inf, -math.inf, math.nan, 2.5, -1.0, 7.0)
    for b in (0.0, -0.0, math.inf, -math.inf, math.nan, 0.5, -3.0, 1.0)
]
for _ufunc in (
    "add subtract multiply divide maximum minimum fmax fmin hypot arctan2 logaddexp logaddexp2 "
    "copysign remainder fmod floor_divide power heaviside less equal"
).split():
    sample(
        getattr(np, _ufunc),
        None,
        (exactly(*[a for a, _ in _GRID]), exactly(*[b for _, b in _GRID])),
        order=0,
        floor=0,
        name=f"{_ufunc} of special values",
    )
sample(np.power, lambda x: x**2 + x**3 - x**1, (real(3, 2),), (ints(4),), (real(0),), name="power")
sample(np.power, lambda x: x**-1.5 + x**0.5 + x**-1, (positive(3),), name="power")
sample(np.power, lambda x: 2.0**x, (real(3),), name="power")
sample(np.power, lambda x: x**5, (ints(4),), order=0, name="power")
sample(np.maximum, lambda x: np.maximum(x, 0) + np.minimum(1.5, x), (real(3, 4),))
sample(np.copysign, lambda x: np.copysign(x, np.array([1.0, -1.0, -0.0], x.dtype)), (real(2, 3),))
sample(np.add, lambda x: 1 + x - 2.5, (real(3),), (ints(3),), (real(),))
sample(np.divide, lambda x: 1 / x + x / 3, (real(3),), (real(),))
sample(
    np.divmod, lambda x, y: divmod(x, y)[1], (real(3), positive(3)), order=0, name="divmod operator"
)
for _reduced in (np.add, np.multiply, np.maximum, np.minimum):
    sample(
        _reduced,
        lambda x, f=_reduced: f.reduce(x) + f.reduce(x, axis=1, keepdims=True),
        (distinct(3, 3),),
        name=f"{_reduced.__name__}.reduce",
    )
for _reduced in (np.logical_and, np.logical_or):
    sample(
        _reduced,
        lambda x, f=_reduced: (f.reduce(x), f.reduce(x, axis=None)),
        (bools(3, 3),),
        order=0,
        name=f"{_reduced.__name__}.reduce",
    )


# --- reductions, scans, sorting ---


def _reductions() -> None:
    shapes = [(3, 4), (1, 5), (2, 1, 3)]
    for function, method in (
        (np.sum, "sum"),
        (np.mean, "mean"),
        (np.max, "max"),
        (np.min, "min"),
        (np.prod, "prod"),
        (np.var, "var"),
        (np.std, "std"),
    ):
        maker = positive if function is np.prod else distinct
        ulps = 32 if function in (np.var, np.std) else 8

        def named(x: Any, method: str = method, **options: Any) -> Any:
            return getattr(x, method)(**options)

        all_axes = [(maker(*s),) for s in shapes]
        sample(function, None, *all_axes, (maker(),), ulps=ulps)
        sample(f"ndarray.{method}", lambda x, m=named: m(x), *all_axes, ulps=ulps)
        sample(
            function,
            lambda x, f=function: f(x, axis=-1, keepdims=True) + f(x, 0, keepdims=True),
            (maker(3, 4),),
            (maker(2, 1, 3),),
            ulps=ulps,
        )
        sample(
            f"ndarray.{method}",
            lambda x, m=named: m(x, axis=(0, -1)),
            (maker(3, 4, 2),),
            (maker(2, 3),),
            ulps=ulps,
        )
        sample(
            function,
            lambda x, f=function: f(x, axis=1),
            (maker(0, 3),),
            ulps=ulps,
            name=function.__name__,
        )
    for function in (np.sum, np.prod):
        sample(function, None, (real(0),), (real(2, 0),), (ints(3, 2),))
        sample(function, lambda x, f=function: f(x, axis=1), (real(3, 0),))
        sample(
            function,
            None,
            (bools(4),),
            (ints(4, dtype=np.int8),),
            (ints(4, low=0, dtype=np.uint8),),
            order=0,
        )
        sample(function, lambda x, f=function: f(x, axis=0, dtype=np.float64), (real(3, 2),))
    for function in (np.mean, np.var, np.std):
        sample(function, None, (ints(3, 4),), (bools(5),), order=0, ulps=32)
    sample(np.var, lambda x: np.var(x, axis=1, ddof=1), (real(3, 4),), ulps=32)
    sample(np.std, lambda x: np.std(x, ddof=1, keepdims=True), (real(3, 4),), ulps=32)
    sample(np.prod, None, (exactly(0.0, 2.0, 3.0),), (exactly(0.0, 0.0, 3.0, -1.0),))
    for function in (np.max, np.min):
        for dtype in (np.int8, np.uint8, np.int64):
            sample(function, None, (ints(3, 2, low=0, high=90, dtype=dtype),), order=0)
        sample(function, lambda x, f=function: f(x, axis=0), (bools(3, 2),), order=0)
        sample(function, None, (exactly(1.0, math.nan, 2.0),), order=0)


_reductions()
sample((np.amax, np.amin), lambda x: np.amax(x, 0) - np.amin(x), (distinct(3, 4),))
sample(
    np.sum, lambda x: np.sum(x, axis=0, where=np.array([True, False, True])[:, None]), (real(3, 2),)
)
sample(np.mean, lambda x: np.mean(x, axis=1, where=x > 0), (array([[1.0, -1, 2], [3, 1, 1]]),))
sample(
    np.mean,
    lambda x: np.mean(x, axis=0, where=np.array([[True], [False], [True]]), keepdims=True),
    (real(3, 2),),
)
sample(np.average, lambda x, w: np.average(x, axis=1, weights=w), (real(2, 3), positive(3)))
sample(np.average, lambda x, w: np.average(x, weights=w), (real(2, 3), positive(2, 3)))
sample(np.average, lambda x: np.average(x, axis=0, keepdims=True), (real(2, 3),))
sample(np.ptp, lambda x: np.ptp(x, axis=0) + np.ptp(x), (distinct(3, 3),))
sample(
    (np.all, "ndarray.all"),
    lambda x: np.all(x, axis=1) | x.all(),
    (bools(3, 2),),
    (ints(3, 2),),
    order=0,
)
sample(
    (np.any, "ndarray.any"),
    lambda x: np.any(x, axis=0) & x.any(),
    (bools(3, 2),),
    (ints(3, 2),),
    order=0,
)
sample(np.any, lambda x: np.any(x, axis=1, keepdims=True), (bools(3, 0),), (real(2, 2),), order=0)
sample(np.all, lambda x: np.all(x, axis=1), (bools(3, 0),), (real(2, 2),), order=0)
sample(
    np.count_nonzero, lambda x: np.count_nonzero(x, axis=1), (ints(3, 4, low=0, high=2),), order=0
)
for _name_, _function in (("argmax", np.argmax), ("argmin", np.argmin)):
    sample(_function, None, (distinct(3, 4),), (distinct(5),), (ints(3, 4),), order=0)
    sample(_function, lambda x, f=_function: f(x, axis=-1, keepdims=True), (ints(3, 4),), order=0)
    sample(_function, lambda x, f=_function: f(x, axis=0), (bools(3, 4),), (real(3, 0),), order=0)
    sample(_function, lambda x, f=_function: f(x, keepdims=True), (ints(3, 4),), order=0)
    sample(
        f"ndarray.{_name_}", lambda x, m=_name_: getattr(x, m)(axis=1), (distinct(3, 4),), order=0
    )
sample((np.argsort, "ndarray.argsort"), lambda x: np.argsort(x, axis=0), (distinct(4, 3),), order=0)
sample("ndarray.argsort", lambda x: x.argsort(), (distinct(4, 3),), order=0)
sample(np.argsort, lambda x: np.argsort(x, axis=None, kind="stable"), (ints(4, 3),), order=0)
sample(np.sort, None, (distinct(3, 4),), (distinct(5),), (real(2, 0),), (ints(7),))
sample(np.sort, lambda x: np.sort(x, axis=0), (distinct(3, 4),))
sample(np.sort, lambda x: np.sort(x, axis=None), (distinct(3, 4),))
sample(np.median, None, (distinct(5),), (distinct(2, 3),))
sample(
    np.median, lambda x: np.median(x, axis=1, keepdims=True), (distinct(2, 3),), (distinct(3, 4),)
)
sample(np.quantile, lambda x: np.quantile(x, 0.3, axis=0), (distinct(5, 2),))
sample(np.quantile, lambda x: np.quantile(x, 1.0) + np.quantile(x, 0), (distinct(5, 2),))
sample(np.percentile, lambda x: np.percentile(x, 90, axis=-1, keepdims=True), (distinct(2, 5),))
for _name_, _function in (("cumsum", np.cumsum), ("cumprod", np.cumprod)):
    sample(_function, None, (real(7),), (real(2, 3),), (real(0),), (real(),), ulps=32)
    sample(
        _function,
        lambda x, f=_function: f(x, axis=0),
        (real(5, 2),),
        (real(1, 2),),
        (real(3, 0),),
        ulps=32,
    )
    sample(f"ndarray.{_name_}", lambda x, m=_name_: getattr(x, m)(axis=-1), (real(2, 4),), ulps=32)
    sample(_function, None, (ints(5, dtype=np.int8),), (bools(5),), order=0)
sample(np.nansum, lambda x: np.nansum(x, axis=0), (real(3, 2),))
sample(np.nansum, None, (exactly(1.0, math.nan, 2.0),), order=0)
sample(np.nanmean, None, (exactly(1.0, math.nan, 2.0),), order=0)
sample(np.nanmean, lambda x: np.nanmean(x, axis=1), (real(3, 2),))
sample(np.diff, None, (real(5),), (real(2, 3),), (real(1),))
sample(np.diff, lambda x: np.diff(x, n=2, axis=0), (real(4, 3),))


# --- shapes ---

sample(np.reshape, lambda x: np.reshape(x, (2, -1)), (real(3, 4),), (real(2, 0),), (real(2),))
sample(
    "ndarray.reshape", lambda x: x.reshape(4, 3) + x.reshape((4, -1)), (real(3, 4),), (ints(12),)
)
sample("ndarray.reshape", lambda x: x.reshape(()), (real(1, 1),))
sample(np.reshape, lambda x: np.reshape(x, -1), (real(),), (real(0, 3),))
sample(
    (np.ravel, "ndarray.ravel", "ndarray.flatten"),
    lambda x: np.ravel(x) * x.ravel() + x.flatten(),
    (real(2, 3),),
    (real(),),
)
sample(
    (np.transpose, "ndarray.transpose"),
    lambda x: np.transpose(x) + x.transpose(),
    (real(2, 2),),
    (real(3),),
)
sample(np.transpose, lambda x: np.transpose(x, (1, -1, 0)), (real(2, 3, 4),), (real(0, 3, 1),))
sample(
    "ndarray.transpose", lambda x: x.transpose(1, 0, 2) * x.transpose((1, 0, 2)), (real(2, 3, 4),)
)
sample("ndarray.transpose", lambda x: x.T @ x, (real(2, 3),), name="ndarray.T")
sample(np.permute_dims, lambda x: np.permute_dims(x, (2, 0, 1)), (real(2, 3, 1),))
sample(np.matrix_transpose, None, (real(2, 3),), (real(2, 3, 4),))
sample(
    (np.swapaxes, "ndarray.swapaxes"),
    lambda x: np.swapaxes(x, 0, -1) + x.swapaxes(2, 0),
    (real(2, 3, 4),),
)
sample(np.moveaxis, lambda x: np.moveaxis(x, 0, -1), (real(2, 3, 4),))
sample(np.moveaxis, lambda x: np.moveaxis(x, (0, 2), (1, 0)), (real(2, 3, 4),))
sample((np.squeeze, "ndarray.squeeze"), lambda x: np.squeeze(x) + x.squeeze(axis=0), (real(1, 3),))
sample(np.squeeze, lambda x: np.squeeze(x, axis=(0, -1)), (real(1, 3, 1),))
sample(np.expand_dims, lambda x: np.expand_dims(x, 0) + np.expand_dims(x, (0,)), (real(2, 3),))
sample(np.expand_dims, lambda x: np.expand_dims(x, (0, -1)), (real(2, 3),), (real(),))
sample(
    np.broadcast_to,
    lambda x: np.broadcast_to(x, (2, 3, 4)),
    (real(3, 1),),
    (real(),),
    (real(1, 4),),
)
sample(np.broadcast_to, lambda x: np.broadcast_to(x, (0, 3)), (real(3),), (real(1, 1),))
sample(np.broadcast_arrays, lambda x, y: np.broadcast_arrays(x, y)[0] * y, (real(3, 1), real(2)))
for _function in (np.atleast_1d, np.atleast_2d, np.atleast_3d):
    sample(_function, None, (real(),), (real(3),), (real(2, 3),), (real(2, 3, 1),))
sample(
    np.concatenate,
    lambda x, y: np.concatenate([x, y]),
    (real(2, 3), real(1, 3)),
    (real(2), real(0)),
)
sample(np.concatenate, lambda x, y: np.concatenate((x, y, x), axis=-1), (real(2, 3), real(2, 2)))
sample(np.concatenate, lambda x, y: np.concatenate((x, y), axis=None), (real(2, 3), real(2)))
sample(np.concatenate, lambda x, y: np.concatenate([x, y]), (real(2), ints(3)), (bools(2), ints(3)))
sample(np.concatenate, lambda x: np.concatenate([x, np.ones((2, 3), x.dtype)]), (real(2, 3),))
sample(np.stack, lambda x, y: np.stack([x, y]), (real(2, 3), real(2, 3)), (real(), real()))
sample(np.stack, lambda x, y: np.stack((x, y), axis=-1), (real(2, 3), real(2, 3)))
for _function in (np.vstack, np.hstack, np.dstack, np.column_stack):
    sample(
        _function, lambda x, y, f=_function: f([x, y]), (real(3), real(3)), (real(3, 2), real(3, 2))
    )
for _function in (np.split, np.array_split):
    sample(_function, lambda x, f=_function: f(x, 2), (real(4, 3),), (real(0),))
    sample(_function, lambda x, f=_function: f(x, [1, 3], axis=1)[1], (real(2, 5),))
    sample(_function, lambda x, f=_function: f(x, (2, 9), axis=-1), (real(2, 5),))
sample(np.array_split, lambda x: np.array_split(x, 3), (real(7),))
sample((np.hsplit, np.vsplit), lambda x: np.hsplit(x, 2)[0] @ np.vsplit(x, 2)[1], (real(4, 4),))
sample(np.hsplit, lambda x: np.hsplit(x, 2), (real(4),))
sample(np.tile, lambda x: np.tile(x, 3), (real(2),), (real(2, 3),), (real(),))
sample(np.tile, lambda x: np.tile(x, (2, 1, 2)), (real(2, 3),))
sample(np.tile, lambda x: np.tile(x, (0, 2)), (real(2, 3),))
sample(
    (np.repeat, "ndarray.repeat"), lambda x: np.repeat(x, 3) + x.repeat(3), (real(2, 2),), (real(),)
)
sample(np.repeat, lambda x: np.repeat(x, [1, 0, 2], axis=1), (real(2, 3),))
sample(
    np.flip,
    lambda x: np.flip(x) + np.flip(x, 0) + np.flip(x, (0, -1)),
    (real(2, 3),),
    (real(0, 2),),
)
sample((np.fliplr, np.flipud), lambda x: np.fliplr(x) * np.flipud(x), (real(2, 3),))
for _turns in (-1, 0, 1, 2, 3, 5):
    sample(np.rot90, lambda x, k=_turns: np.rot90(x, k), (real(2, 3),))
sample(np.rot90, lambda x: np.rot90(x, axes=(1, 2)), (real(2, 3, 2),))
sample(np.roll, lambda x: np.roll(x, 2), (real(5),), (real(2, 3),), (real(0),))
sample(np.roll, lambda x: np.roll(x, (1, -2), axis=(0, -1)), (real(2, 3),))
sample(np.roll, lambda x: np.roll(x, -7, axis=1), (real(2, 3),))
sample(np.pad, lambda x: np.pad(x, 1), (real(2, 3),), (real(0),), (ints(3),))
sample(np.pad, lambda x: np.pad(x, ((1, 0), (0, 2)), constant_values=1.5), (real(2, 3),))
sample(np.pad, lambda x: np.pad(x, (2, 1), constant_values=-math.inf), (real(3),), order=0)
for _mode in ("edge", "reflect", "symmetric", "wrap"):
    sample(np.pad, lambda x, m=_mode: np.pad(x, ((2, 1), (0, 3)), mode=m), (real(3, 4),))
sample(np.where, lambda x, y: np.where(x > 0, x * y, y), (real(3, 1), real(4)), (real(), real()))
sample(
    np.where,
    lambda c, x: np.where(c, x, 0) + np.where(c, 1.5, x),
    (bools(3), real(3)),
    (ints(3), real(2, 3)),
)
sample(
    np.where,
    lambda c, x: np.where(c, x, 0),
    (bools(3), ints(3, dtype=np.int8)),
    (bools(0), ints(0)),
)
sample(np.select, lambda x: np.select([x > 1, x > 0], [x * x, 3 * x], default=-1.0), (real(3, 4),))
sample((np.clip, "ndarray.clip"), lambda x: np.clip(x, -1, 1) * x.clip(-0.5, None), (real(3, 4),))
sample(np.clip, lambda x, low: np.clip(x, low, 2.0), (distinct(3, 4), unit(4)))
sample(np.clip, lambda x: np.clip(x, 0, 2) + np.clip(x, a_min=None, a_max=1), (ints(5),))
sample(np.clip, lambda x: np.clip(x, min=-1, max=0.5), (distinct(3, 2),))
sample((np.copy, "ndarray.copy"), lambda x: np.copy(x) * x.copy(), (real(2),))
# Linear, so that a step of 1 is exact; float32 rounds too much for a small one.
sample("ndarray.astype", lambda x: x.astype(np.float32) * 2, (real(3),), step=1.0)
sample("ndarray.astype", lambda x: x.astype(np.float64) * 2, (real(2),), (ints(2),), (bools(2),))
sample(
    (np.astype, "ndarray.astype"),
    lambda x: (np.astype(x, np.int32), x.astype("i8"), x.astype(bool)),
    (real(3),),
    order=0,
)
sample(
    (np.zeros_like, np.ones_like),
    lambda x: np.zeros_like(x) + np.ones_like(x) * x,
    (real(2, 3),),
    (ints(3),),
)
sample(
    (np.empty_like, np.full_like),
    lambda x: np.empty_like(x) * 0 + np.full_like(x, 2.5, shape=3),
    (real(2, 3),),
)
sample(
    np.full_like,
    lambda x: np.full_like(x, x[0]) + np.zeros_like(x, dtype=np.float64, shape=(3,)),
    (real(3),),
)
sample(
    (np.zeros, np.ones, np.full, np.empty),
    lambda x: (
        np.zeros(3, like=x)
        + np.ones((3,), np.float32, like=x)
        + np.full(3, x[0], like=x)
        + 0 * np.empty(3, like=x)
    ),
    (real(2),),
)
sample(
    (np.array, np.asarray),
    lambda x: np.array([x, 2 * x, [1.0, 2.0]], like=x) + np.asarray(x, like=x),
    (real(2),),
)
sample(np.array, lambda x: np.array(x, dtype=np.float32, like=x), (ints(2),), order=0)
sample(np.meshgrid, None, (real(2), real(3)))
sample(np.meshgrid, lambda x, y: np.meshgrid(x, y, indexing="ij")[0] * y, (real(2), real(3)))
sample(np.meshgrid, None, (real(2),))
sample(
    (np.shape, np.ndim, np.size),
    lambda x: x * (np.shape(x)[0] + np.ndim(x) + np.size(x) + np.size(x, 1) + len(x)),
    (real(2, 3),),
)
sample(
    (np.result_type, np.iscomplexobj),
    lambda x: (2 * x).astype(np.result_type(x, np.int8)) if not np.iscomplexobj(x) else x,
    (real(2),),
)
sample(
    (np.round, np.around, "ndarray.round"),
    lambda x: np.round(x, 1) + np.around(x) + x.round(2),
    (real(3, 4),),
    order=0,
)
sample((np.real, np.real_if_close), lambda x: np.real(x) * np.real_if_close(x), (real(3),))


# --- products and norms ---

sample(
    np.matmul,
    None,
    (real(3, 4), real(4, 2)),
    (real(4), real(4)),
    (real(3, 4), real(4)),
    (real(4), real(4, 2)),
    (real(2, 3, 4), real(4, 2)),
    (real(2, 3, 4), real(2, 4, 2)),
    (real(2, 1, 3, 4), real(5, 4, 1)),
    (real(3, 4), real(2, 4, 3)),
    (real(2, 3, 4), real(4)),
    (real(4), real(2, 4, 3)),
    (real(3, 0), real(0, 2)),
    (real(0, 3), real(3, 2)),
    (real(3, 2), ints(2, 2)),
    (ints(3, 2), ints(2, 2)),
    ulps=16,
)
for _function in (np.dot, np.inner):
    sample(
        _function,
        None,
        (real(4), real(4)),
        (real(3, 4), real(4)),
        (real(), real(2, 3)),
        (real(2, 3), real()),
        ulps=16,
    )
sample(np.dot, None, (real(3, 4), real(4, 2)), (real(3, 4), real(2, 4, 5)), ulps=16)
sample("ndarray.dot", lambda x, y: x.dot(y), (real(3, 4), real(4, 2)), ulps=16)
sample(np.inner, None, (real(3, 4), real(2, 4)), (real(2, 3, 4), real(5, 4)), ulps=16)
sample(np.vdot, None, (real(4), real(4)), (real(2, 3), real(2, 3)), ulps=16)
sample(np.outer, None, (real(3), real(4)), (real(2, 2), real(3)), (real(0), real(3)))
sample(np.kron, None, (real(2, 3), real(2, 2)), (real(3), real(2)), (real(2), real(2, 2)))
sample(np.tensordot, None, (real(2, 3, 4), real(3, 4, 5)), ulps=16)
sample(np.tensordot, lambda x, y: np.tensordot(x, y, axes=1), (real(2, 3), real(3, 4)), ulps=16)
sample(np.tensordot, lambda x, y: np.tensordot(x, y, axes=0), (real(2, 3), real(2)))
sample(
    np.tensordot,
    lambda x, y: np.tensordot(x, y, axes=([0, -1], [2, 1])),
    (real(2, 3, 4), real(5, 4, 2)),
    ulps=16,
)
sample(
    np.linalg.multi_dot,
    lambda x, y, z: np.linalg.multi_dot([x, y, z]),
    (real(2, 3), real(3, 4), real(4)),
    ulps=32,
)
for _spec, *_shapes in (
    ("ij,jk->ik", (2, 3), (3, 4)),
    ("ij,jk", (2, 3), (3, 4)),
    ("bij,bkj->bik", (2, 3, 4), (2, 5, 4)),
    ("i,i->", (3,), (3,)),
    ("i,j->ij", (3,), (2,)),
    ("ij->ji", (2, 3)),
    ("ij->", (2, 3)),
    ("ii->i", (3, 3)),
    ("ii", (3, 3)),
    ("iij->j", (2, 2, 3)),
    ("...ij,...j->...i", (2, 3, 4), (4,)),
    ("...i,i...->...", (3, 2), (2, 3)),
    ("ij,ij->ij", (2, 3), (2, 3)),
    ("ij,jk,kl->il", (2, 3), (3, 4), (4, 2)),
    ("i,i,i->i", (3,), (3,), (3,)),
    ("a,b,c->cab", (2,), (3,), (1,)),
    ("ij,kj->i", (2, 3), (4, 3)),
    ("ij,k->k", (2, 3), (4,)),
    ("b...,b->...", (2, 3, 4), (2,)),
    ("ij,jk->ik", (2, 0), (0, 3)),
    (",ij->ij", (), (2, 3)),
    ("ba,b", (2, 3), (2,)),
):
    sample(
        np.einsum,
        lambda *arrays, spec=_spec: np.einsum(spec, *arrays),
        tuple(real(*s) for s in _shapes),
        ulps=16,
    )
sample((np.trace, "ndarray.trace"), lambda x: np.trace(x) + x.trace(1), (real(3, 3),))
sample(
    (np.diagonal, "ndarray.diagonal"),
    lambda x: np.diagonal(x, -1) * x.diagonal(1),
    (real(3, 3),),
    (real(2, 2),),
)
sample(np.diagonal, lambda x: np.diagonal(x, 1, axis1=2, axis2=0), (real(2, 3, 4),))
for _k in (-1, 0, 2):
    sample(
        (np.diag, np.tril, np.triu),
        lambda x, k=_k: np.diag(x, k),
        (real(3),),
        (real(3, 4),),
        name="diag",
    )
    sample(np.tril, lambda x, k=_k: np.tril(x, k), (real(3, 4),), (real(2, 3, 3),))
    sample(np.triu, lambda x, k=_k: np.triu(x, k), (real(3, 4),), (real(2, 0, 3),))
sample(np.cross, None, (real(3), real(3)), (real(2, 3), real(3)), (real(4, 1, 3), real(2, 3)))
sample(np.linalg.norm, None, (real(3),), (real(2, 3),), (real(2, 3, 2),), ulps=16)
for _order in (None, 1, 2, 3, 0.5, math.inf, -math.inf):
    sample(
        np.linalg.norm,
        lambda x, p=_order: np.linalg.norm(x, ord=p, axis=-1, keepdims=True),
        (distinct(2, 3),),
        ulps=32,
    )
for _matrix_order in ("fro", 1, -1, math.inf, -math.inf):
    sample(
        np.linalg.norm,
        lambda x, p=_matrix_order: np.linalg.norm(x, ord=p),
        (distinct(2, 3),),
        ulps=16,
    )
sample(
    np.linalg.norm,
    lambda x: np.linalg.norm(x, ord=1, axis=(-1, 0), keepdims=True),
    (distinct(2, 3, 2),),
)
sample(
    np.linalg.norm, lambda x: np.linalg.norm(x, ord=0, axis=0), (ints(4, 2),), (real(3),), order=0
)
for _name_ in ("vecdot", "matvec", "vecmat"):
    if hasattr(np, _name_):
        _shapes_ = {
            "vecdot": [((2, 3), (3,))],
            "matvec": [((2, 3), (3,)), ((4, 2, 3), (4, 3))],
            "vecmat": [((2,), (2, 3))],
        }[_name_]
        sample(getattr(np, _name_), None, *[(real(*a), real(*b)) for a, b in _shapes_], ulps=16)


# --- indexing ---


def _indexing() -> None:
    def read(label: str, function: Callable[..., Any], *cases: Case, order: int = 2) -> None:
        sample(("ndarray.__getitem__", label), function, *cases, order=order, name=f"read {label}")

    read("by integers", lambda x: x[1] + x[-1] + x[1, :], (real(3, 4),))
    read("one element", lambda x: x[1, -2] * x[0][1], (real(3, 4),), (ints(3, 4),))
    read("by slices", lambda x: x[1:, ::2] * x[:-1, 1::2], (real(3, 4),))
    read("backwards", lambda x: x[::-1] + x[::-2][:1] + x[2:0:-1][:1] + x[-1::-3], (real(3, 4),))
    read("empty slices", lambda x: (x[3:], x[2:1], x[:0:-1]), (real(3, 4),), (real(0, 2),))
    read("dots and new axes", lambda x: x[..., None, 1] * x[None, :, 0, None][0], (real(3, 4),))
    read("everything", lambda x: x[...] + x[()] + x[:], (real(3),))
    read("NumPy integers", lambda x: x[np.int64(1)] + x[np.int8(-1), np.uint8(2)], (real(3, 4),))
    read("a list", lambda x: x[[2, 0, 0]] + x[[-1, 0, 1]], (real(3, 4),))
    read("an array", lambda x, i: x[i], (real(3, 4), ints(2, 2, low=-3, high=3)))
    read("an empty list", lambda x: x[np.array([], int)], (real(3, 2),))
    read(
        "arrays together",
        lambda x, i: x[i, [0, 1]] + x[[0], i],
        (real(3, 3), ints(2, low=-3, high=3)),
    )
    read("arrays apart", lambda x, i: x[i, :, [0, 1]], (real(3, 2, 3), ints(2, low=0, high=3)))
    read(
        "arrays behind a slice",
        lambda x, i: x[:, i, [[0], [1]]],
        (real(2, 3, 3), ints(2, low=0, high=3)),
    )
    read(
        "an array and a number",
        lambda x, i: x[:, 1, i] + x[i, 0][:, i],
        (real(3, 2, 3), array([0, 1, 1])),
    )
    read(
        "an array and a new axis",
        lambda x, i: x[i, None, 1:] + x[None, i][0][:, None, 1:],
        (real(3, 4), ints(2, low=0, high=3)),
    )
    read("a traced number", lambda x, i: x[i] + x[:, i][:2], (real(2, 2), ints(low=-2, high=2)))
    read(
        "unsigned and small indices",
        lambda x, i: x[i],
        (real(5), ints(3, low=0, dtype=np.uint8)),
        (real(5), ints(3, dtype=np.int8)),
    )
    read(
        "a known mask",
        lambda x: x[np.array([True, False, True])][:, :2] * x[:, MASK][:2],
        (real(3, 4),),
    )
    read("a mask of two axes", lambda x: x[np.arange(12).reshape(3, 4) % 5 == 0], (real(3, 4),))
    read("rows and labels", lambda x, y: x[np.arange(3), y], (real(3, 4), ints(3, low=0, high=4)))
    read("one by one", lambda x: sum(row * i for i, row in enumerate(x)), (real(3, 2),))
    read("argsort", lambda x: x[np.argsort(x)][::-1], (distinct(5),))
    sample(
        np.take,
        None,
        (real(3, 4), ints(2, low=-3)),
        (real(3, 4), ints(low=0)),
    )
    sample(np.take, lambda x, i: np.take(x, i, axis=-1), (real(3, 4), ints(2, 2, low=-4, high=4)))
    sample("ndarray.take", lambda x: x.take([1, 1], axis=0), (real(3, 4),))
    for mode in ("clip", "wrap"):
        sample(
            np.take,
            lambda x, i, m=mode: np.take(x, i, axis=0, mode=m),
            (real(3), ints(9, low=-7, high=8)),
        )
        sample(np.take, lambda x, m=mode: np.take(x, [-5, 4, 1], mode=m), (real(3),))
    sample(
        np.take_along_axis,
        lambda x, i: np.take_along_axis(x, i, axis=1),
        (real(3, 4), ints(3, 2, low=-4, high=4)),
    )
    sample(
        np.take_along_axis,
        lambda x, i: np.take_along_axis(x, i, axis=0),
        (real(3, 4), ints(2, 1, low=0, high=3)),
    )
    sample(
        np.take_along_axis,
        lambda x: np.take_along_axis(x, np.argmax(x, axis=1, keepdims=True), 1),
        (distinct(3, 4),),
    )
    sample(
        np.take_along_axis,
        lambda x: np.take_along_axis(x, np.array([5, 0]), axis=None),
        (distinct(3, 4),),
    )


MASK = np.array([True, False, False, True])


def _writing() -> None:
    def write(label: str, assign: Callable[..., None], *cases: Case, order: int = 2) -> None:
        def written(x: Any, *rest: Any) -> Any:
            y = x * 2
            assign(y, *rest)
            return y * x

        sample(("ndarray.__setitem__", label), written, *cases, order=order, name=f"write {label}")

    def at(key: Any) -> Callable[..., None]:
        def assign(y: Any, value: Any) -> None:
            y[key] = value

        return assign

    write("at an integer", at(1), (real(3, 4), real(4)), (real(3, 4), real()), (real(3), real()))
    write(
        "at a slice",
        at(slice(1, 3)),
        (real(4, 2), real(2, 2)),
        (real(4), real(1)),
        (real(1), real(0)),
    )
    write("at steps", at((slice(None, None, 2), slice(None, None, -1))), (real(3, 4), real(2, 4)))
    write("everywhere", at(...), (real(3, 2), real(2)), (real(3), 1.5), (real(2), ints(2)))
    write("at one element", at((-1, 2)), (real(2, 3), real()), (real(2, 3), 0))
    write("with a new axis", at((None, 1)), (real(3, 2), real(1, 2)))
    write("broadcast down", at(slice(0, 2)), (real(3), real(1, 2)))
    write("at a list", at([2, 0, 2]), (real(3, 2), real(3, 2)), (real(3), 1.0))
    write("at two lists", at(([0, 1], [1, 1])), (real(3, 2), real(2)))
    write("at a mask", at(np.array([True, False, True])), (real(3), real(2)), (real(3, 2), real(2)))
    write("at nothing", at(slice(3, 1)), (real(4), real(0)))
    write("integers", at(1), (ints(3), 7), (ints(3, dtype=np.int8), ints(dtype=np.int8)), order=0)

    def by_mask(y: Any, rows: Any, value: Any) -> None:
        y[y < 0] = value
        y[rows] = 7.0

    write("at traced masks", by_mask, (real(3, 2), bools(3), real()), (real(3), bools(3), 0))

    def traced_index(y: Any, i: Any, value: Any) -> None:
        y[i] = value

    def traced_column(y: Any, i: Any, value: Any) -> None:
        y[:, i] = value

    write(
        "at a traced integer",
        traced_index,
        (real(3, 2), ints(low=-3, high=3), real(2)),
        (real(3), ints(low=0, high=3), 1.0),
    )
    write("at a traced column", traced_column, (real(3, 2), ints(low=0, high=2), real(3)))

    def accumulate(y: Any, value: Any) -> None:
        y[1] += value
        y[0] *= 3
        y -= 1
        y[2:] /= 2

    write("in place", accumulate, (real(3, 2), real(2)), (real(3), real()))

    def through_zeros(x: Any) -> Any:
        y = np.zeros_like(x)
        for i in range(3):
            y[i] = x[i] * (i + 1)
            y[i, 0] += x[0, 0]
        return y

    sample(
        ("ndarray.__setitem__", "in a loop"), through_zeros, (real(3, 2),), name="write in a loop"
    )


# --- windows ---


def _fold(shape: tuple[int, ...], **geometry: tuple[int, ...]) -> Callable[..., Any]:
    """The overlap-add, one element after the other."""

    def fold(windows: Any) -> Any:
        result = np.zeros(shape, windows.dtype)
        for place, element in np.ndenumerate(windows):
            there = list(place[: len(shape)])
            inner = place[len(shape) :]
            for axis, i, stride, dilation in zip(
                geometry["axes"], inner, geometry["strides"], geometry["dilations"], strict=True
            ):
                there[axis] = there[axis] * stride + i * dilation
            result[tuple(there)] += element
        return result

    return op("fold", fold, shape=shape, **geometry)


def _convolution(x: Any, w: Any) -> Any:
    """Two axes, stride 2 along the first and dilation 2 along the second."""
    views = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
    return np.einsum("nyxcij,ijco->nyxo", views[:, ::2, :, :, :, ::2], w)


def _windows() -> None:
    slide = np.lib.stride_tricks.sliding_window_view
    sample(
        slide,
        lambda x: slide(x, 3, axis=-1),
        (real(7),),
        (real(2, 3),),
        (real(0, 4),),
        (ints(5),),
        (bools(4),),
    )
    sample(slide, lambda x: slide(x, (2, 3)) * x[0, 0], (real(3, 4),), (real(2, 3),))
    sample(slide, lambda x: slide(x, (2, 1), axis=(2, 0)), (real(2, 3, 4),))
    sample(slide, lambda x: slide(x, 3, axis=1)[:, 1::2, ::2], (real(2, 9),), (real(1, 3),))
    sample(slide, lambda x: slide(x, 4, axis=0)[3:1, :, 1:3], (real(5, 2),))
    sample(slide, lambda x: slide(x, 1, axis=0)[::2], (real(5, 2),))
    sample(
        slide, lambda x: slide(x, (2, 2), axis=(1, 2)).max(axis=(-2, -1)), (distinct(2, 4, 3, 2),)
    )
    sample(
        (slide, "op.fold"),
        _convolution,
        (real(2, 7, 5, 2), real(3, 2, 2, 3)),
        (real(0, 4, 3, 1), real(3, 2, 1, 2)),
        name="convolution",
        ulps=32,
    )
    sample(
        "op.fold",
        _fold((2, 9), axes=(1,), sizes=(3,), strides=(2,), dilations=(2,)),
        (real(2, 3, 3),),
        (ints(2, 3, 3),),
        order=2,
    )
    sample(
        "op.fold",
        _fold((4, 2, 5), axes=(2, 0), sizes=(3, 2), strides=(1, 2), dilations=(1, 1)),
        (real(2, 2, 3, 3, 2),),
    )


# --- loops ---


def _recurrent(w: Any, x: Any, h: Any) -> Any:
    """The last state and all states of a small network, with a count that has no derivative."""

    def step(carry: Any, x: Any) -> Any:
        h, count = carry
        h = np.tanh(h @ w + x) * (1.0 + 0.1 * count.astype(h.dtype))
        return (h, count + np.int64(1)), (h, count)

    return cr.scan(step, (h, np.zeros((), np.int64)), x)


def _backwards(w: Any, x: Any, h: Any) -> Any:
    return cr.scan(lambda h, x: (np.sin(h * w) + x, h * x), h, x, reverse=True)


def _in_segments(w: Any, x: Any, h: Any) -> Any:
    """Two steps are computed anew at a time; one is left over."""
    return cr.scan(lambda h, x: (np.tanh(h @ w + x), h), h, x, checkpoint=2)


def _at_rest(w: Any, x: Any) -> Any:
    """A state that a small network leaves as it is; the weights are small enough for there to be
    one."""
    found = cr.fixed_point(
        lambda z, w, x: np.tanh(z @ w + x), np.zeros_like(x), w, x, tolerance=1e-14
    )
    return found.value


def _small(*shape: int) -> Maker:
    return real(*shape, low=-0.3, high=0.3)


def _loops() -> None:
    args = (real(3, 3), real(5, 2, 3), real(2, 3))
    for function in (_recurrent, _in_segments):
        sample(("op.scan", "op.part"), function, args, name=function.__name__[1:], ulps=64)
    sample("op.scan", _backwards, (real(3), real(4, 3), real(3)), (real(3), real(0, 3), real(3)))
    sample(("op.fixed_point",), _at_rest, (_small(3, 3), real(2, 3)), ulps=256)


_indexing()
_writing()
_windows()
_loops()
