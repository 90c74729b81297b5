"""Threads: how many, and that nothing goes wrong around them."""

from __future__ import annotations

import faulthandler
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import config
from chainrule.cli import main
from chainrule.errors import UsageError
from chainrule.native import threads

Array = np.ndarray
X = np.random.default_rng(0).normal(size=(256, 192))
W = np.random.default_rng(1).normal(size=(192, 256))


def work(x: Array, w: Array) -> Array:
    """Enough for several threads: phases that wait for each other, and a short one at the end."""
    hidden = np.tanh(x @ w)
    return (hidden - np.max(hidden, axis=1, keepdims=True)) @ w.T


def program(most: int | None = 3) -> Any:
    return cr.compile(work, backend="native", threads=most)


@pytest.fixture(scope="module")
def want() -> Array:
    return np.asarray(program(1)(X, W))


# --- how many ---


@pytest.mark.parametrize("number", [0, -1, True, 1.5, "2", config.MOST_THREADS + 1])
def test_a_number_of_threads_that_makes_no_sense_is_named(number: Any) -> None:
    with pytest.raises(UsageError, match="threads is") as caught:
        cr.compile(work, threads=number)
    assert f"from 1 to {config.MOST_THREADS}" in str(caught.value)
    for use in (
        lambda: cr.grad(np.sum, threads=number),
        lambda: cr.value_and_grad(np.sum, threads=number),
        lambda: cr.train(cr.nn.Dense(1), "xor", threads=number),
    ):
        with pytest.raises(UsageError, match="threads is"):
            use()


