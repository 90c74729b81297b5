"""The array that stands in for a NumPy array while code is traced.

One file because it is one class and the two things that must agree with it: turning any operand
into a node (`lift`) and the rules for writing in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np

from chainrule.errors import ShapeError, TraceError
from chainrule.graph import Node, build, current_origin, made_by
from chainrule.graph.node import Origin
from chainrule.graph.types import ArrayType
from chainrule.tracing.advice import concrete, shared, unsupported
from chainrule.tracing.context import scope_name
from chainrule.tracing.frames import user_origin

# Filled by `tracing/functions`: the tables of what is supported.
UFUNCS: dict[np.ufunc, Callable[..., Any]] = {}
FUNCTIONS: dict[Callable[..., Any], Callable[..., Any]] = {}
METHODS: dict[str, Callable[..., Any]] = {}


def here() -> Any:
    """Nodes made inside this context carry the user's current line (the outermost call wins)."""
    origin = current_origin()
    return made_by(origin if origin != Origin() else user_origin(scope_name()))


class Traced(np.lib.mixins.NDArrayOperatorsMixin):
    """An array whose values are not known yet. It follows NumPy's protocols and semantics.

    `node` is its current value in the graph. Writing in place replaces the node. Views, which share
    memory in NumPy, do not follow here: `base` and the count of its writes tell when a view has
    gone stale, and reading it is then an error.
    """

    __chainrule_node__: ClassVar[bool] = True
    __hash__ = None  # type: ignore[assignment]

    def __init__(
        self, node: Node, *, weak: bool = False, base: Traced | None = None, owner: bool = True
    ) -> None:
        self._node = node
        self.weak = weak  # a Python scalar: takes the dtype of what it meets (NEP 50)
        self.owner = owner  # False for arguments: writing to them would change the caller's data
        self.base: Traced | None = base if base is None or base.base is None else base.base
        self.key: Any = None  # of a view made by indexing: the index
        self._writes = 0  # in place, so far
        self._seen = 0 if self.base is None else self.base._writes  # of those of the base
        self._unwritten: Traced | None = None  # a view that was changed in place

    # --- what it is -------------------------------------------------------------------------

    @property
    def node(self) -> Node:
        base = self if self.base is None else self.base
        if base._unwritten is not None and base._unwritten is not self:
            raise concrete(
                "an array was read after a view of it was changed in place",
                "write through the array itself, as in x[0:2] += 1, or copy the view first",
                str(base._unwritten._node.origin),
            )
        if base is not self and base._writes != self._seen:
            raise concrete(
                "a view was read after its array was written to, so it may have changed",
                "copy the view where it is made (row = x[0].copy()), or take it anew",
            )
        return self._node

    @property
    def shape(self) -> tuple[int, ...]:
        return self._node.shape

    @property
    def dtype(self) -> np.dtype:
        return self._node.type.dtype

    @property
    def ndim(self) -> int:
        return self._node.ndim

    @property
    def size(self) -> int:
        return self._node.type.size

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self.size * self.itemsize

    @property
    def T(self) -> Any:
        return np.transpose(self)

    @property
    def mT(self) -> Any:
        return np.matrix_transpose(self)

    def __copy__(self) -> Any:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> Any:
        return self.copy()

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of an array without axes")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        if not self.shape:
            raise TypeError("iteration over an array without axes")
        return (self[i] for i in range(self.shape[0]))

    def __repr__(self) -> str:
        return f"Traced({self._node.type} from {self._node.op})"

    # --- NumPy's protocols ------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        with here():
            if method == "__call__" and "out" in options:
                return self._write_result(ufunc, inputs, options)
            if method == "reduce" and ufunc in _REDUCTIONS:
                return _REDUCTIONS[ufunc](*inputs, **_reduce_options(options))
            if method != "__call__":
                raise unsupported(f"np.{ufunc.__name__}.{method}")
            if ufunc not in UFUNCS:
                raise unsupported(f"np.{ufunc.__name__}")
            for name in options:
                raise unsupported(f"np.{ufunc.__name__} with {name}=", _OPTIONS.get(name))
            return UFUNCS[ufunc](*inputs)

    def __array_function__(
        self, function: Callable[..., Any], types: Any, args: Any, kwargs: Any
    ) -> Any:
        with here():
            known = FUNCTIONS.get(function)
            module = getattr(function, "__module__", "numpy").replace("numpy", "np", 1)
            name = f"{module}.{function.__name__}"
            if known is None:
                raise unsupported(name)
            return call_known(known, name, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name in METHODS:

            def method(*args: Any, **kwargs: Any) -> Any:
                with here():
                    return call_known(METHODS[name], f"ndarray.{name}", (self, *args), kwargs)

            return method
        if hasattr(np.ndarray, name) and not name.startswith("__"):
            raise unsupported(f"ndarray.{name}")
        raise AttributeError(f"a traced array has no attribute {name!r}")

    # --- what cannot be known while tracing -------------------------------------------------

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise concrete(
            "a traced array was used where NumPy needs numbers",
            "np.asarray, np.array([...]) and plain NumPy arrays cannot see values while tracing: "
            "build arrays with np.stack, write into np.zeros_like(x) or np.zeros(shape, like=x), "
            "read a plain table at a traced index as np.asarray(table, like=index)[index]",
        )

    def __bool__(self) -> bool:
        raise concrete(
            "the truth of a traced array is not known while tracing",
            "`if`, `and`, `while` and assert cannot depend on it: use np.where(condition, a, b)",
        )

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec) if not spec else str(self._no_number())

    def _no_number(self) -> Any:
        raise concrete(
            "a traced array cannot be turned into a Python number",
            "keep it an array, and take the number after the call has returned; an array to write "
            "it into must be made from traced ones, as np.zeros_like(x) is",
        )

    __float__ = __int__ = __complex__ = __index__ = item = tolist = _no_number

    # --- indexing and writing in place ------------------------------------------------------

    def __getitem__(self, key: Any) -> Any:
        with here():
            return METHODS["__getitem__"](self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        with here():
            self._check_writable()
            written_back = isinstance(value, Traced) and value is self._unwritten
            if written_back and value.key is key:
                self._unwritten = None
            self._node = METHODS["__setitem__"](self, key, value)
            self._writes += 1
            if written_back:
                value._seen = self._writes

    def _check_writable(self) -> None:
        if self.base is not None:
            raise shared(
                "this array is a view of another",
                "write through the array itself, as in x[0, 1] = v, or copy it first: x = x.copy()",
            )
        if not self.owner:
            raise shared(
                "this array is an argument: writing to it would change the caller's data",
                "copy it first: x = x.copy()",
            )

    def _write_result(self, ufunc: np.ufunc, inputs: Any, options: dict[str, Any]) -> Any:
        """`x += y` arrives as np.add(x, y, out=(x,))."""
        target = options["out"][0]
        alone = len(options) == len(options["out"]) == 1
        if not isinstance(target, Traced) or inputs[0] is not target or not alone:
            raise unsupported(f"np.{ufunc.__name__} with out=", _OPTIONS["out"])
        result = UFUNCS[ufunc](*inputs)
        if target.ndim == 0:  # a scalar is immutable in NumPy: the name is bound anew
            return result
        if result.shape != target.shape:
            raise ShapeError(
                f"in-place {ufunc.__name__}: the result has shape {result.shape}, the array "
                f"{target.shape}",
                where=str(current_origin()) or None,
            )
        if not np.can_cast(result.dtype, target.dtype, "same_kind"):
            raise TraceError(
                f"in-place {ufunc.__name__}: {result.dtype} does not fit into {target.dtype}",
                where=str(current_origin()) or None,
                do="cast with .astype, or write x = x + y",
            )
        node = build.cast(result.node, target.dtype)
        if target.base is not None:
            # `x[k] += v` writes the result back to x[k]; until it does, x may not be read.
            if not target.base.owner:
                target.base._check_writable()
            changed = Traced(node, base=target.base)
            changed.key = target.key
            target.base._unwritten = changed
            return changed
        target._check_writable()
        target._node = node
        target._writes += 1
        return target


_REDUCTIONS: dict[np.ufunc, Callable[..., Any]] = {
    np.add: np.sum,
    np.multiply: np.prod,
    np.maximum: np.max,
    np.minimum: np.min,
    np.logical_and: np.all,
    np.logical_or: np.any,
}


_OPTIONS = {
    "out": "leave out= away; where a is a plain NumPy array, write a = a + x instead of a += x",
    "where": "use np.where(condition, np.add(x, y), x), with the function meant",
    "dtype": "cast with .astype",
}


def _reduce_options(options: dict[str, Any]) -> dict[str, Any]:
    return {"axis": 0} | {k: v for k, v in options.items() if v is not None or k == "axis"}


def call_known(known: Callable[..., Any], name: str, args: Any, kwargs: Any) -> Any:
    """Calls our version of a NumPy function; a parameter we do not have is named in the error."""
    try:
        bound = _signature(known).bind(*args, **kwargs)
    except TypeError as error:
        raise TraceError(
            f"{name}: {error}",
            where=str(current_origin()) or None,
            do="this parameter is not supported in traced code",
        ) from None
    return known(*bound.args, **bound.kwargs)


def _signature(known: Callable[..., Any]) -> Any:
    import inspect  # slow to import; needed only once code is traced

    return inspect.signature(known)


def lift(value: Any, dtype: np.dtype | None = None) -> Node:
    """Any operand as a node; NumPy arrays and Python numbers become constants.

    OverflowError for a Python integer that the dtype cannot hold, as in NumPy.
    """
    if isinstance(value, Traced):
        node = value.node
        return node if dtype is None else build.cast(node, dtype)
    if type(value) is int and dtype is not None:
        return build.constant(value, dtype)
    array = plain_array(value)
    ArrayType.of(array)
    return build.constant(array, dtype)


def plain_array(value: Any) -> np.ndarray:
    """A value as a NumPy array; TraceError for masked arrays and matrices, which are arrays to
    NumPy, but whose own rules a trace would not follow."""
    if isinstance(value, np.ndarray) and type(value) not in (np.ndarray, np.memmap):
        raise TraceError(
            f"arrays of type {type(value).__name__} cannot be traced",
            where=str(current_origin()) or None,
            do="make a plain array of it: np.asarray(x), or x.filled(0) for a masked one",
        )
    return np.asarray(value)


def is_weak(value: Any) -> bool:
    """Whether a value takes the dtype of what it meets (NEP 50): Python's own numbers do."""
    return value.weak if isinstance(value, Traced) else type(value) in (int, float)


def wrap(node: Node, *, weak: bool = False, base: Traced | None = None) -> Traced:
    """A traced array whose value is this node."""
    return Traced(node, weak=weak, base=base)


def as_traced(value: Any) -> Traced:
    """`value` itself when traced, else a constant of its dtype."""
    if isinstance(value, Traced):
        return value
    return Traced(lift(value), weak=isinstance(value, int | float) and not isinstance(value, bool))
