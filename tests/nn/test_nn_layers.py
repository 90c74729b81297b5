"""Layers: what they compute, their gradients, and how they speak of shapes that do not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import IndexRangeError, ShapeError, UsageError

random = np.random.default_rng(11)


def net64(net: Any, x: Any = None) -> Any:
    """A net with float64 weights, none of them 0: biases and shifts move too."""
    filled = nn.init(net, x, seed=3, dtype=np.float64)
    return cr.tracing.trees.map_leaves(lambda a: a + 0.1, filled)


# For each layer: a net that holds it, and an input.
NETS: dict[str, tuple[Any, Any]] = {
    "Dense": (nn.Dense(3, 4), random.normal(size=(5, 3))),
    "Dense without bias": (nn.Dense(3, 4, bias=False), random.normal(size=(5, 3))),
    "Dense on three axes": (nn.Dense(3, 4), random.normal(size=(2, 5, 3))),
    "Dense on one axis": (nn.Dense(3, 4), random.normal(size=3)),
    "LayerNorm": (nn.LayerNorm(6), random.normal(size=(4, 6))),
    "BatchNorm": (nn.BatchNorm(3), random.normal(size=(4, 3))),
    "Flatten": (nn.Sequential(nn.Flatten(), nn.Dense(6, 2)), random.normal(size=(4, 2, 3))),
    "Residual": (nn.Residual(nn.Dense(3, 3)), random.normal(size=(5, 3))),
    "Embedding": (nn.Embedding(7, 3), np.array([[1, 2, 1], [0, 6, 3]])),
    "a net of all": (
        nn.Sequential(
            nn.Embedding(7, 3),
            nn.Flatten(),
            nn.Dense(8),
            nn.tanh,
            nn.Residual(nn.Sequential(nn.LayerNorm(), nn.Dense(8), nn.gelu, nn.Dropout(0.2))),
            nn.BatchNorm(),
            np.tanh,
            nn.Dense(2),
        ),
        np.array([[1, 2, 1], [0, 6, 3]]),
    ),
}
every_net = pytest.mark.parametrize("name", NETS)


@every_net
def test_gradients_of_weights_and_inputs_agree_with_differences(name: str) -> None:
    """To second order, for every weight and for the input."""
    net, x = NETS[name]
    cr.check_grads(lambda net, x: net(x), (net64(net, x), x))


@every_net
def test_gradients_in_training_agree_with_differences(name: str) -> None:
    """Through the batch's own statistics and a dropout mask."""
    net, x = NETS[name]

    def output(net: Any, x: Any) -> Any:
        with nn.training(seed=1, step=7):
            return net(x)

    cr.check_grads(output, (net64(net, x), x))


@every_net
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_net_computes_in_the_dtype_of_its_weights(name: str, dtype: Any) -> None:
    """Plain, traced and in its gradient; the two ways of running agree to rounding."""
    net, x = NETS[name]
    net = nn.init(net, x, dtype=dtype)
    x = x if x.dtype.kind == "i" else x.astype(dtype)
    plain, traced = net(x), cr.compile(lambda net, x: net(x))(net, x)
    assert plain.dtype == traced.dtype == dtype
    np.testing.assert_allclose(plain, traced, rtol=1e3 * float(np.finfo(dtype).eps), atol=1e-6)
    gradient = cr.grad(lambda net, x: np.sum(net(x)))(net, x)
    assert type(gradient) is type(net)
    for name, array in nn.parameters(gradient).items():
        assert array.dtype == dtype, name


def test_dense_is_its_formula() -> None:
    x, w, b = random.normal(size=(5, 3)), random.normal(size=(3, 2)), random.normal(size=2)
    dense = nn.Dense(3, 2, weight=w, bias=b)
    np.testing.assert_allclose(dense(x), np.einsum("ni,io->no", x, w) + b, rtol=1e-13)
    np.testing.assert_allclose(dense.replace(bias=False)(x), x @ w)
    assert np.array_equal(dense(x.tolist()), dense(x))
    ones = np.ones((2, 3), np.uint8)
    single = nn.init(nn.Dense(3, 2))
    assert single(ones).dtype == np.float32


def test_numpy_integers_are_settings() -> None:
    """Not weights: a width that came out of NumPy is not trained."""
    dense = nn.Dense(np.int64(3), np.max([2, 4]))
    assert (dense.inputs, dense.outputs) == (3, 4)
    assert type(dense.inputs) is int
    assert set(nn.parameters(nn.init(dense))) == {"weight", "bias"}
    assert nn.parameters(nn.Dropout(np.float64(0.5))) == {}


def test_residual_adds_its_input() -> None:
    x = random.normal(size=(4, 3))
    np.testing.assert_allclose(nn.Residual(np.tanh)(x), x + np.tanh(x))
    np.testing.assert_allclose(nn.Residual(np.tanh)([0.0, 1.0]), [0, 1 + np.tanh(1)])