@pytest.mark.parametrize("words", [["train", "xor"], ["predict", "run", "table.csv"]])
def test_so_is_one_on_the_command_line(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--threads", "0"]) == 2
    assert "--threads" in capsys.readouterr().err


def test_numpys_whole_numbers_are_numbers() -> None:
    assert config.check_threads(np.int64(3)) == 3  # type: ignore[arg-type]


def test_one_for_each_core_fewer_where_the_work_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """And never more than was said: by the code first, then by the switch."""
    monkeypatch.setattr(threads, "cores", lambda: 8)
    assert [threads.team_size(useful) for useful in (0, 1, 2, 5, 100)] == [1, 1, 2, 5, 8]
    assert threads.team_size(100, 12) == 12
    monkeypatch.setattr(config, "THREADS", "4")
    assert [threads.team_size(100, most) for most in (None, 2, 6)] == [4, 2, 6]


@pytest.mark.parametrize(
    ("granted", "cores"),
    [("max 100000", 8), ("150000 100000", 2), ("100000 100000", 1), ("900000 100000", 8), ("", 8)],
)
def test_a_container_that_grants_less_time_gets_fewer_threads(
    granted: str, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More threads than that would only be made to wait for each other."""
    (tmp_path / "cpu.max").write_text(f"{granted}\n")
    monkeypatch.setattr(threads, "QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    threads._quota.cache_clear()
    try:
        assert threads.cores() == cores
    finally:
        threads._quota.cache_clear()


def test_small_programs_stay_on_the_thread_that_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    teams: list[int] = []
    run = threads.run
    monkeypatch.setattr(threads, "run", lambda e, a, team: (teams.append(team), run(e, a, team)))
    cr.compile(np.tanh, backend="native", threads=4)(np.ones(5))
    program(4)(X, W)
    assert teams == [1, 4]


@pytest.mark.parametrize("most", [2, 3, 4])
def test_no_number_of_threads_changes_a_bit(most: int, want: Array) -> None:
    for _ in range(5):
        np.testing.assert_array_equal(program(most)(X, W), want)


# --- around them ---


def test_several_programs_at_once_in_threads_that_are_not_the_main_one(want: Array) -> None:
    """Six callers, each with its own program and number of threads, while helpers are few."""

    def call(number: int) -> None:
        mine = program(1 + number % 4)
        for _ in range(20):
            np.testing.assert_array_equal(mine(X, W), want)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(call, range(6)))


def test_one_program_called_by_several_threads_at_once(want: Array) -> None:
    one = program(2)
    with ThreadPoolExecutor(4) as pool:
        for got in pool.map(lambda _: one(X, W), range(40)):
            np.testing.assert_array_equal(got, want)


def _answer(connection: Any) -> None:
    connection.send_bytes(np.asarray(program(3)(X, W)).tobytes())


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_have_threads_of_their_own(method: str, want: Array) -> None:
    """Also a child that is forked from a process whose helpers have been at work."""
    np.testing.assert_array_equal(program(3)(X, W), want)
    context = multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python says that we have threads
        child = context.Process(target=_answer, args=(theirs,))
        child.start()
    try:
        assert ours.poll(60), "the child hangs"
        assert ours.recv_bytes() == want.tobytes()
        child.join(60)
        assert child.exitcode == 0
    finally:
        child.kill()
    np.testing.assert_array_equal(program(3)(X, W), want)


def test_a_child_forked_while_another_thread_compiles_can_compile() -> None:
    program()(X, W)  # what is imported is imported; that Python cannot fork in the middle of
    done = threading.Event()

    def compile_on_and_on() -> None:
        for number in range(10**6):
            if done.is_set():
                return
            cr.compile(lambda x, n=number: np.exp(x) * float(n), backend="native")(np.ones(3))

    thread = threading.Thread(target=compile_on_and_on)
    thread.start()
    try:
        for size in range(3):
            time.sleep(0.1)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                child = os.fork()
            if not child:
                faulthandler.dump_traceback_later(20, exit=True)  # a child that hangs says where
                got = cr.compile(np.tanh, backend="native")(np.zeros(7 + size))
                os._exit(0 if not got.any() else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        done.set()
        thread.join()


def test_nothing_spins_while_idle() -> None:
    program(4)(X, W)
    before = time.process_time()
    time.sleep(0.4)
    assert time.process_time() - before < 0.1


@pytest.mark.parametrize("caller", ["main", "daemon"])
def test_threads_keep_no_process_from_ending(caller: str) -> None:
    """Neither idle helpers, nor those that are at work for a thread that nobody waits for."""
    code = f"""
import sys, threading, time
sys.path[:0] = {sys.path!r}
from test_threads import W, X, program

def call(times):
    run = program(4)
    for _ in range(times):
        run(X, W)

if {caller!r} == "main":
    call(3)
else:
    threading.Thread(target=call, args=(10**9,), daemon=True).start()
    time.sleep(1)
print("ending")
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=os.path.dirname(__file__),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ending\n", "")


@pytest.fixture
def interrupts() -> Iterator[None]:
    """A Ctrl-C every few hundred microseconds."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    gc.disable()  # one that comes in somebody's callback of a collection would be lost
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
    gc.enable()


@pytest.mark.usefixtures("interrupts")
def test_interrupts_leave_no_thread_waiting_for_ever(want: Array) -> None:
    """Whenever one comes, the next call has its helpers and the right result."""
    run, x, w = program(3), X[:64], W[:, :64]
    right, usual = run(x, w), 1.0
    for _ in range(20):  # the shortest: on a busy machine one may take very long
        began = time.perf_counter()
        run(x, w)
        usual = min(usual, time.perf_counter() - began)
    moments, interrupted = np.random.default_rng(5), 0
    for delay in moments.uniform(0, 2 * usual, 500):
        try:
            signal.setitimer(signal.ITIMER_REAL, max(float(delay), 1e-5))
            got = run(x, w)
            signal.setitimer(signal.ITIMER_REAL, 0)
            np.testing.assert_array_equal(got, right)
        except KeyboardInterrupt:
            interrupted += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
    assert interrupted > 50
    np.testing.assert_array_equal(run(X, W), want)
    until = time.monotonic() + 5
    while len(threads._pool.idle) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    assert len(threads._pool.idle) >= 2
    before = time.process_time()
    time.sleep(0.2)
    assert time.process_time() - before < 0.1, "a helper still waits at a barrier"
