"""Every layer of images, sequences and attention: gradients, dtypes, saving, and how it prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from architectures import NETS
from chainrule import nn

every_net = pytest.mark.parametrize("name", NETS)


def _inputs(x: Any) -> tuple[Any, ...]:
    return x if isinstance(x, tuple) else (x,)


def _cast(x: Any, dtype: Any) -> Any:
    return tuple(part.astype(dtype) if part.dtype.kind == "f" else part for part in _inputs(x))


def filled(name: str, dtype: Any = np.float64) -> tuple[Any, tuple[Any, ...]]:
    """A net with weights, none of them 0, and its inputs."""
    net, x = NETS[name]
    inputs = _cast(x, dtype)
    made = nn.init(net, inputs, seed=3, dtype=dtype)
    return cr.tracing.trees.map_leaves(lambda a: a + dtype(0.1), made), inputs


@every_net
def test_gradients_of_weights_and_inputs_agree_with_differences(name: str) -> None:
    """To second order, in training too: through the batch's own statistics, and a mask."""
    net, inputs = filled(name)
    cr.check_grads(lambda net, *x: net(*x), (net, *inputs))

    def trained(net: Any, *x: Any) -> Any:
        with nn.training(seed=1, step=7):
            return net(*x)

    cr.check_grads(trained, (net, *inputs), order=1)


@every_net
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_net_computes_in_the_dtype_of_its_weights(name: str, dtype: Any) -> None:
    """Plain and compiled agree to rounding, and the gradient has the same dtype."""
    net, inputs = filled(name, dtype)
    plain, traced = net(*inputs), cr.compile(lambda net, *x: net(*x))(net, *inputs)
    for one, other in zip(cr.tracing.leaves(plain), cr.tracing.leaves(traced), strict=True):
        assert one.value.dtype == other.value.dtype == dtype
        np.testing.assert_allclose(one.value, other.value, rtol=1e-4, atol=1e-5)
    leaves = cr.tracing.leaves(net)
    if leaves:
        gradient = cr.grad(lambda net, *x: np.sum(_first(net(*x))))(net, *inputs)
        assert {leaf.value.dtype for leaf in cr.tracing.leaves(gradient)} == {np.dtype(dtype)}


def _first(output: Any) -> Any:
    return cr.tracing.leaves(output)[0].value


@every_net
def test_a_saved_net_comes_back_bit_for_bit(name: str, tmp_path: Path) -> None:
    """With its settings: what it prints and what it computes stay."""
    net, inputs = filled(name, np.float32)
    back = cr.load(cr.save(tmp_path / "net", net))
    assert str(back) == str(net)
    for one, other in zip(
        cr.tracing.leaves(back(*inputs)), cr.tracing.leaves(net(*inputs)), strict=True
    ):
        np.testing.assert_array_equal(one.value, other.value)


@every_net
def test_a_net_prints_as_it_is_written(name: str) -> None:
    """Before its weights are made, what it prints makes the same net again."""
    net, _ = NETS[name]
    names = {n: getattr(nn, n) for n in nn.__all__}
    assert str(eval(str(net), names)) == str(net)


@every_net
def test_an_empty_batch_gives_an_empty_batch(name: str) -> None:
    """Of the same shape otherwise."""
    net, inputs = filled(name, np.float32)
    empty = [x[:0] if x.ndim > 1 else x for x in inputs]
    whole, none = net(*inputs), net(*empty)
    assert _first(none).shape == (0, *_first(whole).shape[1:])
    compiled = cr.compile(lambda net, *x: net(*x))(net, *empty)
    assert _first(compiled).shape == _first(none).shape
