"""Every layer's derivatives against central differences, to second order, on both backends, in
training and after it."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from test_nn_architectures import filled

import chainrule as cr
from architectures import NETS
from chainrule import nn
from chainrule.nn.registry import LAYERS
from chainrule.tracing import trees

PARTS = 6  # each is one program: much cheaper to compile than each net alone
# Central differences err by h^2 f''' / 6 + rounding / h: least near the cube root of the rounding.
H = 6e-6
NEAR = 1e-6


def _random(name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(name.encode()))


def _along(name: str, h: Any, net: Any, inputs: Any, training: bool) -> Any:
    """One number from the outputs where every array, of weights and of inputs, has moved by `h`
    along a direction of its own."""
    random = _random(name)
    moved = [
        leaf.value + h * random.normal(size=leaf.value.shape) if leaf.value.dtype.kind == "f"
        else leaf.value
        for leaf in trees.leaves((net, inputs))
    ]  # fmt: skip
    net, inputs = trees.replace_leaves((net, inputs), moved)
    if training:
        with nn.training(net, seed=1, step=7):
            outputs = net(*inputs)
    else:
        outputs = net(*inputs)
    values = [leaf.value for leaf in trees.leaves(outputs)]
    return sum(np.sum(y * random.normal(size=y.shape)) for y in values)


def found(names: Sequence[str], backend: str, training: bool) -> dict[str, list[np.ndarray]]:
    """For each net the number, its derivative and the derivative of that, at -H, 0 and H."""

    def three(name: str, h: Any, net: Any, inputs: Any) -> Any:
        value = lambda h: _along(name, h, net, inputs, training)  # noqa: E731
        return value(h), cr.grad(value)(h), cr.grad(cr.grad(value))(h)

    def everything(h: Any, cases: Any) -> Any:
        return [three(name, h, *case) for name, case in zip(names, cases, strict=True)]

    run = cr.compile(everything, backend=backend)
    cases = [filled(name) for name in names]
    ends = [run(np.asarray(h), cases) for h in (-H, 0.0, H)]
    return {name: [np.asarray(end[n]) for end in ends] for n, name in enumerate(names)}


@pytest.mark.parametrize("training", [False, True], ids=["after training", "in training"])
@pytest.mark.parametrize("backend", ["reference", "native"])
@pytest.mark.parametrize("part", range(PARTS))
def test_first_and_second_derivatives_agree_with_differences(
    part: int, backend: str, training: bool
) -> None:
    """Through the batch's own statistics, masks and augmentations too."""
    for name, (before, here, after) in found(list(NETS)[part::PARTS], backend, training).items():
        numeric = (after - before)[:2] / (2 * H)
        for order, (exact, other) in enumerate(zip(here[1:], numeric, strict=True), start=1):
            size = max(1.0, abs(float(exact)), abs(float(here[order - 1])))
            assert abs(float(exact - other)) <= NEAR * size, f"{name}: order {order}"
        assert here[1] != 0, f"{name}: its derivative says nothing"


def test_every_layer_is_in_the_table() -> None:
    """A layer that is new gets a net there, and with it all tests of this folder."""
    kinds = {
        type(layer).__name__ for net, _ in NETS.values() for _, layer in trees.layer_paths(net)
    }
    assert kinds == set(LAYERS)
