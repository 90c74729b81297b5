"""Multi-head attention, of a sequence to itself or to another."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from chainrule.errors import UsageError
from chainrule.nn import checks
from chainrule.nn.activations import softmax
from chainrule.nn.layer import Layer, as_array
from chainrule.nn.layers import Dense, dropped
from chainrule.nn.positions import rotated
from chainrule.tracing.context import current


def _scaled(query: Any) -> Any:
    """Queries divided by the root of their length: there are fewer of them than scores."""
    return query * (1.0 / math.sqrt(query.shape[-1]))


@dataclass(frozen=True)
class MultiHeadAttention(Layer):
    """Each place of a sequence reads from all places: a mean of their values, weighted by how well
    its query fits their keys, in several heads side by side.

    Called as `layer(x)` the sequence reads from itself, as `layer(x, memory)` from another: x
    [rows, queries, width], memory [rows, keys, memory width] -> [rows, queries, width]. `mask` says
    what may be read: booleans [rows, keys], false for padding, or [rows, queries, keys]. `causal`
    lets each place read only from itself and those before. A place whose mask leaves it nothing
    gets the mean of all values, or with `causal` of its own and those before. `rotary` turns
    queries and keys by their positions (Su et al. 2021); `dropout` drops weights of the mean in
    training.

    The weights are those of four dense layers, `query`, `key`, `value` and `output`. Raises
    UsageError where `heads` does not divide the width, ShapeError for inputs of other shapes.

    Source: Vaswani et al., "Attention is all you need", NeurIPS 2017.
    """

    numbers: ClassVar = ("width", "heads", "dropout")
    width: int
    heads: int
    causal: bool = field(default=False, kw_only=True)
    rotary: bool = field(default=False, kw_only=True)
    dropout: float = field(default=0.0, kw_only=True)
    bias: bool = field(default=True, kw_only=True)
    query: Any = field(default=None, kw_only=True, repr=False)
    key: Any = field(default=None, kw_only=True, repr=False)
    value: Any = field(default=None, kw_only=True, repr=False)
    output: Any = field(default=None, kw_only=True, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        width, bias = self.width, self.bias
        self.make_parts(
            query=lambda: Dense(width, width, bias=bias),
            key=lambda: Dense(width, bias=bias),  # the memory may have another width
            value=lambda: Dense(width, bias=bias),
            output=lambda: Dense(width, width, bias=bias),
        )

    def check(self) -> None:
        name = "MultiHeadAttention"
        checks.size(name, "width", self.width)
        checks.size(name, "heads", self.heads)
        checks.number(name, "dropout", self.dropout, 0, 1)
        if self.width % self.heads:
            raise UsageError(
                f"{name}: a width of {self.width} cannot be divided among {self.heads} heads",
                do=f"make the width a multiple of {self.heads}",
            )
        if self.rotary and self.width // self.heads % 2:
            raise UsageError(
                f"{name}: heads of {self.width // self.heads} numbers cannot be rotated in pairs",
                do="make the width of each head even",
            )

    def label(self) -> str:
        parts = [f"MultiHeadAttention {self.width}, {self.heads} heads"]
        return ", ".join(parts + ["causal"] * self.causal + ["rotary"] * self.rotary)

    def example(self) -> Any:
        return np.zeros((2, 2, self.width), np.float32)

    def forward(self, x: Any, memory: Any = None, mask: Any = None) -> Any:
        x = self._sequence(x)
        source = x if memory is None else self._sequence(memory)
        if source.shape[0] != x.shape[0]:
            raise self.mismatch(
                f"a memory of {x.shape[0]} rows, got {source.shape[0]}",
                source,
                "give one memory for each row",
            )
        query, key, value = (
            self._heads(part(rows))
            for part, rows in ((self.query, x), (self.key, source), (self.value, source))
        )
        if self.rotary:
            query, key = rotated(query), rotated(key)
        scores = np.einsum("bqhd,bkhd->bhqk", _scaled(query), key)
        seen = self._seen(x, source, mask)
        if seen is not None:
            # The lowest number, not -infinity: a row of nothing else would give NaN.
            scores = np.where(seen, scores, np.finfo(scores.dtype).min)
        if self.causal:
            # Below even that, so that a place whose past is all padding reads no later one.
            past = np.arange(scores.shape[-1]) <= np.arange(scores.shape[-2])[:, np.newaxis]
            scores = np.where(past, scores, -np.inf)
        shares = softmax(scores)
        context = current()
        if context is not None and context.attention is not None:
            context.attention[context.scope] = shares
        weights = dropped(shares, self.dropout)
        read = np.einsum("bhqk,bkhd->bqhd", weights, value)
        return self.output(read.reshape((*read.shape[:2], self.width)))

    def start(self, rows: int, places: int, dtype: Any = np.float32) -> Any:
        """What `step` keeps before it has read anything, with room for so many places: (keys,
        values) of zeros [rows, places, heads, width / heads]."""
        empty = np.zeros((rows, places, self.heads, self.width // self.heads), dtype)
        return empty, empty

    def step(self, x: Any, kept: Any, place: Any) -> tuple[Any, Any]:
        """The outputs for one more place of a causal self-attention, x [rows, 1, width], whose
        number is `place`, and what is then kept: the keys and values of this one and those before.
        """
        query, *new = (self._heads(part(x)) for part in (self.query, self.key, self.value))
        if self.rotary:
            at = np.reshape(place, (1,))
            query, new[0] = rotated(query, at), rotated(new[0], at)
        places = np.arange(kept[0].shape[1])
        here = (places == place)[:, np.newaxis, np.newaxis]
        key, value = (np.where(here, n, old) for n, old in zip(new, kept, strict=True))
        scores = np.einsum("bqhd,bkhd->bhqk", _scaled(query), key)
        shares = softmax(np.where(places <= place, scores, -np.inf))
        read = np.einsum("bhqk,bkhd->bqhd", shares, value)
        return self.output(read.reshape((*read.shape[:2], self.width))), (key, value)

    def _sequence(self, x: Any) -> Any:
        x = as_array(x)
        if x.ndim != 3:
            do = "give sequences [rows, time, width]; of one sequence, x[np.newaxis]"
            raise self.mismatch(f"[rows, time, width], got {x.ndim} axes", x, do)
        return x

    def _heads(self, x: Any) -> Any:
        return x.reshape((*x.shape[:-1], self.heads, x.shape[-1] // self.heads))

    def _seen(self, x: Any, source: Any, mask: Any) -> Any:
        """The mask with axes that broadcast to [rows, heads, queries, keys], or None."""
        if mask is None:
            return None
        mask = as_array(mask)
        queries, keys = x.shape[1], source.shape[1]
        shapes = ((x.shape[0], keys), (x.shape[0], queries, keys))
        if mask.dtype != np.bool_ or tuple(mask.shape) not in shapes:
            raise self.mismatch(
                f"a mask of booleans {list(shapes[0])} or {list(shapes[1])}, got {mask.dtype} of "
                f"shape {tuple(mask.shape)}",
                mask,
                "make it as in tokens != padding",
            )
        return mask[:, np.newaxis, np.newaxis] if mask.ndim == 2 else mask[:, np.newaxis]
