"""A net as a table: its parts, what each gives, and how many numbers it trains."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from chainrule.errors import TraceError, UsageError
from chainrule.nn.compose import Residual, Sequential
from chainrule.nn.costs import Costs, costs
from chainrule.nn.layer import Layer
from chainrule.nn.nets import examples, init, is_filled
from chainrule.nn.place import label_of
from chainrule.nn.sharing import Frozen
from chainrule.tracing.context import Context, use
from chainrule.tracing.trees import children, is_array, join, leaves

_HEADER = ("path", "layer", "output", "weights", "multiply-adds")
_TEXT = 3  # so many columns are words, the others numbers
_GAP = "  "


def summary(net: Any, x: Any = None) -> str:
    """A table of the net's parts: path, layer, shape of the output, number of weights, arithmetic.

    Shapes are those for the example `x`, with N for its rows; where the net's first layer says its
    width, no example is needed. Weights are counted also before `init`, where the widths are known.
    Multiply-adds are those of products (dense layers, convolutions, attention, every step of a
    recurrent layer) for one row, forward; the last line has those of a training step, forward and
    back, and the memory that its values take at once (weights, their gradients and the data not
    counted), for each row of a batch. Raises what running the net on such shapes raises.
    """
    try:
        net = net if is_filled(net) else init(net, x)
    except UsageError:
        if x is not None:
            raise
    shapes = _shapes(net, x)
    cost = _costs(net, x)
    made = None if cost is None else cost.forward
    parts = list(_parts(net, ""))
    frozen = [path for path, part in parts if isinstance(part, Frozen)]
    rows: list[tuple[str, ...]] = [
        (
            path or "(the net)",
            label_of(part),
            shapes.get(path, "?"),
            _own_weights(part, any(path.startswith(join(outer, "inner")) for outer in frozen)),
            _number(None if made is None else made.get(path, 0)),
        )
        for path, part in parts
    ]
    trained, other = _sizes(net)
    weights = f"{trained:,}" if is_filled(net) else "?"
    rows.append(("total", "", "", weights, _number(None if made is None else sum(made.values()))))
    lines = [_line(row, rows) for row in (_HEADER, *rows)]
    if cost and cost.gradient:
        each = f"{cost.gradient:,} multiply-adds and {_size(cost.memory)}"
        lines.append(f"a training step takes {each} for each row")
    frozen_weights, statistics = _sizes([p.inner for _, p in parts if isinstance(p, Frozen)])
    if frozen_weights:
        lines.append(f"and {frozen_weights:,} weights in brackets, frozen: they are not trained")
    moving = other - frozen_weights - statistics
    if moving > 0:
        lines.append(f"and {moving:,} numbers that change without gradients")
    return "\n".join(lines)


def _parts(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """The layers and the functions between them, outer ones first; a Sequential is its parts."""
    if isinstance(value, Layer) and not isinstance(value, Sequential):
        yield path, value
    between = isinstance(value, Sequential | Residual)
    for name, part in () if is_array(value) else children(value) or ():
        place = join(path, name)
        if isinstance(value, Sequential) and name == "layers":
            for number, inner in enumerate(part):
                yield from _part(inner, join(place, number))
        elif between:
            yield from _part(part, place)
        else:
            yield from _parts(part, place)


def _part(part: Any, path: str) -> Iterator[tuple[str, Any]]:
    if callable(part) and not isinstance(part, Layer):
        yield path, part
    else:
        yield from _parts(part, path)


def _shapes(net: Any, x: Any) -> dict[str, str]:
    """The shape of each part's output by path, from a run on zeros; empty without an example."""
    inputs = examples(net, x, np.dtype(np.float32))
    if inputs is None:
        return {}
    context = Context()
    context.name(net)
    with use(context), np.errstate(all="ignore"):
        net(*inputs)
    rows = inputs[0].shape[:1]
    return {path: _shape(output, rows) for path, output in context.outputs.items()}


def _costs(net: Any, x: Any) -> Costs | None:
    """None where there is no example, or the net cannot be traced."""
    inputs = examples(net, x, np.dtype(np.float32))
    if inputs is None or not is_filled(net):
        return None
    try:
        return costs(net, inputs)
    except TraceError:
        return None


def _number(count: int | None) -> str:
    return "?" if count is None else f"{count:,}" if count else "-"


def _size(count: int) -> str:
    """Bytes in a unit that keeps the number short."""
    for unit in ("bytes", "kB", "MB"):
        if count < 10_000 or unit == "MB":
            break
        count = round(count / 1000)
    return f"{count:,} {unit}"


def _shape(output: Any, rows: tuple[int, ...]) -> str:
    if isinstance(output, tuple) and output:  # with a state, say: the output is what comes first
        return _shape(output[0], rows)
    if not is_array(output):
        return "?"
    sizes = [str(n) for n in output.shape]
    if rows and output.shape[:1] == rows:
        sizes[0] = "N"
    return f"({', '.join(sizes)})"


def _own_weights(part: Any, frozen: bool) -> str:
    """The weights of a part, those of layers inside it left out; in brackets where it is in a
    frozen one."""
    if not isinstance(part, Layer) or isinstance(part, Frozen):
        return "-"
    inside = sum(_sizes(inner)[0] for _, inner in _inner_layers(part))
    own = _sizes(part)[0] - inside
    if own == 0 and not is_filled(part):
        return "?"
    return (f"({own:,})" if frozen else f"{own:,}") if own else "-"


def _inner_layers(value: Any) -> Iterator[tuple[str, Layer]]:
    for name, part in children(value) or ():
        if isinstance(part, Layer):
            yield name, part
        elif not is_array(part):
            yield from _inner_layers(part)


def _sizes(net: Any) -> tuple[int, int]:
    """How many numbers are trained, and how many change without gradients."""
    sizes = [0, 0]
    for leaf in leaves(net):
        sizes[not leaf.trained] += math.prod(leaf.value.shape)
    return sizes[0], sizes[1]


def _line(row: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(r[i]) for r in (_HEADER, *rows)) for i in range(len(_HEADER))]
    cells = [
        cell.ljust(width) if number < _TEXT else cell.rjust(width)
        for number, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return _GAP.join(cells)
