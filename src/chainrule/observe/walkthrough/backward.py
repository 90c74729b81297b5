"""The backward half of the walkthrough: deltas, gradients beside numeric ones, new weights."""

from __future__ import annotations

from chainrule.observe.walkthrough.blocks import (
    Block,
    Part,
    Row,
    Section,
    factor,
    layer_titles,
    sum_rows,
    weight_name,
)
from chainrule.observe.walkthrough.decimals import finer, style_for, sum_texts
from chainrule.observe.walkthrough.step import AT_A_KINK, LayerWalk, Walkthrough


def backward(walk: Walkthrough) -> Section:
    """Deltas and gradients, from the last layer to the first."""
    titles = layer_titles(walk)
    parts = []
    for number in reversed(range(len(walk.layers))):
        layer, after = walk.layers[number], walk.layers[number + 1 : number + 2]
        is_last = not after
        about = _OUTPUT_DELTAS if is_last else _HIDDEN_DELTAS
        blocks = (_deltas(layer),) if is_last else _hidden_deltas(layer, after[0])
        parts.append(Part(f"{titles[number]}: deltas", blocks, about + _slope_line(layer)))
        bends = any(check.verdict == AT_A_KINK for check in layer.checks)
        parts.append(
            Part(
                f"{titles[number]}: gradients",
                (_gradients(layer, "a" if number else "x"),),
                _GRADIENTS if is_last else "",
                (_KINK,) if bends else (),
            )
        )
    about = (
        "The error is passed back, layer by layer: a unit's delta, dE/dz, says how E would change "
        "with its sum, and so how much the unit is to blame."
    )
    return Section("backward", "Backward", about, tuple(parts))


_OUTPUT_DELTAS = "At the outputs, delta = dE/da × f'(z)."
_HIDDEN_DELTAS = (
    "A hidden unit's delta is the sum, over the units that it feeds, of w × their delta, "
    "times f'(z)."
)
_GRADIENTS = (
    "The gradient of a weight is the delta of its unit times the input that it multiplies. The "
    "numeric derivative beside it comes from moving that one weight up and down and watching E."
)
_KINK = (
    "kink: E bends at exactly this weight and has another slope on either side, of which the "
    "numeric derivative is the mean."
)


def _slope_line(layer: LayerWalk) -> str:
    if layer.function == "identity":
        return " Here a = z, so f'(z) = 1."
    formula = f": f'(z) = {layer.slope_formula}" if layer.slope_formula else ""
    return f" f is {layer.function}{formula}."


def _hidden_deltas(layer: LayerWalk, after: LayerWalk) -> tuple[Block, ...]:
    if len(after.delta) == 1:
        return (_deltas_of_one(layer, after),)
    return (*_delta_sums(layer, after), _deltas(layer))


def _deltas_of_one(layer: LayerWalk, after: LayerWalk) -> Block:
    """All deltas in one table, where each unit feeds a single other one."""
    weights = [float(after.weight[j, 0]) for j in layer.units]
    slopes = [float(layer.slope[j]) for j in layer.units]
    deltas = [float(layer.delta[j]) for j in layer.units]
    styles = style_for(weights), style_for(after.delta), style_for(slopes), style_for(deltas)
    rows = []
    for j, *numbers in zip(layer.units, weights, slopes, deltas, strict=True):
        values = (numbers[0], float(after.delta[0]), *numbers[1:])
        cells = (style.write(value) for style, value in zip(styles, values, strict=True))
        rows.append(Row(layer.unit_names[j], tuple(cells)))
    columns = ("unit", "w", "next delta", "f'(z)", "delta")
    return Block("", columns, ("", "×", "×", "="), tuple(rows))


