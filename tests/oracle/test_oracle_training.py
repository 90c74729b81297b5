"""Twenty steps of Adam from the same weights: the same losses as PyTorch's, step by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from oracle_images import batch_norm, convolved, first, group_norm, last, layer_norm
from oracle_sequences import attention, dense, encoder, recurrent
from peer import Weights, assert_close, cast, part, tensor, torch

import chainrule as cr
from chainrule import nn, optim
from chainrule.tracing import trees

pytestmark = pytest.mark.oracle

F = torch.nn.functional
random = np.random.default_rng(21)
STEPS, RATE = 20, 0.01


@dataclass(frozen=True)
class Problem:
    """A net, its data, and the peer's outputs."""

    net: Any
    x: Any
    y: Any
    peer: Callable[[Weights, Any], Any]


def _classes(count: int, *shape: int) -> Any:
    return random.integers(0, count, shape)


# --- images -------------------------------------------------------------------------------------


def _cnn(w: Weights, x: Any) -> Any:
    x = F.relu(convolved(part(w, "layers.0"), x, padding="same"))
    x = last(F.max_pool2d(first(x), 2))
    x = F.gelu(convolved(part(w, "layers.3"), x, stride=2, padding=1))
    x = group_norm(part(w, "layers.5"), x, 2)
    x = last(F.avg_pool2d(first(x), 2))
    return dense(part(w, "layers.8"), x.flatten(1))


CNN = nn.Sequential(
    nn.Conv2d(8, kernel=3, padding="same"),
    nn.relu,
    nn.MaxPool2d(2),
    nn.Conv2d(12, kernel=3, stride=2, padding=1),
    nn.gelu,
    nn.GroupNorm(2),
    nn.AvgPool2d(2),
    nn.Flatten(),
    nn.Dense(5),
)


def _normalised(w: Weights, x: Any) -> Any:
    return batch_norm(w, x, training=True)


def _resnet(w: Weights, x: Any) -> Any:
    x = convolved(part(w, "layers.0"), x, padding="same")
    inner = part(w, "layers.1.inner")
    h = F.relu(_normalised(part(inner, "layers.0"), x))
    h = convolved(part(inner, "layers.2"), h, padding="same")
    h = F.relu(_normalised(part(inner, "layers.3"), h))
    x = x + convolved(part(inner, "layers.5"), h, padding="same")
    x = F.relu(_normalised(part(w, "layers.2"), x))
    return dense(part(w, "layers.5"), x.mean(dim=(1, 2)))


def _same(width: int) -> Any:
    return nn.Conv2d(width, kernel=3, padding="same", bias=False)


RESNET = nn.Sequential(
    _same(6),
    nn.Residual(
        nn.Sequential(nn.BatchNorm(), nn.relu, _same(6), nn.BatchNorm(), nn.relu, _same(6))
    ),
    nn.BatchNorm(),
    nn.relu,
    nn.GlobalAvgPool(),
    nn.Dense(5),
)


# --- sequences ----------------------------------------------------------------------------------


def _recurrent(kind: str, **settings: Any) -> Callable[[Weights, Any], Any]:
    def peer(w: Weights, x: Any) -> Any:
        x = F.embedding(x, w["layers.0.weight"])
        x, _ = recurrent(kind, part(w, "layers.1"), x, **settings)
        return dense(part(w, "layers.2"), x)

    return peer


def _symbols(layer: Any) -> Any:
    return nn.Sequential(nn.Embedding(7, 6), layer, nn.Dense(7))


def _gpt(w: Weights, x: Any) -> Any:
    table = w["embedding.weight"]
    x = F.embedding(x, table)
    x = x + w["inner.layers.0.table"][: x.shape[1]]
    for number in (1, 2):
        x = encoder(part(w, f"inner.layers.{number}"), x, heads=2, causal=True)
    return F.linear(layer_norm(part(w, "inner.layers.3"), x), table)


