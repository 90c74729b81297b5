"""Every stage in order: the one place that knows the way from NumPy code to running programs.

    NumPy code -> tracing -> Graph -> backward -> Graph -> rewrite -> Graph -> backends -> arrays

The public functions `trace`, `grad`, `value_and_grad`, `hvp` and `compile` are thin over it.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule import config, tracing
from chainrule.backends import Runner, runner
from chainrule.backward import gradients
from chainrule.errors import ShapeError, TraceError, UsageError
from chainrule.graph import Graph, Node, ancestors, verify
from chainrule.graph.substitution import substitute
from chainrule.reference import Interpreter
from chainrule.rewrite import PASSES, rewrite
from chainrule.tracing import trees
from chainrule.tracing.calls import (
    cache_key,
    check_differentiable,
    name_of,
    names_of,
    native_order,
    places_of,
    with_keywords,
)
from chainrule.tracing.closure import remember_transformed
from chainrule.tracing.traced import Traced, as_traced, here, lift, wrap

Function = Callable[..., Any]
CACHED_PROGRAMS = 64  # per compiled function; each distinct set of shapes is one program


# --- the stages -----------------------------------------------------------------------------


def trace(function: Function, *args: Any) -> Graph:
    """The graph of `function(*args)`; it prints, and its text parses back.

    Only shapes and dtypes of the arguments matter, their values do not. Raises TraceError for code
    that cannot be traced, naming the line, and ShapeError where shapes do not fit.
    """
    return tracing.capture(function, args).graph


def graph_stages(function: Function, *args: Any) -> dict[str, Graph]:
    """The graph after every stage, by the stage's name: "traced", then each rewrite."""
    graph = trace(function, *args)
    found = {"traced": graph}
    for name, run in PASSES:
        graph = verify(run(graph))
        found[name] = graph
    return found


