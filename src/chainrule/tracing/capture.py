"""Running a function on traced arguments and collecting its graph."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

import chainrule.tracing.functions  # noqa: F401  (fills the tables of supported functions)
from chainrule.errors import TraceError
from chainrule.graph import Graph, Origin, ancestors, build, made_by, users
from chainrule.graph.types import ArrayType
from chainrule.tracing import trees
from chainrule.tracing.context import snapshot, use
from chainrule.tracing.randomness import check_repeated, random_states
from chainrule.tracing.traced import Traced, as_traced, plain_array


@dataclass(frozen=True)
class Capture:
    """A traced function: its graph, and the tree that its outputs are leaves of."""

    graph: Graph
    result: Any  # the function's own result, with Traced leaves

    def rebuild(self, values: Sequence[Any]) -> Any:
        """The function's result with these arrays as its leaves."""
        return trees.replace_leaves(self.result, values)


class _Depth(threading.local):
    value = 0


_depth = _Depth()


def is_tracing() -> bool:
    """Whether code of this thread is being traced right now."""
    return _depth.value > 0


def argument_names(function: Callable[..., Any], count: int) -> list[str]:
    """The names of a function's positional parameters, made up where it does not say."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "arg")
    return [names[i] if i < len(names) else f"{rest}{i - len(names)}" for i in range(count)]


def placeholder(name: str, value: Any) -> Traced:
    """An input of the graph that has the type of `value`."""
    if isinstance(value, Traced):
        return Traced(build.input(name, value.node.type), weak=value.weak, owner=False)
    if isinstance(value, float) and not isinstance(value, np.generic):
        return Traced(build.input(name, ArrayType(np.dtype(np.float64), ())), weak=True)
    try:
        kind = ArrayType.of(plain_array(value))
    except TraceError as error:
        raise TraceError(f"argument {name}: {error.what}", do=error.do) from None
    return Traced(build.input(name, kind), owner=False)


def capture(
    function: Callable[..., Any],
    args: Sequence[Any],
    name: str | None = None,
    names: Sequence[str] | None = None,
) -> Capture:
    """Traces `function(*args)`. The values of `args` do not matter, only shapes and dtypes.

    `name` is the graph's; `names` are those of the arguments, where the function does not say.
    """
    if is_tracing():
        return _capture(function, args, name, names)
    context, before = snapshot(), random_states(function, args)
    captured = _capture(function, args, name, names)
    if random_states(function, args) != before:
        with use(context) if context else nullcontext():
            again = _capture(function, args, name, names)
        check_repeated(captured.graph, again.graph)
    return captured


def _capture(
    function: Callable[..., Any],
    args: Sequence[Any],
    name: str | None,
    names: Sequence[str] | None,
) -> Capture:
    names = argument_names(function, len(args)) if names is None else names
    inputs: list[Traced] = []
    traced_args = []
    with made_by(Origin()):
        for argument, path in zip(args, names, strict=True):
            _check_no_lookalikes(argument, path)
            made = [placeholder(leaf.name, leaf.value) for leaf in trees.leaves(argument, path)]
            inputs += made
            traced_args.append(trees.replace_leaves(argument, made))
    _depth.value += 1
    try:
        with made_by(Origin()):
            result = function(*traced_args)
    except ValueError as error:  # NumPy's own, around ours: "setting an element with a sequence"
        if isinstance(error.__cause__, TraceError):
            raise error.__cause__ from None
        raise
    finally:
        _depth.value -= 1
    result = _checked_result(function, result)
    outputs = trees.leaves(result)
    label = str(name or getattr(function, "__name__", type(function).__name__))
    graph = Graph(
        label,
        tuple(i.node for i in inputs),
        tuple(leaf.value.node for leaf in outputs),
        tuple(leaf.name for leaf in outputs),
    )
    _check_closed(graph)
    return Capture(graph, result)


def _check_no_lookalikes(argument: Any, path: str) -> None:
    """Tensors and data frames are not leaves, and would silently be constants."""
    for part in trees.opaque(argument):
        if hasattr(part, "__array__") and not isinstance(part, type):
            raise TraceError(
                f"argument {path} holds a {type(part).__module__}.{type(part).__name__}, which is "
                "not a NumPy array",
                do="pass np.asarray(x)",
            )


def _checked_result(function: Callable[..., Any], result: Any) -> Any:
    """The result with every array traced; constants may be part of it."""
    if result is None:
        raise TraceError(
            f"{getattr(function, '__name__', 'the function')} returned None",
            do="return the arrays it computes",
        )
    return trees.map_leaves(as_traced, _numbers_to_arrays(result))


def _numbers_to_arrays(result: Any) -> Any:
    return np.asarray(result) if isinstance(result, bool | int | float) else result


def _check_closed(graph: Graph) -> None:
    if is_tracing():
        return  # inside another trace, that trace's values may be used freely
    declared = set(graph.inputs)
    nodes = ancestors(graph.outputs)
    for node in nodes:
        if node.op == "input" and node not in declared:
            user = users(nodes).get(node, [node])[0]
            raise TraceError(
                f"{graph.name} used a traced array of an earlier call ({node['name']})",
                where=str(user.origin) or None,
                do="do not keep arrays from inside a traced function: return them instead",
            )
