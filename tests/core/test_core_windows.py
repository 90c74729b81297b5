"""Windows: slices of them, and the delta of a convolution's input as a contraction."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.graph import ArrayType, Graph, Node, build, verify
from chainrule.reference import evaluate
from chainrule.rewrite import PASSES, rewrite

slide = np.lib.stride_tricks.sliding_window_view
F8 = np.dtype(np.float64)


def convolution(
    dimensions: int, stride: int = 1, dilation: int = 1, groups: int = 1
) -> tuple[Any, tuple[np.ndarray, np.ndarray]]:
    """A convolution of 1, 2 or 3 axes, and its arguments."""
    random = np.random.default_rng(0)
    kernel = (3, 2, 2)[:dimensions]
    spans = [(k - 1) * dilation + 1 for k in kernel]
    x = random.normal(size=(2, *(9, 7, 6)[:dimensions], groups, 3))
    w = random.normal(size=(*kernel, groups, 3, 4))
    places, inner = "xyz"[:dimensions], "ijk"[:dimensions]

    def apply(x: Any, w: Any) -> Any:
        views = slide(x, spans, axis=tuple(range(1, dimensions + 1)))
        every, inside = slice(None, None, stride), slice(None, None, dilation)
        all_ = slice(None)
        views = views[(all_, *[every] * dimensions, all_, all_, *[inside] * dimensions)]
        return np.einsum(f"n{places}gc{inner},{inner}gco->n{places}go", views, w)

    return apply, (x, w)


def graph_of_gradient(apply: Any, args: Any) -> Graph:
    def loss(x: Any, w: Any) -> Any:
        y = apply(x, w)
        return np.sum(y * np.cos(1.0 + np.arange(y.size).reshape(y.shape)))

    return cr.trace(cr.grad(loss, (0, 1)), *args)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2), (2, 2)])
@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_the_delta_of_a_convolutions_input_is_a_contraction(
    dimensions: int, stride: int, dilation: int, groups: int
) -> None:
    """No fold is left, nothing of the size of all windows is computed, and the numbers agree. With
    strides, places with the same remainder are a contraction of their own."""
    apply, args = convolution(dimensions, stride, dilation, groups)

    graph = graph_of_gradient(apply, args)
    assert "fold" in {n.op for n in graph.nodes()}
    found = verify(rewrite(graph))
    ops = [n.op for n in found.nodes()]
    assert "fold" not in ops
    parts = stride**dimensions if dilation == 1 else 1
    assert ops.count("contract") == 1 + parts
    for one, other in zip(evaluate(found, args), evaluate(graph, args), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


def test_strides_and_dilations_go_into_the_window() -> None:
    """Nothing but one window is left of a window and slices."""
    apply, args = convolution(2, stride=2, dilation=2)
    found = rewrite(cr.trace(apply, *args))
    windows = [n for n in found.nodes() if n.op == "window"]
    assert [(n["sizes"], n["strides"], n["dilations"]) for n in windows] == [
        ((3, 2), (2, 2), (2, 2))
    ]


def test_windows_that_do_not_overlap_are_only_put_in_place() -> None:
    """There a contraction over gaps of zeros would be work for nothing."""
    apply, args = convolution(1, stride=3)
    found = rewrite(graph_of_gradient(apply, args))
    assert "fold" in {n.op for n in found.nodes()}


def test_zeros_around_the_delta_do_not_meet_infinite_weights() -> None:
    """What no window showed has a delta of 0, also where a weight is infinite; and without strong
    zeros the overlap-add stays as it is."""
    windows = build.input("g", ArrayType(F8, (3,)))
    weight = build.input("w", ArrayType(F8, (2,)))
    like = build.window(build.input("x", ArrayType(F8, (4,))), (0,), (2,), (1,), (1,))
    values = [np.array([1.0, 0.0, 2.0]), np.array([np.inf, 3.0])]
    for mark in ("!", ""):
        product = build.contract(windows, weight, f"a{mark},b->ab")
        before = Graph("g", (windows, weight), (build.fold(product, like, (4,)),), ("out",))
        after = rewrite(before)
        assert ("fold" in {n.op for n in after.nodes()}) == (mark == "")
        np.testing.assert_array_equal(evaluate(after, values)[0], evaluate(before, values)[0])


def _chain(x: Node) -> list[Node]:
    view = build.window(x, (1, 0), (2, 3), (1, 2), (2, 1))
    cut = build.slice(view, (1, 0, 0, 1, 0), (3, 5, 2, 2, 3), (1, 2, 1, 1, 2))
    padded = build.pad(view, (0, 1, 1, 0, 2), (1, 0, 2, 3, 0), (1, 2, 0, 2, 1))
    shape = (
        (padded.shape[0] - 1) * 2 + (padded.shape[4] - 1) + 2,
        (padded.shape[1] - 1) + (padded.shape[3] - 1) * 2 + 1,
        padded.shape[2],
    )
    folded = build.make(
        "fold",
        padded,
        axes=(1, 0),
        sizes=padded.shape[3:],
        strides=(1, 2),
        dilations=(2, 1),
        shape=shape,
    )
    return [cut, folded]


def test_slices_and_gaps_of_windows_merge_into_them() -> None:
    """Along windowed and other axes, from any start; the same bits."""
    x = build.input("x", ArrayType(F8, (9, 7, 2)))
    before = Graph("g", (x,), tuple(_chain(x)), ("cut", "folded"))
    verify(before)
    after = before
    for _, run in PASSES:
        after = verify(run(after))
    cut, folded = after.outputs
    assert (cut.op, cut.operands[0].op) == ("window", "slice")
    assert (folded.op, folded.operands[0].op, folded.operands[0].operands[0].op) == (
        "pad",
        "fold",
        "window",
    )
    value = [np.random.default_rng(0).normal(size=(9, 7, 2))]
    for one, other in zip(evaluate(after, value), evaluate(before, value), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_window_of_one_element_is_a_slice() -> None:
    """So a convolution of one place is a plain contraction."""
    found = rewrite(cr.trace(lambda x: slide(x, (1, 1), axis=(0, 1))[::2], np.ones((5, 3, 2))))
    assert {n.op for n in found.nodes()} == {"input", "slice", "reshape"}


def test_a_window_is_a_view_on_the_reference() -> None:
    """No element is copied."""
    x = np.arange(24.0).reshape(4, 6)
    graph = cr.trace(lambda x: slide(x, (2, 3)), x)
    (found,) = evaluate(graph, [x])
    assert np.shares_memory(found, x)
    np.testing.assert_array_equal(found, slide(x, (2, 3)))


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda x: slide(x, 7, axis=0), "a window of 7 along axis 0"),
        (lambda x: slide(x, 0, axis=0), "a window of 0"),
        (lambda x: slide(x, (2, 2, 2)), "3 window sizes for 2 axes"),
        (lambda x: slide(x, 2, axis=2), "axis 2 is out of range"),
        (lambda x: slide(x, (2, 2), axis=(0, 0)), "twice over one axis"),
        (lambda x: slide(x, 2, axis=0, writeable=True), "writeable"),
    ],
)
def test_windows_that_do_not_fit_are_errors(call: Any, match: str) -> None:
    """Each says what does not fit, and the line."""
    with pytest.raises(cr.errors.ChainruleError, match=match) as caught:
        cr.trace(call, np.ones((5, 6)))
    assert "test_core_windows.py" in str(caught.value)


def test_the_number_of_windows_is_that_of_numpy() -> None:
    """For strides larger than the array too: then there is one."""
    for size, width, stride in ((9, 3, 1), (9, 3, 4), (3, 3, 5), (10, 1, 3)):
        x = build.input("x", ArrayType(F8, (size,)))
        view = build.window(x, (0,), (width,), (stride,), (1,))
        assert view.shape[0] == math.ceil((size - width + 1) / stride)


def test_the_border_of_a_padded_input_gets_no_delta_computed() -> None:
    """The contraction of the input's delta gives the input's size, not that of the padded one."""
    random = np.random.default_rng(0)
    x, w = random.normal(size=(2, 8, 9, 3)), random.normal(size=(5, 3, 3, 4))

    def padded(x: Any, w: Any) -> Any:
        views = slide(np.pad(x, ((0, 0), (2, 2), (1, 1), (0, 0))), (5, 3), axis=(1, 2))
        return np.einsum("nyxcij,ijco->nyxo", views, w)

    graph = graph_of_gradient(padded, (x, w))
    found = verify(rewrite(graph))
    products = [n.shape for n in found.nodes() if n.op == "contract"]
    assert sorted(products) == sorted([x.shape, w.shape])
    assert "slice" not in {n.op for n in found.nodes()}
    for one, other in zip(evaluate(found, (x, w)), evaluate(graph, (x, w)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "bounds", [(0, 9), (2, 7), (1, 2), (3, 9), (4, 5), (0, 1), (8, 10), (5, 5)]
)
@pytest.mark.parametrize("interior", [0, 1, 2])
def test_a_slice_of_a_padded_array_pads_less(bounds: tuple[int, int], interior: int) -> None:
    """From any start, gaps included; the same bits, also where nothing but border is left."""
    x = build.input("x", ArrayType(F8, (3,)))
    padded = build.pad(x, (2,), (3,), (interior,), 7.0)
    start, stop = bounds
    before = Graph(
        "g", (x,), (build.slice(padded, (start,), (min(stop, padded.shape[0]),), (1,)),), ("out",)
    )
    after = verify(rewrite(before))
    value = [np.array([1.0, 2.0, 3.0])]
    np.testing.assert_array_equal(evaluate(after, value)[0], evaluate(before, value)[0])
    if start >= 2 and stop <= 5 and start < stop and interior == 0:
        assert "pad" not in {n.op for n in after.nodes()}
