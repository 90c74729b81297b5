"""First weights: their sizes, that they are the same for the same seed, and widths left out."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import numpy as np
import pytest
from scipy import stats

from chainrule import nn
from chainrule.errors import ShapeError, UsageError
from chainrule.nn import initialisers
from chainrule.nn.initialisers import INITIALISERS, fans
from chainrule.nn.stream import Stream

SHAPE = (300, 200)

# The variance that each paper asks for, for 300 inputs and 200 outputs.
VARIANCES = {
    "glorot_uniform": 2 / 500,
    "glorot_normal": 2 / 500,
    "he_uniform": 2 / 300,
    "he_normal": 2 / 300,
    "lecun_uniform": 1 / 300,
    "lecun_normal": 1 / 300,
    "uniform": 0.1**2 / 12,
    "normal": 0.05**2,
    "standard_normal": 1.0,
    "orthogonal": 1 / 300,
    "contraction": 1 / 4 / 300,
    "zeros": 0.0,
    "ones": 0.0,
}


def draw(name: str, shape: tuple[int, ...] = SHAPE, dtype: Any = np.float64, seed: int = 0) -> Any:
    return initialisers.by_name(name)(Stream(seed, "weight"), shape, dtype)


def test_every_initialiser_is_tested() -> None:
    assert set(VARIANCES) == set(INITIALISERS)


@pytest.mark.parametrize("name", INITIALISERS)
def test_variance_and_mean_are_the_papers(name: str) -> None:
    """Over 60,000 draws: the variance to 2 %, the mean within 5 standard errors."""
    found = draw(name)
    np.testing.assert_allclose(found.var(), VARIANCES[name], rtol=0.02)
    mean = 1.0 if name == "ones" else 0.0
    assert abs(found.mean() - mean) <= 5 * np.sqrt(VARIANCES[name] / found.size)


@pytest.mark.parametrize("name", [n for n in INITIALISERS if n.endswith(("uniform", "normal"))])
def test_the_shape_of_the_distribution_is_right(name: str) -> None:
    """By Kolmogorov and Smirnov's test; the seed is fixed, so it passes always or never."""
    found = draw(name).ravel()
    deviation = np.sqrt(VARIANCES[name])
    if name.endswith("uniform"):
        limit = deviation * np.sqrt(3)
        assert np.abs(found).max() <= limit
        known = stats.uniform(-limit, 2 * limit)
    else:
        known = stats.norm(0, deviation)
    assert stats.kstest(found, known.cdf).pvalue > 0.01


@pytest.mark.parametrize("name", INITIALISERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3, 4), (4, 3), (3, 3, 2, 5), (0, 4)])
def test_shape_and_dtype_are_as_asked(name: str, dtype: Any, shape: tuple[int, ...]) -> None:
    found = draw(name, shape, dtype)
    assert found.shape == shape
    assert found.dtype == dtype
    assert np.isfinite(found).all()


@pytest.mark.parametrize("shape", [(6, 6), (7, 4), (4, 7), (2, 3, 5)])
def test_orthogonal_weights_are_orthonormal(shape: tuple[int, ...]) -> None:
    """Columns, or rows where there are fewer of them."""
    found = draw("orthogonal", shape).reshape(-1, shape[-1])
    rows, columns = found.shape
    product = found.T @ found if rows >= columns else found @ found.T
    np.testing.assert_allclose(product, np.eye(min(rows, columns)), atol=1e-14)


def test_orthogonal_signs_are_even() -> None:
    """Rotations and reflections come alike: the determinant is +1 about as often as -1."""
    signs = [np.sign(np.linalg.det(draw("orthogonal", (3, 3), seed=s))) for s in range(400)]
    assert abs(np.mean(signs)) < 5 / np.sqrt(400)
    diagonal = [draw("orthogonal", (3, 3), seed=s)[0, 0] for s in range(400)]
    assert abs(np.mean(diagonal)) < 5 * np.sqrt(1 / 3 / 400)


def test_fans_of_kernels_count_their_places() -> None:
    assert fans((3, 4)) == (3, 4)
    assert fans((5, 5, 3, 4)) == (75, 100)
    assert fans((7,)) == (7, 7)