GPT = nn.TiedEmbedding(
    nn.Embedding(7, 8, weight_init="normal"),
    nn.Sequential(
        nn.LearnedPositions(9),
        nn.TransformerEncoderBlock(8, 2, causal=True),
        nn.TransformerEncoderBlock(8, 2, causal=True),
        nn.LayerNorm(),
    ),
)


def _attending(w: Weights, x: Any) -> Any:
    x = dense(part(w, "layers.0"), x)
    x = attention(part(w, "layers.1"), x, heads=2)
    return dense(part(w, "layers.3"), x.mean(dim=1))


ATTENDING = nn.Sequential(nn.Dense(8), nn.MultiHeadAttention(8, 2), nn.GlobalAvgPool(), nn.Dense(4))


def _numbers(*shape: int) -> Any:
    """Of float32, as which `cr.train` takes numbers, whatever the net computes in."""
    return random.normal(size=shape).astype(np.float32)


IMAGES = _numbers(24, 8, 9, 2), _classes(5, 24)
TEXTS = _classes(7, 16, 9), _classes(7, 16, 9)
PROBLEMS = {
    "CNN": Problem(CNN, *IMAGES, _cnn),
    "ResNet with batch norm": Problem(RESNET, *IMAGES, _resnet),
    "RNN": Problem(_symbols(nn.RNN(10)), *TEXTS, _recurrent("RNN")),
    "LSTM": Problem(_symbols(nn.LSTM(10)), *TEXTS, _recurrent("LSTM")),
    "LSTM of two layers, both ways": Problem(
        _symbols(nn.LSTM(5, layers=2, bidirectional=True)),
        *TEXTS,
        _recurrent("LSTM", layers=2, bidirectional=True),
    ),
    "GRU": Problem(_symbols(nn.GRU(10, checkpoint=3)), *TEXTS, _recurrent("GRU")),
    "GPT": Problem(GPT, *TEXTS, _gpt),
    "attention": Problem(ATTENDING, _numbers(20, 6, 5), _classes(4, 20), _attending),
}


def _peers_training(problem: Problem, net: Any) -> tuple[list[float], dict[str, Any]]:
    """The loss before each step, and the weights after the last."""
    weights = {leaf.name: tensor(leaf.value, trained=leaf.trained) for leaf in trees.leaves(net)}
    optimizer = torch.optim.Adam([w for w in weights.values() if w.requires_grad], lr=RATE)
    x, y = tensor(problem.x), tensor(problem.y)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        outputs = problem.peer(weights, x)
        loss = F.cross_entropy(outputs.movedim(-1, 1), y)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses, weights


@pytest.mark.parametrize(
    ("backend", "dtype", "allowed"),
    # Each step begins where rounding has led; Adam divides by gradients that may be small.
    [("reference", "float64", 1e-9), ("native", "float64", 1e-9), ("native", "float32", 1e-3)],
)
@pytest.mark.parametrize("name", PROBLEMS)
def test_twenty_steps_of_adam_are_pytorchs(
    name: str, backend: str, dtype: str, allowed: float
) -> None:
    """And in float64 the weights at the end are, running statistics among them."""
    problem = PROBLEMS[name]
    x = cast(problem.x, dtype)
    net = nn.init(problem.net, x, seed=4, dtype=dtype)
    run = cr.train(
        net,
        (x, problem.y),
        optimizer=optim.adam(RATE),
        epochs=STEPS,
        batch_size=None,
        validation=0,
        measure_every=0,
        backend=backend,
    )
    losses, weights = _peers_training(problem, net)
    np.testing.assert_allclose(run.history["loss"], losses, rtol=allowed)
    assert losses[-1] < 0.95 * losses[0], "it learns, so the steps matter"
    if dtype == "float64":
        for leaf in trees.leaves(run.net):
            assert_close(leaf.name, leaf.value, weights[leaf.name], 1e-7)
