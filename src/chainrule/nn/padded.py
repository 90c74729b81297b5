"""Sequences of unequal length: what only fills a row up does not count."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule.errors import UsageError
from chainrule.nn.attention import MultiHeadAttention
from chainrule.nn.compose import call_part, check_part
from chainrule.nn.convolution import Conv1d, ConvTranspose1d
from chainrule.nn.layer import Layer, as_array
from chainrule.nn.layers import Embedding, Flatten, Reshape
from chainrule.nn.norms import BatchNorm, GroupNorm
from chainrule.nn.pooling import GlobalAvgPool, GlobalMaxPool, Pooling, Upsample
from chainrule.nn.recurrent import Recurrent
from chainrule.nn.transformer import TransformerDecoderBlock, TransformerEncoderBlock
from chainrule.tracing.trees import layer_paths

PADDING = 0  # the symbol that fills rows up, as in `data.TextTable`
_POOLS = ("mean", "max")
# What looks at several places at once: those that are told which places count, and others.
_TOLD = (Recurrent, MultiHeadAttention, TransformerEncoderBlock, Conv1d)
_MIXING = (
    *_TOLD,
    *(TransformerDecoderBlock, ConvTranspose1d, BatchNorm, GroupNorm, Pooling, Upsample),
    *(GlobalAvgPool, GlobalMaxPool, Flatten, Reshape),
)


@dataclass(frozen=True)
class Padded(Layer):
    """Layers over rows of symbols of which symbol 0 only fills them up, and one vector for each
    row: the mean (or the largest numbers) over the places that count.

    `Padded(Embedding(500, 32), (LSTM(64), Dropout(0.2)))`: whole numbers [rows, time] ->
    [rows, 64]. Recurrent layers keep their state at places of symbol 0, attention does not read
    them, convolutions in time see zeros there; other layers work place by place. A row of nothing
    but symbol 0 gives zeros. Raises UsageError for a layer that would see what fills rows up, or
    gives another number of places; ShapeError for symbols without an axis of time.
    """

    embedding: Any
    layers: tuple[Any, ...]
    pool: str = field(default="mean", kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        super().__post_init__()

    def check(self) -> None:
        if not isinstance(self.embedding, Embedding):
            raise UsageError(
                f"Padded: embedding is {self.embedding!r}",
                do="give a cr.nn.Embedding, then the layers over what it gives",
            )
        if self.pool not in _POOLS:
            raise UsageError(f"Padded: pool is {self.pool!r}", do=f"give one of {_POOLS}")
        for number, part in enumerate(self.layers):
            check_part("Padded", f"layers.{number}", part)
            _check_place_by_place(f"layers.{number}", part)

    def label(self) -> str:
        return f"Padded {self.embedding.count}, {self.pool}"

    def example(self) -> Any:
        return self.embedding.example()

    def forward(self, symbols: Any) -> Any:
        symbols = as_array(symbols)
        if symbols.ndim != 2:
            do = "give whole numbers [rows, time]; of one sequence, x[np.newaxis]"
            raise self.mismatch(f"[rows, time], got {symbols.ndim} axes", symbols, do)
        mask = symbols != PADDING
        x = self.embedding(symbols)
        for number, part in enumerate(self.layers):
            x = call_part(f"layers.{number}", part, *_inputs(part, x, mask))
        counts = mask[:, :, np.newaxis]
        if self.pool == "max":
            largest = np.where(counts, x, np.finfo(x.dtype).min).max(axis=1)
            return np.where(counts.any(axis=1), largest, 0)
        total = np.where(counts, x, 0).sum(axis=1)
        return total / np.maximum(counts.sum(axis=1), 1).astype(x.dtype)


def _check_place_by_place(path: str, part: Any) -> None:
    """Raises UsageError for a layer that cannot be told which places count."""
    if isinstance(part, Recurrent) and part.last:
        why, do = "gives its last state alone", "leave out last: the places are pooled here"
    elif isinstance(part, Conv1d) and (part.padding != "same" or part.stride not in (1, (1,))):
        why, do = "gives another number of places", 'give it padding="same" and no stride'
    elif isinstance(part, _TOLD):
        return
    else:
        inside = (layer for _, layer in layer_paths(part) if isinstance(layer, _MIXING))
        mixing = next(inside, None)
        if mixing is None:
            return
        why = "looks at several places, also at those that only fill a row up"
        do = "recurrent layers, attention, encoder blocks and Conv1d stand among the layers "
        do += "themselves, not inside others; LayerNorm normalises place by place"
        part = mixing
    raise UsageError(f"Padded: {path}: {part.label()} {why}", do=do)


def _inputs(part: Any, x: Any, mask: Any) -> tuple[Any, ...]:
    """What a layer is called with, so that it sees which places count."""
    if isinstance(part, Recurrent | MultiHeadAttention):
        return x, None, mask
    if isinstance(part, TransformerEncoderBlock):
        return x, mask
    return (np.where(mask[:, :, np.newaxis], x, 0),) if isinstance(part, Conv1d) else (x,)
