"""Sequences of symbols with a target at each place: losses, metrics, masks, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.cli import main
from chainrule.data import Dataset, TextCorpus
from chainrule.errors import DataError, ShapeError

RNG = np.random.default_rng(0)
# Which symbol follows is a function of the symbol: a table of one step is all there is to learn.
NEXT = np.array([3, 4, 0, 1, 2])
WALK = np.zeros(441, np.int64)
for _i in range(440):
    WALK[_i + 1] = NEXT[WALK[_i]]
X, Y = WALK[:-1].reshape(40, 11), WALK[1:].reshape(40, 11)


def table(symbols: int = 5) -> nn.Sequential:
    return nn.Sequential(nn.Embedding(symbols, 8), nn.Dense(symbols))


@pytest.mark.parametrize("backend", ["reference", "native"])
def test_each_place_learns_its_own_target(backend: str) -> None:
    run = cr.train(
        table(), (X, Y), epochs=60, optimizer=cr.optim.adam(0.05), seed=1, backend=backend
    )
    assert run.metrics["accuracy"] == 1
    assert set(run.metrics) == {"loss", "accuracy", "perplexity"}
    assert run.metrics["perplexity"] == pytest.approx(math.exp(run.metrics["loss"]), rel=1e-4)
    assert run.history["accuracy"][-1] == 1
    outputs = run.outputs(X[:3])
    assert outputs.shape == (3, 11, 5)
    np.testing.assert_array_equal(outputs.argmax(axis=2), Y[:3])
    np.testing.assert_array_equal(run.predict(X[:3]), Y[:3].astype(str))
    np.testing.assert_allclose(run.predict_probabilities(X[:3]).sum(axis=-1), np.ones((3, 11)))


@pytest.mark.parametrize("loss", [None, "mean_squared_error"])
@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_rows_of_numbers_have_classes_at_each_place_where_the_task_says_so(
    task: str, loss: str | None, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Also for `chainrule predict`, a line for each place."""
    x = RNG.normal(size=(60, 7, 2)).astype(np.float32)
    y = (x[..., 0] > 0).astype(int)
    net = nn.Sequential(nn.Dense(8), np.tanh, nn.Dense(1 if task == "binary" else 2))
    if loss and task == "binary":
        net = nn.Sequential(net, nn.sigmoid, nn.Flatten())  # [rows, time]
    how = {"optimizer": cr.optim.adam(0.05), "epochs": 30, "task": task, "loss": loss}
    run = cr.train(net, (x, y), run_dir=tmp_path / "run", **how)
    assert run.metrics["accuracy"] > 0.95
    guesses = run.predict(x)
    assert guesses.shape == y.shape
    assert np.mean(guesses == y.astype(str)) > 0.95
    assert run.predict_probabilities(x).shape == (60, 7, 2)
    np.save(tmp_path / "x.npy", x)
    np.testing.assert_array_equal(run.predict(tmp_path / "x.npy"), guesses)
    assert main(["predict", str(tmp_path / "run"), str(tmp_path / "x.npy")]) == 0
    lines = capsysbinary.readouterr().out.decode().splitlines()
    assert lines[0] == "row,place,prediction,p(0),p(1)"
    assert len(lines) == 1 + y.size
    assert lines[8].startswith(f"1,0,{guesses[1, 0]},")


def test_a_number_for_each_place_ends_in_a_flat_layer() -> None:
    x = RNG.normal(size=(60, 7, 2))
    net = nn.Sequential(nn.Dense(1))
    with pytest.raises(ShapeError, match=r"Dense\(1\), Flatten\(\)") as caught:
        cr.train(net, (x, x[..., 0]), epochs=1)
    assert 'task="multiclass"' in str(caught.value)
    run = cr.train(nn.Sequential(net, nn.Flatten()), (x, x[..., 0]), epochs=1)
    assert run.predict(x).shape == (60, 7)


def test_the_loss_is_the_mean_over_rows_and_places() -> None:
    net = nn.init(table(), X[:1], 3)
    run = cr.train(net, (X, Y), epochs=1, batch_size=None, validation=0, seed=0)
    logits = np.asarray(net(X), np.float64)
    shares = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    by_hand = -np.log(np.take_along_axis(shares, Y[..., None], axis=2)).mean()
    assert run.history["loss"][0] == pytest.approx(by_hand, rel=1e-5)


def _padded(mask: np.ndarray, fill: int) -> Dataset:
    classes = tuple("abcde")
    x, y = np.where(mask, X, 0).astype(np.int32), np.where(mask, Y, fill).astype(np.int32)
    return Dataset("walk", x, y, "multiclass", classes, mask=mask)


