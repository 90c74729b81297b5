"""Where a number first stopped being finite, found by making the same step once more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from chainrule.nn.place import label_of
from chainrule.tracing.trees import children


def first_non_finite(net: Any, found: Mapping[str, Any]) -> str:
    """The first of a step's quantities (see `StepBuilder.quantities`) that is not finite, in the
    order in which backpropagation makes them: forward through the layers, the loss, back through
    the layers, the gradients of the weights, what the layers remember, the update."""
    paths = list(found["outputs"])
    for path in _bad(found["outputs"]):
        return f"the output of {_named(net, path)}"
    if not np.isfinite(found["loss"]):
        return "the loss"
    if wrong := _bad(found["deltas"]):
        last = wrong[-1]
        later = paths[paths.index(last) + 1 :]
        source = _named(net, later[0]) if later else "the loss"
        return f"the delta that {source} passes back to {_named(net, last)}"
    kinds = ("gradients", "gradient"), ("state", "new value"), ("memory", "carried state")
    for kind, words in (*kinds, ("weights", "update")):
        for name in _bad(found[kind]):
            return f"the {words} of {name}"
    return "the loss"


def _bad(arrays: Mapping[str, Any]) -> list[str]:
    return [name for name, array in arrays.items() if not np.isfinite(array).all()]


def _named(net: Any, path: str) -> str:
    """`layers.1 (relu)`; the network itself has no path."""
    part = net
    for name in filter(None, path.split(".")):
        part = dict(children(part) or ()).get(name)
    label = "" if part is None else label_of(part)
    if not path:
        return f"the network ({label})"
    return f"{path} ({label})" if label else path
