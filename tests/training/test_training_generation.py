"""Language models that write: what they read, what they draw, and the same text from one seed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.data import TextCorpus
from chainrule.data.vocabulary import UNKNOWN, Vocabulary
from chainrule.errors import NonFiniteError, UsageError
from chainrule.training.generation import (
    Manner,
    _Choice,
    beginning,
    can_be_stepped,
    reader,
    written,
)

SYMBOLS = 7
RNG = np.random.default_rng(3)
TEXT = RNG.integers(0, SYMBOLS, 12).astype(np.int32)

STEPPED: dict[str, Any] = {
    "rnn": nn.Sequential(nn.Embedding(SYMBOLS, 5), nn.RNN(6), nn.Dense(SYMBOLS)),
    "lstm, dropout": nn.Sequential(
        nn.Embedding(SYMBOLS, 5), nn.LSTM(6), nn.Dropout(0.5), nn.LSTM(4), nn.Dense(SYMBOLS)
    ),
    "gru of two layers": nn.Sequential(
        nn.Embedding(SYMBOLS, 5), nn.GRU(6, layers=2), nn.LayerNorm(), nn.tanh, nn.Dense(SYMBOLS)
    ),
    "residual, tied": nn.TiedEmbedding(
        nn.Embedding(SYMBOLS, 6), nn.Sequential(nn.Residual(nn.LSTM(6)), nn.RNN(6))
    ),
    "frozen": nn.Sequential(nn.Embedding(SYMBOLS, 5), nn.Frozen(nn.GRU(6)), nn.Dense(SYMBOLS)),
    "transformer": nn.Sequential(
        nn.Embedding(SYMBOLS, 8),
        nn.TransformerEncoderBlock(8, 2, causal=True, rotary=True),
        nn.TransformerEncoderBlock(8, 4, causal=True, rotary=True, norm_first=False, dropout=0.1),
        nn.LayerNorm(),
        nn.Dense(SYMBOLS),
    ),
    "attention, tied": nn.TiedEmbedding(
        nn.Embedding(SYMBOLS, 6),
        nn.Sequential(nn.Residual(nn.MultiHeadAttention(6, 3, causal=True)), nn.GRU(6)),
    ),
    "no memory": nn.Sequential(nn.Embedding(SYMBOLS, 5), nn.Dense(SYMBOLS)),
}
CAUSAL = nn.Sequential(
    nn.Embedding(SYMBOLS, 8),
    nn.SinusoidalPositions(),
    nn.TransformerEncoderBlock(8, 2, causal=True, rotary=True),
    nn.Dense(SYMBOLS),
)


@pytest.mark.parametrize("name", STEPPED)
@pytest.mark.parametrize("backend", ["native", "reference"])
def test_reading_symbol_by_symbol_is_reading_at_once(name: str, backend: str) -> None:
    """What is carried between calls is all that the network knows of what it has read."""
    net = nn.init(STEPPED[name], TEXT[None], seed=1)
    assert can_be_stepped(net)
    read = reader(net, len(TEXT), backend=backend)
    expected = net(TEXT[None])[0]
    np.testing.assert_allclose(read(TEXT[:5]), expected[4], atol=1e-5)
    for place in range(5, len(TEXT)):
        np.testing.assert_allclose(read([TEXT[place]]), expected[place], atol=1e-5)


@pytest.mark.parametrize("context", [1, 2, 5, 6])
def test_a_transformer_that_is_full_goes_on_from_its_last_symbols(context: int) -> None:
    """It has seen all symbols so far, or the latter half of its context and those since."""
    net = nn.init(STEPPED["transformer"], TEXT[None], seed=1)
    read, seen = reader(net, context), list[int]()
    for symbol in TEXT.tolist():
        if len(seen) == context:
            seen = seen[context - context // 2 :]
        seen.append(symbol)
        expected = net(np.array([seen]))[0, -1]
        np.testing.assert_allclose(read([symbol]), expected, atol=1e-5)
    at_once = reader(net, context)(TEXT)
    expected = net(TEXT[None, -context:])[0, -1]
    np.testing.assert_allclose(at_once, expected, atol=1e-5)


def test_what_has_positions_of_its_own_reads_its_last_symbols_anew() -> None:
    net = nn.init(CAUSAL, TEXT[None], seed=1)
    assert not can_be_stepped(net)
    read = reader(net, 6)
    for place in range(len(TEXT)):
        seen = TEXT[max(0, place - 5) : place + 1]
        expected = net(seen[None])[0, -1]
        np.testing.assert_allclose(read([TEXT[place]]), expected, atol=1e-5)


@pytest.mark.parametrize(
    "layer", [nn.LSTM(5, bidirectional=True), nn.GRU(5, reverse=True), nn.Conv1d(5, kernel=3)]
)
def test_what_looks_ahead_is_not_stepped(layer: Any) -> None:
    net = nn.init(nn.Sequential(nn.Embedding(SYMBOLS, 5), layer, nn.Dense(SYMBOLS)), TEXT[None])
    assert not can_be_stepped(net)


LOGITS = np.log(np.array([0.5, 0.3, 0.15, 0.05]))


@pytest.mark.parametrize(
    ("manner", "shares"),
    [
        (Manner(1.0), [0.5, 0.3, 0.15, 0.05]),
        (Manner(1.0, top=2), [0.625, 0.375, 0, 0]),
        (Manner(0.5), [0.6849, 0.2466, 0.0616, 0.0068]),
        (Manner(0.0), [1, 0, 0, 0]),
        (Manner(1e-9), [1, 0, 0, 0]),
    ],
)
def test_symbols_are_drawn_as_the_temperature_says(manner: Manner, shares: list[float]) -> None:
    choose = _Choice(manner, [])
    drawn = Counter(choose(LOGITS) for _ in range(4000))
    # Four standard deviations of a share of one half.
    np.testing.assert_allclose([drawn[i] / 4000 for i in range(4)], shares, atol=0.032)
    assert all(share > 0 or drawn[i] == 0 for i, share in enumerate(shares))


def test_some_symbols_are_never_drawn_and_others_by_the_seed() -> None:
    choose = _Choice(Manner(1.0), [0, 3])
    assert {choose(LOGITS) for _ in range(300)} == {1, 2}
    texts = [
        [c(LOGITS) for _ in range(400)]
        for c in (_Choice(Manner(1.0, seed=s), []) for s in (1, 1, 2))
    ]
    assert texts[0] == texts[1] != texts[2]
    with pytest.raises(NonFiniteError):
        choose(np.array([0.0, np.nan]))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Runs that have learned a short text, by characters and by words."""
    folder = tmp_path_factory.mktemp("books")
    (folder / "book.txt").write_text("the cat sat.\nthe dog ran, and\n" * 40)
    found = {}
    for level in ("character", "word"):
        source = TextCorpus(folder / "book.txt", level, context=32 if level == "character" else 12)
        symbols = source.parts(None, 0).dataset.symbols
        net = nn.Sequential(nn.Embedding(symbols, 16), nn.GRU(32), nn.Dense(symbols))
        found[level] = cr.train(
            net, source, optimizer=cr.optim.adam(0.02), epochs=40, run_dir=folder / level
        )
    return found


