"""One step of backpropagation through any network: what each layer gives, what comes back to it,
and the gradient of each weight, one number of it beside a numeric derivative.

For dense networks `training.walkthrough` shows every number; here there are too many of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chainrule import tracing
from chainrule.backward import gradients
from chainrule.errors import NonFiniteError, UsageError
from chainrule.nn.attention import MultiHeadAttention
from chainrule.nn.place import label_of
from chainrule.nn.recurrent import Recurrent
from chainrule.nn.transformer import TransformerDecoderBlock, TransformerEncoderBlock
from chainrule.observe.walkthrough import DIFFERS, ROUNDING, TOLERANCE
from chainrule.pipeline import Program
from chainrule.tracing import trees
from chainrule.tracing.context import Context, use
from chainrule.training.differences import derivative, verdict
from chainrule.training.objective import Objective
from chainrule.training.telling import by_name, nodes_of, shown_of

Array = np.ndarray

# What is inside these is not told layer by layer.
_WHOLE = (MultiHeadAttention, Recurrent, TransformerDecoderBlock, TransformerEncoderBlock)


@dataclass(frozen=True)
class LayerSizes:
    """What a layer gave, and the delta that came back: the shape of both for one row, and the root
    of the mean square of each."""

    path: str
    label: str
    shape: tuple[int, ...]
    output: float
    delta: float


@dataclass(frozen=True)
class WeightCheck:
    """The gradient of one array of weights: the root of its mean square, and its largest number, at
    `place`, beside the numeric derivative there. `verdict` is that of a `GradientCheck`."""

    name: str
    shape: tuple[int, ...]
    size: float
    gradient_size: float
    place: tuple[int, ...]
    gradient: float
    numeric: float
    verdict: str


@dataclass(frozen=True)
class Overview:
    """The step: layers in the order in which they are called, and the loss before and after."""

    layers: tuple[LayerSizes, ...]
    weights: tuple[WeightCheck, ...]
    learning_rate: float
    loss_before: float
    loss_after: float
    tolerance: float

    @property
    def wrong(self) -> int:
        """How many gradients differ from their numeric derivatives."""
        return sum(check.verdict == DIFFERS for check in self.weights)


def overview(
    net: Any, x_row: Any, y_row: Any, objective: Objective, learning_rate: float
) -> Overview:
    """Takes one step on one row, in float64, by plain gradient descent: w - learning_rate *
    gradient. `x_row` is a row of inputs, numbers or symbols, and `y_row` its entry of y. Dropout
    does nothing, as outside training.

    Raises UsageError for a learning rate out of range, ShapeError where row and net do not fit,
    NonFiniteError where the loss or a gradient is not finite.
    """
    if not (learning_rate > 0 and math.isfinite(learning_rate)):
        raise UsageError(f"the learning rate is {learning_rate}", do="use one above 0, such as 0.1")
    net = trees.map_leaves(lambda leaf: np.array(leaf, np.float64), net)  # copies of our own
    x, y = _as_batch(x_row), _as_batch(y_row)
    goal = replace(objective, class_weights=None)
    arrays = {leaf.name: leaf.value for leaf in trees.leaves(net)}
    found = _quantities(net, x, y, goal)
    loss = _loss_of(net, x, y, goal)
    before = loss(arrays)
    slopes = {name: np.asarray(g) for name, g in found["gradients"].items()}
    if not (math.isfinite(before) and all(np.isfinite(g).all() for g in slopes.values())):
        raise NonFiniteError(f"the loss of this row is {before}", do="choose another row")
    largest = max(float(np.abs(g).max(initial=0)) for g in slopes.values())
    tolerance = max(TOLERANCE * largest, ROUNDING)
    checks = [_checked(name, arrays, g, loss, tolerance) for name, g in slopes.items()]
    moved = {n: a - learning_rate * slopes[n] if n in slopes else a for n, a in arrays.items()}
    return Overview(
        tuple(_layers(net, found)), tuple(checks), learning_rate, before, loss(moved), tolerance
    )


def _as_batch(row: Any) -> Array:
    array = np.asarray(row)
    return np.asarray(array.astype(np.float64) if array.dtype.kind == "f" else array)[None]


def _quantities(net: Any, x: Array, y: Array, goal: Objective) -> dict[str, Any]:
    """What every layer gives, its delta, and the gradient of every weight."""

    def step(net: Any, x: Any, y: Any) -> dict[str, Any]:
        context = Context()
        context.name(net)
        with use(context):
            loss = goal(net(x), y)
        shown = shown_of(context)
        weights = {leaf.name: leaf.value for leaf in trees.leaves(net) if leaf.trained}
        return {
            "outputs": shown,
            "deltas": by_name(shown, gradients(loss.node, nodes_of(shown), strict=False)),
            "gradients": by_name(weights, gradients(loss.node, nodes_of(weights))),
        }

    captured = tracing.capture(step, (net, x, y), name="step")
    values = [*(leaf.value for leaf in trees.leaves(net)), x, y]
    # It is run once: compiling it would take longer than that.
    found: dict[str, Any] = captured.rebuild(Program(captured.graph, "reference")(values))
    return found


def _loss_of(
    net: Any, x: Array, y: Array, goal: Objective
) -> Callable[[Mapping[str, Array]], float]:
    """The loss as a function of the network's arrays by name."""
    captured = tracing.capture(lambda net, x, y: goal(net(x), y), (net, x, y), name="loss")
    program = Program(captured.graph, threads=1)
    return lambda arrays: float(program([*arrays.values(), x, y])[0])


def _checked(
    name: str,
    arrays: Mapping[str, Array],
    gradient: Array,
    loss: Callable[[Mapping[str, Array]], float],
    tolerance: float,
) -> WeightCheck:
    """The largest number of a gradient and its numeric derivative. The arrays are our own copies,
    so a weight can be moved in place and put back."""
    array = arrays[name]
    place = np.unravel_index(int(np.abs(gradient).argmax()), gradient.shape)
    at, slope = float(array[place]), float(gradient[place])

    def moved(value: float) -> float:
        array[place] = value
        try:
            return loss(arrays)
        finally:
            array[place] = at

    numeric = derivative(moved, at)
    told = verdict(moved, at, slope, numeric, tolerance)
    where = tuple(int(i) for i in place)
    return WeightCheck(name, array.shape, _rms(array), _rms(gradient), where, slope, numeric, told)


def _layers(net: Any, found: Mapping[str, Any]) -> list[LayerSizes]:
    told = []
    for path, output in found["outputs"].items():
        parts = _parts_along(net, path)
        if not path or any(isinstance(part, _WHOLE) for part in parts[:-1]):
            continue
        label = label_of(parts[-1]) if len(parts) == path.count(".") + 2 else ""
        shape = tuple(np.shape(output)[1:])
        told.append(LayerSizes(path, label, shape, _rms(output), _rms(found["deltas"][path])))
    return told


def _parts_along(net: Any, path: str) -> list[Any]:
    """The network, and each part on the way to the one at a path."""
    parts = [net]
    for name in filter(None, path.split(".")):
        part = dict(trees.children(parts[-1]) or ()).get(name)
        if part is None:
            break
        parts.append(part)
    return parts


def _rms(values: Any) -> float:
    array = np.asarray(values)
    return float(np.sqrt(np.mean(array * array))) if array.size else 0.0
