"""Small problems to train on, and watchers that remember."""

from __future__ import annotations

from typing import Any

import numpy as np

import chainrule as cr
from chainrule.observe.events import Event
from chainrule.tracing import trees

Array = np.ndarray[Any, Any]


def blobs(rows: int = 60, classes: int = 3, width: int = 4, seed: int = 0) -> tuple[Array, Array]:
    """Points around one centre for each class, (X, y); the classes hardly overlap."""
    random = np.random.default_rng(seed)
    y = np.arange(rows) % classes
    centres = 3 * np.eye(classes, width)
    return (centres[y] + random.normal(size=(rows, width))).astype(np.float32), y


def line(rows: int = 50, width: int = 3, outputs: int = 1, seed: int = 0) -> tuple[Array, Array]:
    """Numbers that depend linearly on X, with some noise, (X, y)."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, width)).astype(np.float32)
    y = x @ random.normal(size=(width, outputs)) + 0.1 * random.normal(size=(rows, outputs))
    return x, y.astype(np.float32)


def small(outputs: int = 3, *middle: Any) -> Any:
    """A network with one hidden layer, whose width is left open."""
    return cr.nn.Sequential(cr.nn.Dense(8), cr.nn.tanh, *middle, cr.nn.Dense(outputs))


def arrays(net: Any) -> dict[str, Array]:
    return {leaf.name: np.array(leaf.value) for leaf in trees.leaves(net)}


def assert_same_bits(one: Any, other: Any) -> None:
    """Two networks hold the same arrays, bit for bit."""
    first, second = arrays(one), arrays(other)
    assert list(first) == list(second)
    for name, array in first.items():
        assert array.dtype == second[name].dtype
        assert array.tobytes() == second[name].tobytes(), name


class Events(list[Event]):
    """A watcher that keeps all events."""

    def __call__(self, event: Event) -> None:
        self.append(event)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self if isinstance(event, kind)]
