"""Programs touch no memory but their own, and give back what they took."""

from __future__ import annotations

import gc
import os
import re
import signal
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import IndexRangeError, ShapeError
from chainrule.native import cache
from chainrule.native.program import NativeProgram
from chainrule.reference import Interpreter
from chainrule.rewrite import rewrite
from chainrule.runtime.steps import CarryBuffers, StepLoop

HERE = Path(__file__).parent


def guarded(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", HERE / "guarded.py", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(HERE)])},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


needs_mprotect = pytest.mark.skipif(os.name != "posix", reason="mprotect is POSIX's")


@needs_mprotect
def test_the_guard_notices_a_read_past_the_end() -> None:
    assert guarded("probe").returncode == -signal.SIGSEGV


@needs_mprotect
def test_nothing_outside_the_arrays_is_read_or_written() -> None:
    """Masked tails, gathers, reversed views: arrays end where memory does, then begin where it
    does."""
    run = guarded("0", "60")
    seeds = run.stdout.split()
    assert run.returncode == 0, f"graph {seeds[-1:]}: {run.stderr}"
    assert len(seeds) == 60


def compiled(function: Any, *args: Any) -> NativeProgram:
    return NativeProgram(rewrite(cr.trace(function, *args)))


def test_results_outlive_their_program() -> None:
    """Also constants and inputs that are results."""
    x, table = np.arange(6.0), np.arange(40.0)
    program = compiled(lambda x: (x + 1, x, table[::2], np.sum(x)), x)
    results = program([x])
    want = [r.copy() for r in results]
    del program
    gc.collect()
    for _ in range(20):
        compiled(lambda x: x * 2, x)([x])
    for got, other in zip(results, want, strict=True):
        np.testing.assert_array_equal(got, other)


def test_a_program_that_nobody_holds_is_gone() -> None:
    program = compiled(lambda x: x + 1, np.ones(3))
    seen = [weakref.ref(program), weakref.ref(program.code)]
    program([np.ones(3)])
    del program
    gc.collect()
    assert [r() for r in seen] == [None, None]


def test_a_loop_keeps_what_it_needs() -> None:
    """The sources and the key may go out of scope."""

    def step(carry: Any, batch: Any, key: Any, number: Any) -> Any:
        return [carry[0] + np.sum(batch[0])], np.all(carry[0] == carry[0])

    def make() -> tuple[StepLoop, CarryBuffers]:
        key, source = np.zeros(2, np.uint32), np.ones((500, 30))
        carry = [np.zeros(())]
        graph = cr.trace(step, carry, [source[:10]], key, np.zeros((), np.uint32))
        buffers = CarryBuffers(carry)
        buffers.put(carry)
        return StepLoop(graph, buffers, [source], 0, key), buffers

    loop, buffers = make()
    gc.collect()
    filler = [np.full((500, 30), np.nan) for _ in range(20)]
    loop.run(np.zeros((4, 10), np.int64), 0)
    assert buffers.get()[0] == 4 * 300
    assert len(filler) == 20


def test_arrays_of_another_type_are_refused() -> None:
    """Reading them would read other memory."""
    program = compiled(lambda x: x + 1, np.ones((3, 4), np.float32))
    for wrong in (np.ones((3, 5), np.float32), np.ones((3, 4)), np.ones(12, np.float32)):
        with pytest.raises(ShapeError, match=r"a program made for f32\[3,4\] was given"):
            program([wrong])


# --- indices that point outside ---

BIG = 2**40


@pytest.mark.parametrize("index", [3, -4, BIG, -BIG, 2**63 - 1, -(2**63)])
@pytest.mark.parametrize("place", [0, 7, 18])
def test_an_index_out_of_range_is_an_error_and_not_a_read(index: int, place: int) -> None:
    """In whole vectors and in tails, along the first axis and the last; the error is that of the
    reference, and the program still works afterwards."""
    functions = [
        lambda x, i: x[i],
        lambda x, i: x.T[:, i],
        lambda x, i: np.sum(x[i], axis=0),
        lambda x, i: x[i, 1] * 2.0,
        lambda x, i: np.take_along_axis(x, i[:, None] + np.zeros(5, int), axis=0),
    ]
    x, good = np.arange(15.0).reshape(3, 5), np.arange(19) % 3
    bad = good.copy()
    bad[place] = index
    for function in functions:
        graph = rewrite(cr.trace(function, x, good))
        program, reference = NativeProgram(graph), Interpreter(graph)
        said = []
        for run in (program, reference):
            with pytest.raises(IndexRangeError, match="out of range for an axis") as told:
                run([x, bad])
            said.append(str(told.value))
        assert said[0] == said[1]
        np.testing.assert_array_equal(program([x, good])[0], reference([x, good])[0])


@pytest.mark.parametrize("index", [5, -6, BIG])
def test_a_write_out_of_range_is_an_error_and_not_a_write(index: int) -> None:
    def write(x: Any, i: Any, v: Any) -> Any:
        y = x.copy()
        y[i] += v
        return y

    x, values, good = np.zeros((5, 17)), np.ones((3, 17)), np.array([0, 4, 4])
    program = compiled(write, x, good, values)
    with pytest.raises(IndexRangeError, match=f"index {index} is out of range"):
        program([x, np.array([0, index, 1]), values])
    np.testing.assert_array_equal(program([x, good, values])[0][4], 1.0)


def test_an_index_into_nothing_is_an_error() -> None:
    nothing = np.zeros((0, 4))
    program = compiled(lambda x, i: x[i], nothing, np.zeros(2, int))
    with pytest.raises(IndexRangeError, match="out of range for an axis of size 0"):
        program([nothing, np.zeros(2, int)])


# --- growth ---


def _resident() -> float:
    """MiB of memory in use."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_two_hundred_compilations_leave_memory_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first fifty, which fill LLVM's own tables."""
    monkeypatch.setattr(cache.config, "CACHE", "off")
    x, w = np.ones((33, 17), np.float32), np.ones((17, 20), np.float32)

    def compile_one(number: int) -> None:
        program = compiled(lambda x, w: np.tanh(x @ w * float(number)).sum(axis=0), x, w)
        program([x, w])

    for number in range(50):
        compile_one(number)
    gc.collect()
    before = _resident()
    for number in range(50, 250):
        compile_one(number)
    gc.collect()
    assert _resident() - before < 3


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_many_calls_leave_memory_as_it_was() -> None:
    x = np.ones((64, 64), np.float32)
    program = compiled(lambda x: np.tanh(x @ x).sum(axis=0), x)
    for _ in range(200):
        program([x])
    before = _resident()
    for _ in range(20_000):
        program([x])
    assert _resident() - before < 1


def test_little_lies_on_the_stack() -> None:
    """Of a convolution's weight gradient over large pictures a packed panel would be megabytes,
    and threads have stacks of two or eight."""
    x = np.random.default_rng(0).normal(size=(2, 120, 160, 3)).astype(np.float32)
    net = nn.init(
        nn.Sequential(
            nn.Conv2d(32, padding="same"),
            nn.relu,
            nn.MaxPool2d(2),
            nn.Conv2d(64, padding="same"),
            nn.relu,
            nn.GlobalAvgPool(),
            nn.Dense(1),
        ),
        x,
        seed=0,
    )
    graph = rewrite(cr.trace(cr.grad(lambda net, x: np.mean(net(x) ** 2)), net, x))
    program = NativeProgram(graph)
    buffers = re.findall(r"alloca \[(\d+) x (?:float|ptr)\]", program.text)
    assert 1 << 10 < max(map(int, buffers)) <= 1 << 18
    inputs = [leaf.value for leaf in cr.tracing.leaves((net, x))]
    for got, want in zip(program(inputs), Interpreter(graph)(inputs), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-5)
