"""Arrays that leave the near caches: what is computed anew instead of being stored, what lies in
memory once with its border, which sums share one pass; and that none of it changes a value."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from agreeing import assert_agree

import chainrule as cr
from chainrule import nn
from chainrule.graph import ArrayType, Graph, build
from chainrule.native.program import NativeProgram
from chainrule.rewrite import rewrite

RANDOM = np.random.default_rng(7)
PICTURES = (8, 32, 32, 16)  # of 512 KiB


def normal(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


def stored(program: NativeProgram, shape: tuple[int, ...]) -> list[str]:
    """The ops of the values of this shape that lie in memory, besides inputs."""
    kept = (n for entry in program.scheduled for n in entry.region.stored)
    return sorted(n.op for n in kept if n.shape == shape)


def test_what_is_brought_to_mean_0_is_not_stored() -> None:
    """Neither the centred array nor the scaled one lies in memory: only what is asked for."""

    def normalised(x: np.ndarray, scale: np.ndarray) -> np.ndarray:
        centred = x - x.mean(axis=(0, 1, 2))
        variance = (centred * centred).mean(axis=(0, 1, 2))
        return np.maximum(centred * (scale / np.sqrt(variance + 1e-5)), 0)

    graph = cr.trace(normalised, normal(*PICTURES), normal(16))
    assert stored(NativeProgram(graph), PICTURES) == ["maximum"]
    assert_agree(graph, [normal(*PICTURES), normal(16)], ulps=64)


def test_small_arrays_are_stored_rather_than_computed_twice() -> None:
    small = (4, 8, 16)
    graph = cr.trace(lambda x: (lambda y: (y * y).sum() * y)(x - x.mean(axis=0)), normal(*small))
    assert "subtract" in stored(NativeProgram(graph), small)


@pytest.mark.parametrize("layer", ["batch norm", "layer norm", "group norm"])
def test_normalised_pictures_and_their_gradients(layer: str) -> None:
    layers = {
        "batch norm": nn.BatchNorm(16),
        "layer norm": nn.LayerNorm(16),
        "group norm": nn.GroupNorm(4, 16),
    }
    net = nn.init(nn.Sequential(layers[layer], nn.relu), normal(*PICTURES), seed=0)

    def loss(net: nn.Sequential, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (net(x) * y).mean()

    arguments = [net, normal(*PICTURES), normal(*PICTURES)]
    graph = rewrite(cr.trace(cr.value_and_grad(loss, argnums=(0, 1)), *arguments))
    assert_agree(graph, [normal(*n.shape) for n in graph.inputs], ulps=512)


def test_sums_of_what_is_read_together_are_one_kernel() -> None:
    def sums(x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
        return [x.sum(axis=0), (x * y).sum(axis=0), (y - x).sum(axis=0), x.sum(axis=1)]

    arguments = [normal(200, 70), normal(200, 70)]
    graph = cr.trace(sums, *arguments)
    kinds = Counter(entry.region.kind for entry in NativeProgram(graph).scheduled)
    assert kinds["sum"] == 2, "over the first axis three sums at once, and one over the second"
    assert_agree(graph, arguments)


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1), (2,), (0, 2), (0, 1, 2)])
def test_reductions_side_by_side_over_any_axes(axes: tuple[int, ...]) -> None:
    shape = (6, 33, 40)
    x, y = (build.input(name, ArrayType(np.dtype(np.float32), shape)) for name in "xy")
    z = build.multiply(x, y)
    results = [build.sum(x, axes), build.sum(z, axes), build.max(x, axes), build.max(y, axes)]
    results += [build.max(z, axes), build.sum(build.subtract(x, z), axes)]
    graph = Graph("sums", (x, y), tuple(results), tuple("abcdef"))
    assert_agree(graph, [normal(*shape), normal(*shape)], ulps=512)


def test_padded_pictures_lie_in_memory_once() -> None:
    """A shortcut and a convolution read the same array: the shortcut the inside of it."""

    def step(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> np.ndarray:
        z = np.tanh(x) * y
        padded = np.pad(z, ((0, 0), (1, 1), (1, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
        return np.einsum("abcdef,efdg->abcg", windows, w) + z

    arguments = [normal(*PICTURES), normal(*PICTURES), normal(3, 3, 16, 16)]
    graph = cr.trace(step, *arguments)
    program = NativeProgram(graph)
    assert stored(program, PICTURES) == ["add"], "only the result itself has no border"
    assert_agree(graph, arguments, ulps=64)


@pytest.mark.parametrize("strong", ["", "!"])
def test_rows_side_by_side_in_a_large_operand(strong: str) -> None:
    """The gradient of a wide layer's weights, in parts, with work behind the sums; and where a
    strong zero meets infinity."""
    x, y = normal(1024, 128), normal(1024, 512)
    if strong:
        x[700], y[700, 300] = 0.0, np.inf
    nodes = [build.input(n, ArrayType(a.dtype, a.shape)) for n, a in (("x", x), ("y", y))]
    w = build.input("w", ArrayType(x.dtype, (512, 128)))
    product = build.contract(*nodes, f"bc{strong},bd->dc")
    moved = build.add(build.multiply(w, build.like(w, 0.9)), product)
    graph = Graph("step", (*nodes, w), (moved, build.negative(moved)), ("a", "b"))
    program = NativeProgram(graph)
    (entry,) = program.scheduled
    assert "with the last a: store" in str(program.nest(entry, program.routine.names))
    assert_agree(graph, [x, y, normal(512, 128)], ulps=256)
