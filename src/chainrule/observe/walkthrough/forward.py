"""The forward half of the walkthrough: weighted sums, outputs, error."""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.observe.walkthrough.blocks import Block, Part, Row, Section, layer_titles, sum_rows
from chainrule.observe.walkthrough.decimals import style_for, sum_texts
from chainrule.observe.walkthrough.excerpt import telling_outputs
from chainrule.observe.walkthrough.step import ErrorWalk, LayerWalk, Walkthrough
from chainrule.observe.wording import count


def forward(walk: Walkthrough) -> Section:
    """The weighted sums of every layer, written out as sums of products."""
    parts = []
    for layer, title in zip(walk.layers, layer_titles(walk), strict=True):
        symbol = "x" if layer is walk.layers[0] else "a"
        blocks = _forward_blocks(layer, symbol)
        kind = "linear" if layer.function == "identity" else layer.function
        place = f" ({layer.name})" if layer.name else ""
        units = count(len(layer.z), f"{kind} unit")
        parts.append(Part(f"{title}: {units}{place}", blocks, _left_out(layer)))
    about = (
        "Each unit multiplies what comes in by its weights and adds the products to a sum z; its "
        "bias is a weight whose input is always 1. Its function makes the output a of the sum."
    )
    return Section("forward", "Forward", about, tuple(parts))


def _left_out(layer: LayerWalk) -> str:
    if layer.complete:
        return ""
    n, m = layer.weight.shape
    what = []
    if len(layer.units) < m:
        what.append(f"the {len(layer.units)} of {m} units with the largest deltas")
    if len(layer.sources[0]) < n:
        what.append(f"the {len(layer.sources[0])} largest of the {n} terms of each sum")
    return f"Shown are {' and '.join(what)}."


def _forward_blocks(layer: LayerWalk, symbol: str) -> tuple[Block, ...]:
    pairs = list(zip(layer.units, layer.sources, strict=True))
    shown = [layer.weight[i, j] for j, sources in pairs for i in sources]
    biases = [] if layer.bias is None else [float(layer.bias[j]) for j in layer.units]
    inputs = [layer.inputs[i] for _, sources in pairs for i in sources]
    products = [layer.inputs[i] * layer.weight[i, j] for j, sources in pairs for i in sources]
    sums = [layer.z[j] for j in layer.units]
    styles = (
        style_for(inputs),
        style_for([*shown, *biases]),
        style_for([*products, *biases, *sums]),
    )
    of_output = style_for([layer.outputs[j] for j in layer.units])
    blocks = []
    for j, sources in pairs:
        terms = [(layer.input_names[i], layer.inputs[i], layer.weight[i, j]) for i in sources]
        if layer.bias is not None:
            terms.append(("bias", 1.0, layer.bias[j]))
        rest = len(layer.inputs) - len(sources)
        rows = sum_rows(terms, rest, float(layer.z[j]), styles, "z")
        if layer.function != "identity":
            written = of_output.write(layer.outputs[j])
            function = layer.function if "then" not in layer.function else "f"
            rows.append(Row(f"a = {function}(z)", ("", "", written)))
        columns = ("input", symbol, "w", f"{symbol} × w")
        blocks.append(Block(layer.unit_names[j], columns, ("", "×", "="), tuple(rows)))
    return tuple(blocks)


# --- error ----------------------------------------------------------------------------------


def error(walk: Walkthrough) -> Section:
    """Outputs, targets, the loss and its slope with respect to each output."""
    last, wrong = walk.layers[-1], walk.error
    target = int(wrong.targets.argmax()) if wrong.probabilities is not None else None
    shown = telling_outputs(last.error, target)
    block = _error_block(last, wrong, shown)
    about = (
        "The outputs a are compared with the targets t. The error E is one number for how wrong "
        "they are together, and dE/da says how E would change with each output."
    )
    notes = [f"The loss is {wrong.loss.replace('_', ' ')}: {_loss_line(wrong)}"]
    if wrong.probabilities is not None:
        squash = "sigmoid" if len(wrong.outputs) == 1 else "softmax"
        notes.append(f"p = {squash}(a) is the probability that the network gives.")
    return Section("error", "Error", about, (Part("", (block,), notes=tuple(notes)),))


def _error_block(last: LayerWalk, error: ErrorWalk, shown: Sequence[int]) -> Block:
    named = [("a", error.outputs)]
    if error.probabilities is not None:
        named.append(("p", error.probabilities))
    slope = f"dE/da = {error.slope_formula}" if error.slope_formula else "dE/da"
    named += [("t", error.targets), (slope, last.error)]
    written = [[style_for(v[list(shown)]).write(v[i]) for i in shown] for _, v in named]
    rest = len(error.outputs) - len(shown)
    names = [last.unit_names[i] for i in shown]
    columns = ["output", *(name for name, _ in named)]
    more, total = [""] * len(named), [""] * len(named)
    if error.terms is not None:
        terms = [float(error.terms[i]) for i in shown]
        left = [error.value - sum(terms)] * bool(rest)
        style = style_for([*terms, error.value])
        texts, value = sum_texts([*terms, *left], error.value, style)
        written.append(texts[: len(shown)])
        more.append(texts[-1])
        total.append(value)
        columns.append("part of E")
    rows = [Row(name, cells) for name, cells in zip(names, zip(*written, strict=True), strict=True)]
    if rest:
        rows.append(Row(f"and {rest} more", tuple(more)))
    if error.terms is not None:
        rows.append(Row("E", tuple(total), total=True))
    return Block("", tuple(columns), ("",) * (len(columns) - 1), tuple(rows))


def _loss_line(error: ErrorWalk) -> str:
    """The loss in letters, and with the numbers where it is one term."""
    parts = [error.formula or "E", error.numbers, f"{error.value:.5g}"]
    return " = ".join(filter(None, parts))
