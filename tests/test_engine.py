"""docs/engine.py, the engine in under 200 lines of NumPy, and chainrule train alike."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from chainrule import nn, optim
from chainrule.data import permutation
from chainrule.observe import Event, StepMeasured
from chainrule.training import train

ENGINE = Path(__file__).resolve().parent.parent / "docs" / "engine.py"
ROWS, BATCH, EPOCHS, SEED = 50, 16, 8, 3  # the last batch of an epoch is a short one


@pytest.fixture(scope="module")
def engine() -> ModuleType:
    module = ModuleType("engine")
    exec(compile(ENGINE.read_text(encoding="utf-8"), str(ENGINE), "exec"), module.__dict__)
    return module


def data(dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    x = random.normal(size=(ROWS, 5)).astype(np.float32).astype(dtype)  # train reads float32
    return x, x[:, :3].argmax(axis=1)


def batches(x: np.ndarray, labels: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The rows in the order in which `train` takes them."""
    for epoch in range(EPOCHS):
        order = permutation(ROWS, SEED, epoch)
        for first in range(0, ROWS, BATCH):
            rows = order[first : first + BATCH]
            yield x[rows], labels[rows]


def chainrule_losses(
    net: Any, x: np.ndarray, labels: np.ndarray, optimizer: optim.Optimizer
) -> tuple[Any, list[float]]:
    """The trained network, and the loss before every step."""
    losses: list[float] = []

    def watch(event: Event) -> None:
        if isinstance(event, StepMeasured):
            losses.append(event.loss)

    run = train(
        net,
        (x, labels),
        loss="cross_entropy",
        optimizer=optimizer,
        epochs=EPOCHS,
        batch_size=BATCH,
        validation=0,
        seed=SEED,
        measure_every=1,
        watchers=[watch],
        progress=False,
    )
    return run.net, losses


def test_engine_is_one_page_of_numpy() -> None:
    """Under 200 lines, and it imports NumPy and the standard library only."""
    text = ENGINE.read_text(encoding="utf-8")
    assert text.count("\n") < 200
    imported = {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [])
        + ([a.name for a in node.names] if isinstance(node, ast.Import) else [])
    }
    assert imported <= {"numpy", *sys.stdlib_module_names}


def test_engine_runs_as_a_program() -> None:
    """It learns parity both ways, and its gradient agrees with differences to 9 digits."""
    run = subprocess.run([sys.executable, ENGINE], capture_output=True, text=True, check=True)
    gradient, *ends = run.stdout.splitlines()
    exact, differences = gradient.removeprefix("dE/dW[0, 0]: ").split(", by differences ")
    # Central differences of step 1e-5 err by about 1e-10 from their curvature and rounding.
    assert float(exact) == pytest.approx(float(differences), abs=1e-8)
    assert len(ends) == 2
    assert all(end.endswith("16 of 16 right") for end in ends)


# Two orders of the same sums differ in the last bits, and training carries that on; in float64
# the losses of 32 steps stay within a few units of 1e-16 of each other, in float32 of 1e-7. The
# bounds leave room for other BLAS libraries; a gradient wrong by 0.1 % is far outside both.
@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-11), (np.float32, 1e-4)])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_engine_and_train_go_through_the_same_losses(
    engine: ModuleType, optimizer: str, activation: str, dtype: Any, rtol: float
) -> None:
    """The same data, weights and batches give the same losses at every step and the same weights at
    the end, whatever the optimiser."""
    ours, plain = {
        "sgd": (optim.sgd(0.1), engine.Momentum(0.1)),
        "momentum": (optim.sgd(0.05, momentum=0.9), engine.Momentum(0.05, 0.9)),
        "adam": (optim.adam(0.01), engine.Adam(0.01)),
    }[optimizer]
    x, labels = data(dtype)
    layers = [
        (W.astype(dtype), b.astype(dtype))
        for W, b in engine.first_layers([5, 7, 6, 3], np.random.default_rng(2))
    ]
    dense = [nn.Dense(*W.shape, weight=W, bias=b) for W, b in layers]
    f = nn.activation(activation)
    net = nn.Sequential(dense[0], f, dense[1], f, dense[2])

    trained, losses = engine.train(layers, batches(x, labels), plain, activation)
    net, own_losses = chainrule_losses(net, x, labels, ours)

    assert len(losses) == len(own_losses) == EPOCHS * 4
    assert losses[-1] < 0.9 * losses[0], "nothing was learned: a weak test"
    np.testing.assert_allclose(own_losses, losses, rtol=rtol)
    for layer, (W, b) in zip(net.layers[::2], trained, strict=True):
        assert layer.weight.dtype == W.dtype == dtype
        np.testing.assert_allclose(layer.weight, W, rtol=rtol, atol=rtol)
        np.testing.assert_allclose(layer.bias, b, rtol=rtol, atol=rtol)
