"""Truncated backpropagation through time: states go on from chunk to chunk, deltas do not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from problems import Events, assert_same_bits
from streams import digest, ragged, reader, remembering, train

import chainrule as cr
from chainrule import nn, optim
from chainrule.data import Dataset, TextCorpus
from chainrule.errors import NonFiniteError, ShapeError, UsageError
from chainrule.native import schedule
from chainrule.nn import losses
from chainrule.observe.events import Event, StepMeasured
from chainrule.tracing import trees
from chainrule.tracing.context import key_of
from chainrule.training.objective import objective
from chainrule.training.step import Layout, StepBuilder
from chainrule.training.streams import states_of

Array = np.ndarray[Any, Any]


# --- what is learned --------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_what_was_read_chunks_ago_is_known_where_states_are_carried(backend: str) -> None:
    """A symbol is shown once and asked for through six chunks; by chance a quarter is right."""
    data = remembering()
    options: dict[str, Any] = {
        "epochs": 4, "optimizer": optim.adam(0.02), "validation": 0.2, "backend": backend,
    }  # fmt: skip
    carried = cr.train(reader(nn.GRU(16), 4), data, **options)
    assert carried.metrics["accuracy"] == 1
    assert carried.history["accuracy"][-1] > 0.99
    if backend == "native":
        apart = replace(data, streams=0, resets=None)
        alone = cr.train(reader(nn.GRU(16), 4), apart, **options)
        assert alone.metrics["accuracy"] < 1 / 6 + 5 / 6 * 0.45


def test_a_text_is_learned_in_streams(tmp_path: Path) -> None:
    """The last of six letters is the first again: in chunks of 8 it is often not there to see."""
    random = np.random.default_rng(3)
    book = tmp_path / "book.txt"
    book.write_text("".join(random.choice(["a----A", "b----B"], 1600)))
    net = nn.Sequential(nn.Embedding(5, 6), nn.GRU(16), nn.Dense(5))
    source = TextCorpus(book, context=8, streams=8)
    options: dict[str, Any] = {"epochs": 8, "optimizer": optim.adam(0.02), "validation": 0.2}
    run = cr.train(net, source, run_dir=tmp_path / "run", **options)
    alone = cr.train(net, replace(source, streams=0), **options)
    # Only which of the two words comes next is not to be known: 11 of 12 are right at best.
    assert run.metrics["accuracy"] > 0.9
    assert alone.metrics["accuracy"] < 11 / 12 - 5 / 8 / 12 + 0.02
    assert run.metrics["perplexity"] == pytest.approx(np.exp(run.metrics["loss"]), rel=1e-5)
    assert run.record.started is not None
    assert run.record.started.batch_size == 8
    assert run.record.evaluated is not None
    assert len(run.record.evaluated.examples) == 4
    again = cr.load_run(tmp_path / "run")
    assert again.outputs(np.zeros((3, 8), np.int64)).shape == (3, 8, 5)


# --- what a step computes ---------------------------------------------------------------------


def filled(part: Any, classes: int = 5, dtype: Any = np.float64) -> Any:
    return nn.init(reader(part, classes), np.zeros((2, 3), np.int32), 1, dtype=dtype)


PARTS = [nn.RNN(7), nn.LSTM(7), nn.GRU(7), nn.LSTM(7, layers=2)]


@pytest.mark.parametrize("part", PARTS, ids=str)
def test_chunks_give_the_outputs_of_one_long_pass(part: Any) -> None:
    net, x = filled(part), np.random.default_rng(0).integers(0, 5, (3, 12))
    whole, state, outputs = net(x), None, []
    for chunk in np.split(x, 4, axis=1):
        with nn.carrying(net, state) as memory:
            outputs.append(net(chunk))
        state = memory.after
    assert list(memory.after) == ["layers.1"]
    np.testing.assert_allclose(np.concatenate(outputs, axis=1), whole, rtol=1e-12, atol=1e-14)


def test_rows_that_reset_know_nothing_of_what_was_before() -> None:
    net, random = filled(nn.GRU(7)), np.random.default_rng(0)
    chunk = random.integers(0, 5, (3, 4))
    resets = np.array([False, True, False])
    with nn.carrying(net) as memory:
        net(random.integers(0, 5, (3, 4)))
    with nn.carrying(net, memory.after, resets):
        after = net(chunk)
    fresh = net(chunk)
    np.testing.assert_array_equal(after[1], fresh[1])
    assert (after[[0, 2]] != fresh[[0, 2]]).any(axis=(1, 2)).all()


@pytest.mark.parametrize("part", PARTS, ids=str)
def test_the_gradient_is_that_of_the_chunk_with_the_state_held(part: Any) -> None:
    """Against the gradient of a loss into which the state goes as a constant."""
    net, random = filled(part), np.random.default_rng(0)
    x, y = random.integers(0, 5, (2, 3, 6))
    layout, carry = Layout.of(net, optim.sgd(0.1), states_of(net, x))
    builder = StepBuilder(
        layout, objective(None, "multiclass", 5, net, None, 6), optim.sgd(0.1), None
    )
    carry = [
        random.normal(size=array.shape) if name.startswith("memory.") else array
        for name, array in zip(layout.names(), carry, strict=True)
    ]
    state = layout.remembered(carry)["layers.1"]
    resets = np.array([False, True, False])
    held = trees.map_leaves(lambda s: np.where(resets[:, None], 0, s), state)

    def loss(net: Any) -> Any:
        first, middle, last = net.layers
        outputs, _ = middle(first(x), held)
        return losses.cross_entropy(last(outputs), y)

    found = builder.quantities(carry, [x, y, resets], key_of(0), 0)
    assert found["loss"] == pytest.approx(loss(net), rel=1e-12)
    want = {leaf.name: leaf.value for leaf in trees.leaves(cr.grad(loss)(net))}
    assert list(found["gradients"]) == list(want)
    for name, gradient in want.items():
        np.testing.assert_allclose(found["gradients"][name], gradient, rtol=1e-9, atol=1e-13)
    first, middle, _ = net.layers
    _, after = middle(first(x), held)
    for leaf, kept in zip(trees.leaves(after), found["memory"].values(), strict=True):
        np.testing.assert_allclose(kept, leaf.value, rtol=1e-12, atol=1e-14)


def by_hand(net: Any, data: Dataset, rows: Array) -> Array:
    """The outputs for rows of streams, read on chunk after chunk in plain NumPy."""
    state, outputs, count = None, [], data.streams
    assert data.resets is not None
    for first in range(0, len(rows), count):
        here = rows[first : first + count]
        resets = np.ones(count, bool) if first == 0 else data.resets[here]
        with nn.carrying(net, state, resets) as memory:
            outputs.append(net(data.x[here]))
        state = memory.after
    return np.concatenate(outputs)


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_the_held_out_loss_is_that_of_reading_on(backend: str) -> None:
    """With averaged weights, a mask, and rows that begin in the middle of documents."""
    data = ragged()
    run = train(data, backend=backend)
    held_out = run.config["settings"]["validation"]
    assert held_out == 24, "six of 28 chunks"
    rows = np.arange(len(data.x) - held_out, len(data.x))
    outputs = by_hand(run.net, data, rows).astype(np.float64)
    assert data.mask is not None
    counted, y = data.mask[rows], data.y[rows]
    logs = outputs - np.log(np.exp(outputs).sum(axis=2, keepdims=True))
    surprise = -np.take_along_axis(logs, y[..., None], axis=2)[..., 0][counted].mean()
    assert run.metrics["loss"] == pytest.approx(surprise, rel=1e-5)
    assert run.metrics["perplexity"] == pytest.approx(np.exp(surprise), rel=1e-5)
    assert run.metrics["accuracy"] == (outputs.argmax(axis=2) == y)[counted].mean()


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_rows_of_streams_may_have_one_target_each(backend: str) -> None:
    """A sum over all that a stream has shown so far, asked for at the end of each chunk."""
    x = np.random.default_rng(0).normal(size=(40, 4, 3, 1)).astype(np.float32)
    y = np.cumsum(x.sum(axis=(2, 3)), axis=0)
    data = Dataset(
        "sums", x.reshape(160, 3, 1), y.reshape(160, 1), "regression", streams=4
    )  # fmt: skip
    net = nn.Sequential(nn.GRU(5, last=True), nn.Dense(1))
    run = cr.train(net, data, epochs=2, validation=0.25, backend=backend)
    held_out = replace(data, resets=np.zeros(160, bool))
    rows = np.arange(120, 160)
    error = by_hand(run.net, held_out, rows) - data.y[rows]
    assert run.metrics["rmse"] == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-5)


def test_chunks_can_be_read_and_differentiated_by_hand() -> None:
    """`nn.carrying` inside of a function of one's own, whose gradient is that of the chunk."""
    net, random = filled(nn.LSTM(7)), np.random.default_rng(0)
    x, y = random.integers(0, 5, (2, 3, 8))

    def loss(net: Any, state: Any, x: Any, y: Any) -> Any:
        with nn.carrying(net, state) as memory:
            value = losses.cross_entropy(net(x), y)
        return value, memory.after

    (first, state), _ = cr.value_and_grad(loss, has_aux=True)(net, {}, x[:, :4], y[:, :4])
    (last, _), gradient = cr.value_and_grad(loss, has_aux=True)(net, state, x[:, 4:], y[:, 4:])
    assert (first + last) / 2 == pytest.approx(losses.cross_entropy(net(x), y), rel=1e-12)

    def held(net: Any) -> Any:
        embedding, layer, dense = net.layers
        outputs, _ = layer(embedding(x[:, 4:]), state["layers.1"])
        return losses.cross_entropy(dense(outputs), y[:, 4:])

    for one, other in zip(trees.leaves(gradient), trees.leaves(cr.grad(held)(net)), strict=True):
        np.testing.assert_allclose(one.value, other.value, rtol=1e-9, atol=1e-13)