def test_initialisers_with_numbers() -> None:
    found = initialisers.uniform(2, 3)(Stream(0, "w"), (10_000,), np.float64)
    assert 2 <= found.min() < 2.01
    assert 2.99 < found.max() < 3
    found = initialisers.normal(4)(Stream(0, "w"), (10_000,), np.float64)
    np.testing.assert_allclose(found.std(), 4, rtol=0.03)
    net = nn.init(nn.Dense(5, 2, weight_init=initialisers.normal(0.0), bias_init="ones"))
    assert not net.weight.any()
    assert (net.bias == 1).all()
    with pytest.raises(UsageError, match="is no range"):
        initialisers.uniform(1, 1)
    with pytest.raises(UsageError, match="not a standard deviation"):
        initialisers.normal(-1)
    with pytest.raises(UsageError, match="two axes or more"):
        draw("orthogonal", (3,))
    with pytest.raises(UsageError, match="did you mean 'he_normal'"):
        initialisers.by_name("he_norml")


# --- the stream -----------------------------------------------------------------------------


def test_streams_go_on_and_never_repeat() -> None:
    stream = Stream(0, "w")
    first, second = stream.uniform((3,)), stream.uniform((3,))
    assert not np.isin(first, second).any()
    again = Stream(0, "w")
    assert np.array_equal(again.uniform((3,)), first)
    assert np.array_equal(again.uniform((3,)), second)
    assert not np.isin(Stream(0, "v").uniform((3,)), first).any()
    assert not np.isin(Stream(1, "w").uniform((3,)), first).any()


def test_uniform_numbers_lie_in_the_half_open_interval() -> None:
    """Multiples of 2^-53, evenly spread over 16 bins (chi-squared)."""
    found = Stream(3, "w").uniform((16_000,))
    assert 0 <= found.min()
    assert found.max() < 1
    assert np.array_equal(found * 2.0**53, np.floor(found * 2.0**53))
    counts = np.histogram(found, 16, (0, 1))[0]
    assert stats.chisquare(counts).pvalue > 0.01


def test_the_same_seed_gives_the_same_bits_everywhere() -> None:
    """A hash of the default weights, which only correctly rounded arithmetic has touched."""
    net = nn.init(nn.Sequential(nn.Dense(64, 32), nn.relu, nn.Dense(32, 10)), seed=0)
    digest = hashlib.blake2b(digest_size=8)
    for array in nn.parameters(net).values():
        digest.update(array.astype("<f4").tobytes())
    assert digest.hexdigest() == "cf9ae57cde6d9fb6"


# --- init -----------------------------------------------------------------------------------

NET = nn.Sequential(nn.Dense(3, 4), nn.relu, nn.Dense(4, 2))


def same(a: Any, b: Any) -> bool:
    first, second = nn.parameters(a), nn.parameters(b)
    return first.keys() == second.keys() and all(np.array_equal(first[n], second[n]) for n in first)


def test_weights_are_a_function_of_seed_path_and_field() -> None:
    net = nn.init(NET, seed=5)
    assert same(net, nn.init(NET, seed=5))
    assert same(net, nn.init(NET, np.zeros((9, 3)), seed=np.int64(5)))
    assert not same(net, nn.init(NET, seed=6))
    longer = nn.init(nn.Sequential(*NET.layers, nn.tanh, nn.Dense(2, 2)), seed=5)
    assert np.array_equal(longer.layers[0].weight, net.layers[0].weight)
    twins = nn.init(nn.Sequential(nn.Dense(3, 3), nn.Dense(3, 3)))
    assert not np.array_equal(twins.layers[0].weight, twins.layers[1].weight)


def test_init_leaves_the_net_it_was_given_alone() -> None:
    nn.init(NET)
    assert NET.layers[0].weight is None


