"""A user's own layers: a frozen dataclass with a forward is all it takes."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ShapeError, UsageError

random = np.random.default_rng(1)


@dataclass(frozen=True)
class Highway(nn.Layer):
    """Srivastava, Greff and Schmidhuber 2015: two layers and a formula, and no `fill`."""

    transform: Any
    gate: Any
    temperature: float = 1.0

    def forward(self, x: Any) -> Any:
        gate = nn.sigmoid(self.gate(x) / self.temperature)
        return gate * nn.tanh(self.transform(x)) + (1 - gate) * x


@dataclass(frozen=True)
class Centre(nn.Layer):
    """Arrays of its own: one that is trained, one that only follows the data."""

    width: int
    shift: np.ndarray | None = None
    seen: np.ndarray | None = nn.state(default=None)  # noqa: RUF009

    def fill(self, draw: Any, *inputs: Any) -> Any:
        return self.replace(
            shift=draw("shift", "normal", (self.width,)), seen=draw("seen", "zeros", (self.width,))
        )

    def forward(self, x: Any) -> Any:
        context = cr.tracing.context.current()
        if context is not None and context.training:
            context.update(self, "seen", 0.5 * self.seen + 0.5 * x.mean(axis=0))
        return x - self.seen + self.shift


@dataclass(frozen=True)
class TwoInputs(nn.Layer):
    left: Any
    right: Any

    def forward(self, a: Any, b: Any) -> Any:
        return self.left(a) + self.right(b)


NET = nn.Sequential(nn.Dense(3, 4), Highway(nn.Dense(4), nn.Dense(4, 4)), Centre(4), nn.Dense(2))


def make(dtype: Any = np.float64) -> Any:
    return nn.init(NET, seed=2, dtype=dtype)


def test_inner_layers_are_filled_and_named() -> None:
    """Also a width left out inside: the example runs through the user's own forward."""
    net = make()
    assert net.layers[1].transform.inputs == 4
    assert list(nn.parameters(net)) == [
        "layers.0.weight",
        "layers.0.bias",
        "layers.1.transform.weight",
        "layers.1.transform.bias",
        "layers.1.gate.weight",
        "layers.1.gate.bias",
        "layers.2.shift",
        "layers.3.weight",
        "layers.3.bias",
    ]


def test_gradients_are_nets_of_the_same_kind() -> None:
    net, x = make(), random.normal(size=(5, 3))
    gradient = cr.grad(lambda net: np.sum(net(x) ** 2))(net)
    assert isinstance(gradient.layers[1], Highway)
    assert gradient.layers[1].temperature == 1.0
    cr.check_grads(lambda net, x: net(x), (net, x))


def test_own_state_is_updated_and_not_trained() -> None:
    net, x = make(), random.normal(size=(5, 3))
    with nn.training(net) as context:
        net(x)
    h = net.layers[1](net.layers[0](x))
    np.testing.assert_allclose(context.updates["layers.2.seen"], 0.5 * h.mean(axis=0))
    assert "layers.2.seen" not in nn.parameters(net)


def test_shape_mistakes_inside_name_the_full_path() -> None:
    wrong = nn.Sequential(nn.Dense(3, 4), Highway(nn.Dense(4, 4), nn.Dense(5, 4)))
    with pytest.raises(ShapeError) as caught:
        nn.init(wrong)
    assert "layers.1.gate (Dense 5 -> 4) expects 5 inputs on the last axis, got 4" in (
        str(caught.value)
    )
    wrong = Highway(nn.Dense(4, 4), nn.Sequential(nn.Dense(4, 3), nn.Dense(5, 4)))
    with pytest.raises(ShapeError, match=r"the output of gate.layers.0 \(Dense 4 -> 3\), shape"):
        nn.init(wrong, np.zeros((2, 4)))