# --- the same bits ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def want() -> str:
    return digest(train(threads=1, measure_every=0))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_change_no_bit(threads: int, want: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "SHARED_FROM", -1.0)
    monkeypatch.setattr(schedule, "THREADS_FROM", 1e-9)
    assert digest(train(threads=threads)) == want


@pytest.mark.parametrize("every", [1, 2, 5])
def test_measuring_changes_no_bit(every: int, want: str) -> None:
    events = Events()
    assert digest(train(measure_every=every, watchers=[events])) == want
    measured = events.of(StepMeasured)
    assert [event.step for event in measured] == list(range(0, measured[-1].step + 1, every))


class Stop(Exception):
    """What a watcher raises to end a run."""


def test_a_run_that_is_stopped_again_and_again_ends_in_the_same_bits(
    want: str, tmp_path: Path
) -> None:
    """In the middle of epochs: the states are in the checkpoint."""
    for session, stop in enumerate([2, 3, 13, 30]):

        def watch(event: Event, stop: int = stop) -> None:
            if isinstance(event, StepMeasured) and event.step == stop:
                raise Stop

        with pytest.raises(Stop):
            train(run_dir=tmp_path, resume=session > 0, watchers=[watch], measure_every=1)
    done = train(run_dir=tmp_path, resume=True)
    assert digest(done) == want
    assert digest(cr.load_run(tmp_path)) == want


