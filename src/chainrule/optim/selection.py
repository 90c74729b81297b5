"""Which weights a penalty or a decay applies to."""

from __future__ import annotations

from collections.abc import Callable

from chainrule.optim import checks
from chainrule.optim.arrays import Array


def decides(owner: str, setting: str, value: str) -> Callable[[Array], bool]:
    """The test for a choice of weights: "matrices" (two axes or more) or "all".

    Biases and the scales of normalisation layers have one axis and are usually left alone: they
    do not make a network more complex.
    """
    choice = checks.one_of(owner, setting, value, ("matrices", "all"))
    return lambda weight: choice == "all" or weight.ndim >= 2
