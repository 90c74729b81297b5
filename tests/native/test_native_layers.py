"""Every layer of images, sequences and attention, compiled: outputs and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from agreeing import assert_near

import chainrule as cr
from architectures import NETS
from chainrule import nn
from chainrule.graph import Graph
from chainrule.native.program import NativeProgram
from chainrule.reference import Interpreter
from chainrule.rewrite import rewrite

PARTS = 4


def _graph(net: Any, inputs: tuple[Any, ...]) -> Graph:
    def loss(net: Any, *inputs: Any) -> Any:
        outputs = [leaf.value for leaf in cr.tracing.leaves(net(*inputs))]
        return sum(np.sum(y * np.cos(1.0 + np.arange(y.size).reshape(y.shape))) for y in outputs)

    floats = [i for i, x in enumerate(inputs, start=1) if x.dtype.kind == "f"]
    wrt = [0, *floats] if cr.tracing.leaves(net) else floats
    return rewrite(cr.trace(cr.value_and_grad(loss, wrt), net, *inputs))


@pytest.mark.parametrize("part", range(PARTS))
def test_every_layer_agrees_with_the_reference(part: int) -> None:
    """In float64, where nothing hides behind rounding."""
    for name in list(NETS)[part::PARTS]:
        net, x = NETS[name]
        inputs = x if isinstance(x, tuple) else (x,)
        net = nn.init(net, inputs, seed=3, dtype=np.float64)
        graph = _graph(net, inputs)
        values = [np.asarray(leaf.value) for leaf in cr.tracing.leaves((net, *inputs))]
        for got, want in zip(NativeProgram(graph)(values), Interpreter(graph)(values), strict=True):
            try:
                assert_near(got, want, 1e-12)
            except AssertionError as error:
                raise AssertionError(f"{name}: {error}") from None