def test_both_backends_come_to_the_same() -> None:
    native, plain = (train(backend=b, epochs=2) for b in ("native", "reference"))
    for name in ("loss", "accuracy", "held_out_loss"):
        np.testing.assert_allclose(native.history[name], plain.history[name], rtol=1e-4)


def test_one_chunk_an_epoch_is_read_where_it_lies() -> None:
    data = ragged()
    one = Dataset("one", data.x[:4], data.y[:4], "multiclass", data.classes, streams=4, symbols=5)
    runs = [train(one, validation=0, backend=b) for b in ("native", "reference")]
    assert runs[0].history["loss"] == pytest.approx(runs[1].history["loss"], rel=1e-4)


# --- layers of one's own ----------------------------------------------------------------------


@dataclass(frozen=True)
class Leaky(nn.Layer):
    """A running mean of what is read; `grows` makes the state larger with every chunk."""

    grows: float = 1.0
    rate: Any = None

    def fill(self, draw: Any, *inputs: Any) -> Any:
        return self.replace(rate=draw("rate", "ones", (1,)))

    def forward(self, x: Any) -> Any:
        state = nn.recall(self, np.zeros((x.shape[0], x.shape[2]), x.dtype))

        def step(state: Any, seen: Any) -> tuple[Any, Any]:
            state = state + 0.5 * self.rate * (seen - state)
            return state, state

        state, outputs = cr.scan(step, state, np.swapaxes(x, 0, 1))
        nn.remember(self, state * self.grows)
        return np.swapaxes(outputs, 0, 1)