def test_embedding_looks_rows_up() -> None:
    table = random.normal(size=(5, 2))
    layer, x = nn.Embedding(5, 2, weight=table), np.array([[4, 0], [2, 2]])
    assert np.array_equal(layer(x), table[x])
    assert np.array_equal(cr.compile(layer)(x), table[x])
    gradient = cr.grad(lambda layer: np.sum(layer(x)[:, :, 0]))(layer)
    np.testing.assert_allclose(gradient.weight[:, 0], [1, 0, 2, 0, 1])


def test_flatten_keeps_the_rows() -> None:
    x = np.arange(24).reshape(2, 3, 4)
    assert np.array_equal(nn.Flatten()(x), x.reshape(2, 12))
    assert nn.Flatten()(np.zeros(3)).shape == (3, 1)
    assert nn.Flatten()(np.zeros((0, 2, 2))).shape == (0, 4)


@pytest.mark.parametrize("shape", [(4, 6), (2, 3, 6), (6,)])
def test_layer_norm_is_its_formula(shape: tuple[int, ...]) -> None:
    """Ba, Kiros and Hinton 2016, equation 4, row by row."""
    x = random.normal(3, 2, shape)
    scale, shift = random.normal(size=6), random.normal(size=6)
    found = nn.LayerNorm(6, scale=scale, shift=shift)(x)
    for index in np.ndindex(shape[:-1]):
        row = x[index]
        expected = (row - np.mean(row)) / np.sqrt(np.var(row) + 1e-5) * scale + shift
        np.testing.assert_allclose(found[index], expected, rtol=1e-12)


# --- how nets read --------------------------------------------------------------------------


def test_a_net_reads_like_the_code_that_makes_it() -> None:
    net = nn.Sequential(nn.Dense(64, 32), nn.relu, nn.Dense(32, 10))
    assert str(net) == repr(net) == "Sequential(Dense(64, 32), relu, Dense(32, 10))"
    assert str(nn.init(net)) == str(net)
    assert str(nn.Dense(10)) == "Dense(10)"
    assert str(nn.Dense(4, bias=False, weight_init="he_normal")) == (
        "Dense(4, bias=False, weight_init='he_normal')"
    )
    assert str(nn.Residual(nn.Sequential(nn.LayerNorm(), np.tanh))) == (
        "Residual(Sequential(LayerNorm(), tanh))"
    )
    assert str(nn.BatchNorm(3, momentum=0.5)) == "BatchNorm(3, momentum=0.5)"


def test_mlp_stacks_dense_layers() -> None:
    assert str(nn.mlp(10)) == "Sequential(Dense(64), relu, Dense(64), relu, Dense(10))"
    assert str(nn.mlp(1, hidden=(8,), activation="tanh")) == "Sequential(Dense(8), tanh, Dense(1))"
    assert str(nn.mlp(2, hidden=())) == "Sequential(Dense(2))"
    with pytest.raises(UsageError, match="did you mean 'tanh'"):
        nn.mlp(1, activation="tahn")


# --- mistakes -------------------------------------------------------------------------------


def net() -> Any:
    return nn.init(nn.Sequential(nn.Dense(3, 4), nn.relu, nn.Dense(4, 2)))


@pytest.mark.parametrize("traced", [False, True])
def test_a_wrong_width_names_the_layer_what_came_and_from_where(traced: bool) -> None:
    wrong = nn.Sequential(nn.Dense(3, 64), nn.relu, nn.Sequential(nn.Dense(32, 10)))
    wrong = nn.Sequential(*[nn.init(part) for part in wrong.layers])
    run = cr.compile(lambda net, x: net(x)) if traced else lambda net, x: net(x)
    with pytest.raises(ShapeError) as caught:
        run(wrong, np.zeros((5, 3), np.float32))
    assert str(caught.value) == (
        "layers.2.layers.0 (Dense 32 -> 10) expects 32 inputs on the last axis, got 64\n"
        "  where: the output of layers.1 (relu), shape (5, 64)\n"
        "  do:    make the part before it give 32, or change this layer's number of inputs"
    )


def test_a_wrong_first_input_is_told_too() -> None:
    with pytest.raises(
        ShapeError, match=r"layers.0 \(Dense 3 -> 4\) expects 3[\s\S]*its input, sha"
    ):
        net()(np.zeros((5, 7)))
    with pytest.raises(ShapeError, match="got a single number"):
        net()(1.0)
    with pytest.raises(ShapeError, match=r"^Dense 3 -> 4 expects 3 inputs"):
        net().layers[0](np.zeros((5, 7)))


def test_images_are_told_to_be_flattened() -> None:
    with pytest.raises(ShapeError, match=r"put cr.nn.Flatten\(\) before it"):
        nn.init(nn.Dense(64, 10))(np.zeros((5, 8, 8)))


def test_a_layer_that_came_from_a_layer_is_named_with_its_sizes() -> None:
    wrong = nn.Sequential(nn.init(nn.Dense(3, 4)), nn.init(nn.LayerNorm(5)))
    with pytest.raises(ShapeError) as caught:
        wrong(np.zeros((2, 3)))
    assert "layers.1 (LayerNorm 5) expects 5 numbers on the last axis, got 4" in str(caught.value)
    assert "the output of layers.0 (Dense 3 -> 4), shape (2, 4)" in str(caught.value)


