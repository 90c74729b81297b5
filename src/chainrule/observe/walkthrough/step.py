"""One step of backpropagation on one row, with every number in it.

The numbers are made by `training.walkthrough`; the terminal and the HTML page show them. All arrays
are float64. A layer here is the weighted sums of a Dense layer together with the function after it:

    z = a @ w + b        a: what the layer before it sends (the row itself at first)
    output = f(z)
    delta = dE/dz        E: the error, what training makes small
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, Any]

AGREES, AT_A_KINK, DIFFERS = "yes", "kink", "NO"

# How far a gradient may be from its numeric derivative: a share of the largest gradient of the
# step, or what float64 leaves uncertain in any difference of errors where that is more.
TOLERANCE, ROUNDING = 1e-7, 1e-12


@dataclass(frozen=True)
class GradientCheck:
    """A gradient beside its numeric derivative.

    It belongs to the weight from input `source` to unit `unit` of its layer, or to the unit's bias
    where `source` is None; `weight` is the value it had. `verdict` is AGREES, DIFFERS, or AT_A_KINK
    where E bends at exactly this weight, so that the slopes on its two sides differ.
    """

    unit: int
    source: int | None
    weight: float
    gradient: float
    numeric: float
    verdict: str


@dataclass(frozen=True, eq=False)
class LayerWalk:
    """One layer's part in the step; n inputs, m units.

    `name` is the Dense layer's path in the network ("" where it is all of it). `function` names f
    ("identity" where nothing follows the sums) and `slope_formula` is its derivative in terms of
    its value a, or "".

    `units` are the units to show, in order: all of a small layer. `sources[k]` are the inputs to
    show for the k-th of them, and `targets[k]` the units of the next layer (none for the last).
    """

    name: str
    function: str
    slope_formula: str
    input_names: tuple[str, ...]
    unit_names: tuple[str, ...]
    weight: Array  # [n, m]
    bias: Array | None  # [m]
    inputs: Array  # [n]
    z: Array  # [m]
    outputs: Array  # [m], f(z)
    slope: Array  # [m], f'(z)
    error: Array  # [m], dE/d output
    delta: Array  # [m], dE/dz = error * slope
    weight_gradient: Array  # [n, m]
    bias_gradient: Array | None
    new_weight: Array
    new_bias: Array | None
    units: tuple[int, ...] = ()
    sources: tuple[tuple[int, ...], ...] = ()
    targets: tuple[tuple[int, ...], ...] = ()
    checks: tuple[GradientCheck, ...] = ()

    @property
    def largest_gradient(self) -> float:
        """The size of the largest gradient of a weight or a bias of this layer."""
        found = [float(np.max(np.abs(self.weight_gradient)))]
        if self.bias_gradient is not None:
            found.append(float(np.max(np.abs(self.bias_gradient))))
        return max(found)

    @property
    def complete(self) -> bool:
        """Whether every unit and every input is shown."""
        n, m = self.weight.shape
        return len(self.units) == m and all(len(chosen) == n for chosen in self.sources)


@dataclass(frozen=True, eq=False)
class ErrorWalk:
    """How wrong the outputs are.

    `terms` [k] add up to `value` where the loss is such a sum. `probabilities` [k] are what the
    loss makes of logits; None for losses that compare the outputs as they are. `formula` is the
    loss in letters, `numbers` the same in numbers where that is short, and `slope_formula` its
    derivative dE/da; all are "" for losses that take more than a line.
    """

    loss: str
    formula: str
    slope_formula: str
    numbers: str
    outputs: Array  # [k]
    targets: Array  # [k]
    probabilities: Array | None
    terms: Array | None
    value: float


@dataclass(frozen=True, eq=False)
class Walkthrough:
    """A forward pass, its error, the backward pass and the update of plain gradient descent.

    A gradient agrees with its numeric derivative where they differ by no more than `tolerance`:
    TOLERANCE of the largest gradient of the step, but no less than ROUNDING. `graph_difference` is
    the largest distance of the formulas' gradients from those of the traced graph.
    """

    layers: tuple[LayerWalk, ...]
    error: ErrorWalk
    learning_rate: float
    loss_after: float
    tolerance: float
    graph_difference: float

    @property
    def loss_before(self) -> float:
        """The error before the update."""
        return self.error.value

    @property
    def checks(self) -> tuple[GradientCheck, ...]:
        """Every gradient that has a numeric partner, layer by layer."""
        return tuple(check for layer in self.layers for check in layer.checks)

    @property
    def largest_gradient(self) -> float:
        """The size of the largest gradient of the step."""
        return max(layer.largest_gradient for layer in self.layers)

    @property
    def difference(self) -> float:
        """The largest distance of a checked gradient, not at a kink, from its numeric partner."""
        distances = [abs(c.gradient - c.numeric) for c in self.checks if c.verdict != AT_A_KINK]
        return max(distances, default=0.0)

    def count(self, verdict: str) -> int:
        """How many of the checks ended with this verdict."""
        return sum(check.verdict == verdict for check in self.checks)


@dataclass(frozen=True, eq=False)
class Subject:
    """What is walked through: the words around the numbers.

    `facts` are (name, text) pairs about network, loss and step; `row_text` says which row it is;
    `fields` are the row's own columns as (name, value); `image` [rows, columns] holds the row
    instead where it is a picture, from 0 to 1. `remarks` are sentences of their own.
    """

    title: str
    row_text: str
    facts: tuple[tuple[str, str], ...]
    fields: tuple[tuple[str, str], ...]
    target: tuple[str, str]
    image: Array | None = None
    remarks: Sequence[str] = ()
