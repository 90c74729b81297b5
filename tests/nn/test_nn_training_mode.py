"""What differs in training: batch statistics, dropout, and what the context remembers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import UsageError
from chainrule.tracing.context import Context, use

random = np.random.default_rng(2)


# --- batch norm -----------------------------------------------------------------------------


def batch_norm(width: int, **settings: Any) -> Any:
    return nn.init(nn.BatchNorm(width, **settings), dtype=np.float64)


@pytest.mark.parametrize("shape", [(8, 3), (4, 5, 3), (2, 3)])
def test_batch_norm_in_training_is_its_formula(shape: tuple[int, ...]) -> None:
    """Ioffe and Szegedy 2015, algorithm 1, column by column."""
    x = random.normal(5, 3, shape)
    scale, shift = random.normal(size=3), random.normal(size=3)
    layer = batch_norm(3).replace(scale=scale, shift=shift)
    with nn.training():
        found = layer(x).reshape(-1, 3)
    for k, column in enumerate(x.reshape(-1, 3).T):
        expected = (column - column.mean()) / np.sqrt(column.var() + 1e-5) * scale[k] + shift[k]
        np.testing.assert_allclose(found[:, k], expected, rtol=1e-11)


def test_running_statistics_follow_a_plain_loop() -> None:
    """Twenty traced steps against the paper's moving averages; in evaluation they are used."""
    net = nn.init(nn.Sequential(nn.Dense(2, 3), nn.BatchNorm(3, momentum=0.7)), dtype=np.float64)
    mean, var = np.zeros(3), np.ones(3)
    weight, bias = net.layers[0].weight, net.layers[0].bias

    @cr.compile
    def step(net: Any, x: Any) -> Any:
        with nn.training(net) as context:
            net(x)
        return context.updates

    for _ in range(20):
        x = random.normal(1, 2, (6, 2))
        updates = step(net, x)
        assert set(updates) == {"layers.1.running_mean", "layers.1.running_var"}
        norm = net.layers[1].replace(
            running_mean=updates["layers.1.running_mean"],
            running_var=updates["layers.1.running_var"],
        )
        net = net.replace(layers=(net.layers[0], norm))
        h = x @ weight + bias
        mean = 0.7 * mean + 0.3 * h.mean(axis=0)
        var = 0.7 * var + 0.3 * h.var(axis=0, ddof=1)
    np.testing.assert_allclose(net.layers[1].running_mean, mean, rtol=1e-12)
    np.testing.assert_allclose(net.layers[1].running_var, var, rtol=1e-12)
    x = random.normal(size=(4, 2))
    expected = (x @ weight + bias - mean) / np.sqrt(var + 1e-5)
    np.testing.assert_allclose(net(x), expected, rtol=1e-12)


def test_running_statistics_are_not_trained() -> None:
    net = batch_norm(3)
    assert set(nn.parameters(net)) == {"scale", "shift"}
    assert nn.count(net) == 6
    float32 = nn.init(nn.BatchNorm(2))
    with nn.training(float32) as context:
        float32(random.normal(size=(4, 2)).astype(np.float32))
    assert {a.dtype for a in context.updates.values()} == {np.dtype(np.float32)}


def test_a_single_row_is_normalised_by_what_was_seen_before() -> None:
    """It has no spread of its own; and it leaves the running statistics alone."""
    layer = batch_norm(2).replace(running_mean=np.array([1.0, 2]), running_var=np.array([4.0, 9]))
    with nn.training(layer) as context:
        found = layer(np.array([[3.0, 8.0]]))
    np.testing.assert_allclose(found, [[1, 2]], rtol=1e-5)
    assert context.updates == {}


def test_a_layer_called_twice_in_a_pass_sees_both_batches() -> None:
    layer, a, b = batch_norm(1), np.array([[0.0], [2.0]]), np.array([[4.0], [6.0]])
    with nn.training(layer) as context:
        layer(a)
        layer(b)
    np.testing.assert_allclose(context.updates["running_mean"], [0.9 * 0.1 * 1 + 0.1 * 5])


def test_outside_training_nothing_is_updated() -> None:
    layer, context = batch_norm(3), Context()
    context.name(layer)
    with use(context):
        layer(random.normal(size=(5, 3)))
    assert context.updates == {}


# --- dropout --------------------------------------------------------------------------------

ONES = np.ones((200, 500))


def dropped(net: Any, seed: int = 0, step: int = 0, x: Any = ONES) -> Any:
    with nn.training(seed=seed, step=step):
        return net(x)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_drops_at_its_rate_and_keeps_the_mean(rate: float) -> None:
    """100,000 numbers: the share of zeros within 5 standard deviations of the rate."""
    found = dropped(nn.Dropout(rate))
    kept = found != 0
    np.testing.assert_array_equal(found[kept], 1 / (1 - rate))
    deviation = np.sqrt(rate * (1 - rate) / ONES.size)
    assert abs((1 - kept.mean()) - rate) < 5 * deviation
    # Rows and columns alike: no stripes.
    assert abs(kept.mean(axis=0) - (1 - rate)).max() < 5 * np.sqrt(rate * (1 - rate) / 200)
    assert abs(kept.mean(axis=1) - (1 - rate)).max() < 5 * np.sqrt(rate * (1 - rate) / 500)


