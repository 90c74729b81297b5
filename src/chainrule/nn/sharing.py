"""Layers that share weights, or keep them: TiedEmbedding and Frozen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from chainrule.errors import UsageError
from chainrule.nn.compose import call_part, check_part
from chainrule.nn.filling import Filling
from chainrule.nn.layer import Layer
from chainrule.nn.layers import Embedding
from chainrule.tracing.context import current
from chainrule.tracing.trees import state


@dataclass(frozen=True)
class TiedEmbedding(Layer):
    """Symbols to logits of symbols with one table: it embeds what goes into the inner layers, and
    scores what comes out.

    `TiedEmbedding(Embedding(65, 128), inner)`: whole numbers [...] -> logits [..., count], where
    `inner` takes and gives vectors of the embedding's width. Raises ShapeError where it gives
    others.

    Source: Press and Wolf, "Using the output embedding to improve language models", EACL 2017.
    """

    embedding: Any
    inner: Any

    def check(self) -> None:
        if not isinstance(self.embedding, Embedding):
            raise UsageError(
                f"TiedEmbedding: embedding is {self.embedding!r}",
                do="give a cr.nn.Embedding, then the layers between",
            )
        check_part("TiedEmbedding", "inner", self.inner)

    def label(self) -> str:
        return f"TiedEmbedding {self.embedding.count}"

    def example(self) -> Any:
        return self.embedding.example()

    def forward(self, x: Any) -> Any:
        y = call_part("inner", self.inner, self.embedding(x))
        width = self.embedding.width
        if y.ndim == 0 or y.shape[-1] != width:
            raise self.mismatch(
                f"its inner layers to give {width} numbers, the width of its embedding, got the "
                f"shape {tuple(y.shape)}",
                y,
                f"make the last layer inside give {width}",
            )
        return y @ self._table().T

    def _table(self) -> Any:
        """The weights, also while they are being made."""
        context, embedding = current(), self.embedding
        if isinstance(context, Filling):
            embedding = context.fill(embedding, context.path_of(embedding), ())
        return embedding.weight


@dataclass(frozen=True)
class Frozen(Layer):
    """A layer that is not trained: its weights stay, and deltas pass through it to what is before.

    It runs as after training, so dropout inside drops nothing, and batch norm uses the running
    statistics that it has. Unwrap it, `frozen.inner`, to train it again.
    """

    inner: Any = state()  # noqa: RUF009 (a dataclass field, like field())

    def check(self) -> None:
        check_part("Frozen", "inner", self.inner)

    def example(self) -> Any:
        return self.inner.example() if isinstance(self.inner, Layer) else None

    def forward(self, *inputs: Any) -> Any:
        with _after_training():
            return call_part("inner", self.inner, *inputs)


@contextmanager
def _after_training() -> Iterator[None]:
    context = current()
    before = context.training if context else False
    if context:
        context.training = False
    try:
        yield
    finally:
        if context:
            context.training = before
