"""Many steps in one call of which some are measured, and calls that end when their time is up."""

from __future__ import annotations

import time

import numpy as np
import pytest
from agreeing import assert_same
from test_native_steps import KEY, NETS, ROWS, Array, Training, batches, by_hand, loop_for

from chainrule.errors import IndexRangeError
from chainrule.native.program import NativeProgram
from chainrule.runtime.steps import CarryBuffers, StepLoop, Told


def run(
    one: Training, every: int, team: int, calls: list[int], first: int = 0
) -> tuple[list[Array], list[Told]]:
    """The carry after calls of so many steps, and what they told."""
    buffers = CarryBuffers(one.carry())
    buffers.put(one.carry())
    loop, _ = loop_for(one, buffers, 16, team=team)
    if every:
        loop.measure(one.graph(16, measured=True), every)
    rows, done, told = batches(sum(calls), 16), 0, []
    for count in calls:
        told.append(loop.run(rows[done : done + count], first + done))
        done += count
    return buffers.get(), told


@pytest.mark.parametrize("team", [1, 2])
@pytest.mark.parametrize("name", NETS)
def test_measured_steps_are_the_steps_that_are_not_measured(name: str, team: int) -> None:
    """To the bit, for every layer: the carry, and what both kinds of steps tell."""
    one = NETS[name]
    plain, told = run(one, 0, team, [21])
    for every in (1, 2, 5):
        carry, measured = run(one, every, team, [4, 1, 16])
        for got, want in zip(carry, plain, strict=True):
            assert_same(got, want)
        for number, values in enumerate(told[0].values):
            parts = [t.values[number] for t in measured]
            assert_same(np.concatenate(parts), values)


def test_what_is_measured_is_told_of_the_steps_that_are_due() -> None:
    """Steps 4 to 23, every third: those that the measured graph, run by itself, tells too."""
    one = NETS["batch norm"]
    graph = one.graph(16, measured=True)
    _, told = run(one, 3, 2, [1, 9, 1, 9], first=4)
    program, carry, rows = NativeProgram(graph), one.carry(), batches(20, 16)
    count, want = len(carry), []
    for number, chosen in enumerate(rows):
        step = np.asarray(4 + number, np.uint32)
        outputs = program([*carry, one.x[chosen], one.y[chosen], KEY, step])
        carry = outputs[:count]
        if step % 3 == 0:
            want.append(outputs[count:])
    assert len(want) == 6
    for number in range(len(graph.outputs) - count):
        got = np.concatenate([t.measures[number] for t in told])
        np.testing.assert_array_equal(got, [w[number] for w in want])


def test_a_measured_step_that_is_not_finite_is_not_taken() -> None:
    one = NETS["relu"]
    rows = batches(6, 16)
    x = one.x.copy()
    x[rows[3, 0]] = np.nan
    rows[:3] = np.where(rows[:3] == rows[3, 0], rows[3, 1], rows[:3])
    buffers = CarryBuffers(one.carry())
    buffers.put(one.carry())
    graph = one.graph(16)
    names = [name.rpartition(".")[2] for name in graph.output_names[len(one.carry()) :]]
    loop = StepLoop(graph, buffers, [x, one.y], names.index("finite"), KEY)
    loop.measure(one.graph(16, measured=True), 3)
    told = loop.run(rows, 0)
    assert (told.steps, told.finite) == (3, False)
    assert {len(values) for values in told.values} == {4}
    assert {len(values) for values in told.measures} == {1}  # of step 0; step 3 was not taken
    want, _ = by_hand(graph, one, one.carry(), rows[:3], 0)
    for got, other in zip(buffers.get(), want, strict=True):
        assert_same(got, other)


def test_an_index_out_of_range_is_seen_in_a_measured_step() -> None:
    one = NETS["embedding"]
    x = one.x.copy()
    x[7, 0] = 11
    buffers = CarryBuffers(one.carry())
    buffers.put(one.carry())
    graph = one.graph(16)
    names = [name.rpartition(".")[2] for name in graph.output_names[len(one.carry()) :]]
    loop = StepLoop(graph, buffers, [x, one.y], names.index("finite"), KEY)
    loop.measure(one.graph(16, measured=True), 1)
    with pytest.raises(IndexRangeError, match="index 11 is out of range"):
        loop.run(np.arange(16)[None], 0)


# --- time ---


@pytest.mark.parametrize("team", [1, 2])
def test_a_call_ends_when_its_time_is_up_and_the_next_goes_on(team: int) -> None:
    """Calls of 5 ms over far more steps than fit; together they are one long call."""
    one = NETS["batch norm"]
    rows = np.resize(batches(ROWS, 16), (60_000, 16))
    buffers = CarryBuffers(one.carry())
    buffers.put(one.carry())
    loop, _ = loop_for(one, buffers, 16, team=team)
    done, calls, slowest = 0, 0, 0.0
    while calls < 3:
        began = time.perf_counter()
        told = loop.run(rows[done:], done, 0.005)
        slowest = max(slowest, time.perf_counter() - began)
        assert told.finite
        assert 0 < told.steps < len(rows) - done
        assert all(len(values) == told.steps for values in told.values)
        done, calls = done + told.steps, calls + 1
    assert slowest < 2, "a call of 5 ms"
    carry = [a.copy() for a in buffers.get()]
    whole = CarryBuffers(one.carry())
    whole.put(one.carry())
    assert loop_for(one, whole, 16, team=team)[0].run(rows[:done], 0).steps == done
    for got, want in zip(carry, whole.get(), strict=True):
        assert_same(got, want)


def test_a_call_without_time_takes_one_step() -> None:
    """So that every call gets on, however busy the machine is."""
    one = NETS["relu"]
    buffers = CarryBuffers(one.carry())
    buffers.put(one.carry())
    loop, _ = loop_for(one, buffers, 16)
    for step in range(5):
        told = loop.run(batches(9, 16), step, 0.0)
        assert (told.steps, told.finite) == (1, True)
