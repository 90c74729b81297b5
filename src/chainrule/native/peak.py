"""What this machine can do at most, measured: multiply-adds in registers, and its cycle counter."""

from __future__ import annotations

import ctypes
import time
from functools import lru_cache

import numpy as np

from chainrule.native import target, threads
from chainrule.native.ir import SIZES, Function, Value, index, literal
from chainrule.native.threads import BARRIER, ENTRY

_ROUNDS = 100_000  # multiply-adds of each register in a call: half a millisecond or so
_SECONDS = 0.1  # of calls, of which the fastest counts: what else runs only makes one slower
_APART = 64  # numbers between the results of two threads: they share no cache line


def peak_flops(kind: str, team: int) -> float:
    """The most that `team` threads compute in a second, a multiply-add counted as two; `kind` is
    "f32" or "f64". Only where `has_cycle_counter` says so."""
    entry = _loop(kind).function("peak", *ENTRY)
    results = np.zeros(_APART * (team + 1), np.float64)
    most, began, first = 0.0, time.perf_counter(), cycles_now()
    while time.perf_counter() < began + _SECONDS:
        threads.run(entry, results.ctypes.data, team)
        cycles, together = results[:2].view(np.int64).tolist()
        most = max(most, together / cycles)
    each = (time.perf_counter() - began) / (cycles_now() - first)
    return 2 * _sums() * _lanes(kind) * _ROUNDS * most / each


def has_cycle_counter() -> bool:
    """Whether a program may read the processor's cycle counter: on ARM the system forbids it."""
    return target.processor().triple.startswith("x86_64")


def cycles_now() -> int:
    """The processor's cycle counter. Only where `has_cycle_counter` says so."""
    found = np.zeros(1, np.uint64)
    _clock().function("now", ctypes.c_void_p)(found.ctypes.data)
    return int(found[0])


def _lanes(kind: str) -> int:
    return target.vector_bytes() // SIZES[kind]


def _sums() -> int:
    """How many sums go on at a time: all registers but two, which hold the factors."""
    return target.vector_registers() - 2


@lru_cache
def _loop(kind: str) -> target.Code:
    """Every sum x becomes x * a + b, again and again, and is stored in the end. All threads begin
    together, and the first puts down how many cycles passed until the last was done, and how many
    they were: helpers that are busy elsewhere do not come."""
    fn, lanes = Function("peak.body", ["noalias"], set()), _lanes(kind)
    start = fn.mul(fn.add(fn.thread, index(1)), index(_APART))
    first = fn.load(fn.at(fn.parameters[0], start, kind), kind)  # so that nothing is known before
    slots = [fn.slot(kind, lanes) for _ in range(_sums())]
    for number, slot in enumerate(slots):
        fn.put(slot, fn.splat(fn.add(first, literal(float(number), kind)), lanes))
    half: Value = fn.splat(literal(0.5, kind), lanes)
    with fn.loop(index(0), index(_ROUNDS)):
        for slot in slots:
            fn.put(slot, fn.fma(fn.get(slot, kind, lanes), half, half))
    total = fn.get(slots[0], kind, lanes)
    for slot in slots[1:]:
        total = fn.add(total, fn.get(slot, kind, lanes))
    fn.store(total, fn.at(fn.parameters[0], start, kind))
    parts = [target.header(), fn.text(), _ENTRY, BARRIER, *sorted(fn.declared), target.footer()]
    return target.Code(target.compile_module("\n\n".join(parts)))


_ENTRY = """define void @peak(ptr %results, i64 %thread, i64 %threads, ptr %barrier) {
  call void @wait(ptr %barrier, i64 %threads)
  %from = call i64 @llvm.readcyclecounter()
  call void @peak.body(ptr %results, i64 %thread, i64 %threads)
  call void @wait(ptr %barrier, i64 %threads)
  %to = call i64 @llvm.readcyclecounter()
  %first = icmp eq i64 %thread, 0
  br i1 %first, label %note, label %done
note:
  %spent = sub i64 %to, %from
  store i64 %spent, ptr %results, align 8
  %together = getelementptr i64, ptr %results, i64 1
  store i64 %threads, ptr %together, align 8
  br label %done
done:
  ret void
}

declare i64 @llvm.readcyclecounter()"""


@lru_cache(maxsize=1)
def _clock() -> target.Code:
    text = (
        "define void @now(ptr %there) {\n"
        "  %cycles = call i64 @llvm.readcyclecounter()\n"
        "  store i64 %cycles, ptr %there, align 8\n  ret void\n}\n\n"
        "declare i64 @llvm.readcyclecounter()"
    )
    return target.Code(target.compile_module(f"{target.header()}\n\n{text}"))