def _delta_sums(layer: LayerWalk, after: LayerWalk) -> tuple[Block, ...]:
    pairs = list(zip(layer.units, layer.targets, strict=True))
    weights = [after.weight[j, k] for j, targets in pairs for k in targets]
    deltas = [after.delta[k] for _, targets in pairs for k in targets]
    products = [after.weight[j, k] * after.delta[k] for j, targets in pairs for k in targets]
    sums = [layer.error[j] for j in layer.units]
    styles = style_for(weights), style_for(deltas), style_for([*products, *sums])
    blocks = []
    for j, targets in pairs:
        terms = [
            (after.unit_names[k], float(after.weight[j, k]), float(after.delta[k])) for k in targets
        ]
        rest = len(after.delta) - len(targets)
        rows = sum_rows(terms, rest, float(layer.error[j]), styles, "sum = dE/da")
        columns = ("feeds", "w", "delta", "w × delta")
        blocks.append(Block(layer.unit_names[j], columns, ("", "×", "="), tuple(rows)))
    return tuple(blocks)


def _deltas(layer: LayerWalk) -> Block:
    units = list(layer.units)
    arrays = layer.error[units], layer.slope[units], layer.delta[units]
    styles = [style_for(a) for a in arrays]
    rows = []
    for place, unit in enumerate(units):
        cells = (style.write(a[place]) for style, a in zip(styles, arrays, strict=True))
        rows.append(Row(layer.unit_names[unit], tuple(cells)))
    return Block("", ("unit", "dE/da", "f'(z)", "delta"), ("", "×", "="), tuple(rows))


def _gradients(layer: LayerWalk, symbol: str) -> Block:
    checks = layer.checks
    inputs = [1.0 if c.source is None else float(layer.inputs[c.source]) for c in checks]
    deltas = [float(layer.delta[c.unit]) for c in checks]
    of_delta = style_for(deltas)
    of_input = style_for([layer.inputs[c.source] for c in checks if c.source is not None])
    of_gradient = style_for([c.gradient for c in checks])
    rows = [
        Row(
            weight_name(layer, check.unit, check.source),
            (
                of_delta.write(delta),
                factor(value, of_input),
                of_gradient.write(check.gradient),
                of_gradient.write(check.numeric),
                check.verdict,
            ),
        )
        for check, value, delta in zip(checks, inputs, deltas, strict=True)
    ]
    columns = ("weight", "delta", symbol, "gradient", "numeric", "agree")
    return Block("", columns, ("", "×", "=", "", ""), tuple(rows), spare=(0, 1))


# --- update ---------------------------------------------------------------------------------


def update(walk: Walkthrough) -> Section:
    """Old weight, step and new weight, and the error of the same row after all of them."""
    parts = [
        Part(title, (_updates(layer, walk.learning_rate),))
        for layer, title in zip(walk.layers, layer_titles(walk), strict=True)
    ]
    parts.append(Part("The same row once more", (_errors(walk),), _change_line(walk)))
    about = (
        "Gradient descent moves each weight a little against its gradient, so that E goes down: "
        f"new = old - step, and the step is {walk.learning_rate:g} × gradient."
    )
    return Section("update", "Update", about, tuple(parts))


def _updates(layer: LayerWalk, rate: float) -> Block:
    steps = [rate * check.gradient for check in layer.checks]
    style = finer(
        style_for([check.weight for check in layer.checks]), max(abs(step) for step in steps)
    )
    rows = []
    for check, step in zip(layer.checks, steps, strict=True):
        old, moved = style.whole(check.weight), style.whole(step)
        cells = (style.text(old), style.text(moved), style.text(old - moved))
        rows.append(Row(weight_name(layer, check.unit, check.source), cells))
    columns = ("weight", "old", "step", "new")
    return Block("", columns, ("", "-", "="), tuple(rows))


def _errors(walk: Walkthrough) -> Block:
    change = walk.loss_after - walk.loss_before
    style = finer(style_for([walk.loss_before, walk.loss_after]), change)
    (before, moved), after = sum_texts([walk.loss_before, change], walk.loss_after, style, {0})
    rows = (
        Row("before", (before,)),
        Row("change", (moved,)),
        Row("after", (after,), total=True),
    )
    return Block("", ("", "E"), ("",), rows)


def _change_line(walk: Walkthrough) -> str:
    if walk.loss_after < walk.loss_before:
        return "With the new weights, all of them updated, this row's error is smaller."
    if walk.loss_after == walk.loss_before:
        return "The gradients are so small that this row's error did not change."
    return (
        "With the new weights this row's error is larger: the learning rate is too large for it, "
        "and the step went past the lowest point."
    )