def test_names_follow_the_tree() -> None:
    net = nn.init(nn.Sequential(nn.Dense(3, 4), nn.Residual(nn.Sequential(nn.Dense(4, 4)))))
    assert list(nn.parameters(net)) == [
        "layers.0.weight",
        "layers.0.bias",
        "layers.1.inner.layers.0.weight",
        "layers.1.inner.layers.0.bias",
    ]
    assert nn.count(net) == 3 * 4 + 4 + 4 * 4 + 4
    with pytest.raises(UsageError, match="cannot be counted before they are made"):
        nn.count(NET)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weights_have_the_dtype_asked_for(dtype: Any) -> None:
    """float32 unless told otherwise, whatever the example's dtype."""
    net = nn.init(nn.Sequential(nn.Dense(4), nn.BatchNorm()), np.zeros((5, 3)), dtype=dtype)
    assert {leaf.dtype for leaf in nn.parameters(net).values()} == {np.dtype(dtype)}
    assert net.layers[1].running_var.dtype == dtype
    assert nn.init(NET, np.zeros((2, 3))).layers[0].weight.dtype == np.float32
    with pytest.raises(UsageError, match="weights cannot be int64"):
        nn.init(NET, dtype=int)


def test_weights_that_are_there_stay() -> None:
    first = nn.Dense(3, 4, weight=np.ones((3, 4)))
    net = nn.init(nn.Sequential(first, nn.Dense(4, 2)))
    assert net.layers[0].weight.dtype == np.float64
    assert (net.layers[0].weight == 1).all()
    assert not net.layers[0].bias.any()
    assert same(nn.init(net, seed=9), net)


@pytest.mark.parametrize("rows", [0, 1, 2, 1000])
def test_widths_left_out_come_from_the_example(rows: int) -> None:
    """Of the example only the shape behind the rows matters; its values may even be NaN."""
    net = nn.Sequential(nn.Flatten(), nn.Dense(5), nn.BatchNorm(), nn.tanh, nn.Dense(2))
    filled = nn.init(net, np.full((rows, 2, 3), np.nan))
    assert str(filled) == "Sequential(Flatten(), Dense(6, 5), BatchNorm(5), tanh, Dense(5, 2))"


def test_widths_inside_follow_from_the_first() -> None:
    """Without an example, where the first layer says how wide its input is."""
    for first in (nn.Dense(3, 4), nn.Sequential(nn.Dense(3, 4)), nn.Embedding(9, 4)):
        net = nn.init(nn.Sequential(first, nn.LayerNorm(), nn.Dense(2)))
        assert net.layers[2].inputs == 4
    net = nn.init(nn.Residual(nn.Sequential(nn.LayerNorm(3), nn.Dense(3))))
    assert net.inner.layers[1].inputs == 3


def test_a_width_that_nothing_says_is_asked_for() -> None:
    for net in (nn.Sequential(nn.relu, nn.Dense(2)), nn.Sequential(nn.Dense(8), nn.Dense(2))):
        with pytest.raises(UsageError) as caught:
            nn.init(net)
        assert "the input width of layers." in str(caught.value)
        assert "-> " in str(caught.value)
        assert "cr.nn.init(net, x)" in str(caught.value)


def test_layers_that_do_not_fit_are_found_before_any_data() -> None:
    with pytest.raises(ShapeError, match=r"layers.1 \(Dense 5 -> 2\) expects 5 inputs"):
        nn.init(nn.Sequential(nn.Dense(3, 4), nn.Dense(5, 2)))
    with pytest.raises(ShapeError, match=r"layers.0 \(Dense 3 -> 4\) expects 3"):
        nn.init(NET, np.zeros((4, 7)))


def test_one_layer_object_at_two_places_gets_two_sets_of_weights() -> None:
    block = nn.Dense(3, 3)
    net = nn.init(nn.Sequential(block, nn.tanh, block))
    assert not np.array_equal(net.layers[0].weight, net.layers[2].weight)


def test_trees_of_nets_are_filled_by_path() -> None:
    """An encoder and a decoder in a dict: as if each stood alone, under its name."""
    pair = nn.init({"encoder": NET, "decoder": [nn.Dense(2, 3)]})
    assert list(nn.parameters(pair))[:1] == ["encoder.layers.0.weight"]
    assert pair["decoder"][0].weight.shape == (2, 3)
    assert not np.array_equal(pair["encoder"].layers[0].weight, nn.init(NET).layers[0].weight)


@pytest.mark.parametrize("seed", [-1, 2**64, 0.5, "0", True])
def test_seeds_are_whole_numbers_of_64_bits(seed: Any) -> None:
    with pytest.raises(UsageError, match="seed"):
        nn.init(NET, seed=seed)


def test_an_initialiser_that_gives_another_shape_is_told() -> None:
    with pytest.raises(
        ShapeError, match=r"the initialiser of layers.0.weight gave an array of sha"
    ):
        nn.init(nn.Sequential(nn.Dense(3, 4, weight_init=lambda *_: np.zeros(7))))


