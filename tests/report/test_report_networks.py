"""What the page shows of convolutional networks, transformers and language models."""

from __future__ import annotations

import base64
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from page_reader import read_page

import chainrule as cr
from chainrule import nn
from chainrule.data import Dataset, TextCorpus, TextTable
from chainrule.observe import read_record
from chainrule.report import render_report
from chainrule.training.attention import MOST_PLACES, attention
from chainrule.training.filters import first_filters

RNG = np.random.default_rng(2)


def writer(tmp_path: Path, **options: Any) -> Any:
    """A run of a small transformer that reads a short text."""
    book = tmp_path / "book.txt"
    book.write_text("a <b> & c\n" * 40)
    net = nn.Sequential(
        nn.Embedding(8, 8),
        nn.TransformerEncoderBlock(8, 2, causal=True, rotary=True),
        nn.TransformerEncoderBlock(8, 2, causal=True),
        nn.Dense(8),
    )
    return cr.train(net, TextCorpus(book, context=6), epochs=1, run_dir=tmp_path / "run", **options)


def heads_of(net: Any, block: Any, x: Any) -> Any:
    """The shares of a causal block without rotation, written out once more."""
    own = block.attention
    normal = block.attention_norm(x)
    query, key = (
        part(normal).reshape(*x.shape[:2], own.heads, -1) for part in (own.query, own.key)
    )
    scores = np.einsum("bqhd,bkhd->bhqk", query, key) / np.sqrt(query.shape[-1])
    scores = np.where(np.tri(x.shape[1], dtype=bool), scores, -np.inf)
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)


def shares_of(head: Any, places: int) -> Any:
    raw = np.frombuffer(base64.b64decode(head["shares"]), np.uint8).reshape(places, places)
    return raw / 255 * head["largest"]


def test_maps_are_what_the_heads_read(tmp_path: Path) -> None:
    run = writer(tmp_path)
    shown = run.record.evaluated.attention
    assert [layer["layer"] for layer in shown] == ["layers.1.attention", "layers.2.attention"]
    dataset = TextCorpus(tmp_path / "book.txt", context=6).parts(None, 0).dataset
    row = int(shown[0]["row"].split()[1])
    symbols = dataset.x[row : row + 1]
    assert shown[0]["tokens"] == [dataset.classes[symbol] for symbol in symbols[0]]
    embedding, first, second, _ = run.net.layers
    expected = heads_of(run.net, second, first(embedding(symbols)))
    for head, told in zip(expected[0], shown[1]["heads"], strict=True):
        np.testing.assert_allclose(shares_of(told, 6), head, atol=0.003)
    assert read_record(tmp_path / "run" / "record.jsonl").evaluated == run.record.evaluated
    page = read_page((tmp_path / "run" / "report.html").read_text())
    for layer in (1, 2):
        for head in (1, 2):
            assert f"Layer {layer}, head {head}" in page.text
    assert "What it writes from the beginning" in page.text
    assert run.record.evaluated.sample["text"] == run.generate(length=400)


def test_padding_is_left_out_and_long_rows_are_cut(tmp_path: Path) -> None:
    texts = ["good film", "bad bad film", "good " * 50, "bad " * 50] * 8
    frame = pd.DataFrame({"body": texts, "label": [t.split()[0] for t in texts]})
    source = TextTable(frame, "label", "body", form="sequence", length=60)
    parts = source.parts(None, 0)
    net = nn.Sequential(
        nn.Padded(nn.Embedding(parts.dataset.symbols, 8), (nn.TransformerEncoderBlock(8, 2),)),
        nn.Dense(1),
    )
    net = nn.init(net, parts.dataset.x[:1])
    for row, places in ((0, 2), (1, 3), (2, MOST_PLACES)):
        (layer,) = attention(net, parts.dataset, parts.encoder, row)
        assert layer["tokens"] == texts[row].split()[:MOST_PLACES]
        for head in layer["heads"]:
            shares = shares_of(head, places).sum(axis=1)
            assert places == MOST_PLACES or np.allclose(shares, 1, atol=0.02)


def test_networks_without_attention_have_no_maps() -> None:
    x = RNG.normal(size=(4, 3, 2)).astype(np.float32)
    dataset = Dataset("a", x, np.zeros((4, 1), np.float32), "regression")
    assert attention(nn.init(nn.GRU(3), x), dataset, None, 0) == ()
    (layer,) = attention(nn.init(nn.MultiHeadAttention(2, 1), x), dataset, None, 0)
    assert layer["tokens"] == ["1", "2", "3"]


@pytest.mark.parametrize(
    "damage", [{"shares": "AAAA"}, {"shares": 3}, {"largest": "much"}, {"shares": "?"}]
)
def test_a_damaged_map_is_left_out(tmp_path: Path, damage: dict[str, Any]) -> None:
    run = writer(tmp_path)
    evaluated = run.record.evaluated
    first, *others = evaluated.attention
    heads = [{**first["heads"][0], **damage}, *first["heads"][1:]]
    damaged = dataclasses.replace(evaluated, attention=({**first, "heads": heads}, *others))
    page = read_page(render_report(dataclasses.replace(run.record, evaluated=damaged)))
    assert "Layer 1, head 1" not in page.text
    assert "Layer 1, head 2" in page.text


def test_what_is_written_is_only_text(tmp_path: Path) -> None:
    run = writer(tmp_path)
    evaluated = dataclasses.replace(run.record.evaluated, sample={"text": "<script>x</script>"})
    page = render_report(dataclasses.replace(run.record, evaluated=evaluated))
    assert "<script>" not in page


def test_filters_of_sounds_have_low_tones_below() -> None:
    x = np.zeros((2, 9, 4), np.float32)
    source: dict[str, Any] = {"kind": "sounds"}
    dataset = Dataset("clips", x, np.zeros((2, 1), np.float32), "regression", source=source)
    kernel = RNG.normal(size=(3, 4, 2))  # time, bands, units
    shown = first_filters({"weight": kernel}, dataset)
    for one in shown:
        raw = np.frombuffer(base64.b64decode(one["pixels"]), np.uint8).reshape(4, 3)
        expected = kernel[:, ::-1, one["unit"]].T
        expected = expected / np.abs(expected).max()
        np.testing.assert_allclose((raw.astype(float) - 128) / 127, expected, atol=0.005)
    assert len(shown) == 2
    assert first_filters({"weight": kernel[:, :3]}, dataset) == ()
