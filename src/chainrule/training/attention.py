"""What the heads of a network's attention read of one row, for the report to draw."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chainrule.data import Dataset, Encoder, SequenceEncoder
from chainrule.nn.attention import MultiHeadAttention
from chainrule.tracing.context import Context, use
from chainrule.tracing.trees import layer_paths

MOST_PLACES = 32  # of the row
MOST_HEADS = 32  # of all layers together

Array = np.ndarray


def attention(
    net: Any, dataset: Dataset, encoder: Encoder | None, row: int
) -> tuple[Mapping[str, Any], ...]:
    """The shares of each head in JSON values (see `Evaluated.attention`), for each layer in which a
    row of this data reads from itself; of its places the first 32 that hold something. Nothing
    where the network has no such layer."""
    if not any(isinstance(layer, MultiHeadAttention) for _, layer in layer_paths(net)):
        return ()
    x = dataset.x[row : row + 1]
    tokens = _tokens(dataset, encoder, row)
    if not tokens:
        return ()
    found, many = [], 0
    for path, shares in _seen(net, x).items():
        many += shares.shape[1]
        if shares.shape[2:] != (x.shape[1],) * 2 or many > MOST_HEADS:
            continue
        heads = np.asarray(shares[0, :, : len(tokens), : len(tokens)], np.float64)
        if np.isfinite(heads).all():
            told = {"layer": path, "row": _name(dataset, row), "tokens": list(tokens)}
            found.append({**told, "heads": [_head(head) for head in heads]})
    return tuple(found)


def _seen(net: Any, x: Array) -> dict[str, Array]:
    """The shares [1, heads, queries, keys] by the path of the layer, in the order of the layers."""
    context = Context(attention={})
    context.name(net)
    with use(context), np.errstate(all="ignore"):
        net(x)
    return context.attention or {}


def _tokens(dataset: Dataset, encoder: Encoder | None, row: int) -> Sequence[str]:
    """What stands at the places of a row: its symbols, or the number of the place."""
    values = dataset.x[row]
    symbols: Sequence[str] = dataset.classes if dataset.time else ()
    if isinstance(encoder, SequenceEncoder):
        symbols = encoder.vocabulary.symbols
        values = values[values != 0]  # without what fills it up
    values = values[:MOST_PLACES]
    if values.ndim == 1 and values.dtype.kind in "iu" and len(symbols) > int(values.max(initial=0)):
        return [symbols[int(value)] for value in values]
    return [str(place + 1) for place in range(len(values))]


def _name(dataset: Dataset, row: int) -> str:
    is_named = len(dataset.row_names) > 0 and "text" not in dataset.source
    return dataset.row_names[row] if is_named else f"row {row:,}"


def _head(shares: Array) -> dict[str, Any]:
    largest = float(shares.max(initial=0)) or 1.0
    whole = np.rint(255 * shares / largest).astype(np.uint8)
    return {"largest": largest, "shares": base64.b64encode(whole.tobytes()).decode()}