def test_masks_are_a_function_of_seed_step_and_place() -> None:
    net = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5))
    same = dropped(net, 4, 9)
    assert np.array_equal(same, dropped(net, 4, 9))
    assert not np.array_equal(same, dropped(net, 4, 10))
    assert not np.array_equal(same, dropped(net, 5, 9))
    # Two layers with one mask would keep a half; with masks of their own they keep a quarter.
    assert abs((same != 0).mean() - 0.25) < 0.01


def test_masks_do_not_depend_on_where_the_layer_lies_in_memory() -> None:
    """Copies of a net at other addresses, plain and traced, drop the same."""
    expected = dropped(nn.Sequential(nn.tanh, nn.Dropout(0.3)), 1, 2)
    for _ in range(3):
        assert np.array_equal(dropped(nn.Sequential(nn.tanh, nn.Dropout(0.3)), 1, 2), expected)

    @cr.compile
    def traced(net: Any, x: Any, step: Any) -> Any:
        with nn.training(seed=1, step=step):
            return net(x)

    net = nn.Sequential(nn.tanh, nn.Dropout(0.3))
    assert np.array_equal(traced(net, ONES, np.uint32(2)), expected)
    other = dropped(net, 1, 3)
    assert np.array_equal(traced(net, ONES, np.uint32(3)), other)


def test_dropout_is_the_identity_outside_training_and_at_rate_zero() -> None:
    x = random.normal(size=(3, 4))
    assert np.array_equal(nn.Dropout(0.9)(x), x)
    assert np.array_equal(dropped(nn.Dropout(0.0), x=x), x)


def test_dropout_keeps_float32() -> None:
    assert dropped(nn.Dropout(0.5), x=np.ones((3, 3), np.float32)).dtype == np.float32


def test_the_gradient_flows_where_numbers_were_kept() -> None:
    net, x = nn.Dropout(0.5), np.ones((8, 8))

    def total(x: Any) -> Any:
        with nn.training(seed=3):
            return np.sum(net(x))

    assert np.array_equal(cr.grad(total)(x), dropped(net, 3, x=x))


def test_randomness_outside_training_says_what_to_do() -> None:
    with pytest.raises(UsageError, match=r"with cr.nn.training\(seed=0, step=0\)"):
        nn.Sequential(lambda x: x + cr.random.normal(x.shape))(np.zeros(3))


# --- the context ----------------------------------------------------------------------------


def test_a_gradient_in_another_mode_is_another_program() -> None:
    """What was traced in evaluation is not run again in training, nor one step's masks in the
    next: the mode, the seed and the step are part of what the code sees."""
    net, x = nn.Dropout(0.5), np.ones((4, 4))
    slope = cr.grad(lambda x: np.sum(net(x)))
    assert np.array_equal(slope(x), np.ones((4, 4)))
    for step in (0, 1, 2):
        with nn.training(seed=0, step=step):
            assert np.array_equal(slope(x), dropped(net, 0, step, x))
    assert np.array_equal(slope(x), np.ones((4, 4)))


def test_outputs_are_recorded_by_path() -> None:
    net = nn.init(nn.Sequential(nn.Dense(2, 3), nn.relu, nn.Residual(nn.tanh)))
    x = random.normal(size=(4, 2)).astype(np.float32)
    context = Context()
    context.name(net)
    with use(context):
        result = net(x)
    assert list(context.outputs) == ["layers.0", "layers.1", "layers.2.inner", "layers.2", ""]
    assert context.outputs[""] is result
    assert np.array_equal(context.outputs["layers.1"], nn.relu(context.outputs["layers.0"]))


def test_nodes_of_the_graph_carry_the_layer() -> None:
    net = nn.init(nn.Sequential(nn.Dense(2, 3), nn.relu))
    graph = cr.trace(lambda net, x: net(x), net, np.zeros((4, 2), np.float32))
    scopes = {node.op: node.origin.scope for node in graph.nodes() if node.op != "input"}
    assert scopes["contract"] == "layers.0"
    assert scopes["maximum"] == "layers.1"


def test_a_layer_made_later_never_takes_the_path_of_one_that_is_gone() -> None:
    """Paths go by the identity of layers; a context keeps those it has named alive."""
    with nn.training(seed=0) as context:
        nn.Sequential(nn.identity, nn.Residual(nn.tanh))(np.zeros(2))
        later = [nn.Residual(nn.tanh) for _ in range(50)]
        for layer in later:
            layer(np.zeros(2))
    assert [context.path_of(layer) for layer in later] == [""] * 50