class Program:
    """A rewritten graph, ready to run on a backend."""

    def __init__(
        self, graph: Graph, backend: str | None = None, threads: int | None = None
    ) -> None:
        self._backend = config.check_backend(backend)
        self._threads = config.check_threads(threads)
        self.graph = verify(rewrite(graph)) if config.VERIFY else rewrite(graph)
        checks = _index_checks(self.graph)
        self._check = Interpreter(checks) if checks.outputs else None
        self._run: Runner | None = None  # made when first needed: a graph may be run in other ways

    def __call__(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The outputs for these inputs, in the graph's order; new arrays that the caller owns."""
        if self._check is not None:
            self._check(arrays)
        taken = {id(a) for a in arrays}
        return [_owned(output, taken) for output in self.made_ready()(arrays)]

    def made_ready(self) -> Runner:
        """What runs the graph; compiled now, if it has not been."""
        if self._run is None:
            self._run = runner(self.graph, self._backend, self._threads)
        return self._run


def _owned(output: np.ndarray, taken: set[int]) -> np.ndarray:
    """An output that is nobody else's, its elements in row order: what is computed from it next
    (a later step, say) then comes to the same bits as from a copy that was saved and loaded."""
    flags = output.flags
    own = output.base is None and flags.writeable and flags.c_contiguous
    if not own or id(output) in taken:
        return output.copy()
    taken.add(id(output))
    return output


def _index_checks(graph: Graph) -> Graph:
    """The part of a graph that reads by indices computed from integers alone: it is run first, so
    that an index out of range stops a run before anything has changed."""
    reads = []
    for node in graph.nodes():
        if node.op in ("take", "scatter"):
            index = node.operands[1]
            before = ancestors([index])
            if index.op != "constant" and not any(n.type.is_float for n in before):
                reads.append(_cheap_read(node, index))
    return graph.with_outputs(reads, [str(i) for i in range(len(reads))])


def _cheap_read(node: Node, index: Node) -> Node:
    """A read with the same check, of an array that holds nothing."""
    from chainrule.graph import build, made_by
    from chainrule.graph.types import ArrayType

    size = node["size"] if node.op == "scatter" else node.operands[0].shape[node["axis"]]
    with made_by(node.origin):
        empty = build.zeros(ArrayType(np.dtype(np.bool_), (size, 0)))
        return build.take(empty, index, 0)


# --- running transformed functions ----------------------------------------------------------


@dataclass(frozen=True)
class _How:
    """On what a program runs."""

    backend: str | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        config.check_backend(self.backend)
        config.check_threads(self.threads)


@dataclass
class _Compiled:
    program: Program
    capture: tracing.Capture


def compile(
    function: Function, *, backend: str | None = None, threads: int | None = None
) -> Function:
    """The same function, traced once for each set of shapes and then run as one program.

    Arguments and results may be trees of arrays. Integers, booleans, strings and functions among
    the arguments, and all that the function closes over, are constants of the program; when they
    change, it is traced again. `threads` is the most that a call may use (None: one for each core);
    small programs use fewer, and no number changes a bit. Raises what tracing raises.
    """
    how = _How(backend, threads)
    return _compiled(function, function, how, ("compile", how))


def _compiled(
    function: Function, source: Function, how: _How, transformation: tuple[Any, ...]
) -> Function:
    """`function`, a transformation of the user's `source`, as a program that is made when needed.

    The transformation's name and settings tell it from others of the same source.
    """
    cache: OrderedDict[Any, _Compiled] = OrderedDict()

    @functools.wraps(source)
    def run(*args: Any, **kwargs: Any) -> Any:
        if tracing.is_tracing():
            return function(*args, **kwargs)
        positional, call = with_keywords(function, args, kwargs)
        leaves = [leaf for a in positional for leaf in trees.leaves(a)]
        key = cache_key(source, positional, leaves, bool(kwargs))
        entry = cache.get(key) if key is not None else None
        if entry is None:
            names = names_of(source, len(args), kwargs)
            captured = tracing.capture(call, positional, name=name_of(source), names=names)
            program = Program(captured.graph, how.backend, how.threads)
            entry = _Compiled(program, captured)
            if key is not None:
                cache[key] = entry
                if len(cache) > CACHED_PROGRAMS:
                    cache.popitem(last=False)
        outputs = entry.program([native_order(leaf.value) for leaf in leaves])
        return entry.capture.rebuild([o if o.ndim else o[()] for o in outputs])

    remember_transformed(run, source, transformation)
    return run


# --- derivatives ----------------------------------------------------------------------------


def grad(
    function: Function,
    argnums: int | Sequence[int] = 0,
    *,
    has_aux: bool = False,
    threads: int | None = None,
) -> Function:
    """The gradient of a scalar function: a tree of the shape of the argument at `argnums`.

    With several `argnums` a tuple of trees. With `has_aux` the function returns (value, extra), and
    the result is (gradient, extra). `threads` is as in `compile`. Raises NoDerivativeError where
    the gradient would be zero everywhere it exists, UsageError when the value is not one number.
    """
    both = value_and_grad(function, argnums, has_aux=has_aux, threads=threads)

    @functools.wraps(function)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        value, found = both(*args, **kwargs)
        return (found, value[1]) if has_aux else found

    return gradient


def value_and_grad(
    function: Function,
    argnums: int | Sequence[int] = 0,
    *,
    has_aux: bool = False,
    threads: int | None = None,
) -> Function:
    """Like `grad`, but returns (value, gradient), or ((value, extra), gradient) with `has_aux`."""

    def differentiated(*args: Any, **kwargs: Any) -> Any:
        positional, call = with_keywords(function, args, kwargs)
        names = names_of(function, len(args), kwargs)
        return _value_and_grad(call, function, positional, names, argnums, has_aux)

    selected = argnums if isinstance(argnums, int) else tuple(argnums)
    how = _How(None, threads)
    return _compiled(differentiated, function, how, ("value_and_grad", selected, has_aux, how))


def _value_and_grad(
    call: Function,
    source: Function,
    args: tuple[Any, ...],
    names: Sequence[str],
    argnums: int | Sequence[int],
    has_aux: bool,
) -> Any:
    """Traces the function on placeholders of its own, differentiates, and puts the real arguments
    in their place: what the function closes over is thereby a constant to it."""
    captured = tracing.capture(call, args, name=name_of(source), names=names)
    if has_aux and not (isinstance(captured.result, tuple) and len(captured.result) == 2):
        raise UsageError(f"{name_of(source)} must return (value, extra), as has_aux=True says")
    extra = captured.result[1] if has_aux else None
    value = _scalar(captured.result[0] if has_aux else captured.result, source)
    count = len(args) - ("" in names)
    selected = places_of(argnums, count)
    starts = np.cumsum([0, *[len(trees.leaves(a)) for a in args]]).tolist()
    wrt: list[Node] = []
    for number in selected:
        inputs = captured.graph.inputs[starts[number] : starts[number + 1]]
        check_differentiable(inputs, names[number], args[number])
        wrt += inputs
    found = gradients(value, wrt)
    others = [leaf.value.node for leaf in trees.leaves(extra)] if has_aux else []
    actual = [lift(leaf.value) for a in args for leaf in trees.leaves(a)]
    table = dict(zip(captured.graph.inputs, actual, strict=True))
    first, *rest = (wrap(n) for n in substitute([value, *found, *others], table))
    parts = []
    for number in selected:
        tree = args[number]
        count = len(trees.leaves(tree))
        parts.append(trees.replace_leaves(tree, rest[:count]))
        rest = rest[count:]
    gradient = parts[0] if isinstance(argnums, int) else tuple(parts)
    return ((first, trees.replace_leaves(extra, rest)) if has_aux else first), gradient


def _scalar(value: Any, source: Function) -> Node:
    if not isinstance(value, Traced) or value.shape not in ((), (1,)):
        shape = value.shape if isinstance(value, Traced) else type(value).__name__
        raise ShapeError(
            f"{name_of(source)} returned {shape}, but a gradient needs one number",
            do="reduce it, as in np.mean(errors); with extra results, use has_aux=True",
        )
    if value.dtype.kind != "f":
        raise TraceError(
            f"{name_of(source)} returned {value.dtype}: a gradient needs a floating-point number"
        )
    from chainrule.graph import build

    return build.reshape(value.node, ())


def hvp(function: Function, argnums: int = 0) -> Function:
    """Hessian-vector products: `hvp(f)(*args, v)` is the Hessian of `f` times `v`, exactly.

    `v` is a tree like the argument at `argnums`. Reverse mode twice (Pearlmutter 1994): about four
    times the work of `f`, without ever forming the Hessian.
    """

    @functools.wraps(function)
    def product(*args: Any) -> Any:
        *arguments, vector = args
        return along(vector, *arguments)

    def slope(vector: Any, *args: Any) -> Any:
        found = trees.leaves(grad(function, argnums)(*args))
        directions = trees.leaves(vector)
        if [leaf.value.shape for leaf in found] != [np.shape(leaf.value) for leaf in directions]:
            raise ShapeError("the vector does not have the shapes of the argument")
        terms = [np.sum(g.value * v.value) for g, v in zip(found, directions, strict=True)]
        return sum(terms[1:], terms[0])

    along = grad(slope, argnums + 1)
    return product


def stop_gradient(tree: Any) -> Any:
    """The same values, treated as constants by every gradient."""
    if not tracing.is_tracing():
        return tree
    from chainrule.graph import build

    with here():
        return trees.map_leaves(lambda leaf: wrap(build.make("stop", as_traced(leaf).node)), tree)
