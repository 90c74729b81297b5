"""NumPy's products and norms on traced arrays: all of them contractions of two operands."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_letters
from typing import Any

import numpy as np

from chainrule.errors import ShapeError
from chainrule.graph import Node, build, current_origin
from chainrule.graph.ops import BOOL, INDEX
from chainrule.tracing.advice import unsupported
from chainrule.tracing.functions.reductions import root
from chainrule.tracing.functions.shaping import at_least
from chainrule.tracing.functions.tables import Axis, function, integers, normal_axes, normal_axis
from chainrule.tracing.traced import UFUNCS, Traced, as_traced, wrap


def fail(what: str, do: str | None = None) -> ShapeError:
    return ShapeError(what, where=str(current_origin()) or None, do=do)


def _common(x: Any, y: Any) -> tuple[Node, Node]:
    a, b = as_traced(x), as_traced(y)
    dtype = np.result_type(a.dtype, b.dtype)
    if dtype == BOOL:
        raise unsupported("a product of boolean arrays")
    return build.cast(a.node, dtype), build.cast(b.node, dtype)


def matmul(x1: Any, x2: Any) -> Any:
    """`x1 @ x2`, with batch axes broadcast."""
    x, y = _common(x1, x2)
    if not x.ndim or not y.ndim:
        raise fail("matmul (@) needs arrays of at least one axis", "use * for scalars")
    inner = y.shape[-2] if y.ndim > 1 else y.shape[0]
    if x.shape[-1] != inner:
        raise fail(
            f"matmul (@): {x.shape} @ {y.shape} does not fit: the last axis of the left has size "
            f"{x.shape[-1]}, the second-to-last of the right {inner}",
            "transpose or reshape one of them, or change the layer's width",
        )
    left_batch, right_batch = x.shape[:-2], y.shape[:-2]
    if x.ndim > 2 and y.ndim > 2 and left_batch != right_batch:
        try:
            batch = np.broadcast_shapes(left_batch, right_batch)
        except ValueError:
            raise fail(f"matmul (@): batch axes {left_batch} and {right_batch} differ") from None
        x = build.broadcast(x, (*batch, *x.shape[-2:]))
        y = build.broadcast(y, (*batch, *y.shape[-2:]))
    letters = iter(ascii_letters)
    k = next(letters)
    row = [next(letters)] if x.ndim > 1 else []
    column = [next(letters)] if y.ndim > 1 else []
    count = max(x.ndim, y.ndim) - 2
    batch_letters = [next(letters) for _ in range(max(count, 0))]
    left = [*batch_letters[len(batch_letters) - max(x.ndim - 2, 0) :], *row, k]
    right = [*batch_letters[len(batch_letters) - max(y.ndim - 2, 0) :], k, *column]
    spec = f"{''.join(left)},{''.join(right)}->{''.join([*batch_letters, *row, *column])}"
    return wrap(build.contract(x, y, spec))


UFUNCS[np.matmul] = matmul
for _name, _spec in {
    "vecdot": "...i,...i->...",
    "matvec": "...ij,...j->...i",
    "vecmat": "...i,...ij->...j",
}.items():
    if hasattr(np, _name):
        UFUNCS[getattr(np, _name)] = lambda x, y, spec=_spec: np.einsum(spec, x, y)


def _strong(value: Any) -> Traced:
    """An operand whose dtype counts, also that of a Python number: so do NumPy's products."""
    return wrap(as_traced(value).node)


@function(np.dot, method="dot")
def dot(a: Any, b: Any) -> Any:
    x, y = _strong(a), _strong(b)
    if not x.ndim or not y.ndim:
        return np.multiply(x, y)
    return np.tensordot(x, y, axes=([x.ndim - 1], [max(y.ndim - 2, 0)]))


@function(np.vdot)
def vdot(a: Any, b: Any, /) -> Any:
    return np.dot(np.ravel(a), np.ravel(b))


@function(np.inner)
def inner(a: Any, b: Any, /) -> Any:
    x, y = _strong(a), _strong(b)
    if not x.ndim or not y.ndim:
        return np.multiply(x, y)
    return np.tensordot(x, y, axes=([x.ndim - 1], [y.ndim - 1]))


@function(np.outer)
def outer(a: Any, b: Any) -> Any:
    x, y = _common(np.ravel(a), np.ravel(b))
    return wrap(build.contract(x, y, "a,b->ab"))


@function(np.kron)
def kron(a: Any, b: Any) -> Any:
    ndim = max(as_traced(a).ndim, as_traced(b).ndim)
    x, y = at_least(a, ndim), at_least(b, ndim)
    product = np.tensordot(x, y, axes=0)
    order = [axis for pair in zip(range(ndim), range(ndim, 2 * ndim), strict=True) for axis in pair]
    sizes = [m * n for m, n in zip(x.shape, y.shape, strict=True)]
    return np.reshape(np.transpose(product, order), sizes)


@function(np.tensordot)
def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    x, y = _common(a, b)
    if isinstance(axes, int | np.integer):
        left, right = list(range(x.ndim - int(axes), x.ndim)), list(range(int(axes)))
    else:
        left = [normal_axis(i, x.ndim) for i in integers(axes[0])]
        right = [normal_axis(i, y.ndim) for i in integers(axes[1])]
    if len(left) != len(right) or [x.shape[i] for i in left] != [y.shape[i] for i in right]:
        raise fail(f"np.tensordot: axes {left} of {x.shape} against axes {right} of {y.shape}")
    x_letters = list(ascii_letters[: x.ndim])
    y_letters = list(ascii_letters[x.ndim : x.ndim + y.ndim])
    for i, j in zip(left, right, strict=True):
        y_letters[j] = x_letters[i]
    kept = [c for i, c in enumerate(x_letters) if i not in left]
    kept += [c for j, c in enumerate(y_letters) if j not in right]
    return wrap(build.contract(x, y, f"{''.join(x_letters)},{''.join(y_letters)}->{''.join(kept)}"))


@function(np.linalg.multi_dot)
def multi_dot(arrays: Any) -> Any:
    first, *rest = arrays
    for other in rest:
        first = first @ other
    return first


@function(np.einsum)
def einsum(subscripts: Any, /, *operands: Any, optimize: Any = False) -> Any:
    if not isinstance(subscripts, str):
        raise unsupported("np.einsum with lists of axes")
    arrays = [as_traced(a) for a in operands]
    terms, result = _subscripts(subscripts.replace(" ", ""), [a.ndim for a in arrays])
    dtype = np.result_type(*[a.dtype for a in arrays])
    nodes = [build.cast(a.node, dtype) for a in arrays]
    _check_sizes(subscripts, terms, nodes)
    pairs = [_diagonal(n, t) for n, t in zip(nodes, terms, strict=True)]
    while len(pairs) > 1:
        (x, left), (y, right), *rest = pairs
        needed = set(result).union(*[t for _, t in rest])
        x, left = _sum_out(x, left, needed | set(right))
        y, right = _sum_out(y, right, needed | set(left))
        kept = "".join(dict.fromkeys(c for c in left + right if c in needed))
        if not rest:
            kept = result
        pairs = [(build.contract(x, y, f"{left},{right}->{kept}"), kept), *rest]
    node, letters = _sum_out(*pairs[0], set(result))
    return wrap(build.transpose(node, [letters.index(c) for c in result]))


def _subscripts(text: str, ndims: Sequence[int]) -> tuple[list[str], str]:
    """The letters of each operand and of the result, with "..." written out."""
    inputs, arrow, result = text.partition("->")
    terms = inputs.split(",")
    if len(terms) != len(ndims):
        raise fail(f"np.einsum: {text!r} names {len(terms)} operands, {len(ndims)} were given")
    free = [c for c in reversed(ascii_letters) if c not in text]
    widths = [n - len(t.replace("...", "")) for t, n in zip(terms, ndims, strict=True)]
    dotted = [w for t, w in zip(terms, widths, strict=True) if "..." in t]
    dots = "".join(free[: max(dotted, default=0)])
    for i, (term, width) in enumerate(zip(terms, widths, strict=True)):
        if width < 0 or (width and "..." not in term):
            raise fail(f"np.einsum: {term!r} does not name the {ndims[i]} axes of operand {i}")
        terms[i] = term.replace("...", dots[len(dots) - width :])
    if not arrow:
        every = "".join(terms)
        once = sorted(c for c in set(every) if every.count(c) == 1 and c not in dots)
        result = "..." + "".join(once)
    result = result.replace("...", dots)
    if len(set(result)) != len(result) or not set(result) <= set("".join(terms)):
        raise fail(f"np.einsum: the result {result!r} is not a choice of the operands' letters")
    return terms, result


def _check_sizes(text: str, terms: Sequence[str], nodes: list[Node]) -> None:
    """Axes of one letter must agree; size 1 is broadcast, as NumPy does."""
    sizes: dict[str, int] = {}
    for term, node in zip(terms, nodes, strict=True):
        for letter, size in zip(term, node.shape, strict=True):
            if sizes.setdefault(letter, size) not in (size, 1) and size != 1:
                raise fail(f"np.einsum {text!r}: axis {letter!r} has sizes {sizes[letter]}, {size}")
            sizes[letter] = size if sizes[letter] == 1 else sizes[letter]
    for i, (term, node) in enumerate(zip(terms, nodes, strict=True)):
        nodes[i] = build.broadcast(node, [sizes[c] for c in term])


def _diagonal(node: Node, term: str) -> tuple[Node, str]:
    """Axes that share a letter become one: what lies off the diagonal is masked and summed."""
    for letter in dict.fromkeys(term):
        while term.count(letter) > 1:
            i, j = term.index(letter), term.rindex(letter)
            indices = [build.iota(node.shape, axis, INDEX) for axis in (i, j)]
            kept = build.where(build.equal(*indices), node, build.zeros(node.type))
            node, term = build.sum(kept, [j]), term[:j] + term[j + 1 :]
    return node, term


def _sum_out(node: Node, term: str, needed: set[str]) -> tuple[Node, str]:
    """Sums over the axes nobody else needs."""
    axes = [i for i, c in enumerate(term) if c not in needed]
    return build.sum(node, axes), "".join(c for c in term if c in needed)


@function(np.trace, method="trace")
def trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    return np.sum(np.diagonal(a, offset, axis1, axis2), axis=-1)


@function(np.diagonal, method="diagonal")
def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    x: Any = np.moveaxis(a, (axis1, axis2), (-2, -1))
    rows, columns = x.shape[-2:]
    count = max(min(rows + min(offset, 0), columns - max(offset, 0)), 0)
    i = np.arange(count) - min(offset, 0)
    return x[..., i, i + offset]


@function(np.diag)
def diag(v: Any, k: int = 0) -> Any:
    x = as_traced(v)
    if x.ndim == 2:
        return np.diagonal(x, k)
    if x.ndim != 1:
        raise fail(f"np.diag of an array of {x.ndim} axes")
    wide = as_traced(np.pad(x, (abs(k), 0)))
    rows = wide if k >= 0 else wide[:, None]
    return np.where(np.eye(wide.size, k=k, dtype=bool), rows, np.zeros((), x.dtype))


@function(np.tril)
def tril(m: Any, k: int = 0) -> Any:
    x = as_traced(m)
    return np.where(_is_below(x.shape, k), x, np.zeros((), x.dtype))


@function(np.triu)
def triu(m: Any, k: int = 0) -> Any:
    x = as_traced(m)
    return np.where(_is_below(x.shape, k - 1), np.zeros((), x.dtype), x)


def _is_below(shape: tuple[int, ...], k: int) -> np.ndarray:
    """Where a matrix lies on or below its k-th diagonal."""
    rows, columns = shape[-2:] if len(shape) > 1 else shape * 2
    return np.tri(rows, columns, k=k, dtype=np.bool_)


@function(np.cross)
def cross(a: Any, b: Any) -> Any:
    x, y = as_traced(a), as_traced(b)
    if x.shape[-1:] != (3,) or y.shape[-1:] != (3,):
        raise fail(f"np.cross of shapes {x.shape} and {y.shape}: the last axis must have size 3")
    first, second = [1, 2, 0], [2, 0, 1]
    return x[..., first] * y[..., second] - x[..., second] * y[..., first]


@function(np.linalg.norm)
def norm(x: Any, ord: Any = None, axis: Axis = None, keepdims: bool = False) -> Any:
    """Vector norms of any order, the Frobenius, 1 and infinity norms of matrices. The derivative
    at 0 is 0, as the middle of the subdifferential."""
    a = as_traced(x)
    if a.dtype.kind != "f":
        a = a.astype(np.float64)
    axes = normal_axes(axis, a.ndim)
    if ord is not None and len(axes) > 2:
        raise fail(f"np.linalg.norm with ord={ord!r} over {len(axes)} axes")
    if ord is not None and len(axes) == 2:
        rows, columns = (0, 1) if axis is None else integers(axis)
        return _matrix_norm(a, ord, rows % a.ndim, columns % a.ndim, keepdims)
    if ord in (None, 2):
        return root(np.sum(a * a, axis=axis, keepdims=keepdims))
    size = np.abs(a)
    if ord == 1:
        return np.sum(size, axis=axis, keepdims=keepdims)
    if ord == np.inf:
        return np.max(size, axis=axis, keepdims=keepdims)
    if ord == -np.inf:
        return np.min(size, axis=axis, keepdims=keepdims)
    if ord == 0:
        return np.sum((a != 0).astype(a.dtype), axis=axis, keepdims=keepdims)
    powers = np.sum(size ** float(ord), axis=axis, keepdims=keepdims)
    flat = powers == 0
    return np.where(flat, 0, np.where(flat, 1, powers) ** (1 / float(ord)))


def _matrix_norm(a: Traced, ord: Any, rows: int, columns: int, keepdims: bool) -> Any:
    axes = (rows, columns)
    if ord == "fro":
        return root(np.sum(a * a, axis=axes, keepdims=keepdims))
    if ord not in (1, -1, np.inf, -np.inf):
        raise unsupported(f"np.linalg.norm of a matrix with ord={ord!r}")
    summed, other = axes if abs(ord) == 1 else axes[::-1]
    totals = np.sum(np.abs(a), axis=summed, keepdims=True)
    choose = np.max if ord > 0 else np.min
    result = choose(totals, axis=other, keepdims=True)
    return result if keepdims else np.squeeze(result, axis=axes)
