"""Whole training steps, compiled: one at a time, and many in one call."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from agreeing import assert_near, assert_same

import chainrule as cr
from chainrule.errors import IndexRangeError
from chainrule.graph import Graph
from chainrule.native.program import NativeProgram
from chainrule.optim.registry import OPTIMIZERS
from chainrule.reference import Interpreter
from chainrule.runtime.pace import Pace
from chainrule.runtime.steps import CarryBuffers, StepLoop
from chainrule.tracing.context import key_of
from chainrule.training.objective import objective
from chainrule.training.step import Layout, StepBuilder

Array = np.ndarray
nn, optim = cr.nn, cr.optim
KEY = np.asarray(key_of(3))
ROWS = 61


@dataclass(frozen=True)
class Training:
    """A network, its data and how it is trained."""

    net: Any
    task: str
    x: Array
    y: Array
    optimizer: Any

    def graph(self, batch: int, measured: bool = False) -> Graph:
        layout, carry = Layout.of(self.net, self.optimizer)
        outputs = int(self.y.max()) + 1 if self.task == "multiclass" else 1
        goal = objective(None, self.task, outputs, self.net)
        builder = StepBuilder(layout, goal, self.optimizer, "reference")
        return builder.prepare(carry, [self.x[:batch], self.y[:batch]], measured).graph

    def carry(self) -> list[Array]:
        return Layout.of(self.net, self.optimizer)[1]


def training(
    *layers: Any,
    task: str = "multiclass",
    optimizer: Any = None,
    dtype: Any = np.float64,
    width: int = 7,
    symbols: int = 0,
) -> Training:
    random = np.random.default_rng(1)
    if symbols:
        x = random.integers(0, symbols, (ROWS, width))
    else:
        x = random.normal(size=(ROWS, width)).astype(dtype)
    y = {
        "multiclass": random.integers(0, 5, ROWS),
        "binary": random.integers(0, 2, ROWS),
        "regression": random.normal(size=(ROWS, 1)).astype(dtype),
    }[task]
    net = nn.init(nn.Sequential(*layers), x[:2], 0, dtype=dtype)
    return Training(net, task, x, y, optimizer or optim.sgd(0.1))


NETS: dict[str, Training] = {
    "no hidden layer": training(nn.Dense(5)),
    "relu": training(nn.Dense(18), nn.relu, nn.Dense(5)),
    "tanh, regression": training(nn.Dense(33), nn.tanh, nn.Dense(1), task="regression"),
    "gelu, binary": training(nn.Dense(16), nn.gelu, nn.Dense(1), task="binary"),
    "silu": training(nn.Dense(17), nn.silu, nn.Dense(5)),
    "dropout": training(nn.Dense(31), nn.relu, nn.Dropout(0.4), nn.Dense(5)),
    "batch norm": training(nn.Dense(15), nn.BatchNorm(), nn.relu, nn.Dense(5)),
    "layer norm": training(nn.Dense(19), nn.LayerNorm(), nn.elu, nn.Dense(5)),
    "residual": training(
        nn.Dense(8), nn.Residual(nn.Sequential(nn.Dense(8), nn.tanh)), nn.Dense(5)
    ),
    "embedding": training(nn.Embedding(11, 3), nn.Flatten(), nn.Dense(5), symbols=11),
}
SETTINGS: dict[str, Any] = {
    **{name: optim.by_name(name) for name in OPTIMIZERS},
    "momentum": optim.sgd(0.1, momentum=0.9),
    "nesterov": optim.sgd(0.1, momentum=0.9, nesterov=True),
    "schedule": optim.adam(optim.schedules.cosine(1e-2, 30)),
    "clipping": optim.chain(optim.clip_by_global_norm(0.1), optim.adam(1e-2)),
    "decay": optim.adamw(1e-2, weight_decay=0.1),
}


def assert_steps_agree(one: Training, steps: int, ulps: float, batch: int = 16) -> None:
    """Native and reference steps, each from its own last carry."""
    graph = one.graph(batch)
    native, reference = NativeProgram(graph), Interpreter(graph)
    ours = theirs = one.carry()
    count = len(ours)
    unit = float(np.finfo(ours[0].dtype).eps)
    for step in range(steps):
        rows = np.random.default_rng(step).permutation(ROWS)[:batch]
        rest = [one.x[rows], one.y[rows], KEY, np.asarray(step, np.uint32)]
        got, want = native([*ours, *rest]), reference([*theirs, *rest])
        for name, x, y in zip(graph.output_names, got, want, strict=True):
            try:
                assert_near(x, y, ulps * unit * (step + 1))
            except AssertionError as error:
                raise AssertionError(f"{name} in step {step}: {error}") from None
        ours, theirs = got[:count], want[:count]


@pytest.mark.parametrize("name", NETS)
def test_steps_of_every_layer_agree_with_the_reference(name: str) -> None:
    """Twenty steps in float64, where nothing hides behind rounding."""
    assert_steps_agree(NETS[name], 20, ulps=256)


@pytest.mark.parametrize("name", SETTINGS)
def test_steps_of_every_optimizer_agree_with_the_reference(name: str) -> None:
    layers = nn.Dense(18), nn.tanh, nn.Dense(5)
    assert_steps_agree(training(*layers, optimizer=SETTINGS[name]), 20, ulps=1024)


@pytest.mark.parametrize("batch", [1, 2, 15, 17, 61])
def test_steps_in_float32_agree_with_the_reference(batch: int) -> None:
    """A few steps: rounding is all that differs."""
    layers = nn.Dense(33), nn.relu, nn.Dense(17), nn.tanh, nn.Dense(5)
    one = training(*layers, dtype=np.float32, optimizer=optim.adam(1e-2))
    # Adam divides by the root of what it measures: rounding of tiny gradients is scaled up.
    assert_steps_agree(one, 3, ulps=4096, batch=batch)


@pytest.mark.parametrize("name", ["batch norm", "dropout", "embedding"])
def test_measured_steps_agree_with_the_reference(name: str) -> None:
    one = NETS[name]
    graph = one.graph(16, measured=True)
    inputs = [*one.carry(), one.x[:16], one.y[:16], KEY, np.asarray(5, np.uint32)]
    for got, want in zip(NativeProgram(graph)(inputs), Interpreter(graph)(inputs), strict=True):
        assert_near(got, want, 1e-13)


# --- many steps in one call ---


def loop_for(
    one: Training, buffers: CarryBuffers, batch: int, **options: Any
) -> tuple[StepLoop, Graph]:
    graph = one.graph(batch)
    names = [name.rpartition(".")[2] for name in graph.output_names[len(buffers.sets[0]) :]]
    return StepLoop(graph, buffers, [one.x, one.y], names.index("finite"), KEY, **options), graph


def by_hand(
    graph: Graph, one: Training, carry: list[Array], rows: Array, first: int
) -> tuple[list[Array], list[list[Array]]]:
    """The same steps in Python: the carry after them, and what each told."""
    program, told = NativeProgram(graph), []
    for number, chosen in enumerate(rows):
        step = np.asarray(first + number, np.uint32)
        outputs = program([*carry, one.x[chosen], one.y[chosen], KEY, step])
        carry = outputs[: len(carry)]
        told.append(outputs[len(carry) :])
    return carry, told


def batches(steps: int, batch: int, seed: int = 0) -> Array:
    random = np.random.default_rng(seed)
    return np.stack([random.permutation(ROWS)[:batch] for _ in range(steps)])


@pytest.mark.parametrize("name", ["relu", "dropout", "batch norm", "embedding"])
@pytest.mark.parametrize("team", [1, 3])
def test_many_steps_in_one_call_are_the_steps_one_by_one(name: str, team: int) -> None:
    """Fifty steps in calls of 1, 20, 7 and 22, to the bit: carry, losses and scores."""
    one = NETS[name]
    buffers = CarryBuffers(one.carry())
    buffers.put(one.carry())
    loop, graph = loop_for(one, buffers, 16, team=team)
    rows, done = batches(50, 16), 0
    want, told = by_hand(graph, one, one.carry(), rows, 4)
    for count in (1, 20, 7, 22):
        result = loop.run(rows[done : done + count], 4 + done)
        assert (result.steps, result.finite) == (count, True)
        for number, values in enumerate(result.values):
            expected = [t[number] for t in told[done : done + count]]
            np.testing.assert_array_equal(values, expected)
        done += count
    for got, other in zip(buffers.get(), want, strict=True):
        assert_same(got, other)


def test_how_long_a_step_takes_is_noted_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float] = []
    monkeypatch.setattr(Pace, "note", lambda pace, team, seconds: told.append(seconds))
    one = NETS["relu"]
    buffers = CarryBuffers(one.carry())
    buffers.put(one.carry())
    loop, _ = loop_for(one, buffers, 16)
    began = time.perf_counter()
    loop.run(batches(10, 16), 0)
    assert 0 < told[0] <= (time.perf_counter() - began) / 10


def test_a_short_last_batch_is_a_program_of_its_own_over_the_same_carry() -> None:
    one = NETS["batch norm"]
    buffers = CarryBuffers(one.carry())
    buffers.put(one.carry())
    (full, graph), (short, last) = (loop_for(one, buffers, n) for n in (16, 13))
    carry, step = one.carry(), 0
    for epoch in range(3):
        rows, rest = batches(3, 16, epoch), batches(1, 13, epoch)
        full.run(rows, step)
        short.run(rest, step + 3)
        carry, _ = by_hand(graph, one, carry, rows, step)
        carry, _ = by_hand(last, one, carry, rest, step + 3)
        step += 4
    for got, want in zip(buffers.get(), carry, strict=True):
        assert_same(got, want)


def test_steps_over_all_rows_read_them_where_they_are() -> None:
    one = NETS["layer norm"]
    buffers = CarryBuffers(one.carry())
    buffers.put(one.carry())
    loop, graph = loop_for(one, buffers, ROWS, whole=True)
    loop.run(np.zeros((6, 0), np.int64), 0)
    want, _ = by_hand(graph, one, one.carry(), np.tile(np.arange(ROWS), (6, 1)), 0)
    for got, other in zip(buffers.get(), want, strict=True):
        assert_same(got, other)


@pytest.mark.parametrize("team", [1, 2])
@pytest.mark.parametrize("bad", [0, 1, 9])
def test_a_step_that_is_not_finite_leaves_the_carry_before_it(bad: int, team: int) -> None:
    """It is not taken, nor are those behind it; what it told is told."""
    one = training(nn.Dense(9), nn.relu, nn.Dense(5), optimizer=optim.adam(0.1))
    one.x[60, 2] = np.nan
    rows = np.stack([np.random.default_rng(s).permutation(60)[:8] for s in range(20)])
    rows[bad:, 3] = 60
    buffers = CarryBuffers(one.carry())
    buffers.put(one.carry())
    loop, graph = loop_for(one, buffers, 8, team=team)
    result = loop.run(rows, 0)
    assert (result.steps, result.finite) == (bad, False)
    assert all(len(values) == bad + 1 for values in result.values)
    want, _ = by_hand(graph, one, one.carry(), rows[:bad], 0)
    for got, other in zip(buffers.get(), want, strict=True):
        assert_same(got, other)


def test_no_steps_change_nothing() -> None:
    one = NETS["relu"]
    buffers = CarryBuffers(one.carry())
    buffers.put(one.carry())
    result = loop_for(one, buffers, 16)[0].run(np.zeros((0, 16), np.int64), 0)
    assert (result.steps, result.finite) == (0, True)
    for got, want in zip(buffers.get(), one.carry(), strict=True):
        assert_same(got, want)


def test_weights_without_a_gradient_path_and_shared_outputs_are_carried() -> None:
    """Outputs that are inputs, constants, or one value twice still move on to the next step."""
    x = np.ones((4, 1))

    def step(carry: Any, batch: Any, key: Any, number: Any) -> Any:
        a, b, c, _ = carry
        after = a + 1.0
        return [after, after, c, np.zeros(2)], np.all(a == b), np.sum(batch[0])

    carry = [np.zeros(2), np.zeros(2), np.arange(2.0), np.ones(2)]
    graph = cr.trace(step, carry, [x], KEY, np.zeros((), np.uint32))
    buffers = CarryBuffers(carry)
    buffers.put(carry)
    loop = StepLoop(graph, buffers, [x], 0, KEY)
    loop.run(np.zeros((5, 4), np.int64), 0)
    first, second, third, fourth = buffers.get()
    np.testing.assert_array_equal(first, [5, 5])
    np.testing.assert_array_equal(second, [5, 5])
    np.testing.assert_array_equal(third, [0, 1])
    np.testing.assert_array_equal(fourth, [0, 0])


def test_a_symbol_out_of_range_stops_the_steps() -> None:
    one = training(nn.Embedding(11, 3), nn.Flatten(), nn.Dense(5), symbols=11)
    one.x[7, 0] = 11
    buffers = CarryBuffers(one.carry())
    buffers.put(one.carry())
    loop, _ = loop_for(one, buffers, 16)
    with pytest.raises(IndexRangeError, match="index 11 is out of range for an axis of size 11"):
        loop.run(np.tile(np.arange(16), (3, 1)), 0)
