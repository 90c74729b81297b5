"""Embedded Reber grammar: the last symbol but one is the second one again, however long ago.

    .venv/bin/python examples/reber.py        # --epochs N: shorter, and worth less

A string is B, T or P, three strings of Reber's grammar, T or P as before, E. (With a single string
inside, as in the publications, Adam teaches a plain recurrent network too: 98 % of new strings.) At
every place the network says what may follow: it is right where each symbol that may follow is
likelier to it than each that may not. Mostly a few symbols before tell; for the last T or P the
network has to remember the first one, 16 symbols ago or more.

The LSTM is right at every place of all new strings. The plain network is right at all but the last
T or P, and there in half of them at most, as who guesses.

Sources: Reber, "Implicit learning of artificial grammars", 1967; Cleeremans, Servan-Schreiber and
McClelland 1989; Hochreiter and Schmidhuber, "Long short-term memory", 1997, experiment 1.
"""

import argparse

import numpy as np

import chainrule as cr
from chainrule import nn

SYMBOLS = "BTPSXVE"
# Where each state of Reber's grammar leads, and by which symbol.
STATES = [
    {"B": 1},
    {"T": 2, "P": 3},
    {"S": 2, "X": 4},
    {"T": 3, "V": 5},
    {"X": 3, "S": 6},
    {"P": 4, "V": 6},
    {"E": 7},
]
ROWS, CELLS, EPOCHS, INNER = 2048, 16, 30, 3


def string(random):
    """A string of the embedded grammar, and what may follow each of its symbols."""
    first, inner, may = random.choice(["T", "P"]), "", []
    for _ in range(INNER):
        state = 0
        while state < len(STATES):
            may.append(set(STATES[state]))
            symbol = random.choice(sorted(STATES[state]))
            state, inner = STATES[state][symbol], inner + symbol
    return f"B{first}{inner}{first}E", [{"T", "P"}, *may, {first}, {"E"}]


def strings(rows, seed):
    random = np.random.default_rng(seed)
    return [string(random) for _ in range(rows)]


def as_arrays(found):
    """Symbols and those after them [rows, time], whether there are any, and which may follow."""
    rows = len(found)
    time = max(len(text) for text, _ in found) - 1
    x, y = np.zeros((2, rows, time), np.int32)
    mask, may = np.zeros((rows, time), bool), np.zeros((rows, time, len(SYMBOLS)), bool)
    for row, (text, allowed) in enumerate(found):
        numbers = [SYMBOLS.index(symbol) for symbol in text]
        x[row, : len(text) - 1], y[row, : len(text) - 1] = numbers[:-1], numbers[1:]
        mask[row, : len(text) - 1] = True
        for place, symbols in enumerate(allowed):
            may[row, place, [SYMBOLS.index(symbol) for symbol in symbols]] = True
    return x, y, mask, may


def train(layer, epochs, seed=0):
    """The shares of new strings that are right at every place, and at the last T or P."""
    known = strings(ROWS, seed=0)
    x, y, mask, _ = as_arrays(known)
    data = cr.data.Dataset("reber", x, y, "multiclass", tuple(SYMBOLS), mask=mask)
    net = nn.Sequential(nn.Embedding(len(SYMBOLS), 8), layer, nn.Dense(len(SYMBOLS)))
    optimizer = cr.optim.adam(0.01)
    run = cr.train(
        net, data, optimizer=optimizer, epochs=epochs, validation=0, seed=seed, measure_every=0
    )
    seen = {text for text, _ in known}
    x, _, mask, may = as_arrays([new for new in strings(ROWS, seed=1) if new[0] not in seen])
    logits = run.net(x)
    least = np.min(np.where(may, logits, np.inf), axis=2)
    right = (least > np.max(np.where(may, -np.inf, logits), axis=2)) | ~mask
    last = mask.sum(axis=1) - 2
    return right.all(axis=1).mean(), right[np.arange(len(x)), last].mean()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    epochs = parser.parse_args().epochs
    for layer in (nn.LSTM(CELLS), nn.RNN(CELLS)):
        whole, last = train(layer, epochs)
        name = type(layer).__name__
        print(f"{name}: {whole:.2%} of new strings right, {last:.2%} at the last T or P")
