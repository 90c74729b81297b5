"""Loops whose rows never meet, what their steps read turned, and parts that are put together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from agreeing import assert_agree, assert_near

import chainrule as cr
from chainrule import nn
from chainrule.graph import Graph, Node
from chainrule.native.program import NativeProgram
from chainrule.reference import Interpreter
from chainrule.rewrite import rewrite

random = np.random.default_rng(5)
LAYERS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


def training(kind: str, rows: int, inputs: int, outputs: int, time: int = 5) -> tuple[Graph, list]:
    """The loss and the gradients of a recurrent layer, and what they are taken at."""
    layer = nn.init(LAYERS[kind](inputs, outputs), seed=1)
    x = random.normal(size=(rows, time, inputs)).astype(np.float32)
    arrays = [layer.weight, layer.recurrent, layer.bias]

    def loss(weight: Any, recurrent: Any, bias: Any, x: Any) -> Any:
        net = layer.replace(weight=weight, recurrent=recurrent, bias=bias)
        return np.sum(net(x) ** 2)

    run = cr.value_and_grad(loss, argnums=(0, 1, 2, 3))
    return rewrite(cr.trace(run, *arrays, x)), [*arrays, x]


def loops(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes() if node.op == "scan"]


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("rows", [2, 3, 7, 33])
def test_a_batch_of_sequences_is_cut_into_rows(kind: str, rows: int) -> None:
    """Both ways through time, with the same bits for any number of threads."""
    graph, args = training(kind, rows, 6, 19)
    program = NativeProgram(graph, threads=2)
    assert [body.rows for body in program.routine.bodies.values()] == [rows, rows]
    want = Interpreter(graph)(args)
    bits = set()
    for threads in (1, 2, 3, 5):
        program = NativeProgram(graph, threads=threads)
        program.useful_threads = threads  # it is so small that one would do
        got = program(args)
        for one, other in zip(got, want, strict=True):
            assert_near(one, other, 2e-5)
        bits.add(b"".join(a.tobytes() for a in got))
    assert len(bits) == 1


def test_no_thread_waits_in_such_a_loop() -> None:
    graph, _ = training("lstm", 16, 6, 19)
    text = NativeProgram(graph).text
    bodies = [part for part in text.split("\n\n") if part.startswith("define internal void @body")]
    assert len(bodies) == 2
    assert not any("@wait" in body for body in bodies)


def mixing(step: Callable[[Any, Any], Any]) -> Graph:
    x, h = np.zeros((4, 6, 6)), np.zeros((6, 6))
    return rewrite(cr.trace(lambda x, h: cr.scan(lambda h, x: (step(h, x), h), h, x), x, h))


@pytest.mark.parametrize(
    "step",
    [
        lambda h, x: h - h.mean(axis=0) + x,
        lambda h, x: h[::-1] + x,
        lambda h, x: np.tanh(h.T + x),
        lambda h, x: np.tanh(h @ h.T + x),
        lambda h, x: np.tanh(x @ h),
        lambda h, x: h[np.array([1, 0, 3, 2, 5, 4])] + x,
        lambda h, x: np.concatenate([h[1:], x[:1]]),
        lambda h, x: (h + x).reshape(4, 9).reshape(6, 6) * np.tanh(h.reshape(36)[:1]),
        lambda h, x: h + np.max(x),
        lambda h, x: np.cumsum(h, axis=0) + x,
        lambda h, x: h + h[0] * x,
    ],
)
def test_rows_that_meet_are_not_cut(step: Callable[[Any, Any], Any]) -> None:
    graph = mixing(step)
    (body,) = NativeProgram(graph).routine.bodies.values()
    assert body.rows == 0
    x, h = random.normal(size=(4, 6, 6)), random.normal(size=(6, 6))
    assert_agree(graph, [x, h])


@pytest.mark.parametrize(
    "step",
    [
        lambda h, x: np.tanh(h @ np.eye(6) + x),
        lambda h, x: h - h.mean(axis=1, keepdims=True) + x,
        lambda h, x: h[:, ::-1] * x.argmax(axis=1)[:, np.newaxis],
        lambda h, x: np.concatenate([h[:, 2:], x[:, :1], h[:, :1]], axis=1),
        lambda h, x: (h.reshape(6, 2, 3) + x.reshape(6, 2, 3)[:, ::-1]).reshape(6, 6),
        lambda h, x: np.max(h, axis=1)[:, np.newaxis] * x - np.arange(6.0),
        lambda h, x: h + np.arange(36.0).reshape(6, 6) * x,
        lambda h, x: np.take(h, np.array([5, 0, 0, 1, 2, 2]), axis=1) + x,
    ],
)
def test_rows_that_never_meet_are(step: Callable[[Any, Any], Any]) -> None:
    graph = mixing(step)
    (body,) = NativeProgram(graph).routine.bodies.values()
    assert body.rows == 6
    x, h = random.normal(size=(4, 6, 6)), random.normal(size=(6, 6))
    assert_agree(graph, [x, h])


def test_results_that_are_wanted_twice_are_complete() -> None:
    """They are copied when every thread has written its rows."""

    def run(x: Any, h: Any) -> Any:
        last, ys = cr.scan(lambda h, x: (np.tanh(h + x), h * x), h, x)
        return last, ys, last, ys

    x, h = random.normal(size=(9, 50, 40)), random.normal(size=(50, 40))
    assert_agree(cr.trace(run, x, h), [x, h])


def test_the_delta_of_what_was_split_is_put_together() -> None:
    """No part is written into zeros and added."""
    for kind in ("lstm", "gru"):
        graph, _ = training(kind, 4, 6, 16)
        for loop in loops(graph):
            ops = [node.op for node in loop["body"].nodes()]
            assert "pad" not in ops
        assert "concatenate" in [n.op for loop in loops(graph) for n in loop["body"].nodes()]


def test_parts_are_put_together_in_any_order_and_where_they_leave_zeros() -> None:
    def run(x: Any, order: tuple[int, ...]) -> Any:
        return sum((k + 1) * np.sin(x[:, 2 * k : 2 * k + 2]).sum() for k in order)

    x = random.normal(size=(3, 10))
    for order in ((0, 1, 2, 3, 4), (3, 1, 4, 0, 2), (2, 1, 3), (0, 2, 4), (1, 1)):
        graph = rewrite(cr.trace(cr.grad(lambda x, order=order: run(x, order)), x))
        assert_agree(graph, [x])
    ops = {n.op for n in rewrite(cr.trace(cr.grad(lambda x: run(x, (2, 1, 3))), x)).nodes()}
    assert "concatenate" in ops
    assert "add" not in ops


def test_what_steps_read_across_memory_is_turned_once() -> None:
    """The recurrent weights, on the way back."""
    graph, _ = training("rnn", 4, 6, 8)
    back = next(loop for loop in loops(graph) if loop["reverse"])
    products = [n for n in back["body"].nodes() if n.op == "contract"]
    assert products
    for node in products:
        right = node["spec"].replace("!", "").split("->")[0].split(",")[1]
        assert right[-1] == node["spec"][-1]
    assert any(n.op == "transpose" for n in back.operands)
