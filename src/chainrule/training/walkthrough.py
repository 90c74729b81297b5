"""One step of backpropagation on one row of a small dense network, with every number kept.

The backward pass is computed by hand, delta by delta, as in Rumelhart, Hinton and Williams,
"Learning representations by back-propagating errors", Nature 1986; it must equal the gradient of
the traced graph, and each gradient that is shown gets a numeric derivative beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from chainrule.errors import ChainruleError, NonFiniteError, ShapeError, UsageError
from chainrule.nn.place import label_of
from chainrule.observe.walkthrough import (
    ROUNDING,
    TOLERANCE,
    ErrorWalk,
    GradientCheck,
    LayerWalk,
    Walkthrough,
    telling_terms,
    telling_units,
)
from chainrule.pipeline import compile, grad
from chainrule.tracing import trees
from chainrule.training.dense_stages import (
    SAME,
    Stage,
    check_elementwise,
    named,
    slope_formula,
    stages_of,
)
from chainrule.training.differences import derivative, verdict
from chainrule.training.formulas import LossParts, loss_parts, slope_of
from chainrule.training.objective import Objective

Array: TypeAlias = np.ndarray[Any, Any]


def walk(
    net: Any,
    x_row: Any,
    y_row: Any,
    objective: Objective,
    learning_rate: float,
    *,
    input_names: Sequence[str] = (),
    output_names: Sequence[str] = (),
) -> Walkthrough:
    """Walks one row through forward pass, error, backward pass and update, in float64.

    `net` is a filled Sequential of Dense layers with elementwise functions behind them; `x_row` is
    one row of inputs and `y_row` its entry of y (a class number, or numbers). Dropout does
    nothing, as outside training; class weights have no effect on a single row. The update is that
    of plain gradient descent: w - learning_rate * gradient. `input_names` and `output_names` are
    for display.

    Raises UsageError for a net or a learning rate that cannot be walked through, ShapeError where
    row and net do not fit, NonFiniteError where a number on the way is not finite, ChainruleError
    where the formulas and the graph's gradient disagree.
    """
    if not (learning_rate > 0 and math.isfinite(learning_rate)):
        raise UsageError(f"the learning rate is {learning_rate}", do="use one above 0, such as 0.1")
    net = trees.map_leaves(lambda leaf: np.array(leaf, np.float64), net)  # copies of our own
    x = np.asarray(x_row, np.float64)[None]
    y = np.asarray(y_row)
    y = (y.astype(np.float64) if y.dtype.kind == "f" else y)[None]
    objective = replace(objective, class_weights=None)

    def loss(net: Any) -> Any:
        return objective(net(x), y)

    with np.errstate(over="ignore", invalid="ignore"):
        layers = _forward(net, x, input_names, output_names)
        error, slope = _error(objective, layers[-1].outputs, y)
        layers = _backward(layers, slope)
        _check_finite(error, layers)
        graph_difference = _compare_with_graph(layers, _gradient(loss)(net))
        largest = max(layer.largest_gradient for layer in layers)
        tolerance = max(TOLERANCE * largest, ROUNDING)
        layers = [_shortened(layer, layers[i + 1 : i + 2]) for i, layer in enumerate(layers)]
        layers = [_checked(layer, lambda: float(loss(net)), tolerance) for layer in layers]
        layers = [_updated(layer, learning_rate) for layer in layers]
        loss_after = float(loss(_with_new_weights(net, layers)))
    return Walkthrough(tuple(layers), error, learning_rate, loss_after, tolerance, graph_difference)


# --- forward --------------------------------------------------------------------------------


def _gradient(function: Callable[..., Any]) -> Callable[..., Any]:
    """The gradient of a function that is called once: compiling would take longer than it saves."""
    return compile(grad(function), backend="reference")


def _forward(
    net: Any, x: Array, input_names: Sequence[str], output_names: Sequence[str]
) -> list[LayerWalk]:
    stages = stages_of(net)
    inputs, names = x.reshape(-1), tuple(input_names) or _numbered("x", x.size)
    if len(names) != x.size:
        raise ShapeError(f"{len(names)} input names for a row of {x.size} numbers")
    layers = []
    for number, stage in enumerate(stages):
        weight = np.asarray(stage.dense.weight)
        if weight.shape[0] != len(inputs):
            raise ShapeError(
                f"{named(stage.path, stage.dense)} expects {weight.shape[0]} inputs, and "
                f"{'the row has' if number == 0 else 'the layer before it gives'} {len(inputs)}"
            )
        is_last = number == len(stages) - 1
        unit_names = _unit_names(number, len(stages), weight.shape[1])
        if is_last and output_names:
            unit_names = tuple(output_names)
        layer = _layer_forward(stage, inputs, names, unit_names)
        layers.append(layer)
        inputs, names = layer.outputs, unit_names
    given = np.asarray(net(x))
    if given.shape[0] != 1 or not np.allclose(given.reshape(-1), inputs, rtol=SAME, atol=SAME):
        raise ChainruleError("the weighted sums do not give what the network itself gives")
    return layers


def _layer_forward(
    stage: Stage, inputs: Array, input_names: tuple[str, ...], unit_names: tuple[str, ...]
) -> LayerWalk:
    weight = np.asarray(stage.dense.weight)
    bias = None if stage.dense.bias is False else np.asarray(stage.dense.bias)
    z = inputs @ weight
    z = z if bias is None else z + bias
    if len(unit_names) != len(z):
        raise ShapeError(f"{len(unit_names)} output names for {len(z)} outputs")
    outputs, slope = z, np.ones_like(z)
    for path, function in stage.functions:
        before, outputs = outputs, np.asarray(function(outputs[None]))[0]
        check_elementwise(path, function, before, outputs)
        slope = slope * slope_of(function, before, outputs)
    none = np.zeros_like(z)
    return LayerWalk(
        name=stage.path,
        function=", then ".join(label_of(f) for _, f in stage.functions) or "identity",
        slope_formula=slope_formula(stage),
        input_names=input_names,
        unit_names=unit_names,
        weight=weight,
        bias=bias,
        inputs=inputs,
        z=z,
        outputs=outputs,
        slope=slope,
        error=none,
        delta=none,
        weight_gradient=np.zeros_like(weight),
        bias_gradient=bias,
        new_weight=weight,
        new_bias=bias,
    )


def _unit_names(number: int, count: int, width: int) -> tuple[str, ...]:
    if number == count - 1:
        return ("output",) if width == 1 else _numbered("output ", width)
    return _numbered("h" if count == 2 else f"h{number + 1}.", width)


def _numbered(stem: str, count: int) -> tuple[str, ...]:
    return tuple(f"{stem}{i + 1}" for i in range(count))


# --- error and backward ---------------------------------------------------------------------


def _error(objective: Objective, outputs: Array, y: Array) -> tuple[ErrorWalk, Array]:
    """The error of the outputs, and its slope dE/d output."""
    value = float(objective(outputs[None], y))
    targets = _targets(objective.task, y, len(outputs))
    parts = loss_parts(objective.loss, outputs, targets)
    if parts is None:
        error = np.asarray(_gradient(lambda a: objective(a, y))(outputs[None]))[0]
        parts = LossParts("", "", error)
    walked = ErrorWalk(
        loss=objective.name,
        formula=parts.formula,
        slope_formula=parts.slope_formula,
        numbers=parts.numbers,
        outputs=outputs,
        targets=targets,
        probabilities=parts.probabilities,
        terms=parts.terms,
        value=value,
    )
    return walked, parts.error


def _targets(task: str, y: Array, count: int) -> Array:
    """What each output should have been: [k]."""
    if task == "regression" or count == 1:
        return np.asarray(y, np.float64).reshape(-1)
    return np.asarray(np.arange(count) == y.reshape(-1)[0], np.float64)


def _backward(layers: Sequence[LayerWalk], error: Array) -> list[LayerWalk]:
    """Deltas from the last layer to the first, and from them the gradients."""
    done: list[LayerWalk] = []
    for layer in reversed(layers):
        delta = error * layer.slope
        gradient = np.outer(layer.inputs, delta)
        bias_gradient = None if layer.bias is None else delta
        done.append(
            replace(
                layer,
                error=error,
                delta=delta,
                weight_gradient=gradient,
                bias_gradient=bias_gradient,
            )
        )
        error = layer.weight @ delta
    return done[::-1]


def _check_finite(error: ErrorWalk, layers: Sequence[LayerWalk]) -> None:
    if not math.isfinite(error.value):
        raise NonFiniteError(f"the loss of this row is {error.value}", do="choose another row")
    for layer in layers:
        if not all(np.isfinite(a).all() for a in (layer.z, layer.delta, layer.weight_gradient)):
            raise NonFiniteError(
                "the sums or the gradients of this row are not finite",
                where=layer.name or "the network",
                do="choose another row, or a network with smaller weights",
            )


def _compare_with_graph(layers: Sequence[LayerWalk], gradients: Any) -> float:
    """The largest difference from the traced graph's gradients; ChainruleError if there is one."""
    found = {leaf.name: np.asarray(leaf.value) for leaf in trees.leaves(gradients)}
    largest, worst, where = 0.0, 0.0, ""
    for layer in layers:
        for name, ours in (("weight", layer.weight_gradient), ("bias", layer.bias_gradient)):
            if ours is None:
                continue
            theirs = found[trees.join(layer.name, name)]
            largest = max(largest, float(np.max(np.abs(theirs))))
            distance = float(np.max(np.abs(ours - theirs)))
            if not distance <= worst:
                worst, where = distance, trees.join(layer.name, name)
    if not worst <= SAME * largest + ROUNDING:
        raise ChainruleError(
            f"the backward pass by hand and the gradient of the graph differ by {worst:.3g}",
            where=where,
            do="this is a fault of chainrule or of a custom function's derivative: report it, "
            "with the network",
        )
    return worst


