"""Random numbers inside the forward pass: a function of (seed, step, place), public as `cr.random`.

They need a context that says the seed and the step: `cr.train` gives one, and so does
`with cr.nn.training(seed=0, step=0):`. Called twice at the same place they differ; called again at
the same step they are the same, so a replay sees the same masks.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.errors import UsageError
from chainrule.graph import build
from chainrule.random_bits import bits
from chainrule.tracing.context import current
from chainrule.tracing.functions.tables import integers
from chainrule.tracing.traced import Traced, as_traced, here, lift, wrap

__all__ = ["bernoulli", "normal", "permutation", "uniform"]


def _words(shape: Any) -> Any:
    """uint32 words, traced where the step is."""
    context = current()
    if context is None or context.key is None:
        raise UsageError(
            "random numbers were asked for outside a training pass",
            do="call inside `with cr.nn.training(seed=0, step=0):`, or let cr.train do it",
        )
    sizes, salt = integers(shape), context.salt()
    if isinstance(context.step, Traced) or isinstance(context.key, Traced):
        with here():
            node = build.make(
                "random_bits", lift(context.key), lift(context.step), shape=sizes, salt=salt
            )
        return wrap(node)
    return bits(math.prod(sizes), context.key, int(context.step), salt).reshape(sizes)


def uniform(shape: Any = (), dtype: Any = np.float32) -> Any:
    """Numbers in [0, 1), multiples of 2^-24 (float32) or 2^-32 (float64)."""
    kind = np.dtype(dtype)
    words = _words(shape)
    if kind == np.float32:
        return (words // 256).astype(kind) * 2.0**-24
    return words.astype(kind) * 2.0**-32


def bernoulli(p: float, shape: Any = ()) -> Any:
    """Booleans, true with probability p (to within 2^-24)."""
    return uniform(shape) < p


def normal(shape: Any = (), dtype: Any = np.float32) -> Any:
    """Standard normal numbers (Box and Muller 1958)."""
    radius = np.sqrt(-2.0 * np.log1p(-uniform(shape, dtype)))
    return radius * np.cos(2.0 * math.pi * uniform(shape, dtype))


def permutation(x: Any) -> Any:
    """The numbers 0 .. x - 1 in random order, int64 [x]; or the rows of an array in random order.

    They are ordered by a random 32-bit word each. Raises UsageError for a single number that is not
    a whole one, 0 or more.
    """
    is_count = isinstance(x, int | np.integer)
    rows = getattr(x, "shape", ()) or (-1,)
    count = int(x) if is_count else int(rows[0])
    if count < 0:
        raise UsageError(
            f"cr.random.permutation of {x!r}", do="give a number of elements, or an array of rows"
        )
    order: Any = np.argsort(_words((count,)), kind="stable")
    if is_count:
        return order
    # NumPy's take looks at the array alone to see whether it is traced.
    return np.take(as_traced(x) if isinstance(order, Traced) else x, order, axis=0)