def test_several_inputs() -> None:
    net = nn.init(TwoInputs(nn.Dense(2), nn.Dense(2)), (np.zeros((5, 3)), np.zeros((5, 7))))
    assert (net.left.inputs, net.right.inputs) == (3, 7)
    assert net(np.ones((4, 3)), np.ones((4, 7))).shape == (4, 2)
    assert "left       Dense 3 -> 2" in nn.summary(net)


def test_one_layer_called_several_times_has_one_set_of_weights() -> None:
    """Weights shared over time: filled once, and the gradient is the sum over the calls."""

    @dataclass(frozen=True)
    class Twice(nn.Layer):
        inner: Any

        def forward(self, x: Any) -> Any:
            return self.inner(nn.tanh(self.inner(x)))

    net = nn.init(Twice(nn.Dense(3)), np.zeros((2, 3)), dtype=np.float64)
    assert nn.count(net) == 12
    cr.check_grads(lambda net, x: net(x), (net, random.normal(size=(4, 3))))


def test_saved_and_loaded(tmp_path: Path) -> None:
    net, x = make(np.float32), random.normal(size=(5, 3))
    path = cr.save(tmp_path / "net", net)
    back = cr.load(path, layers=[Highway, Centre])
    assert np.array_equal(back(x), net(x))
    assert str(back) == str(net)
    with pytest.raises(UsageError, match=r"layers=\[Highway\]"):
        cr.load(path, layers=[Centre])


def test_layers_are_told_apart_and_printed_without_their_arrays() -> None:
    """The == and the repr that @dataclass would write compare and print whole arrays."""
    first, second = make().layers[2], make().layers[2]
    assert first != second
    assert first == first
    assert len({first, second}) == 2
    assert repr(first) == "Centre(4, float64[4], float64[4])"
    assert repr(NET.layers[1]) == "Highway(Dense(4), Dense(4, 4), 1.0)"


def test_standard_replace_works_on_layers() -> None:
    centre = replace(make().layers[2], shift=np.zeros(4))
    assert not centre.shift.any()


def test_layers_of_layers_keep_their_own_repr() -> None:
    @dataclass(frozen=True)
    class Wide(nn.Dense):
        pass

    assert repr(Wide(3, 4)) == "Wide(3, 4)"
    assert nn.init(Wide(3, 4))(np.zeros((1, 3))).shape == (1, 4)


def test_a_layer_class_that_is_no_dataclass_is_told() -> None:
    """Without the decorator its arrays would not be found, and so not be trained."""

    class Forgotten(nn.Layer):
        def __init__(self) -> None:
            self.weight = np.ones(3)

    with pytest.raises(UsageError, match=r"Forgotten is not a dataclass[\s\S]*@dataclass\(frozen"):
        Forgotten()


def test_a_field_with_the_name_of_a_method_is_told() -> None:
    @dataclass(frozen=True)
    class Named(nn.Layer):
        label: str  # type: ignore[assignment]

    with pytest.raises(UsageError, match="Named has a field 'label', which every layer has"):
        Named("a")


def test_a_layer_without_forward_is_told() -> None:
    @dataclass(frozen=True)
    class Empty(nn.Layer):
        pass

    with pytest.raises(UsageError, match="the layer class Empty has no forward"):
        Empty()(np.zeros(3))


def test_summary_shows_own_layers_with_their_parts() -> None:
    assert (
        re.sub(r"[\d,]+ bytes", "MEMORY", nn.summary(NET))
        == """\
path                layer         output  weights  multiply-adds
layers.0            Dense 3 -> 4  (N, 4)       16             12
layers.1            Highway       (N, 4)        -              -
layers.1.transform  Dense 4 -> 4  (N, 4)       20             16
layers.1.gate       Dense 4 -> 4  (N, 4)       20             16
layers.2            Centre        (N, 4)        4              -
layers.3            Dense 4 -> 2  (N, 2)       10              8
total                                          70             52
a training step takes 144 multiply-adds and MEMORY for each row
and 4 numbers that change without gradients"""
    )
