"""The architectures for sequences of symbols: recurrent networks and a GPT. Both name the next
symbol at every place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bench.networks import Array, Weights, around, count, dense, glorot, norm


class _Sequences:
    """What both share: whole numbers [rows, time], and as many targets."""

    pictures: ClassVar[bool] = False
    time: int
    symbols: int

    @property
    def weights_count(self) -> int:
        return count(self)

    @property
    def outputs(self) -> int:
        return self.symbols

    def inputs(self, rows: int, random: np.random.Generator) -> Array:
        return random.integers(0, self.symbols, (rows, self.time))

    def targets(self, rows: int, loss: str, random: np.random.Generator) -> Array:
        return random.integers(0, self.symbols, (rows, self.time))


@dataclass(frozen=True)
class Recurrent(_Sequences):
    """A vector for each symbol, a recurrent layer as wide, and a dense layer. `kind` is "rnn"
    (Elman's), "gru" (its reset gate takes the state's product, as in cuDNN) or "lstm"; the gates
    stand in PyTorch's order.

    Its arithmetic is counted as what has to be done: there are fewer symbols than places, so the
    product of a symbol's vector with the layer's weights is needed once for each symbol.
    """

    kind: str
    width: int = 128
    time: int = 64
    symbols: int = 65

    @property
    def gates(self) -> int:
        return {"rnn": 1, "gru": 3, "lstm": 4}[self.kind]

    def flops(self, batch: int) -> float:
        product, places = self.width * self.gates * self.width, batch * self.time
        once = min(self.symbols, places) * product
        return 6.0 * (places * (product + self.width * self.symbols) + once)

    def weights(self, random: np.random.Generator) -> Weights:
        width, wide = self.width, self.gates * self.width
        found: Weights = {
            "embedding.weight": random.standard_normal((self.symbols, width), np.float32),
            "layer.weight": glorot(random, width, wide),
            "layer.recurrent": glorot(random, width, wide),
            "layer.bias": around(random, 0, wide),
        }
        if self.kind == "gru":
            found["layer.candidate_bias"] = around(random, 0, width)
        return found | dense(random, "dense", width, self.symbols)


@dataclass(frozen=True)
class GPT(_Sequences):
    """A vector for each symbol and one for each place; blocks of causal attention and of a dense
    net of four times the width with gelu, each reading what a layer norm gives; a last norm, and a
    dense layer with weights of its own. Attention is counted in full, though half of it is masked.

    Source: Radford, Wu, Child, Luan, Amodei and Sutskever, "Language models are unsupervised
    multitask learners", 2019.
    """

    layers: int = 4
    width: int = 128
    heads: int = 4
    time: int = 64
    symbols: int = 65

    def flops(self, batch: int) -> float:
        products = 4 * self.width**2 + 2 * self.width * 4 * self.width
        attention = 2 * self.time * self.width
        forward = self.layers * (products + attention) + self.width * self.symbols
        return 6.0 * batch * self.time * forward

    def weights(self, random: np.random.Generator) -> Weights:
        width = self.width
        found: Weights = {
            "embedding.weight": random.standard_normal((self.symbols, width), np.float32),
            "positions.table": random.standard_normal((self.time, width), np.float32),
        }
        for name in (f"block{number}" for number in range(self.layers)):
            found |= norm(random, f"{name}.attention_norm", width)
            for part in ("query", "key", "value", "output"):
                found |= dense(random, f"{name}.{part}", width, width)
            found |= norm(random, f"{name}.hidden_norm", width)
            found |= dense(random, f"{name}.expand", width, 4 * width)
            found |= dense(random, f"{name}.reduce", 4 * width, width)
        return found | norm(random, "norm", width) | dense(random, "dense", width, self.symbols)
