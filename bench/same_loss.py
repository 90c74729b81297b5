"""The character models of examples/, here and in PyTorch: the same loss after as many tokens.

    .venv-bench/bin/python -m bench.same_loss lstm            # some minutes
    .venv-bench/bin/python -m bench.same_loss gpt
    .venv-bench/bin/python -m bench.same_loss lstm TEXT --characters 50000

Both train the network of the example from the same first weights on the same batches in the same
order, each with its own layers, loss and Adam, and are judged on the same held-out text. The exit
code is 1 where the losses differ by more than 1 %.
"""

from __future__ import annotations

import argparse
import runpy
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

import chainrule as cr
from chainrule import nn

ROOT = Path(__file__).resolve().parent.parent
AGREEMENT = 0.01  # relative
SEED = 0
ROWS_AT_ONCE = 256  # of the held-out text


def _put(parameter: torch.Tensor, value: np.ndarray) -> None:
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(np.array(value)))


def _put_dense(linear: torch.nn.Linear, dense: nn.Dense) -> None:
    _put(linear.weight, np.asarray(dense.weight).T)
    _put(linear.bias, dense.bias)


def _put_norm(theirs: torch.nn.LayerNorm, ours: nn.LayerNorm) -> None:
    _put(theirs.weight, np.asarray(ours.scale))
    _put(theirs.bias, np.asarray(ours.shift))


def _embedding(ours: nn.Embedding) -> torch.nn.Embedding:
    made = torch.nn.Embedding(ours.count, ours.width)
    _put(made.weight, np.asarray(ours.weight))
    return made


class LSTMModel(torch.nn.Module):
    """Embedding, LSTM, Linear. Of the two biases that PyTorch adds up, one is trained."""

    def __init__(self, net: nn.Sequential) -> None:
        super().__init__()
        embedding, cells, last = net.layers
        self.embedding = _embedding(embedding)
        self.lstm = torch.nn.LSTM(cells.inputs, cells.outputs, batch_first=True)
        _put(self.lstm.weight_ih_l0, cells.weight.T)
        _put(self.lstm.weight_hh_l0, cells.recurrent.T)
        _put(self.lstm.bias_ih_l0, cells.bias)
        _put(self.lstm.bias_hh_l0, np.zeros_like(cells.bias))
        self.lstm.bias_hh_l0.requires_grad_(False)
        self.last = torch.nn.Linear(cells.outputs, last.outputs)
        _put_dense(self.last, last)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.lstm(self.embedding(x))[0])


def _block(ours: nn.TransformerEncoderBlock) -> torch.nn.TransformerEncoderLayer:
    made = torch.nn.TransformerEncoderLayer(
        ours.width,
        ours.heads,
        ours.expand.outputs,
        dropout=0.0,
        activation="gelu",
        batch_first=True,
        norm_first=True,
    )
    parts = [getattr(ours.attention, name) for name in ("query", "key", "value")]
    _put(made.self_attn.in_proj_weight, np.concatenate([p.weight.T for p in parts]))
    _put(made.self_attn.in_proj_bias, np.concatenate([p.bias for p in parts]))
    _put_dense(made.self_attn.out_proj, ours.attention.output)
    _put_dense(made.linear1, ours.expand)
    _put_dense(made.linear2, ours.reduce)
    _put_norm(made.norm1, ours.attention_norm)
    _put_norm(made.norm2, ours.hidden_norm)
    return made


class GPTModel(torch.nn.Module):
    """Embedding and positions, TransformerEncoderLayers with a causal mask, LayerNorm, Linear."""

    def __init__(self, net: nn.Sequential) -> None:
        super().__init__()
        embedding, positions, *blocks, norm, last = net.layers
        self.embedding = _embedding(embedding)
        self.positions = torch.nn.Parameter(torch.from_numpy(np.array(positions.table)))
        self.blocks = torch.nn.ModuleList([_block(block) for block in blocks])
        self.norm = torch.nn.LayerNorm(embedding.width)
        _put_norm(self.norm, norm)
        self.last = torch.nn.Linear(embedding.width, last.outputs)
        _put_dense(self.last, last)
        causal = torch.nn.Transformer.generate_square_subsequent_mask(positions.length)
        self.register_buffer("causal", causal)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.embedding(x) + self.positions
        for block in self.blocks:
            found = block(found, src_mask=self.causal, is_causal=True)
        return self.last(self.norm(found))


MODELS: dict[str, Callable[[nn.Sequential], torch.nn.Module]] = {
    "lstm": LSTMModel,
    "gpt": GPTModel,
}


def theirs(model: torch.nn.Module, parts: Any, example: SimpleNamespace) -> float:
    """Trains PyTorch's model as `cr.train` trains ours; the mean loss of the held-out text."""
    x, y = (torch.from_numpy(a.astype(np.int64)) for a in (parts.dataset.x, parts.dataset.y))
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=example.RATE, fused=True)

    def loss(rows: np.ndarray) -> torch.Tensor:
        chosen = torch.from_numpy(rows)
        logits = model(x[chosen])
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), y[chosen].flatten())

    for epoch in range(example.EPOCHS):
        order = parts.train_rows[cr.data.permutation(len(parts.train_rows), SEED, epoch)]
        for first in range(0, len(order), example.BATCH):
            optimizer.zero_grad(set_to_none=True)
            loss(order[first : first + example.BATCH]).backward()
            optimizer.step()
    with torch.no_grad():
        rows = parts.held_out_rows
        pieces = [rows[k : k + ROWS_AT_ONCE] for k in range(0, len(rows), ROWS_AT_ONCE)]
        return sum(float(loss(piece)) * len(piece) for piece in pieces) / len(rows)


def ours(net: nn.Sequential, text: cr.data.TextCorpus, example: SimpleNamespace) -> float:
    run = cr.train(
        net,
        text,
        optimizer=cr.optim.adam(example.RATE),
        batch_size=example.BATCH,
        epochs=example.EPOCHS,
        seed=SEED,
        measure_every=0,
    )
    return run.metrics["loss"]


def compare(name: str, path: Path) -> bool:
    """Trains both and prints what they come to; whether they agree."""
    example = SimpleNamespace(**runpy.run_path(str(ROOT / "examples" / f"shakespeare_{name}.py")))
    text = example.corpus(path)
    parts = text.parts(None, SEED)
    symbols = parts.dataset.symbols
    net = nn.init(example.network(symbols), parts.dataset.x[:1], SEED)
    tokens = len(parts.train_rows) * example.CONTEXT * example.EPOCHS
    steps = -(-len(parts.train_rows) // example.BATCH) * example.EPOCHS
    print(f"{name}: {nn.count(net):,} weights, {tokens:,} tokens in {steps:,} steps", flush=True)
    found = []
    for who, run in (
        ("chainrule", lambda: ours(net, text, example)),
        ("PyTorch", lambda: theirs(MODELS[name](net), parts, example)),
    ):
        began, cpu = time.monotonic(), time.process_time()
        found.append(run())
        spent, cpu = time.monotonic() - began, time.process_time() - cpu
        print(f"  {who:10s} held-out loss {found[-1]:.4f}   {spent:.0f} s, {cpu:.0f} s of CPU")
    apart = abs(found[0] / found[1] - 1)
    print(f"  they differ by {apart:.2%}")
    return apart <= AGREEMENT


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.same_loss", description=__doc__.splitlines()[0]
    )
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("text", nargs="?", type=Path, help="tinyshakespeare unless given")
    parser.add_argument("--characters", type=int, help="take only so many of the text")
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    example = runpy.run_path(str(ROOT / "examples" / "shakespeare_lstm.py"))
    path = chosen.text or example["tinyshakespeare"]()
    with tempfile.TemporaryDirectory() as folder:
        if chosen.characters:
            short = Path(folder) / "short.txt"
            short.write_text(path.read_text(encoding="utf-8")[: chosen.characters])
            path = short
        return 0 if compare(chosen.model, path) else 1


if __name__ == "__main__":
    raise SystemExit(main())
