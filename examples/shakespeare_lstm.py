"""A character model of Shakespeare: an LSTM of 128 cells that reads 64 characters at a time.

    .venv/bin/python examples/shakespeare_lstm.py        # or with another --text

CHAINRULE_DATA names the directory that holds tinyshakespeare/input.txt.

python -m bench.same_loss lstm trains it in PyTorch too, from the same first weights on the same
2,007,680 characters (two epochs, 982 steps):

chainrule  held-out loss 1.7665
PyTorch    held-out loss 1.7665

Sources: Hochreiter and Schmidhuber, "Long short-term memory", 1997; the text and the idea are of
Karpathy, "The unreasonable effectiveness of recurrent neural networks", 2015.
"""

import argparse
from pathlib import Path

import numpy as np

import chainrule as cr
from chainrule import config, nn

CONTEXT, BATCH, EPOCHS, RATE = 64, 32, 2, 2e-3


def network(symbols):
    """Symbols [rows, time] -> logits of the symbol after each, [rows, time, symbols]."""
    return nn.Sequential(nn.Embedding(symbols, 128), nn.LSTM(128), nn.Dense(symbols))


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
