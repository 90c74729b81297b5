"""Recurrent layers and Equilibrium: what they compute, step by step, and how they are used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ConvergenceError, ShapeError, UsageError
from chainrule.rewrite import rewrite

random = np.random.default_rng(6)


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def naive(layer: Any, x: Any, reverse: bool = False) -> Any:
    """One row and one time at a time, each gate on its own, in the form of the papers."""
    size, kind = layer.outputs, type(layer).__name__
    result = np.zeros((*x.shape[:2], size))
    parts = [slice(k * size, (k + 1) * size) for k in range(layer.gates)]
    for row in range(x.shape[0]):
        h = cell = np.zeros(size)
        for t in range(x.shape[1])[:: -1 if reverse else 1]:
            inner = [x[row, t] @ layer.weight[:, p] + layer.bias[p] for p in parts]
            outer = [h @ layer.recurrent[:, p] for p in parts]
            if kind == "RNN":
                h = np.tanh(inner[0] + outer[0])
            elif kind == "LSTM":
                i, f, g, o = (a + b for a, b in zip(inner, outer, strict=True))
                cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
                h = sigmoid(o) * np.tanh(cell)
            else:
                r, z = sigmoid(inner[0] + outer[0]), sigmoid(inner[1] + outer[1])
                n = np.tanh(inner[2] + r * (outer[2] + layer.candidate_bias))
                h = (1 - z) * n + z * h
            result[row, t] = h
    return result


def filled(layer: Any, x: Any) -> Any:
    net = nn.init(layer, x, seed=2, dtype=np.float64)
    return cr.tracing.trees.map_leaves(lambda a: a + 0.05 * random.normal(size=a.shape), net)


KINDS = {"RNN": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}
each_kind = pytest.mark.parametrize("kind", KINDS)
X = random.normal(size=(3, 6, 4))


@each_kind
def test_a_layer_is_its_formula(kind: str) -> None:
    """Plain and compiled, from the start and from the end."""
    for reverse in (False, True):
        layer = filled(KINDS[kind](5, reverse=reverse), X)
        want = naive(layer, X, reverse)
        np.testing.assert_allclose(layer(X), want, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(cr.compile(layer)(X), want, rtol=1e-10, atol=1e-12)
        last = layer.replace(last=True)(X)
        np.testing.assert_allclose(last, want[:, 0 if reverse else -1], rtol=1e-10)


@each_kind
def test_stacked_and_both_ways(kind: str) -> None:
    """Each layer reads what both directions of the one below give."""
    net = filled(KINDS[kind](5, layers=2, bidirectional=True), X)
    assert net.label() == f"{kind} 4 -> 5, 2 layers, bidirectional"
    below = np.concatenate([naive(net.parts[0], X), naive(net.parts[1], X, True)], axis=-1)
    ends = naive(net.parts[2], below), naive(net.parts[3], below, True)
    want = np.concatenate(ends, axis=-1)
    np.testing.assert_allclose(net(X), want, rtol=1e-9, atol=1e-11)
    last = np.concatenate([ends[0][:, -1], ends[1][:, 0]], axis=-1)
    np.testing.assert_allclose(net.replace(last=True)(X), last, rtol=1e-9, atol=1e-11)


@each_kind
def test_a_sequence_may_come_in_pieces(kind: str) -> None:
    """The state that a call returns begins the next one; in stacks too."""
    for layers in (1, 2):
        net = filled(KINDS[kind](5, layers=layers), X)
        state = net.start(3, np.float64)
        first, state = net(X[:, :4], state)
        second, state = cr.compile(lambda net, x, s: net(x, s))(net, X[:, 4:], state)
        np.testing.assert_allclose(np.concatenate([first, second], axis=1), net(X), rtol=1e-10)


@each_kind
@pytest.mark.parametrize("bidirectional", [False, True])
def test_sequences_of_unequal_length(kind: str, bidirectional: bool) -> None:
    """Each row is as if it were alone: padding changes nothing, and its outputs are zero."""
    lengths = np.array([6, 3, 1])
    mask = np.arange(6) < lengths[:, np.newaxis]
    net = filled(KINDS[kind](5, layers=2, bidirectional=bidirectional), X)
    noisy = np.where(mask[..., np.newaxis], X, 1e3)
    outputs = cr.compile(lambda net, x, m: net(x, None, m))(net, noisy, mask)
    newest = net.replace(last=True)(noisy, None, mask)
    for row, length in enumerate(lengths):
        alone = X[row : row + 1, :length]
        np.testing.assert_allclose(outputs[row, :length], net(alone)[0], rtol=1e-9, atol=1e-11)
        np.testing.assert_array_equal(outputs[row, length:], 0)
        np.testing.assert_allclose(newest[row], net.replace(last=True)(alone)[0], rtol=1e-9)
    cr.check_grads(lambda net, x: net(x, None, mask), (net, X), order=1)


def test_the_lstm_starts_by_remembering() -> None:
    net = nn.init(nn.LSTM(2, 3))
    np.testing.assert_array_equal(net.bias, np.repeat([0, 1, 0, 0], 3))
    assert net.start(2)[0].shape == net.start(2)[1].shape == (2, 3)


@each_kind
def test_the_products_of_the_input_are_taken_outside_the_loop(kind: str) -> None:
    """One product of the state in the loop on the way there, one on the way back; the gradients of
    both weights are one product each."""
    net = filled(KINDS[kind](5), X)
    graph = rewrite(cr.trace(cr.grad(lambda net: np.sum(net(X))), net))
    there, back = [n for n in graph.nodes() if n.op == "scan"]
    for loop in (there, back):
        assert [n.op for n in loop["body"].nodes()].count("contract") == 1
    outside = [n for n in graph.nodes() if n.op == "contract"]
    assert len(outside) == 3  # x @ weight, and the gradients of weight and recurrent


@each_kind
def test_settings_that_save_memory_change_no_value(kind: str) -> None:
    """Checkpoints change no gradient either; truncation does."""
    net = filled(KINDS[kind](5), X)
    loss = lambda net: np.sum(np.sin(net(X)))  # noqa: E731
    want, whole = net(X), cr.grad(loss)(net).recurrent
    for settings in ({"checkpoint": True}, {"checkpoint": 4}, {"truncate": 2}):
        other = net.replace(**settings)
        np.testing.assert_allclose(cr.compile(other)(X), want, rtol=1e-12)
        same = np.allclose(cr.grad(loss)(other).recurrent, whole, rtol=1e-10)
        assert same == ("checkpoint" in settings)


def test_a_network_learns_to_remember_the_first_symbol() -> None:
    """Trained end to end through cr.train, on both backends: the class is what came first."""
    symbols = random.integers(0, 3, (200, 6))
    x, y = np.eye(3, dtype=np.float32)[symbols], symbols[:, 0]
    net = nn.Sequential(nn.GRU(16, last=True), nn.Dense(3))
    settings: Any = {"epochs": 15, "optimizer": cr.optim.adam(0.02), "seed": 0, "measure_every": 7}
    runs = [cr.train(net, (x, y), backend=b, **settings) for b in ("reference", "native")]
    for run in runs:
        assert np.mean(np.argmax(run.net(x), axis=-1) == y) > 0.98
    np.testing.assert_allclose(*(run.history["loss"] for run in runs), rtol=1e-2)


# --- Equilibrium --------------------------------------------------------------------------------


def test_an_equilibrium_rests() -> None:
    """What it gives is what its own formula makes of it."""
    x = random.normal(size=(5, 3))
    net = nn.init(nn.Equilibrium(3, 8, tolerance=1e-12), dtype=np.float64)
    z = net(x)
    np.testing.assert_allclose(z, np.tanh(x @ net.weight + z @ net.recurrent + net.bias), rtol=1e-9)
    assert np.linalg.norm(net.recurrent, 2) == pytest.approx(0.5)


def test_an_equilibrium_learns_parity() -> None:
    """The exclusive or, by recurrent backpropagation."""
    x = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]], np.float32).repeat(16, axis=0)
    y = (x.prod(axis=1) < 0).astype(np.int64)
    net = nn.Sequential(nn.Equilibrium(2, 12), nn.Dense(1))
    run = cr.train(net, (x, y), epochs=40, optimizer=cr.optim.adam(0.02), seed=2, validation=0.0)
    assert np.mean((run.net(x)[:, 0] > 0) == y) == 1


def test_an_equilibrium_that_does_not_rest_says_so() -> None:
    """Its place and its line; with strict=False it goes on."""
    net = nn.init(nn.Equilibrium(2, 3), dtype=np.float64)
    wild = net.replace(recurrent=np.eye(3)[[1, 2, 0]] * -30.0, bias=np.ones(3))
    x = random.normal(size=(4, 2))
    with pytest.raises(ConvergenceError, match="did not converge: after 1000 iterations"):
        cr.compile(wild)(x)
    assert wild.replace(strict=False)(x).shape == (4, 3)


# --- errors and random orders -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: nn.init(nn.LSTM(4, 3))(X[0]), r"x\[np\.newaxis\]"),
        (lambda: nn.init(nn.LSTM(5, 3))(X), "5 features on the last axis, got 4"),
        (lambda: nn.init(nn.GRU(4, 3))(X, None, np.ones((3, 5), bool)), r"booleans \[3, 6\]"),
        (lambda: nn.init(nn.GRU(4, 3))(X, None, np.ones((3, 6))), "got float64"),
        (lambda: nn.init(nn.GRU(4, 3, layers=2))(X, (0.0,)), "got 1 states for 2 parts"),
        (lambda: nn.init(nn.LSTM(4, 3))(X, X[:, 0]), r"\(3, 3\) and \(3, 3\), got \(3, 4\)"),
        (lambda: nn.init(nn.RNN(4, 3))(X, np.zeros((2, 3))), r"\(3, 3\), got \(2, 3\)"),
        (lambda: nn.init(nn.GRU(4, 3, layers=2))(X, np.zeros((2, 3))), r"layer.start\(3\)"),
        (lambda: nn.RNN(4, 0), "outputs must be"),
        (lambda: nn.RNN(4, 3, layers=0), "layers must be"),
        (lambda: nn.RNN(4, 3, bidirectional=True, reverse=True), "runs both ways"),
        (lambda: nn.RNN(4, 3, activation="tahn"), "tanh"),
        (lambda: nn.LSTM(4, 3, weight=np.zeros((4, 3))), r"expected \(4, 12\)"),
        (lambda: nn.LSTM(3)(X), "has no weights yet"),
        (lambda: nn.Equilibrium(3, 4, tolerance=-1.0), "tolerance must be"),
        (lambda: nn.init(nn.Equilibrium(3, 4))(X), "3 inputs on the last axis, got 4"),
        (lambda: nn.init(nn.GRU(4, 3, checkpoint=-1))(X), "checkpoint=-1"),
    ],
)
def test_what_does_not_fit_is_named(call: Any, says: str) -> None:
    with pytest.raises((ShapeError, UsageError), match=says):
        call()


def test_permutations_inside_a_pass() -> None:
    """Every number once; another order at another step, the same on replay, plain and compiled; and
    the rows of an array."""

    def order(x: Any, step: Any) -> Any:
        with nn.training(seed=4, step=step):
            return cr.random.permutation(50), cr.random.permutation(x)

    x = random.normal(size=(9, 2))
    plain, rows = order(x, np.uint32(3))
    assert plain.dtype == np.int64
    np.testing.assert_array_equal(np.sort(plain), np.arange(50))
    np.testing.assert_array_equal(np.sort(rows, axis=0), np.sort(x, axis=0))
    assert not np.array_equal(plain, np.arange(50))
    compiled = cr.compile(order)(x, np.asarray(3, np.uint32))
    np.testing.assert_array_equal(compiled[0], plain)
    np.testing.assert_array_equal(compiled[1], rows)
    other, _ = order(x, np.uint32(4))
    assert not np.array_equal(other, plain)
    with nn.training(), pytest.raises(UsageError, match="permutation of -1"):
        cr.random.permutation(-1)
    with nn.training(), pytest.raises(UsageError, match=r"permutation of 2\.5"):
        cr.random.permutation(2.5)


# --- a user's own recurrence --------------------------------------------------------------------


@dataclass(frozen=True)
class Own(nn.Layer):
    """A dense layer and dropout in each step of a scan."""

    width: int
    cell: Any
    drop: Any

    def forward(self, x: Any) -> Any:
        def step(h: Any, x: Any) -> Any:
            h = np.tanh(self.cell(np.concatenate([h, x], axis=-1)))
            return h, self.drop(h)

        begin = np.zeros((x.shape[0], self.width), x.dtype)
        _, ys = cr.scan(step, begin, np.swapaxes(x, 0, 1))
        return np.swapaxes(ys, 0, 1)


def test_layers_inside_a_step_have_weights_and_a_path() -> None:
    """Filled once, named in errors; masks differ from step to step; gradients agree."""
    net = nn.init(nn.Sequential(Own(3, nn.Dense(3), nn.Dropout(0.5))), X, dtype=np.float64)
    assert net.layers[0].cell.weight.shape == (7, 3)
    assert list(nn.parameters(net)) == ["layers.0.cell.weight", "layers.0.cell.bias"]

    def trained(net: Any, x: Any) -> Any:
        with nn.training(net, seed=1, step=3):
            return net(x)

    dropped = trained(net, X) == 0
    assert any(not np.array_equal(dropped[:, 0], dropped[:, t]) for t in range(1, 6))
    np.testing.assert_allclose(cr.compile(trained)(net, X), trained(net, X), rtol=1e-12)
    cr.check_grads(trained, (net, X), order=1)
    for run in (net, cr.compile(net)):
        with pytest.raises(ShapeError, match=r"layers\.0\.cell \(Dense 7 -> 3\) expects 7 inputs"):
            run(X[..., :3])