def test_places_behind_the_mask_have_no_say() -> None:
    mask = np.arange(11) < RNG.integers(2, 12, 40)[:, None]
    mask[0] = True
    runs = [
        cr.train(table(), _padded(mask, fill), epochs=3, validation=0.25, seed=2) for fill in (0, 4)
    ]
    np.testing.assert_array_equal(runs[0].net.layers[1].weight, runs[1].net.layers[1].weight)
    assert runs[0].metrics == runs[1].metrics


def test_symbols_of_one_row_may_have_one_target() -> None:
    y = np.where(X[:, 0] > 2, "late", "early")
    net = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Dense(1))
    run = cr.train(net, (X, y), epochs=40, optimizer=cr.optim.adam(0.05), seed=0)
    assert run.metrics["accuracy"] == 1
    assert run.predict(X[:4]).tolist() == y[:4].tolist()


def test_whole_numbers_stay_numbers_where_no_symbols_are_looked_up() -> None:
    run = cr.train(nn.Dense(1), (X, X[:, :1] * 2.5), epochs=1)
    assert run.task == "regression"


def test_a_network_of_another_width_is_told_so() -> None:
    with pytest.raises(ShapeError, match="5 outputs, for 5 classes at each of 11 places"):
        cr.train(nn.Sequential(nn.Embedding(5, 8), nn.Dense(4)), (X, Y), epochs=1)


def test_a_network_that_keeps_places_where_there_is_one_target_is_told_so() -> None:
    with pytest.raises(ShapeError, match=r"Flatten\(\), GlobalAvgPool\(\), or last=True"):
        cr.train(table(), (X, Y[:, 0]), epochs=1)


def test_labels_that_no_class_has_are_placed() -> None:
    bad = Y.copy()
    bad[7, 3] = 9
    with pytest.raises(DataError, match="place 3 of row 7 is 9"):
        cr.train(table(), Dataset("walk", X, bad, "multiclass", tuple("abcde")), epochs=1)
    with pytest.raises(DataError, match="count classes from 0"):
        cr.train(table(), (X, Y - 1), epochs=1)
    below = X.copy()
    below[7, 3] = -1
    with pytest.raises(DataError, match=r"symbol -1 at row 7, entry \[3\]"):
        cr.train(table(), (below, Y), epochs=1)


def test_masks_and_resets_must_fit_the_rows() -> None:
    with pytest.raises(ShapeError, match="mask"):
        Dataset("a", X, Y, "multiclass", tuple("abcde"), mask=np.ones((40, 10), bool))
    with pytest.raises(ShapeError, match="resets"):
        Dataset("a", X, Y, "multiclass", tuple("abcde"), resets=np.ones(39, bool))


def test_a_text_is_resumed_where_it_stopped(tmp_path: Path) -> None:
    book = tmp_path / "book.txt"
    book.write_text("abcab " * 200)
    source = TextCorpus(book, context=8)
    whole = cr.train(table(4), source, epochs=4, run_dir=tmp_path / "a")
    cr.train(table(4), source, epochs=2, run_dir=tmp_path / "b")
    again = cr.train(table(4), source, epochs=4, run_dir=tmp_path / "b", resume=True)
    np.testing.assert_array_equal(whole.net.layers[1].weight, again.net.layers[1].weight)
    assert cr.load_run(tmp_path / "b").encoder == whole.encoder


def test_training_figures_are_means_over_the_places_that_count() -> None:
    """Batches of 8 rows with very unequal numbers of places; the weights stay as they are."""
    mask = np.arange(11) < np.repeat([1, 11, 2, 9, 4], 8)[:, None]
    data = _padded(mask, 4)
    net = nn.init(table(), X[:1], 3)
    still = cr.optim.sgd(1e-30)
    run = cr.train(net, data, epochs=1, batch_size=8, validation=0, seed=0, optimizer=still)
    logits = np.asarray(net(data.x), np.float64)
    shares = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    surprise = -np.log(np.take_along_axis(shares, data.y[..., None], axis=2))[..., 0]
    assert run.history["loss"][0] == pytest.approx(surprise[mask].mean(), rel=1e-5)
    right = (logits.argmax(axis=2) == data.y)[mask].mean()
    assert run.history["accuracy"][0] == pytest.approx(right, rel=1e-6)
    assert run.metrics["accuracy"] == pytest.approx(right, rel=1e-12)