def test_a_text_that_was_learned_is_written(runs: dict[str, Any]) -> None:
    for level, length in (("character", 24), ("word", 8)):
        run = runs[level]
        text = run.generate("the cat", length=length, temperature=0)
        assert ("the cat" + text).startswith("the cat sat.\nthe dog ran, and")
        again = cr.load_run(run.run_dir)
        told = [r.generate("the", length=60, temperature=2.0, seed=5) for r in (run, run, again)]
        assert told[0] == told[1] == told[2]
        assert told[0] != run.generate("the", length=60, temperature=2.0, seed=6)
        assert UNKNOWN not in told[0]
        assert run.generate(length=3)


def test_pieces_of_words_make_the_text(runs: dict[str, Any]) -> None:
    """What is told piece by piece is the text that its words make together."""
    run = runs["word"]
    vocabulary: Vocabulary = run.encoder.vocabulary
    begin = beginning(vocabulary, "the dog")
    pieces = list(written(run.net, run.encoder, begin, 20, Manner(1.5)))
    assert len(pieces) == 20
    text = begin.text + "".join(pieces)
    assert vocabulary.decode(vocabulary.encode(text)) == text


def test_what_cannot_be_written_is_told(runs: dict[str, Any]) -> None:
    run = runs["character"]
    for options, part in [
        ({"prompt": ""}, "is empty"),
        ({"prompt": "XYZ"}, "nothing that the network"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": np.nan}, "temperature"),
        ({"top": 0}, "top"),
        ({"length": 0}, "length"),
        ({"seed": -1}, "seed"),
    ]:
        with pytest.raises(UsageError, match=part):
            run.generate(**{"prompt": "the", **options})
    assert beginning(run.encoder.vocabulary, "the Zcat").unknown == {"Z": 1}
    assert beginning(run.encoder.vocabulary, "the Zcat").text == "the cat"
    words = beginning(runs["word"].encoder.vocabulary, "the zebra sat")
    assert words.text == f"the {UNKNOWN} sat"
    with pytest.raises(UsageError, match="nothing that the network"):
        runs["word"].generate("zebra")
    other = cr.train(nn.Dense(1), (np.eye(8), np.arange(8) % 2), epochs=1)
    with pytest.raises(UsageError, match="no language model"):
        other.generate("a")


def test_a_text_without_line_breaks_asks_for_a_prompt(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="prompt"):
        beginning(Vocabulary("character", ("a", "b")), None)
    assert beginning(Vocabulary("character", (" ", "b")), None).symbols == (0,)
