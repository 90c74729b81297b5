"""NumPy's ufuncs on traced arrays, and the functions that choose between elements.

Dtypes follow NumPy's own resolution (`ufunc.resolve_dtypes`), so promotion is NumPy's by
construction. What is not a primitive op is one of the `formulas`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.errors import ShapeError, TraceError
from chainrule.graph import build, current_origin
from chainrule.graph.build import divide, like, make, multiply, where
from chainrule.graph.ops import BOOL
from chainrule.graph.types import ArrayType
from chainrule.tracing.advice import unsupported
from chainrule.tracing.functions import formulas
from chainrule.tracing.functions.formulas import Formula
from chainrule.tracing.functions.tables import function
from chainrule.tracing.traced import UFUNCS, Traced, as_traced, is_weak, lift, wrap

_COMPARISONS = (
    np.equal,
    np.not_equal,
    np.less,
    np.less_equal,
    np.greater,
    np.greater_equal,
)

# On Python's own numbers an operator gives a Python number, which is weak; a call such as
# np.exp(2.0) gives a np.float64, which is not.
_OPERATORS = (
    np.add,
    np.subtract,
    np.multiply,
    np.divide,
    np.floor_divide,
    np.remainder,
    np.power,
    np.negative,
    np.positive,
    np.absolute,
)


def broadcast_shapes(name: str, shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        shown = " and ".join(str(s) for s in shapes)
        raise ShapeError(
            f"np.{name}: shapes {shown} do not broadcast together",
            where=str(current_origin()) or None,
            do="axes are matched from the right; each pair must be equal, or one of them 1",
        ) from None


def _resolve(ufunc: np.ufunc, values: tuple[Any, ...]) -> tuple[np.dtype, ...]:
    """The dtypes of the operands and the result, by NumPy's rules; Python scalars are weak."""
    kinds: list[Any] = []
    for value in values:
        dtype = value.dtype if hasattr(value, "dtype") else np.asarray(value).dtype
        kinds.append((float if dtype.kind == "f" else int) if is_weak(value) else dtype)
    try:
        dtypes: tuple[np.dtype, ...] = ufunc.resolve_dtypes((*kinds, *[None] * ufunc.nout))
    except TypeError as error:
        raise _refused(f"np.{ufunc.__name__}: {error}") from None
    if any(d.kind not in "fiub" or d == np.float16 for d in dtypes):
        raise _refused(f"np.{ufunc.__name__} gives {dtypes[-1]} here, which cannot be traced")
    if ufunc in _COMPARISONS and dtypes[0] != dtypes[1]:
        raise _refused(f"np.{ufunc.__name__} of {dtypes[0]} and {dtypes[1]}")
    if all(kind in (int, float) for kind in kinds):
        return tuple(np.dtype(np.float64) if d.kind == "f" else d for d in dtypes)
    return dtypes


def _refused(what: str) -> TraceError:
    where = str(current_origin()) or None
    return TraceError(what, where=where, do="cast with .astype first")


def _elementwise(ufunc: np.ufunc, formula: Formula) -> None:
    """Registers a formula over nodes of one shape, in the dtypes NumPy chooses."""

    def apply(*values: Any) -> Traced:
        if len(values) != ufunc.nin:
            raise TraceError(f"np.{ufunc.__name__} takes {ufunc.nin} arrays, not {len(values)}")
        *dtypes, result_dtype = _resolve(ufunc, values)
        try:
            nodes = [lift(v, d) for v, d in zip(values, dtypes, strict=True)]
        except OverflowError:
            if ufunc not in _COMPARISONS:
                raise
            return _beyond(ufunc, values)
        shape = broadcast_shapes(ufunc.__name__, [n.shape for n in nodes])
        result = formula(*(build.broadcast(n, shape) for n in nodes))
        weak = ufunc in _OPERATORS and all(is_weak(v) for v in values)
        return wrap(build.cast(result, result_dtype), weak=weak)

    UFUNCS[ufunc] = apply


def _beyond(ufunc: np.ufunc, values: tuple[Any, ...]) -> Traced:
    """A comparison with a Python integer that the array's dtype cannot hold: every element that
    it can hold compares alike."""
    array = next(v for v in values if isinstance(v, Traced))
    stand_ins = [np.zeros((), v.dtype) if isinstance(v, Traced) else v for v in values]
    return wrap(build.full(ArrayType(BOOL, array.shape), bool(ufunc(*stand_ins))))


