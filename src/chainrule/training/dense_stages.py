"""Which networks can be walked through: Dense layers with functions of single units after them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from chainrule import nn
from chainrule.errors import UsageError
from chainrule.nn.place import label_of
from chainrule.tracing import trees
from chainrule.training.formulas import SLOPES

Array: TypeAlias = np.ndarray[Any, Any]

# Two orders of the same float64 arithmetic differ by less than this.
SAME = 1e-9

SUPPORTED = (
    "explain walks through nn.Dense layers, each with elementwise functions such as nn.sigmoid, "
    "nn.tanh or nn.relu behind it, nn.Dropout (which does nothing outside training) and "
    "nn.Flatten at the front, in an nn.Sequential"
)


@dataclass(frozen=True)
class Stage:
    """A Dense layer and the functions behind it."""

    path: str
    dense: nn.Dense
    functions: tuple[tuple[str, Callable[..., Any]], ...]  # with their paths


def stages_of(net: Any) -> list[Stage]:
    """The Dense layers of a net with what stands behind each. Raises UsageError for other nets."""
    stages: list[Stage] = []
    for path, part in _parts(net, ""):
        if isinstance(part, nn.Dense):
            if part.weight is None or part.bias is True:
                raise UsageError(
                    "the network has no weights yet", do="net = cr.nn.init(net, x, seed=0)"
                )
            stages.append(Stage(path, part, ()))
        elif isinstance(part, nn.Dropout) or (isinstance(part, nn.Flatten) and not stages):
            continue
        elif isinstance(part, nn.Layer) or trees.leaves(part) or not stages:
            raise UsageError(
                f"{named(path, part)} cannot be walked through",
                where=path or "the network",
                do=SUPPORTED,
            )
        else:
            last = stages[-1]
            stages[-1] = replace(last, functions=(*last.functions, (path, part)))
    if not stages:
        raise UsageError("the network has no Dense layer to walk through", do=SUPPORTED)
    return stages


def _parts(part: Any, path: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(part, nn.Sequential):
        yield path, part
        return
    for number, inner in enumerate(part.layers):
        yield from _parts(inner, trees.join(path, f"layers.{number}"))


def named(path: str, part: Any) -> str:
    """A part of the net in words: `layers.2 (Dense 32 -> 10)`."""
    return f"{path} ({label_of(part)})" if path else f"a network that is one {label_of(part)}"


def check_elementwise(path: str, function: Any, z: Array, a: Array) -> None:
    """A delta is a product only where each unit's output depends on its own sum alone."""
    alone = np.array([np.asarray(function(np.array([[value]]))).reshape(-1)[0] for value in z])
    if a.shape != z.shape or not np.allclose(alone, a, rtol=SAME, atol=SAME, equal_nan=True):
        raise UsageError(
            f"{named(path, function)} cannot be walked through: it mixes the units of a layer",
            where=path,
            do=SUPPORTED,
        )


def slope_formula(stage: Stage) -> str:
    """f' in letters, where f is one function of the table of formulas; else ""."""
    if len(stage.functions) > 1:
        return ""
    function = stage.functions[0][1] if stage.functions else nn.identity
    known = SLOPES.get(function)
    return known.text if known else ""
