"""Data sets that come with the package: real digits, and the small problems of the literature."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chainrule.data.dataset import JSON, Dataset
from chainrule.data.known_series import SERIES, KnownSeries
from chainrule.data.named import NAMED, load_named
from chainrule.errors import unknown

BUILTIN: dict[str, str] = {
    "digits": "1,797 handwritten digits, 8 x 8 pixels, 10 classes (Alpaydin and Kaynak 1998)",
    "xor": "exclusive or of 2 bits, 4 patterns (Rumelhart, Hinton and Williams 1986)",
    "parity": "parity of 4 bits, 16 patterns (Rumelhart, Hinton and Williams 1986)",
    "encoder": "4-2-4 encoder: 4 patterns through 2 units (Ackley, Hinton and Sejnowski 1985)",
    "symmetry": "is a string of 6 bits its own mirror image; 64 patterns (Rumelhart, Hinton and "
    "Williams 1986)",
    "spirals": "two intertwined spirals, 194 points (Lang and Witbrock 1988)",
}


def known_sets() -> dict[str, str]:
    """Every set that has a name, and what it is: those of `BUILTIN`, `SERIES` and `NAMED`."""
    return {**BUILTIN, **SERIES, **NAMED}


def load(name: str) -> Dataset:
    """One of the sets in `BUILTIN`, `SERIES` or `NAMED`; UsageError, with the nearest name, for
    another one.

    A set of `NAMED` must be on this machine; see `chainrule.data.named`.

    `source["complete"]` is True where holding rows out would change the problem: where they are
    all the patterns that exist (xor, parity, encoder, symmetry), and for the spirals, whose outer
    points are closer to the other spiral than to their neighbours on their own.
    """
    if name in NAMED:
        return load_named(name)
    if name in SERIES:
        return KnownSeries(name).parts(None, 0).dataset
    if name not in _LOADERS:
        raise unknown("data set", name, known_sets())
    return _LOADERS[name]()


def _digits() -> Dataset:
    """Pixels 0 .. 16 scaled to 0 .. 1, float32 [1797, 64], row by row from the top left.

    The licence (CC BY 4.0) and the source are in files/README.md.
    """
    with np.load(Path(__file__).parent / "files" / "digits.npz", allow_pickle=False) as arrays:
        pixels, digits = arrays["pixels"], arrays["digits"]
    x = pixels.reshape(-1, 64).astype(np.float32) / np.float32(16)
    names = tuple(f"row {r} column {c}" for r in range(8) for c in range(8))
    classes = tuple(str(digit) for digit in range(10))
    more: dict[str, JSON] = {"image_shape": [8, 8], "licence": "CC BY 4.0"}
    return _dataset("digits", x, digits.astype(np.int64), "multiclass", classes, names, more)


def _xor() -> Dataset:
    x = _bits(2)
    return _complete("xor", x, x[:, 0] != x[:, 1])


def _parity() -> Dataset:
    x = _bits(4)
    return _complete("parity", x, x.sum(axis=1) % 2 == 1)


def _symmetry() -> Dataset:
    x = _bits(6)
    return _complete("symmetry", x, (x == x[:, ::-1]).all(axis=1))


def _encoder() -> Dataset:
    """Each pattern has one of 4 inputs on, and its class is which one."""
    classes = tuple(f"unit {unit}" for unit in range(4))
    x, y = np.eye(4, dtype=np.float32), np.arange(4, dtype=np.int64)
    return _dataset("encoder", x, y, "multiclass", classes, classes, {"complete": True})


def _spirals() -> Dataset:
    """97 points on each of two spirals of three turns, the second the first turned by 180 degrees.

    Point i has the angle i pi / 16 and the radius 6.5 (104 - i) / 104 (Lang and Witbrock 1988).
    """
    i = np.arange(97)
    angle, radius = i * np.pi / 16, 6.5 * (104 - i) / 104
    first = np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1)
    x = np.stack([first, -first], axis=1).reshape(-1, 2).astype(np.float32)
    y = np.tile(np.array([1, 0], dtype=np.int64), 97)
    more: dict[str, JSON] = {"complete": True}
    return _dataset("spirals", x, y, "binary", ("second", "first"), ("x", "y"), more)


def _bits(count: int) -> NDArray[np.float32]:
    """All strings of `count` bits, in counting order: float32 [2 ** count, count]."""
    return np.array(list(itertools.product((0, 1), repeat=count)), dtype=np.float32)


def _complete(name: str, x: NDArray[np.float32], is_true: NDArray[np.bool_]) -> Dataset:
    names = tuple(f"bit {bit}" for bit in range(x.shape[1]))
    more: dict[str, JSON] = {"complete": True}
    return _dataset(name, x, is_true.astype(np.int64), "binary", ("false", "true"), names, more)


def _dataset(
    name: str,
    x: NDArray[np.float32],
    y: NDArray[np.int64],
    task: str,
    classes: tuple[str, ...],
    feature_names: tuple[str, ...],
    more: dict[str, JSON],
) -> Dataset:
    source: dict[str, JSON] = {"kind": "builtin", "name": name, "about": BUILTIN[name], **more}
    return Dataset(name, x, y, task, classes, feature_names, source)


_LOADERS: dict[str, Callable[[], Dataset]] = {
    "digits": _digits,
    "xor": _xor,
    "parity": _parity,
    "encoder": _encoder,
    "symmetry": _symmetry,
    "spirals": _spirals,
}
