"""Is it a question? Sentences without their punctuation, told apart by the order of their words.

Speech that a machine wrote down has no question marks; this puts them back. The data are the
sentences of Shakespeare's plays (tinyshakespeare, Karpathy 2015) that end in "." or "?", in small
letters and without a mark. The words alone tell much, their order more: "thou art a villain", "art
thou a villain". A network with windows over the words (Kim, "Convolutional neural networks for
sentence classification", 2014) stands beside scikit-learn's logistic regression on the TF-IDF of
words, and of words and pairs. All learn from the same rows and are judged on the same held-out
fifth, 23 % of it questions; settings were chosen within the other rows, C by cross-validation.

    .venv/bin/python examples/text_classifier.py
(with CHAINRULE_DATA naming the directory that holds tinyshakespeare/input.txt)
"""

import argparse
import os
import re
from pathlib import Path

import numpy as np
import polars as pl

import chainrule as cr
from chainrule import data, nn, optim
from chainrule.training import metrics

NAME = "tinyshakespeare/input.txt"
LENGTH, BATCH, EPOCHS = 32, 64, 8  # LENGTH in words: what is longer is cut
# Where scikit-learn is not installed: what this file prints with it, for all rows.
RECORDED = {"words": (0.8576, 0.5910, 0.8685), "words and pairs": (0.8951, 0.7258, 0.9199)}


def sentences():
    """Each statement and question of 3 words or more, once: {sentence: is it a question}."""
    places = [Path(p) / NAME for p in os.environ.get("CHAINRULE_DATA", ".").split(os.pathsep)]
    path = next((path for path in places if path.exists()), None)
    if path is None:
        raise SystemExit(f"there is no {NAME}: CHAINRULE_DATA names the directory that holds it")
    found = {}
    for speech in path.read_text(encoding="utf-8").split("\n\n"):
        said = " ".join(speech.splitlines()[1:])  # the first line names the speaker
        for sentence in re.findall(r"[^.?!]+[.?]", said):
            words = re.findall(r"[a-z]+(?:'[a-z]+)*", sentence.lower())
            if len(words) >= 3:
                found[" ".join(words)] = "yes" if sentence.endswith("?") else "no"
    return found


def network(words):
    """The strongest answer of each kind of window of three words, and how the sentence begins."""
    symbols = nn.Embedding(words, 64, weight_init=nn.initialisers.normal(0.1))
    windows = nn.Sequential(nn.Conv1d(128, kernel=3, padding="same"), nn.relu)

    def chosen(x):
        return np.concatenate([x.max(axis=1), x[:, 0], x[:, 1]], axis=1)

    return nn.Sequential(symbols, nn.Dropout(0.4), windows, chosen, nn.Dropout(0.5), nn.Dense(1))


def regression(most, c, train, held_out, truth):
    """Logistic regression on TF-IDF of up to `most` words in a row: scores of held-out texts."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    words = TfidfVectorizer(ngram_range=(1, most), sublinear_tf=True, min_df=2)
    model = LogisticRegression(C=c, max_iter=1000).fit(words.fit_transform(train), truth)
    return model.decision_function(words.transform(held_out))


def main():
    parser = argparse.ArgumentParser(description="questions without question marks")
    parser.add_argument("--rows", type=int, help="sentences to use (all)")
    rows = list(sentences().items())[: parser.parse_args().rows]
    table = pl.DataFrame(rows, schema=["sentence", "question"], orient="row")
    source = data.TextTable(table, "question", "sentence", form="sequence", length=LENGTH)
    dataset, _, train, held_out = source.parts(0.2, seed=0)
    texts, truth = np.array(dataset.row_names), dataset.y

    rate = optim.schedules.one_cycle(3e-3, -(-len(train) // BATCH) * EPOCHS)
    optimizer = optim.adamw(rate, weight_decay=0.1)
    net, sizes = network(dataset.symbols), {"epochs": EPOCHS, "batch_size": BATCH}
    run = cr.train(net, dataset, optimizer=optimizer, validation=0.2, **sizes)
    scores = {"network": run.outputs(dataset.x[held_out])}
    for name, most, c in (("words", 1, 1), ("words and pairs", 2, 10)):
        try:
            scores[name] = regression(most, c, texts[train], texts[held_out], truth[train])
        except ImportError:
            scores[name] = None
    print(f"{len(held_out)} held-out sentences     accuracy      F1     AUC")
    for name, found in scores.items():
        row = RECORDED.get(name)
        if found is not None:
            measures = metrics.classification(truth[held_out], found, 2)
            row = [measures[key] for key in ("accuracy", "f1", "roc_auc")]
        print(f"{name:28}", *(f"{value:7.4f}" for value in row))


if __name__ == "__main__":
    main()
