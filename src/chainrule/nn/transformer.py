"""Transformer blocks: attention and a small net for each place, each with a residual and a norm."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from chainrule.nn import checks
from chainrule.nn.activations import activation as activation_by_name
from chainrule.nn.activations import gelu
from chainrule.nn.attention import MultiHeadAttention
from chainrule.nn.compose import call_part, check_part
from chainrule.nn.layer import Layer
from chainrule.nn.layers import Dense, dropped
from chainrule.nn.norms import LayerNorm


@dataclass(frozen=True)
class _Block(Layer):
    """What both blocks share."""

    numbers: ClassVar = ("width", "heads", "hidden", "dropout")
    width: int
    heads: int
    hidden: int | None = field(default=None, kw_only=True)  # None: four times the width
    activation: Any = field(default=gelu, kw_only=True)
    dropout: float = field(default=0.0, kw_only=True)
    rotary: bool = field(default=False, kw_only=True)
    norm_first: bool = field(default=True, kw_only=True)
    attention: Any = field(default=None, kw_only=True, repr=False)
    attention_norm: Any = field(default=None, kw_only=True, repr=False)
    expand: Any = field(default=None, kw_only=True, repr=False)
    reduce: Any = field(default=None, kw_only=True, repr=False)
    hidden_norm: Any = field(default=None, kw_only=True, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.activation, str):
            object.__setattr__(self, "activation", activation_by_name(self.activation))
        super().__post_init__()
        width, hidden = self.width, self.hidden or 4 * self.width
        self.make_parts(
            attention=lambda: self._attention(causal=self._is_causal(), rotary=self.rotary),
            attention_norm=lambda: LayerNorm(width),
            expand=lambda: Dense(width, hidden),
            reduce=lambda: Dense(hidden, width),
            hidden_norm=lambda: LayerNorm(width),
        )

    def _is_causal(self) -> bool:
        return False

    def _attention(self, *, causal: bool, rotary: bool) -> MultiHeadAttention:
        return MultiHeadAttention(
            self.width, self.heads, causal=causal, rotary=rotary, dropout=self.dropout
        )

    def check(self) -> None:
        name = type(self).__name__
        checks.size(name, "width", self.width)
        checks.size(name, "heads", self.heads)
        if self.hidden is not None:
            checks.size(name, "hidden", self.hidden)
        checks.number(name, "dropout", self.dropout, 0, 1)
        check_part(name, "activation", self.activation)

    def label(self) -> str:
        return f"{type(self).__name__} {self.width}, {self.heads} heads"

    def example(self) -> Any:
        return np.zeros((2, 2, self.width), np.float32)

    def _add(self, norm: Layer, inner: Any, x: Any) -> Any:
        """x + inner(norm(x)), or norm(x + inner(x)) as in the first paper."""
        if self.norm_first:
            return x + dropped(inner(norm(x)), self.dropout)
        return norm(x + dropped(inner(x), self.dropout))

    def _each_place(self, x: Any) -> Any:
        return self.reduce(call_part("activation", self.activation, self.expand(x)))


@dataclass(frozen=True)
class TransformerEncoderBlock(_Block):
    """Attention of a sequence to itself, then a net of one hidden layer for each place.

    [rows, time, width] -> the same shape. `layer(x, mask)`: see `MultiHeadAttention` for the mask
    and for `causal` (with it, a stack of these is a language model) and `rotary`. `hidden` is the
    width of the hidden layer (four times the width), `dropout` applies to attention weights and to
    what is added. With `norm_first` each part reads a normalised copy (Xiong et al. 2020), which
    wants one more LayerNorm behind the last block; without, sums are normalised as in the first
    paper.

    Source: Vaswani et al., "Attention is all you need", NeurIPS 2017.
    """

    causal: bool = field(default=False, kw_only=True)

    def _is_causal(self) -> bool:
        return self.causal

    def forward(self, x: Any, mask: Any = None) -> Any:
        x = self._add(self.attention_norm, lambda y: self.attention(y, None, mask), x)
        return self._add(self.hidden_norm, self._each_place, x)


@dataclass(frozen=True)
class TransformerDecoderBlock(_Block):
    """Causal attention of a sequence to itself, attention to a memory, then a net for each place.

    x [rows, time, width] and memory [rows, places, memory width] -> the shape of x.
    `layer(x, memory, mask, memory_mask)`: see `MultiHeadAttention` for the masks; settings as for
    `TransformerEncoderBlock`.

    Source: Vaswani et al., "Attention is all you need", NeurIPS 2017.
    """

    cross: Any = field(default=None, kw_only=True, repr=False)
    cross_norm: Any = field(default=None, kw_only=True, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.make_parts(
            cross=lambda: self._attention(causal=False, rotary=False),
            cross_norm=lambda: LayerNorm(self.width),
        )

    def _is_causal(self) -> bool:
        return True

    def example(self) -> Any:
        return None

    def forward(self, x: Any, memory: Any, mask: Any = None, memory_mask: Any = None) -> Any:
        x = self._add(self.attention_norm, lambda y: self.attention(y, None, mask), x)
        x = self._add(self.cross_norm, lambda y: self.cross(y, memory, memory_mask), x)
        return self._add(self.hidden_norm, self._each_place, x)
