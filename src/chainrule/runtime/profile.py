"""Where the time of a step goes: its kernels, waiting, and the loop around them.

Receives: a timed `StepLoop` and the carry to begin from. Returns: `StepTimes`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from chainrule.errors import ChainruleError, NonFiniteError
from chainrule.graph import Node, ancestors
from chainrule.native import peak
from chainrule.native.inspection import Kernel, kernels_of, lead_of
from chainrule.native.peak import has_cycle_counter
from chainrule.runtime.steps import CarryBuffers, StepLoop

__all__ = ["Kernel", "StepTimes", "check_clock", "time_steps"]

Array = np.ndarray
_MOMENT = 0.1  # seconds of a native call: Ctrl-C is answered after it
_WARM = 0.05  # seconds before anything is measured: caches fill, threads wake


@dataclass(frozen=True)
class StepTimes:
    """The seconds of one step, on average over `steps`, as the first of `threads` threads sees it:
    those of each kernel (with the part of the step that it belongs to: "forward", "backward",
    "update" or "metrics"), of waiting for other threads, and of all of it. `peak` is the most flops
    in a second that as many threads were seen to reach in registers."""

    kernels: list[tuple[Kernel, str, float]]
    waiting: float
    whole: float
    steps: int
    threads: int
    peak: float


def check_clock() -> None:
    """Raises ChainruleError where kernels cannot be timed."""
    if not has_cycle_counter():
        raise ChainruleError(
            "this processor's cycle counter is closed to programs, so single kernels cannot be "
            "timed",
            do="profile on an x86-64 processor; the arithmetic of each kernel is in "
            "`chainrule stages`",
        )


def time_steps(
    loop: StepLoop, buffers: CarryBuffers, rows: Array, seconds: float, kind: str
) -> StepTimes:
    """Runs the loop's steps on `rows` ([steps, batch]), over and over from the carry that is in the
    buffers, for about so many seconds. `kind` is what the peak is measured with, "f32" or "f64"."""
    carry = [array.copy() for array in buffers.get()]
    _run_for(loop, buffers, carry, rows, min(_WARM, seconds))
    cycles_before = loop.cycles()
    began, cycle = _now()
    steps, taken = _run_for(loop, buffers, carry, rows, seconds)
    # The counter runs at a rate of its own: how long a cycle is, this same run says.
    ended, last = _now()
    each = (ended - began) / (last - cycle)
    *kernels, waiting = ((loop.cycles() - cycles_before) * (each / steps)).tolist()
    named = list(zip(kernels_of(loop.program), _parts(loop, len(carry)), kernels, strict=True))
    most = peak.peak_flops(kind, loop.team)
    return StepTimes(named, waiting, taken / steps, steps, loop.team, most)


def _now() -> tuple[float, int]:
    """Seconds and cycles at one moment: of a few readings, the one that nothing came between."""
    readings = []
    for _ in range(5):
        before, cycle, after = time.perf_counter(), peak.cycles_now(), time.perf_counter()
        readings.append((after - before, before, cycle))
    _, seconds, cycle = min(readings)
    return seconds, cycle


def _parts(loop: StepLoop, carried: int) -> list[str]:
    """Which part of the step each kernel belongs to, by what leads it."""
    graph = loop.program.graph
    named = zip(graph.output_names, graph.outputs, strict=True)
    loss = set(ancestors([n for name, n in named if name.rpartition(".")[2] == "loss"]))
    updated = set(ancestors(list(graph.outputs[:carried])))

    def part(lead: Node) -> str:
        if lead.origin.stage == "backward":
            return "backward"
        return "forward" if lead in loss else "update" if lead in updated else "metrics"

    return [part(lead_of(entry.region)) for entry in loop.program.scheduled]


def _run_for(
    loop: StepLoop, buffers: CarryBuffers, carry: list[Array], rows: Array, seconds: float
) -> tuple[int, float]:
    """Steps until so many seconds have passed; returns how many, and how long they took. Each call
    begins from the same carry, so that one which does not stay finite does no harm."""
    end, steps, taken = time.perf_counter() + seconds, 0, 0.0
    while (now := time.perf_counter()) < end or not steps:
        buffers.put(carry)
        began = time.perf_counter()
        told = loop.run(rows, steps, max(min(end - now, _MOMENT), 0.0))
        taken += time.perf_counter() - began
        if not told.steps:
            raise NonFiniteError(
                "the first step from these weights is not finite: there is nothing to time",
                do="train again with a smaller --learning-rate",
            )
        steps += told.steps
    return steps, taken
