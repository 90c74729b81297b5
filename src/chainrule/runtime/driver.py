"""The loop over training steps, as a function of the step's own module.

Every thread runs it: run the step with the others, go on if it was finite and there is time. The
first thread says which rows come next, and notes what the steps tell.
"""

from __future__ import annotations

import time
from enum import IntEnum, auto

from chainrule.native.ir import Function, Value, index


class Word(IntEnum):
    """The words of the job that a call is given, each 8 bytes."""

    TABLE = 0  # of the step that reads the carry as it is
    TABLE_AFTER = auto()  # of the step after it, which reads what that one wrote
    MEASURED_TABLE = auto()
    MEASURED_TABLE_AFTER = auto()
    MEASURED = auto()  # the function that takes a step and measures it; null: none does
    EVERY = auto()  # how many steps there are between two that are measured
    FIRST = auto()  # the number of the first step
    STEPS = auto()
    ROWS = auto()
    COUNTER = auto()  # where the step's number lies
    SCALARS = auto()  # where a step leaves what it tells, 8 bytes for each number
    TOLD = auto()  # where that goes, a row for each step
    MEASURES = auto()  # where a measured step leaves what it alone tells
    MEASURED_BYTES = auto()
    MEASURES_TOLD = auto()  # where that goes, a row for each measured step
    LATE = auto()  # a number for all threads: not 0 when there is no more time
    DEADLINE = auto()  # nanoseconds on the monotonic clock
    SELDOM = auto()  # the clock is read at steps that have none of these bits
    DONE = auto()  # how many steps were taken


def driver(chosen: int | None, batch: int, scalars: int, finite: int) -> str:
    """The text of `@steps(job, thread, threads, barrier)`, for a module that has `@program`.

    The program finds the numbers of its `batch` rows by the address in place `chosen` of the
    table (None: it takes all rows); of a step's `scalars`, `finite` says if it may be taken.
    """
    fn = Function("steps.body", ["noalias", ""], set())
    job, barrier = fn.parameters

    def word(position: int, kind: str = "ptr") -> Value:
        return fn.load(fn.at(job, index(position), "i64"), kind)

    tables = [word(Word.TABLE), word(Word.TABLE_AFTER)]
    measured_tables = [word(Word.MEASURED_TABLE), word(Word.MEASURED_TABLE_AFTER)]
    measured, every = word(Word.MEASURED), word(Word.EVERY, "i64")
    first_step = word(Word.FIRST, "i64")
    rows, counter, late = word(Word.ROWS), word(Word.COUNTER), word(Word.LATE)
    seldom = word(Word.SELDOM, "i64")
    told, notes = word(Word.SCALARS), _Notes(fn, word, 8 * scalars)
    measuring = fn.compare("ne", measured, Value("null", "ptr"))
    first = fn.compare("eq", fn.thread, index(0))
    together = f"{fn.thread}, {fn.threads}, {barrier}"
    going = fn.slot("bool")
    fn.put(going, Value("true", "bool"))
    with fn.loop(index(0), word(Word.STEPS, "i64")) as s, fn.when(fn.get(going, "bool")):
        looked = fn.compare("eq", fn.binary("and", s, seldom), index(0))
        began = fn.compare("ne", s, index(0))
        with fn.when(fn.binary("and", first, fn.binary("and", looked, began))):
            past = fn.compare("lt", word(Word.DEADLINE, "i64"), _clock(fn))
            fn.store(fn.cast(past, "i64"), late)
        odd = fn.compare("ne", fn.binary("and", s, index(1)), index(0))
        table = fn.select(odd, tables[1], tables[0])
        other = fn.select(odd, measured_tables[1], measured_tables[0])
        if chosen is not None:
            with fn.when(first):
                here = fn.at(rows, fn.mul(s, index(batch)), "i64")
                fn.store(here, fn.at(table, index(chosen), "i64"))
                with fn.when(measuring):
                    fn.store(here, fn.at(other, index(chosen), "i64"))
        fn.emit(f"call void @wait({barrier}, {fn.threads})")
        fn.put(going, fn.compare("eq", fn.load(late, "i64"), index(0)))
        with fn.when(fn.get(going, "bool")):
            rest = fn.binary("urem", fn.add(first_step, s), every)
            due = fn.binary("and", measuring, fn.compare("eq", rest, index(0)))
            with fn.when(due):
                fn.emit(f"call void {measured.text}({other}, {together})")
            with fn.when(fn.binary("xor", due, Value("true", "bool"))):
                fn.emit(f"call void @program({table}, {together})")
            fn.put(going, fn.load(fn.at(told, index(8 * finite), "i8"), "bool"))
            with fn.when(first):
                notes.take(s, due)
                with fn.when(fn.get(going, "bool")):
                    fn.store(fn.add(s, index(1)), fn.at(job, index(Word.DONE), "i64"))
                    fn.store(fn.add(fn.load(counter, "u32"), Value("1", "u32")), counter)
    return "\n\n".join([fn.text(), _ENTRY, *sorted(fn.declared)])


_ENTRY = """define void @steps(ptr %job, i64 %thread, i64 %threads, ptr %barrier) {
  call void @steps.body(ptr %job, ptr %barrier, i64 %thread, i64 %threads)
  ret void
}

declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)

declare i32 @clock_gettime(i32, ptr)"""


class _Notes:
    """What the first thread writes down of each step."""

    def __init__(self, fn: Function, word: object, size: int) -> None:
        assert callable(word)
        self._fn, self._size = fn, size
        self._scalars, self._told = word(Word.SCALARS), word(Word.TOLD)
        self._measures, self._bytes = word(Word.MEASURES), word(Word.MEASURED_BYTES, "i64")
        self._place = fn.slot("ptr")
        fn.put(self._place, word(Word.MEASURES_TOLD))

    def take(self, s: Value, due: Value) -> None:
        """Of step `s`: what every step tells, and if it is `due`, what was measured."""
        fn = self._fn
        there = fn.at(self._told, fn.mul(s, index(self._size)), "i8")
        _copy(fn, there, self._scalars, index(self._size))
        with fn.when(due):
            place = fn.get(self._place, "ptr")
            _copy(fn, place, self._measures, self._bytes)
            fn.put(self._place, fn.at(place, self._bytes, "i8"))


def _copy(fn: Function, there: Value, here: Value, size: Value) -> None:
    fn.emit(f"call void @llvm.memcpy.p0.p0.i64({there}, {here}, {size}, i1 false)")


def _clock(fn: Function) -> Value:
    """Nanoseconds on the monotonic clock."""
    now = fn.slot("i64", 2)  # seconds, nanoseconds
    fn.let(f"call i32 @clock_gettime(i32 {time.CLOCK_MONOTONIC}, {now})", "i32", 0)
    both = fn.get(now, "i64", 2)
    return fn.add(fn.mul(fn.extract(both, 0), index(10**9)), fn.extract(both, 1))
