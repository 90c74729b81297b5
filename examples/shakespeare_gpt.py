"""A character model of Shakespeare: a small GPT, each character reading from the 64 before it.

    .venv/bin/python examples/shakespeare_gpt.py        # or with another --text

CHAINRULE_DATA names the directory that holds tinyshakespeare/input.txt.

python -m bench.same_loss gpt trains it in PyTorch too, from the same first weights on the same
1,003,840 characters (one epoch, 981 steps):

chainrule  held-out loss 1.9443
PyTorch    held-out loss 1.9443

Sources: Vaswani et al., "Attention is all you need", 2017; Radford et al., "Language models are
unsupervised multitask learners", 2019 (norms first, one more behind the last block); the text is
that of Karpathy's char-rnn, 2015.
"""

import argparse
from pathlib import Path

import numpy as np

import chainrule as cr
from chainrule import config, nn

CONTEXT, BATCH, EPOCHS, RATE = 64, 16, 1, 1e-3
WIDTH, HEADS, LAYERS = 128, 4, 2


def network(symbols):
    """Symbols [rows, time] -> logits of the symbol after each, [rows, time, symbols]."""
    blocks = [nn.TransformerEncoderBlock(WIDTH, HEADS, causal=True) for _ in range(LAYERS)]
    return nn.Sequential(
        nn.Embedding(symbols, WIDTH, weight_init="normal"),
        nn.LearnedPositions(CONTEXT),
        *blocks,
        nn.LayerNorm(),
        nn.Dense(symbols),
    )


def tinyshakespeare():
    places = [Path(folder) / "tinyshakespeare" / "input.txt" for folder in config.DATA or (".",)]
    return next((path for path in places if path.exists()), places[0])


def corpus(path):
    """The text in rows; its last tenth is held out."""
    return cr.data.TextCorpus(path, context=CONTEXT)


def train(path):
    """The run; its loss is the mean over all characters of the held-out text, in nats."""
    text = corpus(path)
    symbols = text.parts(None, 0).dataset.symbols
    return cr.train(
        network(symbols),
        text,
        optimizer=cr.optim.adam(RATE),
        batch_size=BATCH,
        epochs=EPOCHS,
        measure_every=0,
    )


def sample(run, text, length, seed=0):
    """The text's end and what the model goes on with, each character drawn by its probability."""
    random, vocabulary = np.random.default_rng(seed), run.encoder.vocabulary
    known = vocabulary.encode(text)[-CONTEXT:].tolist()
    for _ in range(length):
        window = np.array([known[-CONTEXT:]], np.int32)
        shares = nn.softmax(run.outputs(window)[0, -1].astype(float))
        known.append(int(random.choice(len(shares), p=shares)))
    return vocabulary.decode(known)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--text", type=Path, default=tinyshakespeare())
    path = parser.parse_args().text
    run = train(path)
    print(f"held-out loss {run.metrics['loss']:.4f} nats a character")
    print("---")
    print(sample(run, path.read_text(encoding="utf-8"), 300))