_FORMULAS: dict[np.ufunc, Formula] = {
    np.add: formulas.bool_as("or", "add"),
    np.subtract: formulas.primitive("subtract"),
    np.multiply: formulas.bool_as("and", "multiply"),
    np.divide: formulas.primitive("divide"),
    np.floor_divide: formulas.primitive("floor_divide"),
    np.remainder: formulas.primitive("remainder"),
    np.fmod: formulas.fmod,
    np.power: formulas.power,
    np.float_power: formulas.power,
    np.negative: formulas.primitive("negative"),
    np.positive: lambda x: x,
    np.absolute: lambda x: x if x.type.dtype == BOOL else make("absolute", x),
    np.fabs: formulas.primitive("absolute"),
    np.sign: formulas.primitive("sign"),
    np.rint: formulas.rint,
    np.floor: lambda x: make("floor", x) if x.type.is_float else x,
    np.ceil: formulas.ceil,
    np.trunc: formulas.trunc,
    np.exp: formulas.primitive("exp"),
    np.exp2: lambda x: make("power", like(x, 2), x),
    np.expm1: formulas.primitive("expm1"),
    np.log: formulas.primitive("log"),
    np.log2: formulas.log_base(2),
    np.log10: formulas.log_base(10),
    np.log1p: formulas.primitive("log1p"),
    np.sqrt: formulas.primitive("sqrt"),
    np.cbrt: formulas.cbrt,
    np.square: lambda x: multiply(x, x),
    np.reciprocal: lambda x: divide(like(x, 1), x),
    np.sin: formulas.primitive("sin"),
    np.cos: formulas.primitive("cos"),
    np.tan: lambda x: divide(make("sin", x), make("cos", x)),
    np.arcsin: formulas.arcsin,
    np.arccos: formulas.arccos,
    np.arctan: lambda x: make("arctan2", x, like(x, 1)),
    np.arctan2: formulas.primitive("arctan2"),
    np.hypot: formulas.hypot,
    np.sinh: formulas.sinh,
    np.cosh: formulas.cosh,
    np.tanh: formulas.primitive("tanh"),
    np.arcsinh: formulas.arcsinh,
    np.arccosh: formulas.arccosh,
    np.arctanh: formulas.arctanh,
    np.deg2rad: formulas.times(math.pi / 180),
    np.radians: formulas.times(math.pi / 180),
    np.rad2deg: formulas.times(180 / math.pi),
    np.degrees: formulas.times(180 / math.pi),
    np.logaddexp: formulas.logaddexp,
    np.logaddexp2: lambda x, y: formulas.logaddexp(x, y, base=2),
    np.maximum: formulas.bool_as("or", "maximum"),
    np.minimum: formulas.bool_as("and", "minimum"),
    np.fmax: formulas.choose_number("or", "maximum"),
    np.fmin: formulas.choose_number("and", "minimum"),
    np.copysign: formulas.copysign,
    np.heaviside: formulas.heaviside,
    np.isnan: formulas.is_nan,
    np.isinf: lambda x: (
        formulas.is_infinite(x) if x.type.is_float else build.full(ArrayType(BOOL, x.shape), False)
    ),
    np.isfinite: formulas.is_finite,
    np.equal: formulas.primitive("equal"),
    np.not_equal: formulas.primitive("not_equal"),
    np.less: formulas.primitive("less"),
    np.less_equal: formulas.primitive("less_equal"),
    np.greater: formulas.swapped("less"),
    np.greater_equal: formulas.swapped("less_equal"),
    np.logical_and: lambda x, y: make("and", formulas.truth(x), formulas.truth(y)),
    np.logical_or: lambda x, y: make("or", formulas.truth(x), formulas.truth(y)),
    np.logical_xor: lambda x, y: make("not_equal", formulas.truth(x), formulas.truth(y)),
    np.logical_not: lambda x: make("not", formulas.truth(x)),
    np.bitwise_and: formulas.primitive("and"),
    np.bitwise_or: formulas.primitive("or"),
    np.invert: formulas.primitive("not"),
}

for _ufunc, _formula in _FORMULAS.items():
    _elementwise(_ufunc, _formula)


def _divmod(x: Any, y: Any) -> tuple[Any, Any]:
    return np.floor_divide(x, y), np.remainder(x, y)


UFUNCS[np.divmod] = _divmod


@function(np.where)
def choose(condition: Any, x: Any = None, y: Any = None, /) -> Any:
    if x is None or y is None:
        raise unsupported("np.where with one argument")
    dtype = common_dtype((x, y))
    test = as_traced(condition)
    test = test if test.dtype == BOOL else test != 0
    branches = [lift(v, dtype) for v in (x, y)]
    shape = broadcast_shapes("where", [test.shape, *[n.shape for n in branches]])
    nodes = [build.broadcast(n, shape) for n in (test.node, *branches)]
    return wrap(where(*nodes), weak=is_weak(x) and is_weak(y))


def common_dtype(values: Any) -> np.dtype:
    """NumPy's promotion of several arrays; Python numbers among them are weak."""
    kinds: list[Any] = []
    for value in values:
        dtype = value.dtype if isinstance(value, Traced) else np.asarray(value).dtype
        kinds.append(dtype.type(0).item() if is_weak(value) else dtype)
    return np.result_type(*kinds)


@function(np.select)
def select(condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    dtype = common_dtype((*choicelist, default))
    result: Any = wrap(lift(default, dtype))
    for condition, choice in reversed(list(zip(condlist, choicelist, strict=True))):
        result = np.where(condition, choice, result)
    return result


@function(np.clip, method="clip")
def clip(a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Any:
    low, high = (a_min if min is None else min), (a_max if max is None else max)
    kind = as_traced(a).dtype
    if kind.kind in "iu":  # a Python integer beyond the dtype's range bounds nothing
        low = None if type(low) is int and low <= np.iinfo(kind).min else low
        high = None if type(high) is int and high >= np.iinfo(kind).max else high
    result = np.positive(a) if low is None else np.maximum(a, low)
    return result if high is None else np.minimum(result, high)


@function(np.round, np.around, method="round")
def round(a: Any, decimals: int = 0) -> Any:
    if as_traced(a).dtype.kind != "f":
        if decimals < 0:
            raise unsupported("np.round of integers to tens")
        return np.positive(a)
    if decimals == 0:
        return np.rint(a)
    factor = 10.0 ** abs(decimals)
    return np.rint(a * factor) / factor if decimals > 0 else np.rint(a / factor) * factor
