"""What a function sees besides its arguments, as a key.

A trace freezes the values a function closes over and the globals it names. The key changes when
they do, so that a cached trace is never stale: arrays count by their contents, containers and
objects by what they hold, functions and classes of the user's own by their code and what that
names in turn. What is installed is taken as fixed. What cannot be followed makes the key None, and
the function is then traced at every call.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import sys
import types
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from chainrule.tracing.trees import is_array

MAX_DEPTH = 40

# Written by `dataclass`, or never called by code that is traced.
_IGNORED_METHODS = frozenset(
    "__init__ __new__ __repr__ __eq__ __hash__ __setattr__ __delattr__ __replace__ "
    "__post_init__ __init_subclass__ __class_getitem__".split()
)


# Of the standard library: objects of these are immutable and hashable, or no part of a result.
_VALUE_MODULES = frozenset("datetime decimal fractions logging pathlib re uuid".split())

# A transformed function, such as cr.grad(f), is f and the settings; its cache is no part of it.
_TRANSFORMED: WeakKeyDictionary[Any, tuple[Any, Any]] = WeakKeyDictionary()


class _CannotFollowError(Exception):
    pass


def remember_transformed(function: Any, source: Any, settings: Any) -> None:
    """Says that `function` does to `source` what the (hashable) settings name."""
    _TRANSFORMED[function] = source, settings


def closure_key(value: Any) -> Any:
    """A hashable key of everything a function (or a class, or an object) sees, or None."""
    walk = _Walk()
    try:
        key = walk.key(value, 0)
    except _CannotFollowError:
        return None
    return None if walk.random_sources else key


def random_sources(values: Any) -> list[Any]:
    """NumPy's random generators among all that is seen."""
    walk = _Walk(collecting=True)
    walk.key(values, 0)
    return walk.random_sources