def test_a_layer_of_ones_own_carries_what_it_remembers() -> None:
    net, x = filled(Leaky()), np.random.default_rng(0).integers(0, 5, (2, 6))
    whole = net(x)
    with nn.carrying(net) as memory:
        net(x[:, :3])
    with nn.carrying(net, memory.after):
        np.testing.assert_allclose(net(x[:, 3:]), whole[:, 3:], rtol=1e-12)
    with pytest.raises(ShapeError, match="as many rows as before"), nn.carrying(net, memory.after):
        net(x[:1])
    run = cr.train(reader(Leaky()), ragged(), epochs=2)
    assert run.reason == "finished"


def test_a_state_that_is_not_finite_stops_the_run() -> None:
    """Before it is read: a checkpoint never holds it."""
    with pytest.raises(NonFiniteError, match=r"the carried state of layers\.1 is not finite"):
        cr.train(reader(Leaky(grows=1e30), 4), remembering(), epochs=2)


# --- what cannot be carried -------------------------------------------------------------------


@dataclass(frozen=True)
class Twice(nn.Layer):
    inner: Any

    def forward(self, x: Any) -> Any:
        return self.inner(self.inner(x))


@dataclass(frozen=True)
class Looped(nn.Layer):
    inner: Any

    def forward(self, x: Any) -> Any:
        _, outputs = cr.scan(lambda c, v: (c, self.inner(v)), np.zeros(()), x[np.newaxis])
        return outputs[0]


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (nn.GRU(6, bidirectional=True), r"bidirectional reads from the end"),
        (nn.GRU(6, reverse=True), r"reverse reads from the end"),
        (Twice(nn.RNN(6)), r"called twice in one step[^$]*layers\.1\.inner \(RNN 6 -> 6\)"),
        (Looped(nn.RNN(6)), r"out of cr\.scan[^$]*layers\.1\.inner"),
    ],
)
def test_what_has_no_one_state_to_carry_is_told_so(part: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        cr.train(reader(part), ragged(), epochs=1)
    data = replace(ragged(), streams=0, resets=None)
    assert cr.train(reader(part), data, epochs=1).reason == "finished"


def test_settings_that_do_not_go_with_streams() -> None:
    for size in (None, 4, 32):
        run = train(batch_size=size, epochs=1)
        assert run.config["settings"]["batch_size"] == 4
    with pytest.raises(
        UsageError, match="batch_size is 16, and a step reads one chunk of each of 4"
    ):
        train(batch_size=16)
    with pytest.raises(UsageError, match="lbfgs works on all rows at once"):
        cr.train(reader(nn.RNN(4)), ragged(), optimizer=optim.lbfgs(), batch_size=None)
    data = ragged()
    with pytest.raises(ShapeError, match="not whole chunks of 4 streams"):
        Dataset("odd", data.x[:-1], data.y[:-1], "multiclass", data.classes, streams=4)


def test_a_network_without_states_reads_chunks_in_order() -> None:
    net = nn.Sequential(nn.Embedding(5, 6), nn.Dense(5))
    runs = [cr.train(net, ragged(), epochs=2, backend=b) for b in ("native", "reference")]
    assert runs[0].metrics["loss"] == pytest.approx(runs[1].metrics["loss"], rel=1e-4)
    assert_same_bits(runs[0].net, cr.train(net, ragged(), epochs=2).net)


def test_the_step_of_a_run_on_streams_is_timed(tmp_path: Path) -> None:
    run = train(run_dir=tmp_path, epochs=1)
    found = run.profile(ragged(), seconds=0.05)
    assert found.batch == 4
    assert found.kernels