# --- summary --------------------------------------------------------------------------------


def test_summary_lists_parts_shapes_and_weights() -> None:
    net = nn.Sequential(
        nn.Dense(64, 32), nn.relu, nn.Residual(nn.Dense(32, 32)), nn.BatchNorm(), nn.Dense(10)
    )
    expected = """\
path            layer           output   weights  multiply-adds
layers.0        Dense 64 -> 32  (N, 32)    2,080          2,048
layers.1        relu            (N, 32)        -              -
layers.2        Residual        (N, 32)        -              -
layers.2.inner  Dense 32 -> 32  (N, 32)    1,056          1,024
layers.3        BatchNorm 32    (N, 32)       64              -
layers.4        Dense 32 -> 10  (N, 10)      330            320
total                                      3,530          3,392
a training step takes 8,128 multiply-adds and MEMORY for each row
and 64 numbers that change without gradients"""
    for made in (net, nn.init(net)):
        found = nn.summary(made)
        assert re.sub(r"[\d,]+ bytes", "MEMORY", found) == expected


def test_summary_puts_frozen_weights_in_brackets_and_leaves_them_out_of_the_total() -> None:
    inner = nn.Sequential(nn.Dense(4, 3), nn.BatchNorm(3))
    text = nn.summary(nn.init(nn.Sequential(nn.Dense(4, 4), nn.Frozen(inner), nn.Dense(3, 2))))
    rows = {line.split()[0]: line.split() for line in text.splitlines()}
    assert rows["layers.1"][-2] == "-"
    assert rows["layers.1.inner.layers.0"][-2] == "(15)"
    assert rows["layers.1.inner.layers.1"][-2] == "(6)"
    assert rows["total"][1] == str(20 + 8)
    assert "and 21 weights in brackets, frozen" in text
    assert "without gradients" not in text  # its running statistics stay too


def test_summary_without_widths_says_what_it_knows() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Dense(4))
    assert (
        nn.summary(net)
        == """\
path      layer         output  weights  multiply-adds
layers.0  Flatten       ?             -              ?
layers.1  Dense ? -> 4  ?             ?              ?
total                                 ?              ?"""
    )
    assert "(N, 4)       28             24" in nn.summary(net, np.zeros((5, 2, 3)))
    with pytest.raises(ShapeError):
        nn.summary(nn.Dense(3, 2), np.zeros((5, 4)))


@pytest.mark.parametrize(
    ("net", "x", "forward", "gradient"),
    [
        (nn.Dense(6, 4, bias=False), None, 24, 2 * 24),  # no delta goes on to the data
        (nn.Sequential(nn.Dense(6, 4), nn.Dense(4, 2)), None, 24 + 8, 2 * 24 + 3 * 8),
        (nn.Conv2d(3, 8, kernel=3), np.zeros((2, 6, 6, 3)), 16 * 9 * 24, 2 * 16 * 9 * 24),
        (nn.Conv1d(4, 4, kernel=3, groups=2), np.zeros((2, 5, 4)), 3 * 3 * 8, 2 * 3 * 3 * 8),
        (nn.RNN(3, 5), np.zeros((2, 7, 3)), 7 * (15 + 25), 2 * 7 * 15 + 3 * 7 * 25),
    ],
)
def test_summary_counts_the_arithmetic(net: Any, x: Any, forward: int, gradient: int) -> None:
    """For one row; the gradient takes the products of the way there, and two more for each whose
    input has a delta."""
    text = nn.summary(net, x)
    assert text.splitlines()[-2].split()[-1] == f"{forward:,}"
    assert f"a training step takes {gradient:,} multiply-adds" in text


def test_summary_says_how_memory_grows() -> None:
    """A wide hidden layer is kept for the way back."""
    net = nn.Sequential(nn.Dense(10, 1000), nn.tanh, nn.Dense(1000, 1))
    found = re.search(r"and ([\d,]+) (bytes|kB) for each row", nn.summary(net))
    assert found
    each = int(found[1].replace(",", "")) * (1000 if found[2] == "kB" else 1)
    assert 4_000 <= each <= 16_000  # the layer is 4,000 bytes wide