# --- what is shown, checked and updated -----------------------------------------------------


def _shortened(layer: LayerWalk, after: Sequence[LayerWalk]) -> LayerWalk:
    units = telling_units(layer.delta)
    sources = [telling_terms(layer.inputs * layer.weight[:, j]) for j in units]
    targets = [telling_terms(after[0].weight[j] * after[0].delta) for j in units] if after else []
    return replace(layer, units=units, sources=tuple(sources), targets=tuple(targets))


def _checked(layer: LayerWalk, loss: Callable[[], float], tolerance: float) -> LayerWalk:
    """The layer with a numeric derivative for each gradient that is shown. The arrays are our own
    copies, so a weight can be moved in place and put back."""

    def check(array: Array, place: Any, gradient: float) -> tuple[float, float, float, str]:
        at = float(array[place])

        def moved(value: float) -> float:
            array[place] = value
            try:
                return loss()
            finally:
                array[place] = at

        numeric = derivative(moved, at)
        return at, gradient, numeric, verdict(moved, at, gradient, numeric, tolerance)

    checks = []
    for unit, sources in zip(layer.units, layer.sources, strict=True):
        for source in sources:
            gradient = float(layer.weight_gradient[source, unit])
            told = check(layer.weight, (source, unit), gradient)
            checks.append(GradientCheck(unit, source, *told))
        if layer.bias is not None and layer.bias_gradient is not None:
            told = check(layer.bias, (unit,), float(layer.bias_gradient[unit]))
            checks.append(GradientCheck(unit, None, *told))
    return replace(layer, checks=tuple(checks))


def _updated(layer: LayerWalk, rate: float) -> LayerWalk:
    new_bias = None
    if layer.bias is not None and layer.bias_gradient is not None:
        new_bias = layer.bias - rate * layer.bias_gradient
    return replace(layer, new_weight=layer.weight - rate * layer.weight_gradient, new_bias=new_bias)


def _with_new_weights(net: Any, layers: Sequence[LayerWalk]) -> Any:
    values: dict[str, Any] = {}
    for layer in layers:
        values[trees.join(layer.name, "weight")] = layer.new_weight
        values[trees.join(layer.name, "bias")] = layer.new_bias
    return trees.replace_leaves(net, [values[leaf.name] for leaf in trees.leaves(net)])
