"""Augmentation: what each layer does to rows in training, and that it does nothing otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ShapeError, UsageError

RNG = np.random.default_rng(2)
X = RNG.uniform(0.1, 1, (6, 5, 7, 2)).astype(np.float32)

LAYERS = [
    nn.RandomShift(2),
    nn.RandomCrop(4, 3),
    nn.RandomFlip(),
    nn.Noise(0.1),
    nn.Cutout(3),
]


def changed(layer: Any, x: np.ndarray = X, seed: int = 0, step: int = 0) -> np.ndarray:
    with nn.training(seed=seed, step=step):
        return np.asarray(layer(x))


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_a_replay_is_the_same_and_another_step_is_not(layer: nn.Layer) -> None:
    first = changed(layer, step=1)
    np.testing.assert_array_equal(changed(layer, step=1), first)
    others = [changed(layer, step=step) for step in range(2, 8)]
    assert any((other != first).any() for other in others)
    assert first.dtype == np.float32


@pytest.mark.parametrize("layer", LAYERS, ids=str)
@pytest.mark.parametrize("backend", ["reference", "native"])
def test_traced_it_is_what_numpy_does(layer: nn.Layer, backend: str) -> None:
    run = cr.train(
        nn.Sequential(layer, nn.Flatten(), nn.Dense(1)),
        (X, np.arange(6.0)),
        epochs=2,
        validation=0,
        batch_size=6,
        backend=backend,
        measure_every=0,
    )
    other = cr.train(
        nn.Sequential(layer, nn.Flatten(), nn.Dense(1)),
        (X, np.arange(6.0)),
        epochs=2,
        validation=0,
        batch_size=6,
        backend="reference",
        measure_every=1,
    )
    np.testing.assert_allclose(
        run.net.layers[2].weight, other.net.layers[2].weight, rtol=1e-5, atol=1e-7
    )


@pytest.mark.parametrize("layer", [x for x in LAYERS if not isinstance(x, nn.RandomCrop)], ids=str)
def test_outside_training_nothing_is_changed(layer: nn.Layer) -> None:
    np.testing.assert_array_equal(layer(X), X)


def _parts(x: np.ndarray, height: int, width: int) -> list[np.ndarray]:
    return [
        x[top : top + height, left : left + width]
        for top in range(x.shape[0] - height + 1)
        for left in range(x.shape[1] - width + 1)
    ]


@pytest.mark.parametrize("x", [X, X[..., 0]], ids=["channels", "grey"])
def test_a_shift_moves_each_picture_and_fills_with_zeros(x: np.ndarray) -> None:
    seen = set()
    around = [(0, 0), (2, 2), (2, 2), *[(0, 0)] * (x.ndim - 3)]
    padded = np.pad(x, around)
    for step in range(30):
        found = changed(nn.RandomShift(2), x, step=step)
        assert found.shape == x.shape
        for row in range(len(x)):
            hits = [i for i, p in enumerate(_parts(padded[row], 5, 7)) if (p == found[row]).all()]
            assert len(hits) == 1
            seen.add(hits[0])
    assert seen == set(range(25))  # every place is reached


def test_a_crop_is_anywhere_in_training_and_central_outside() -> None:
    layer, seen = nn.RandomCrop(4, 3), set()
    for step in range(30):
        found = changed(layer, step=step)
        for row in range(6):
            hits = [i for i, p in enumerate(_parts(X[row], 4, 3)) if (p == found[row]).all()]
            assert len(hits) == 1
            seen.add(hits[0])
    assert seen == set(range(10))
    np.testing.assert_array_equal(layer(X), X[:, 0:4, 2:5])


def test_a_flip_turns_about_its_share_of_the_pictures() -> None:
    x = np.repeat(X[:1], 2000, axis=0)
    found = changed(nn.RandomFlip(0.25), x)
    turned = (found == x[:, :, ::-1]).all(axis=(1, 2, 3))
    assert ((found == x).all(axis=(1, 2, 3)) | turned).all()
    assert 0.2 < turned.mean() < 0.3
    np.testing.assert_array_equal(changed(nn.RandomFlip(1.0)), X[:, :, ::-1])


def test_noise_has_its_size() -> None:
    x = np.ones((100, 200))
    found = changed(nn.Noise(0.3), x) - 1
    assert found.dtype == np.float64
    assert abs(float(found.mean())) < 0.01
    assert float(found.std()) == pytest.approx(0.3, rel=0.02)
    assert changed(nn.Noise(0), x) is x


def test_a_cutout_is_one_square_around_a_place_inside() -> None:
    x = np.ones((400, 9, 8), np.float32)
    found = changed(nn.Cutout(3), x)
    centres = set()
    for row in found:
        down, across = np.nonzero(row == 0)
        tall, wide = np.ptp(down) + 1, np.ptp(across) + 1
        assert len(down) == tall * wide
        assert max(tall, wide) <= 3
        if tall == wide == 3:
            centres.add((int(down.min()) + 1, int(across.min()) + 1))
    assert centres == {(i, j) for i in range(1, 8) for j in range(1, 7)}


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_gradients_pass_through(layer: nn.Layer) -> None:
    x = RNG.uniform(0.1, 1, (3, 5, 7, 1))

    def loss(x: Any) -> Any:
        with nn.training(seed=4, step=2):
            return np.sum(np.sin(layer(x)))

    cr.check_grads(loss, (x,))


def test_mixup_mixes_rows_and_targets_alike() -> None:
    y = np.eye(6, dtype=np.float32)
    with nn.training(seed=0, step=0):
        mixed_x, mixed_y = nn.mixup(X, y)
    share = np.diag(mixed_y)
    assert len(set(share.tolist())) == 6
    np.testing.assert_allclose(mixed_y.sum(axis=1), 1, rtol=1e-6)
    behind = np.roll(np.arange(6), -1)
    expected = share[:, None, None, None] * X + (1 - share)[:, None, None, None] * X[behind]
    np.testing.assert_allclose(mixed_x, expected, rtol=1e-5)
    np.testing.assert_allclose(mixed_y[np.arange(6), behind], 1 - share, rtol=1e-5, atol=1e-6)


def test_a_step_of_one_s_own_trains_on_mixed_rows() -> None:
    x = RNG.normal(size=(32, 4))
    y = np.eye(2)[(x[:, 0] > 0).astype(int)]
    net = nn.init(nn.Dense(4, 2), x, 0)

    def loss(net: Any, x: Any, y: Any, step: int) -> Any:
        with nn.training(seed=0, step=step):
            mixed_x, mixed_y = nn.mixup(x, y)
            return nn.losses.cross_entropy(net(mixed_x), mixed_y)

    value, gradient = cr.value_and_grad(loss)(net, x, y, 0)
    assert np.isfinite(value)
    assert np.abs(gradient.weight).max() > 0


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: nn.RandomShift(0), "pixels"),
        (lambda: nn.RandomCrop(3, -1), "width"),
        (lambda: nn.RandomFlip(1.5), "rate"),
        (lambda: nn.Noise(-1), "std"),
        (lambda: nn.Cutout(2.5), "size"),  # type: ignore[arg-type]
        (lambda: changed(nn.RandomCrop(9, 9)), "9 x 9 or more"),
        (lambda: changed(nn.RandomFlip(), X[0, 0]), "expects pictures"),
        (lambda: changed(nn.Noise(1), np.ones((2, 2), int)), "fractional"),
        (lambda: nn.mixup(X, np.zeros(6)), "np.eye"),
        (lambda: nn.mixup(X, np.zeros((6, 2), int)), "floats"),
        (lambda: nn.mixup(X, np.zeros((6, 2))), "outside a training pass"),
    ],
)
def test_mistakes_are_told(make: Any, said: str) -> None:
    with pytest.raises((ShapeError, UsageError), match=said):
        make()
