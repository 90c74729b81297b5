"""How weights start: functions (stream, shape, dtype) -> array.

A layer takes one as `weight_init`, by name or as a function. The scaled ones keep the size of
activations, or of deltas, about the same from layer to layer; each says whose rule it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from chainrule.errors import UsageError, unknown
from chainrule.nn.stream import Stream

Array: TypeAlias = np.ndarray[Any, Any]
Shape: TypeAlias = tuple[int, ...]
Initialiser: TypeAlias = Callable[[Stream, Shape, Any], Array]


def fans(shape: Shape) -> tuple[int, int]:
    """How many inputs each output sees, and how many outputs each input reaches.

    The last axis counts outputs, the one before it inputs; axes before those are places of a
    kernel, which multiply both.
    """
    if len(shape) < 2:
        size = math.prod(shape)
        return size, size
    places = math.prod(shape[:-2])
    return places * shape[-2], places * shape[-1]


def _within(stream: Stream, shape: Shape, dtype: Any, variance: float) -> Array:
    """Uniform numbers with mean 0 and this variance: the limit is sqrt(3 * variance)."""
    limit = math.sqrt(3.0 * variance)
    return ((2.0 * stream.uniform(shape) - 1.0) * limit).astype(dtype)


def _spread(stream: Stream, shape: Shape, dtype: Any, variance: float) -> Array:
    return (stream.normal(shape) * math.sqrt(variance)).astype(dtype)


def _share(variance: float, fan: float) -> float:
    """variance / fan; an array without elements has a fan of 0 and needs no variance."""
    return variance / fan if fan else 0.0


def glorot_uniform(stream: Stream, shape: Shape, dtype: Any) -> Array:
    """Uniform with variance 2 / (inputs + outputs), for tanh and other symmetric activations.

    Source: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", AISTATS 2010.
    """
    return _within(stream, shape, dtype, _share(2.0, sum(fans(shape))))


def glorot_normal(stream: Stream, shape: Shape, dtype: Any) -> Array:
    """Normal with variance 2 / (inputs + outputs). Source: Glorot and Bengio 2010."""
    return _spread(stream, shape, dtype, _share(2.0, sum(fans(shape))))


def he_uniform(stream: Stream, shape: Shape, dtype: Any) -> Array:
    """Uniform with variance 2 / inputs, for relu, which passes on half of what it gets.

    Source: He, Zhang, Ren and Sun, "Delving deep into rectifiers", ICCV 2015.
    """
    return _within(stream, shape, dtype, _share(2.0, fans(shape)[0]))


def he_normal(stream: Stream, shape: Shape, dtype: Any) -> Array:
    """Normal with variance 2 / inputs, for relu. Source: He, Zhang, Ren and Sun 2015."""
    return _spread(stream, shape, dtype, _share(2.0, fans(shape)[0]))


def lecun_uniform(stream: Stream, shape: Shape, dtype: Any) -> Array:
    """Uniform with variance 1 / inputs.

    Source: LeCun, Bottou, Orr and Müller, "Efficient BackProp", 1998.
    """
    return _within(stream, shape, dtype, _share(1.0, fans(shape)[0]))


def lecun_normal(stream: Stream, shape: Shape, dtype: Any) -> Array:
    """Normal with variance 1 / inputs; what selu was derived for (Klambauer et al. 2017).

    Source: LeCun, Bottou, Orr and Müller, "Efficient BackProp", 1998.
    """
    return _spread(stream, shape, dtype, _share(1.0, fans(shape)[0]))


def orthogonal(stream: Stream, shape: Shape, dtype: Any) -> Array:
    """Orthonormal columns (rows, where there are fewer of them), for two axes or more.

    Axes before the last are taken as one. The Q of the QR decomposition of a normal matrix, in
    float64, with the signs that make the diagonal of R positive: without them Q would not be drawn
    evenly from all such matrices (Mezzadri 2007). Raises UsageError for fewer than two axes.

    Source: Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of learning in
    deep linear neural networks", ICLR 2014.
    """
    if len(shape) < 2:
        raise UsageError(
            f"orthogonal needs an array of two axes or more, not {shape}",
            do="use it for weights; start biases at zeros",
        )
    rows, columns = math.prod(shape[:-1]), shape[-1]
    drawn = stream.normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(drawn)
    q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)
    return (q if rows >= columns else q.T).reshape(shape).astype(dtype)


def contraction(stream: Stream, shape: Shape, dtype: Any) -> Array:
    """Orthonormal columns times one half: a map that halves distances, for what is iterated to a
    fixed point, of which there is then one (Banach 1922)."""
    return (0.5 * orthogonal(stream, shape, np.float64)).astype(dtype)


def uniform_between(
    stream: Stream, shape: Shape, dtype: Any, *, low: float = -0.05, high: float = 0.05
) -> Array:
    """Uniform in [low, high); `uniform(low, high)` makes an initialiser of it."""
    return (low + (high - low) * stream.uniform(shape)).astype(dtype)


def normal_around_zero(stream: Stream, shape: Shape, dtype: Any, *, std: float = 0.05) -> Array:
    """Normal with mean 0 and standard deviation `std`; `normal(std)` makes an initialiser of it."""
    return (std * stream.normal(shape)).astype(dtype)


def standard_normal(stream: Stream, shape: Shape, dtype: Any) -> Array:
    """Normal with mean 0 and standard deviation 1: what embeddings start from."""
    return stream.normal(shape).astype(dtype)


def uniform(low: float, high: float) -> Initialiser:
    """The initialiser that draws evenly from [low, high). Raises UsageError unless low < high."""
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UsageError(f"uniform({low}, {high}) is no range", do="give low < high, both finite")
    return partial(uniform_between, low=float(low), high=float(high))


def normal(std: float) -> Initialiser:
    """The initialiser that draws normal numbers with mean 0 and standard deviation `std`.

    Raises UsageError for a negative or infinite `std`.
    """
    if not (math.isfinite(std) and std >= 0):
        raise UsageError(f"normal({std}): not a standard deviation", do="give 0 or more")
    return partial(normal_around_zero, std=float(std))


def zeros(stream: Stream, shape: Shape, dtype: Any) -> Array:
    """Zeros: what biases start from."""
    return np.zeros(shape, dtype)


def ones(stream: Stream, shape: Shape, dtype: Any) -> Array:
    """Ones: what scales start from."""
    return np.ones(shape, dtype)


# `uniform` and `normal` by name have a range of -0.05 to 0.05 and a deviation of 0.05.
INITIALISERS: dict[str, Initialiser] = {
    "glorot_uniform": glorot_uniform,
    "glorot_normal": glorot_normal,
    "he_uniform": he_uniform,
    "he_normal": he_normal,
    "lecun_uniform": lecun_uniform,
    "lecun_normal": lecun_normal,
    "orthogonal": orthogonal,
    "contraction": contraction,
    "uniform": uniform_between,
    "normal": normal_around_zero,
    "standard_normal": standard_normal,
    "zeros": zeros,
    "ones": ones,
}


def by_name(name: str | Initialiser) -> Initialiser:
    """The initialiser of that name; a function is returned as it is. UsageError if unknown."""
    if callable(name):
        return name
    if not isinstance(name, str):
        raise UsageError(f"{name!r} is not an initialiser", do="give a name or a function")
    if name not in INITIALISERS:
        raise unknown("initialiser", name, INITIALISERS)
    return INITIALISERS[name]
