"""Programs of many kernels: what is alike is written once, and each phase is a function."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from agreeing import assert_agree, assert_near

import chainrule as cr
from chainrule.graph import ArrayType, Graph, build
from chainrule.native.likeness import likeness
from chainrule.native.program import NativeProgram
from chainrule.native.regions import fuse
from chainrule.native.splitting import split_sums
from chainrule.native.stored import buffers
from chainrule.reference import Interpreter
from chainrule.rewrite import rewrite

random = np.random.default_rng(3)


def deep(layers: int, width: int = 20, rows: int = 9) -> tuple[Graph, list[np.ndarray]]:
    """The gradients of a net of equal layers, and a step on them."""
    weights = [random.normal(size=(width, width)).astype(np.float32) * 0.3 for _ in range(layers)]
    x = random.normal(size=(rows, width)).astype(np.float32)

    def step(weights: Any, x: Any) -> Any:
        def loss(weights: Any) -> Any:
            y = x
            for w in weights:
                y = np.tanh(y @ w)
            return np.sum(y * y)

        return [
            w - np.float32(0.01) * g for w, g in zip(weights, cr.grad(loss)(weights), strict=True)
        ]

    return rewrite(cr.trace(step, weights, x)), [*weights, x]


def functions(text: str) -> list[str]:
    return re.findall(r"^define (?:internal )?void @([\w.]+)\(", text, re.MULTILINE)


def test_equal_layers_are_written_once() -> None:
    """A net ten times as deep has the same kernels, and no more text but for the calls."""
    few, many = (NativeProgram(deep(layers)[0]) for layers in (4, 40))
    kernels = [{n for n in functions(p.text) if n.startswith("kernel")} for p in (few, many)]
    assert len(kernels[1]) <= len(kernels[0]) + 1
    assert len(many.calls) > 9 * len(few.calls)


def test_a_long_program_is_a_function_for_each_phase_and_computes_the_same() -> None:
    graph, args = deep(30)
    want = Interpreter(graph)(args)
    bits = set()
    for threads in (1, 2, 3):
        program = NativeProgram(graph, threads=threads)
        program.useful_threads = threads
        assert any(name.startswith("program.") for name in functions(program.text))
        got = program(args)
        for one, other in zip(got, want, strict=True):
            assert_near(one, other, 1e-4)
        bits.add(b"".join(a.tobytes() for a in got))
    assert len(bits) == 1


def test_kernels_that_differ_in_anything_are_apart() -> None:
    """In a number, the sign of a zero, an op, a shape, what is read, or which operand is which."""
    kind = ArrayType(np.dtype(np.float32), (5, 7))
    x, y = build.input("x", kind), build.input("y", kind)
    wide = build.input("wide", ArrayType(np.dtype(np.float32), (5, 9)))

    def number(value: float, like: Any) -> Any:
        return build.broadcast(build.constant(np.float32(value)), like.shape)

    results = [
        build.add(build.make("tanh", x), number(0.0, x)),
        build.add(build.make("tanh", x), number(-0.0, x)),
        build.add(build.make("tanh", x), number(1.0, x)),
        build.add(build.make("exp", x), number(0.0, x)),
        build.add(build.make("tanh", wide), number(0.0, wide)),
        build.subtract(x, y),
        build.subtract(x, build.subtract(y, x)),
    ]
    keys = set()
    for node in results:
        inputs = tuple(n for n in (x, y, wide))
        graph = Graph("one", inputs, (node,), ("out",))
        memory = buffers(graph)
        (region,) = fuse(graph, memory)
        keys.add(likeness(region, memory, {}))
    assert len(keys) == len(results)
    again = build.subtract(wide, wide)  # the same memory twice is another kernel than two
    other = build.subtract(wide, build.input("other", wide.type))
    twice = []
    for node in (again, other):
        inputs = tuple(n for n in node.operands)
        graph = Graph("one", tuple(dict.fromkeys(inputs)), (node,), ("out",))
        memory = buffers(graph)
        (region,) = fuse(graph, memory)
        twice.append(likeness(region, memory, {}))
    assert twice[0] != twice[1]


def test_what_has_nothing_in_common_is_not_one_kernel() -> None:
    """Else each net would have a kernel of its own for all of its biases."""
    kind = ArrayType(np.dtype(np.float32), (64,))
    inputs = tuple(build.input(f"x{k}", kind) for k in range(6))
    results = tuple(build.make("tanh", x) for x in inputs)
    graph = Graph("apart", inputs, results, tuple(n["name"] for n in inputs))
    program = NativeProgram(graph)
    assert len(program.calls) == 6
    assert len({call.name for call in program.calls}) == 1
    assert_agree(graph, [random.normal(size=64).astype(np.float32) for _ in inputs])


def test_a_scaled_value_is_computed_again_rather_than_stored() -> None:
    """gelu needs x times three numbers: x is stored, and what is read by address besides."""

    def run(x: Any, w: Any) -> Any:
        y = x @ w
        return np.tanh(0.7 * y) + np.sin(0.3 * y), np.cos(1.5 * y) * (2.0 + y), (0.25 * y) @ w

    x, w = random.normal(size=(6, 5)), random.normal(size=(5, 5))
    graph = rewrite(cr.trace(run, x, w))
    memory = buffers(graph)
    scaled = [n for n in graph.nodes() if n.op == "multiply" and n in memory and n.shape == (6, 5)]
    stored = [n for n in scaled if n not in graph.outputs]
    assert len(stored) == 1  # what the last product reads
    assert_agree(graph, [x, w])


def test_a_sum_over_places_of_many_pictures_goes_picture_by_picture() -> None:
    x = random.normal(size=(40, 20, 21, 32)).astype(np.float32)
    graph = cr.trace(lambda x: np.sum(x, axis=(0, 1, 2)), x)
    assert [n["axes"] for n in split_sums(graph).nodes() if n.op == "sum"] == [(1, 2), (0,)]
    want = x.sum(axis=(0, 1, 2), dtype=np.float64)
    for threads in (1, 2, 3):
        (got,) = NativeProgram(graph, threads=threads)([x])
        np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-3)


def test_more_than_is_asked_of_the_maximum() -> None:
    """With infinities, NaN and both zeros."""

    def loss(x: Any, y: Any) -> Any:
        return np.sum(np.maximum(x, 0) * 2.0 + np.maximum(x, y) ** 2)

    odd = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan])
    x, y = (a.reshape(-1).copy() for a in np.meshgrid(odd, odd))
    plain = cr.trace(cr.grad(loss, argnums=(0, 1)), x, y)
    graph = rewrite(plain)
    less = [n for n in graph.nodes() if n.op == "less"]
    assert less
    assert any(n.operands[1].op == "maximum" for n in less)
    with np.errstate(invalid="ignore"):
        for one, other in zip(Interpreter(graph)([x, y]), Interpreter(plain)([x, y]), strict=True):
            np.testing.assert_array_equal(one, other)
        assert_agree(graph, [x, y])
