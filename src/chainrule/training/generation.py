"""What a language model writes: symbol after symbol, each drawn from what the network expects.

A recurrent network is stepped: its state is carried, so a symbol costs the same however much was
written before. So is a transformer, with the keys and values of what it has read; where these are
as many as it was trained on, it begins anew with the latter half. Any other network reads the last
symbols again for each new one. All are programs of fixed shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from chainrule import nn, tracing
from chainrule.data import CorpusEncoder, Encoder
from chainrule.data.vocabulary import PADDING, UNKNOWN, Joined, Vocabulary
from chainrule.errors import NonFiniteError, UsageError
from chainrule.nn.layer import Layer
from chainrule.nn.recurrent import Recurrent
from chainrule.nn.stream import Stream
from chainrule.pipeline import Program
from chainrule.tracing import trees
from chainrule.training.objective import Objective

Array = np.ndarray
LENGTH = 500  # symbols
TEMPERATURE = 0.8
_DRAWN_AT_ONCE = 256  # random numbers
_BEFORE = ("\n", " ")  # what a text is taken to follow where there is no prompt, the first known


class Reader(Protocol):
    """Reads symbols, one or more, and says what it expects after the last of them."""

    def __call__(self, symbols: Sequence[int]) -> Array:
        """The logits [symbols] of the next symbol, after some more were read."""


@dataclass(frozen=True)
class Manner:
    """How symbols are chosen: by `temperature` (0: always the likeliest; 1: as the network says;
    higher: more boldly), among the `top` likeliest (None: among all), from `seed`.

    Raises UsageError for settings out of range.
    """

    temperature: float = TEMPERATURE
    top: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        heat: Any = self.temperature
        if not (isinstance(heat, int | float) and 0 <= heat < math.inf):
            raise UsageError(
                f"the temperature is {heat!r}", do="give a number, 0 or more, such as 0.8"
            )
        if self.top is not None and not (_is_whole(self.top) and self.top >= 1):
            raise UsageError(f"top is {self.top!r}", do="give a whole number, 1 or more")
        if not (_is_whole(self.seed) and 0 <= self.seed < 2**64):
            raise UsageError(f"the seed is {self.seed!r}", do="use an integer from 0 to 2**64 - 1")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def text_encoder(encoder: Encoder | None, what: str) -> CorpusEncoder:
    """The encoder of a language model; UsageError for any other run, which `what` names."""
    if isinstance(encoder, CorpusEncoder):
        return encoder
    raise UsageError(
        f"{what} is no language model: what it was trained on has no next symbol",
        do="train one on a text: chainrule train book.txt",
    )


@dataclass(frozen=True)
class Beginning:
    """What a text begins with: the symbols that the network reads first, and what of the prompt it
    does not know, with how often. `text` is the prompt as it is read."""

    symbols: tuple[int, ...]
    text: str
    unknown: dict[str, int] = field(default_factory=dict)


def beginning(vocabulary: Vocabulary, prompt: str | None) -> Beginning:
    """The beginning for a prompt; None for none, which is as after a line break. Raises UsageError
    for a prompt in which there is nothing that the network knows."""
    if prompt is None:
        known = [vocabulary.index[text] for text in _BEFORE if text in vocabulary.index]
        if not known:
            raise UsageError("the text has no line breaks to begin after", do="give a prompt")
        return Beginning((known[0],), "")
    symbols = tuple(int(number) for number in vocabulary.encode(prompt))
    unknown = dict(vocabulary.missing(prompt))
    if not any(vocabulary.symbols[symbol] != UNKNOWN for symbol in symbols):
        what = "is empty" if not unknown else "holds nothing that the network was trained on"
        shown = "".join(s for s in vocabulary.symbols if len(s) == 1 and s.isprintable())[:60]
        raise UsageError(
            f"the prompt {what}",
            where=f"prompt {prompt!r}",
            do=f"leave it out, or give one of the text's own symbols: {shown}"
            if vocabulary.level == "character"
            else "leave it out, or give words of the text",
        )
    return Beginning(symbols, vocabulary.decode(symbols), unknown)


def written(
    net: Any,
    encoder: CorpusEncoder,
    begin: Beginning,
    length: int,
    manner: Manner,
    threads: int | None = None,
    backend: str | None = None,
) -> Iterator[str]:
    """The text that follows `begin`, a piece for each of `length` symbols, as they are made.

    Raises NonFiniteError where the network's outputs are no numbers.
    """
    if not (_is_whole(length) and length >= 1):
        raise UsageError(f"the length is {length!r}", do="give a whole number of symbols")
    vocabulary = encoder.vocabulary
    read = reader(net, encoder.context, threads, backend)
    never = [vocabulary.index[s] for s in (UNKNOWN, PADDING) if s in vocabulary.index]
    choose = _Choice(manner, never)
    joined = Joined()
    for symbol in begin.symbols:
        joined.add(vocabulary.symbols[symbol])
    news: Sequence[int] = begin.symbols
    for _ in range(length):
        new = choose(read(news))
        text = vocabulary.symbols[new]
        yield text if vocabulary.level == "character" else joined.add(text)
        news = (new,)


class _Choice:
    """Draws symbols from logits; the random numbers are a function of the seed and the place."""

    def __init__(self, manner: Manner, never: Sequence[int]) -> None:
        self._manner, self._never = manner, list(never)
        self._stream = Stream(manner.seed, "generate")
        self._drawn: list[float] = []

    def __call__(self, logits: Array) -> int:
        scores = logits.astype(np.float64)
        if not np.isfinite(scores).all():
            raise NonFiniteError("the network's outputs are not finite", do="train it anew")
        scores[self._never] = -math.inf
        if self._manner.temperature == 0:
            return int(scores.argmax())
        scores -= scores.max()
        top = self._manner.top
        if top is not None and top < len(scores):
            scores[scores < np.partition(scores, -top)[-top]] = -math.inf
        with np.errstate(over="ignore"):  # a temperature near 0: the others are as good as never
            shares = np.exp(scores / self._manner.temperature)
        reached = np.cumsum(shares)
        place = np.searchsorted(reached, self._random() * reached[-1], side="right")
        return int(min(place, len(shares) - 1))

    def _random(self) -> float:
        if not self._drawn:
            self._drawn = self._stream.uniform((_DRAWN_AT_ONCE,)).tolist()[::-1]
        return self._drawn.pop()


# --- reading --------------------------------------------------------------------------------


def reader(
    net: Any, context: int, threads: int | None = None, backend: str | None = None
) -> Reader:
    """What reads for a network: step by step where it can be stepped, else from the last `context`
    symbols each time."""
    if can_be_stepped(net):
        return _Stepped(net, context, backend)
    return _Reread(net, context, threads, backend)


# Each place of their output depends on nothing but the same place of their input.
_BY_PLACE = (
    nn.BatchNorm,
    nn.Dense,
    nn.Dropout,
    nn.Embedding,
    nn.Frozen,
    nn.LayerNorm,
    nn.Residual,
    nn.Sequential,
    nn.TiedEmbedding,
)


def can_be_stepped(net: Any) -> bool:
    """Whether a network can read a symbol at a time, with what its layers keep of the others."""
    return all(_can_be_stepped(layer) for layer in _layers(net))


def _can_be_stepped(layer: Any) -> bool:
    if isinstance(layer, Recurrent):
        return not (layer.bidirectional or layer.reverse or layer.last)
    if isinstance(layer, nn.MultiHeadAttention | nn.TransformerEncoderBlock):
        return layer.causal
    return type(layer) in _BY_PLACE


def _layers(tree: Any) -> Iterator[Any]:
    """Every layer, those within recurrent ones left out."""
    if isinstance(tree, Layer):
        yield tree
        if isinstance(tree, Recurrent):
            return
    if trees.is_array(tree):
        return
    for _, part in trees.children(tree) or ():
        yield from _layers(part)


class _Stepped:
    """Reads symbol by symbol; what layers keep is carried from call to call. Attention has room for
    `context` symbols."""

    def __init__(self, net: Any, context: int, backend: str | None) -> None:
        self._arrays = [np.asarray(leaf.value) for leaf in trees.leaves(net)]
        dtype = np.result_type(*[a.dtype for a in self._arrays if a.dtype.kind == "f"])
        found = [layer for layer in _layers(net) if isinstance(layer, _KEEPING)]
        attends = any(isinstance(layer, nn.MultiHeadAttention) for layer in found)
        self._room, self._seen = context if attends else 0, list[int]()
        first = [
            layer.start(1, dtype)
            if isinstance(layer, Recurrent)
            else layer.start(1, context, dtype)
            for layer in found
        ]
        self._first = self._states = [np.asarray(leaf.value) for leaf in trees.leaves(first)]
        places = (net, first, np.zeros((1, 1), np.int32), np.zeros((), np.int32))
        captured = tracing.capture(_advanced, places, name="generate")
        # A step is far too short for more than one thread.
        self._program = Program(captured.graph, backend, threads=1)

    def __call__(self, symbols: Sequence[int]) -> Array:
        if self._room:
            symbols = symbols[-self._room :]
        for symbol in symbols:
            if self._room and len(self._seen) == self._room:
                again = self._seen[self._room - self._room // 2 :]
                self._states, self._seen = self._first, []
                for earlier in again:
                    self._step(earlier)
            logits = self._step(symbol)
        return logits

    def _step(self, symbol: int) -> Array:
        read = [np.array([[symbol]], np.int32), np.array(len(self._seen), np.int32)]
        logits, *self._states = self._program([*self._arrays, *self._states, *read])
        if self._room:
            self._seen.append(symbol)
        return logits


_KEEPING = (Recurrent, nn.MultiHeadAttention)


def _advanced(net: Any, states: list[Any], symbols: Any, place: Any) -> tuple[Any, list[Any]]:
    """The logits after one more symbol, and the states then."""
    before, after = iter(states), []

    def carrying(layer: Any) -> Callable[..., Any]:
        def run(x: Any, *_: Any) -> Any:  # attention is also given that there is no mask
            state = next(before)
            is_recurrent = isinstance(layer, Recurrent)
            outputs, new = layer(x, state) if is_recurrent else layer.step(x, state, place)
            after.append(new)
            return outputs

        return run

    outputs = _with(net, carrying)(symbols)
    return outputs[0, -1], after


def _with(tree: Any, replace: Callable[[Any], Any]) -> Any:
    """The same tree with other functions in place of the layers that keep something."""
    if isinstance(tree, _KEEPING):
        return replace(tree)
    parts = None if trees.is_array(tree) else trees.children(tree)
    if parts is None:
        return tree
    found = {name: _with(part, replace) for name, part in parts}
    if isinstance(tree, Layer):
        return trees.with_fields(tree, found)
    if isinstance(tree, dict):
        return dict(zip(tree, found.values(), strict=True))
    return type(tree)(found.values())


class _Reread:
    """Reads the last symbols, `context` at most, with each call."""

    def __init__(self, net: Any, context: int, threads: int | None, backend: str | None) -> None:
        self._arrays = [np.asarray(leaf.value) for leaf in trees.leaves(net)]
        self._context = context
        self._seen: list[int] = []
        places = (net, np.zeros((1, context), np.int32), np.zeros(1, np.int32))
        captured = tracing.capture(_expected, places, name="generate")
        self._program = Program(captured.graph, backend, threads)

    def __call__(self, symbols: Sequence[int]) -> Array:
        self._seen = [*self._seen, *symbols][-self._context :]
        x = np.zeros((1, self._context), np.int32)
        x[0, : len(self._seen)] = self._seen  # what is behind them, no place before it sees
        place = np.array([len(self._seen) - 1], np.int32)
        (logits,) = self._program([*self._arrays, x, place])
        return logits


def _expected(net: Any, symbols: Any, place: Any) -> Any:
    return np.take(net(symbols)[0], place, axis=0)[0]


# --- for the report -------------------------------------------------------------------------

_SAMPLE = 400  # symbols


def sample(
    net: Any, encoder: Encoder | None, goal: Objective, backend: str | None = None
) -> Mapping[str, Any]:
    """What a language model writes from the beginning (see `Evaluated.sample`); nothing for any
    other network, or where its text has nothing to begin after."""
    if not isinstance(encoder, CorpusEncoder) or not goal.known:
        return {}
    manner = Manner()
    try:
        begin = beginning(encoder.vocabulary, None)
        text = "".join(written(net, encoder, begin, _SAMPLE, manner, backend=backend))
    except (NonFiniteError, UsageError):
        return {}
    return {"text": text, "temperature": manner.temperature, "seed": manner.seed}
