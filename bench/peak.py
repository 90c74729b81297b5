"""The machine's own float32 peak: fused multiply-adds in all vector registers, on both threads.

What a training step reaches is told as a share of this, measured in the same round.
"""

from __future__ import annotations

import numpy as np

from chainrule.native import target, threads
from chainrule.native.ir import Function, index
from chainrule.native.threads import ENTRY

KEPT = 2  # registers for the two factors that every multiply-add shares
TURNS = (
    1_000_000  # of the loop in a call: some milliseconds, beside which waking a thread is little
)


class Peak:
    """A loop of independent multiply-adds on `team` threads."""

    def __init__(self, team: int) -> None:
        lanes = target.vector_bytes() // 4
        sums = target.vector_registers() - KEPT
        self._team = team
        self._numbers = np.zeros((team, 64, lanes), np.float32)
        self._numbers[:, :KEPT] = 0.5  # sums stay near one: no infinities, no subnormal numbers
        self.flops = 2.0 * lanes * sums * TURNS * team
        declared: set[str] = set()
        body = _loop(lanes, sums, self._numbers[0].size, declared)
        entry = (
            "define void @peak(ptr %p0, i64 %thread, i64 %threads, ptr %barrier) {\n"
            "  call void @peak.body(ptr %p0, i64 %thread, i64 %threads)\n  ret void\n}"
        )
        text = "\n\n".join([target.header(), body, entry, *sorted(declared), target.footer()])
        self._entry = target.Code(target.compile_module(text)).function("peak", *ENTRY)

    def __call__(self, calls: int) -> None:
        """Runs `calls` x `flops` operations."""
        for _ in range(calls):
            threads.run(self._entry, self._numbers.ctypes.data, self._team)


def _loop(lanes: int, sums: int, stride: int, declared: set[str]) -> str:
    """sum = sum * a + b for many sums at once; `stride` is between the numbers of two threads."""
    fn = Function("peak.body", [""], declared)
    mine = fn.at(fn.parameters[0], fn.mul(fn.thread, index(stride)), "f32")
    a, b = (fn.load(fn.at(mine, index(i * lanes), "f32"), "f32", lanes) for i in range(KEPT))
    slots = [fn.slot("f32", lanes) for _ in range(sums)]
    places = [fn.at(mine, index((KEPT + i) * lanes), "f32") for i in range(sums)]
    for slot, place in zip(slots, places, strict=True):
        fn.put(slot, fn.load(place, "f32", lanes))
    with fn.loop(index(0), index(TURNS)):
        for slot in slots:
            fn.put(slot, fn.fma(fn.get(slot, "f32", lanes), a, b))
    for slot, place in zip(slots, places, strict=True):
        fn.store(fn.get(slot, "f32", lanes), place)
    return fn.text()