class _Walk:
    """One walk through what is seen. With `collecting` it passes by what it cannot follow."""

    def __init__(self, *, collecting: bool = False) -> None:
        self.seen: dict[int, int] = {}  # id -> the number of the visit
        self.alive: list[Any] = []  # ids stay taken while the walk goes on
        self.random_sources: list[Any] = []
        self.collecting = collecting

    def key(self, value: Any, depth: int) -> Any:
        if value is None or isinstance(value, bool | int | float | complex | str | bytes):
            return type(value).__name__, repr(value)
        if id(value) in self.seen:
            return "seen", self.seen[id(value)]
        if depth > MAX_DEPTH:
            return self.give_up()
        if not isinstance(value, np.ndarray | np.generic):
            self.seen[id(value)] = len(self.seen)
            self.alive.append(value)
        for kinds, handler in _HANDLERS:
            if isinstance(value, kinds):
                return handler(self, value, depth)
        return self.object_key(value, depth)

    def give_up(self) -> Any:
        if self.collecting:
            return "unknown"
        raise _CannotFollowError

    def array_key(self, value: Any, depth: int) -> Any:
        array = np.asarray(value)
        if self.collecting or array.dtype.hasobject:
            return self.give_up()
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        digest = hashlib.blake2b(data, digest_size=16).digest()
        return "array", array.dtype.str, array.shape, digest

    def function_key(self, function: types.FunctionType, depth: int) -> Any:
        if function in _TRANSFORMED:
            source, settings = _TRANSFORMED[function]
            return "transformed", settings, self.key(source, depth + 1)
        is_library = _is_library(function.__module__ or "")
        if is_library and not function.__closure__:
            return "fixed", function
        code, names = function.__code__, _names(function.__code__)
        cells = []
        for cell in function.__closure__ or ():
            try:
                cells.append(self.named_key(cell.cell_contents, names, depth))
            except ValueError:  # not filled yet: a name bound later
                cells.append("empty")
        space = {} if is_library else function.__globals__
        named = [(n, self.named_key(space[n], names, depth)) for n in names if n in space]
        defaults = self.key((function.__defaults__, function.__kwdefaults__), depth + 1)
        return code, defaults, tuple(cells), tuple(named)

    def named_key(self, value: Any, names: tuple[str, ...], depth: int) -> Any:
        """What code names; of a user's own module, the attributes that the code may read."""
        if not isinstance(value, types.ModuleType) or _is_library(value.__name__):
            return self.key(value, depth + 1)
        if depth > MAX_DEPTH:
            return self.give_up()
        read = [n for n in names if n in vars(value) and vars(value)[n] is not value]
        return value, tuple((n, self.named_key(vars(value)[n], names, depth + 1)) for n in read)

    def class_key(self, cls: type, depth: int) -> Any:
        """A class; of a user's own, also its methods and the plain values it holds."""
        members = []
        for base in cls.__mro__:
            if _is_library(base.__module__):
                continue
            for name, value in list(vars(base).items()):
                member = _unwrapped(value)
                is_code = isinstance(member, types.FunctionType) and name not in _IGNORED_METHODS
                is_data = isinstance(member, _DATA) and not name.startswith("__")
                if is_code or is_data:
                    members.append((name, self.key(member, depth + 1)))
        return cls, tuple(members)

    def object_key(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind.__module__.startswith("numpy.random"):
            self.random_sources.append(value)
            return "random"
        if kind.__module__.partition(".")[0] in _VALUE_MODULES:
            return "fixed", value
        if is_array(value):
            return self.give_up()
        described = self.key(kind, depth + 1)
        if dataclasses.is_dataclass(value):
            fields = [getattr(value, f.name, None) for f in dataclasses.fields(value)]
            return described, tuple(self.key(v, depth + 1) for v in fields)
        wrapped = getattr(value, "__wrapped__", None)
        if wrapped is not None:
            return "wrapped", value, self.key(wrapped, depth + 1)
        if _is_library(kind.__module__) and callable(value):
            return "fixed", value  # NumPy's array functions, functools wrappers and the like
        if hasattr(value, "__dict__") and not any(_slots(base) for base in kind.__mro__):
            return described, self.key(vars(value), depth + 1)
        return self.give_up()

    def fixed_key(self, value: Any, depth: int) -> Any:
        return "fixed", value

    def sequence_key(self, value: Any, depth: int) -> Any:
        return type(value), tuple(self.key(v, depth + 1) for v in value)

    def dict_key(self, value: Any, depth: int) -> Any:
        items = [(repr(k), self.key(v, depth + 1)) for k, v in list(value.items())]
        return type(value), tuple(items)

    def set_key(self, value: Any, depth: int) -> Any:
        return type(value), frozenset(self.key(v, depth + 1) for v in value)

    def slice_key(self, value: Any, depth: int) -> Any:
        return slice, repr(value)  # has no hash before Python 3.12

    def method_key(self, value: Any, depth: int) -> Any:
        return "method", self.key(value.__func__, depth), self.key(value.__self__, depth + 1)

    def partial_key(self, value: Any, depth: int) -> Any:
        parts = (value.func, value.args, value.keywords)
        return "partial", tuple(self.key(p, depth + 1) for p in parts)


_FIXED = (types.ModuleType, types.BuiltinFunctionType, np.ufunc, np.dtype, range)
_DATA = (bool, int, float, complex, str, bytes, tuple, list, dict, np.ndarray, np.generic)
_HANDLERS: tuple[tuple[Any, Callable[[_Walk, Any, int], Any]], ...] = (
    ((np.ndarray, np.generic), _Walk.array_key),
    (types.FunctionType, _Walk.function_key),
    (types.MethodType, _Walk.method_key),
    (functools.partial, _Walk.partial_key),
    (_FIXED, _Walk.fixed_key),
    (type, _Walk.class_key),
    ((tuple, list), _Walk.sequence_key),
    (dict, _Walk.dict_key),
    ((set, frozenset), _Walk.set_key),
    (slice, _Walk.slice_key),
)


def _slots(cls: type) -> bool:
    """Whether objects of a class hold values outside their dict."""
    return bool(set(vars(cls).get("__slots__", ())) - {"__dict__", "__weakref__"})


def _unwrapped(member: Any) -> Any:
    """The function under a static method, a class method or a property."""
    if isinstance(member, staticmethod | classmethod):
        return member.__func__
    return member.fget if isinstance(member, property) else member


@functools.lru_cache(maxsize=1024)
def _names(code: types.CodeType) -> tuple[str, ...]:
    """The names of globals and attributes in a function and those defined inside it."""
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found.update(_names(constant))
    return tuple(sorted(found))


@functools.lru_cache(maxsize=1024)
def _is_library(module: str) -> bool:
    """Whether a module is installed, not the user's own: its values are taken as fixed."""
    root = module.partition(".")[0]
    if root in ("chainrule", "builtins") or root in sys.stdlib_module_names:
        return root != "__main__"
    path = getattr(sys.modules.get(root), "__file__", None) or ""
    return "site-packages" in path or "dist-packages" in path