def test_residual_with_another_width_inside_is_told() -> None:
    """Already when the weights are made, where the net says how wide its input is."""
    with pytest.raises(ShapeError) as caught:
        nn.init(nn.Sequential(nn.Dense(3, 4), nn.Residual(nn.Dense(4, 5))))
    assert "layers.1 (Residual) expects its inner layer to give the shape of its input, (2, 4)" in (
        str(caught.value)
    )
    assert "the output of layers.1.inner (Dense 4 -> 5), shape (2, 5)" in str(caught.value)
    assert "make the last layer inside give 4" in str(caught.value)


@pytest.mark.parametrize(
    "layer", [nn.Dense(3, 2), nn.LayerNorm(3), nn.BatchNorm(3), nn.Embedding(3, 2)]
)
def test_a_net_without_weights_says_how_to_make_them(layer: Any) -> None:
    with pytest.raises(UsageError) as caught:
        nn.Sequential(nn.identity, layer)(np.zeros((1, 3), int))
    assert f"layers.1 ({layer.label()}) has no weights yet" in str(caught.value)
    assert "cr.nn.init(net, x, seed=0)" in str(caught.value)


@pytest.mark.parametrize("symbol", [-1, 5, 100])
def test_a_symbol_out_of_range_is_named(symbol: int) -> None:
    """In plain NumPy with its place; in a program, before anything is read."""
    layer = nn.init(nn.Embedding(5, 2))
    x = np.array([[0, 1], [2, symbol]])
    with pytest.raises(IndexRangeError, match=rf"got the symbol {symbol} at \(1, 1\).*0 to 4"):
        layer(x)
    with pytest.raises(IndexRangeError):
        cr.compile(layer)(x)


def test_symbols_must_be_whole_numbers() -> None:
    with pytest.raises(UsageError, match=r"expects whole numbers, got float64"):
        nn.init(nn.Embedding(5, 2))(np.zeros((2, 2)))


def test_errors_of_other_code_carry_the_layer() -> None:
    """What NumPy raises inside a layer says which layer it was, and is otherwise as it was."""
    broken = nn.Sequential(nn.identity, lambda x: x + np.zeros(7))
    with pytest.raises(ValueError, match="broadcast") as caught:
        broken(np.zeros((2, 3)))
    assert caught.value.__notes__ == ["in layers.1 (<lambda>)"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Dense(0, 3), "Dense: inputs must be a whole number, 1 or more, not 0"),
        (lambda: nn.Dense(3, 2.5), "Dense: outputs must be a whole number"),
        (lambda: nn.Dense(True), "Dense: outputs must be a whole number"),
        (lambda: nn.Dense("relu"), "Dense: outputs must be a whole number"),
        (lambda: nn.Dense(3, 2, bias="no"), "Dense: bias must be True, False or an array"),
        (lambda: nn.Dense(3, weight_init="glorot"), "weight_init: unknown initialiser 'glorot'"),
        (lambda: nn.Dense(3, weight_init=3), "weight_init: 3 is not an initialiser"),
        (
            lambda: nn.Dense(3, 2, weight=np.ones((2, 3))),
            r"weight has shape \(2, 3\), expected \(3, 2\)",
        ),
        (lambda: nn.Dense(3, 2, bias=np.ones(3)), r"bias has shape \(3,\), expected \(2\)"),
        (lambda: nn.Dense(3, 2).replace(outputs=0), "outputs must be a whole number"),
        (lambda: nn.Dense(3, 2).replace(width=4), "Dense has no field 'width'"),
        (lambda: nn.Dropout(1.0), "rate must be at least 0 and below 1, not 1.0"),
        (lambda: nn.Dropout(-0.1), "rate must be at least 0"),
        (lambda: nn.Dropout(float("nan")), "rate must be at least 0"),
        (lambda: nn.Embedding(0, 3), "Embedding: count must be"),
        (lambda: nn.LayerNorm(3, eps=-1.0), "LayerNorm: eps must be at least 0, not -1.0"),
        (
            lambda: nn.BatchNorm(3, momentum=1.5),
            "BatchNorm: momentum must be at least 0 and below 1",
        ),
        (lambda: nn.Sequential(nn.Dense), "layers.0 is the class Dense, not a layer"),
        (lambda: nn.Sequential([nn.relu]), r"layers.0 is a list[\s\S]*Sequential\(\*layers\)"),
        (lambda: nn.Sequential(nn.relu, "relu"), "layers.1 is 'relu', which is neither"),
        (lambda: nn.Residual(3), "inner is 3, which is neither"),
    ],
)
def test_wrong_settings_are_told_when_the_layer_is_made(make: Any, message: str) -> None:
    with pytest.raises((UsageError, ShapeError), match=message):
        make()


def test_layers_are_frozen() -> None:
    with pytest.raises(AttributeError):
        nn.Dense(3, 2).outputs = 4
