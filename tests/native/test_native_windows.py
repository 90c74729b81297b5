"""Windows compiled: convolutions and pooling of every form, and overlap-adds shared by threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from agreeing import compare, joined

import chainrule as cr
from chainrule import config
from chainrule.graph import ArrayType, Graph, build
from chainrule.native.program import NativeProgram
from chainrule.reference import Interpreter
from chainrule.rewrite import rewrite

slide = np.lib.stride_tricks.sliding_window_view


def _loss(y: Any) -> Any:
    return np.sum(y * np.cos(1.0 + np.arange(y.size, dtype=y.dtype).reshape(y.shape)))


def _convolved(x: Any, w: Any, stride: int, dilation: int) -> Any:
    dimensions = w.ndim - 2
    spans = [(k - 1) * dilation + 1 for k in w.shape[:dimensions]]
    views = slide(x, spans, axis=tuple(range(1, dimensions + 1)))
    every, inside, whole = slice(None, None, stride), slice(None, None, dilation), slice(None)
    views = views[(whole, *[every] * dimensions, whole, *[inside] * dimensions)]
    places, inner = "xyz"[:dimensions], "ijk"[:dimensions]
    return np.einsum(f"n{places}c{inner},{inner}co->n{places}o", views, w)


def _pooled(x: Any, size: int, stride: int) -> Any:
    views = slide(np.tanh(x), (size, size), axis=(1, 2))[:, ::stride, ::stride]
    return views.max(axis=(-2, -1)) + views.mean(axis=(-2, -1))


def _cases() -> list[tuple[Graph, list[np.ndarray]]]:
    random = np.random.default_rng(0)
    found = []
    for dtype in (np.float32, np.float64):
        for shape, kernel in (
            ((2, 17, 3), (5, 3, 7)),
            ((2, 9, 8, 3), (3, 3, 3, 17)),
            ((1, 5, 6, 7, 2), (3, 2, 3, 2, 5)),
            ((0, 5, 5, 1), (3, 3, 1, 4)),
        ):
            for stride, dilation in ((1, 1), (2, 1), (1, 2), (3, 1)):
                args = [random.normal(size=s).astype(dtype) for s in (shape, kernel)]

                def loss(x: Any, w: Any, stride: int = stride, dilation: int = dilation) -> Any:
                    return _loss(_convolved(x, w, stride, dilation))

                found.append((cr.trace(cr.value_and_grad(loss, (0, 1)), *args), args))
        for size, stride in ((2, 2), (3, 2), (3, 1)):
            args = [random.normal(size=(2, 7, 8, 5)).astype(dtype)]

            def pooled(x: Any, size: int = size, stride: int = stride) -> Any:
                return _loss(_pooled(x, size, stride))

            found.append((cr.trace(cr.value_and_grad(pooled), *args), args))
    return [(rewrite(graph), args) for graph, args in found]


def test_convolutions_and_pooling_agree_with_the_reference() -> None:
    """Values and both gradients; 1, 2 and 3 axes; strides, dilations, an empty batch."""
    cases = _cases()
    program = NativeProgram(joined([graph for graph, _ in cases]))
    results = iter(program([a for _, args in cases for a in args]))
    for graph, args in cases:
        got = [next(results) for _ in graph.outputs]
        compare(graph, got, Interpreter(graph)(args), 256)


@pytest.mark.parametrize("axes", [(0, 1), (1, 2)])
def test_an_overlap_add_has_the_same_bits_for_any_number_of_threads(
    axes: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each result is one thread's, in one order; also where the last axis has the windows."""
    x = build.input("x", ArrayType(np.dtype(np.float32), (61, 53, 40)))
    view = build.window(x, axes, (5, 3), (2, 1), (1, 2))
    given = build.input("g", view.type)
    graph = Graph("fold", (given,), (build.fold(given, view, x.shape),), ("out",))
    values = [np.random.default_rng(0).normal(size=view.shape).astype(np.float32)]
    want = Interpreter(graph)(values)[0]
    for threads in (1, 2, 3):
        monkeypatch.setattr(config, "THREADS", str(threads))
        np.testing.assert_array_equal(NativeProgram(graph)(values)[0], want)
