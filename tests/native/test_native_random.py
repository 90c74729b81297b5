"""Random graphs over the whole table of ops, compiled, agree with the reference to the bit."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
from agreeing import assert_same
from hypothesis import given, settings
from hypothesis import strategies as st
from random_graphs import random_graph

from chainrule import config
from chainrule.graph import Graph, verify
from chainrule.native import schedule
from chainrule.native.program import NativeProgram
from chainrule.reference import Interpreter
from chainrule.rewrite import rewrite

Arrays = list[np.ndarray]


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Graph, Arrays]:
    """A graph of ten to forty ops and its arguments."""

    def pick(below: int) -> int:
        return draw(st.integers(0, below - 1))

    return random_graph(pick, draw(st.integers(0, 1000)), 1 + pick(30))


def assert_equal(graph: Graph, got: Arrays, want: Arrays) -> None:
    for one, other in zip(got, want, strict=True):
        assert_same(one, other, zeros=False)


@settings(max_examples=120)
@given(graphs(), st.booleans())
def test_a_random_graph_gives_the_same_bits(case: tuple[Graph, Arrays], rewritten: bool) -> None:
    """Views of views, sizes around those of vectors, every dtype, gradients; inputs, constants and
    the same value twice among the outputs. Twice, the second time in memory full of NaN: nothing
    is read that was not written."""
    graph, inputs = case
    graph = rewrite(verify(graph)) if rewritten else verify(graph)
    want = Interpreter(graph)(inputs)
    program = NativeProgram(graph)
    assert_equal(graph, program(inputs), want)
    for arena in program._arenas:
        arena[: program.layout.notes] = 0xFF
    assert_equal(graph, program(inputs), want)


@pytest.fixture
def all_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every kernel that can be is shared out, however small."""
    monkeypatch.setattr(schedule, "SHARED_FROM", -1.0)
    monkeypatch.setattr(schedule, "THREADS_FROM", 1e-9)


@settings(max_examples=25)
@given(case=graphs())
@pytest.mark.usefixtures("all_shared")
def test_threads_give_the_same_bits(case: tuple[Graph, Arrays]) -> None:
    """One to four threads that share every kernel."""
    graph, inputs = case
    want = Interpreter(graph)(inputs)
    program = NativeProgram(graph)
    before = config.THREADS
    try:
        for count in (1, 2, 3, 4):
            config.THREADS = str(count)
            assert_equal(graph, program(inputs), want)
    finally:
        config.THREADS = before


# --- how arrays lie in memory ---


def _strided(x: np.ndarray) -> np.ndarray:
    room = np.zeros([2 * n for n in x.shape], x.dtype)
    view = room[(..., *[slice(None, None, 2)] * x.ndim)]
    view[...] = x
    return view


def _odd_address(x: np.ndarray) -> np.ndarray:
    raw = bytearray(x.nbytes + 1)
    view = np.frombuffer(raw, x.dtype, x.size, 1) if x.size else x
    view = view.reshape(x.shape)
    view[...] = x
    return view


def _read_only(x: np.ndarray) -> np.ndarray:
    y = x.copy()
    y.flags.writeable = False
    return y


DRESSES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "strided": _strided,
    "at an odd address": _odd_address,
    "in Fortran's order": lambda x: x.copy("F"),
    "backwards": lambda x: np.flip(np.flip(x).copy()),
    "byte-swapped": lambda x: x.astype(x.dtype.newbyteorder()),
    "read-only": _read_only,
    "broadcast": lambda x: np.broadcast_to(x, x.shape),
}


@pytest.mark.parametrize("dress", DRESSES)
def test_it_does_not_matter_how_inputs_lie_in_memory(dress: str) -> None:
    """And they are not written to."""
    change = DRESSES[dress]
    for seed in range(6):
        random = np.random.default_rng(seed)
        graph, inputs = random_graph(lambda n, r=random: int(r.integers(n)), seed, 12)
        dressed = [np.asarray(change(x)) for x in inputs]
        copies = [x.copy() for x in dressed]
        want = Interpreter(graph)(inputs)
        program = NativeProgram(graph)
        assert_equal(graph, program(dressed), want)
        for one, other in zip(dressed, copies, strict=True):
            np.testing.assert_array_equal(one, other)
    assert dressed[0].dtype.newbyteorder("=") == inputs[0].dtype


def test_a_program_runs_in_several_python_threads_at_once() -> None:
    """Each call has memory of its own."""
    random = np.random.default_rng(0)
    graph, inputs = random_graph(lambda n: int(random.integers(n)), 0, 25)
    program = NativeProgram(graph)
    want = Interpreter(graph)(inputs)
    wrong: list[AssertionError] = []

    def work() -> None:
        try:
            for _ in range(200):
                assert_equal(graph, program(inputs), want)
        except AssertionError as error:
            wrong.append(error)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong
