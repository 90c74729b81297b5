"""Strong zeros: sums that came out infinite or NaN are taken once more without what a strong zero
is a factor of."""

from __future__ import annotations

from chainrule.native.contract.plans import Plan
from chainrule.native.contract.tile import Index, multiply_add, offset, summed_loops
from chainrule.native.ir import Function, Value, index, literal
from chainrule.native.places import Coordinate, plus
from chainrule.native.writer import Writer


def is_strong(p: Plan) -> bool:
    """Whether zeros of an operand are strong."""
    return p.left.strong or p.right.strong


def not_finite(fn: Function, x: Value, before: Value | None) -> Value:
    """`before`, which begins with nothing, made NaN in lanes where x is not finite: x - x is 0
    unless x is."""
    gone = fn.sub(x, x)
    return gone if before is None else fn.add(before, gone)


class StrongZeros:
    """A function beside the kernel that takes sums again, one at a time: it is hardly ever called,
    and small."""

    def __init__(self, w: Writer, p: Plan, kind: str) -> None:
        self._w = w
        self._letters = [c for c in (*p.outer, p.row, p.column) if c]
        memory = [p.left.memory, p.right.memory]
        memory += [operand.rows.memory for operand in (p.left, p.right) if operand.rows]
        self._pointers = [w.pointers[node] for node in memory]
        numbers = ("rows", "width", "line", *(f"at.{c}" for c in self._letters))
        fn = Function(f"{w.fn.name}.again", [""] * (len(memory) + 1), w.fn.declared, numbers)
        w.fn.companions.append(fn)
        self._function = fn
        *given, sums = fn.parameters
        inner = Writer(fn, w.memory, dict(zip(memory, given, strict=True)))
        at = {c: fn.numbers[f"at.{c}"] for c in self._letters}
        count = {"rows": fn.numbers["rows"], "width": fn.numbers["width"]}
        with fn.loop(index(0), count["rows"]) as r, fn.loop(index(0), count["width"]) as c:
            here = dict(at)
            if p.row:
                here[p.row] = plus(fn, at[p.row], r)
            if p.column:
                here[p.column] = plus(fn, at[p.column], c)
            total = _again(inner, p, kind, here)
            place = fn.add(fn.mul(r, fn.numbers["line"]), c)
            fn.store(total, fn.at(sums, place, kind))

    def mend(self, at: Index, sums: Value, rows: Value, width: int, line: int) -> None:
        """Takes `rows` x `width` sums again, from `at` on, into a buffer whose rows are `line`
        numbers long."""
        numbers = [rows, index(width), index(line), *(at[c] for c in self._letters)]
        self._w.fn.call(self._function, [*self._pointers, sums], numbers)


def _again(w: Writer, p: Plan, kind: str, at: Index) -> Value:
    fn = w.fn
    total = fn.slot(kind)
    fn.put(total, literal(0, kind))

    def step(here: Index) -> None:
        w.enter((), 0, None)
        x, y = (
            w.read(operand.memory, Coordinate(offset(w, operand, here)))
            for operand in (p.left, p.right)
        )
        before = fn.get(total, kind)
        grown = multiply_add(fn, x, y, before)
        for value, operand in ((x, p.left), (y, p.right)):
            if operand.strong:
                is_zero = fn.compare("eq", value, literal(0, kind))
                grown = fn.select(is_zero, before, grown)
        fn.put(total, grown)

    summed_loops(fn, p, at, None, step)
    return fn.get(total, kind)
