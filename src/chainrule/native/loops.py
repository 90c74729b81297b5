"""Loops: a function that calls the routine of its body for each step.

Every thread that runs it has a table of addresses of its own, on its stack, and fills in what the
next step reads and writes: the carry, the rows of sequences and of stacked results. So threads wait
for each other only in the body, whose last phase ends with a barrier.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chainrule.graph import Node
from chainrule.native.ir import Function, Value, index, literal
from chainrule.native.regions import memory_behind
from chainrule.native.routine import Routine
from chainrule.native.workspace import workspace

# By what a loop is given: values, and by the loop itself the memory that it works in.
Addresses = Mapping[Node | str, Value]


class Loop:
    """A loop being written: the table of its body, and what all kinds of loops do with it.

    `given` has the addresses of all that the loop reads, writes and works in; `callee` is the name
    of its body's function, and `words` where the loop notes what goes wrong.
    """

    def __init__(
        self,
        fn: Function,
        node: Node,
        parts: Sequence[Node],
        body: Routine,
        given: Addresses,
        callee: str,
        words: Value | None,
    ) -> None:
        self.fn, self.node, self.words = fn, node, words
        self._body, self._callee, self._parts, self._given = body, callee, parts, given
        self.operands = [given[memory_behind(n)] for n in node.operands]
        self.results = {n["index"]: given[n] for n in reversed(parts)}
        self.first = fn.compare("eq", fn.thread, index(0))
        slots, room = body.layout.slots, given[node]
        self._table = fn.buffer("ptr", len(slots) + 2)
        for constant in (n for n in slots if n.op == "constant"):
            self._put(slots[constant], given[constant])
        self._put(len(slots), room)
        if words is not None:
            own = index(2 * is_noted(node))
            self._put(len(slots) + 1, fn.at(words, own, "i64"))
        places = workspace(node, body.graph, body.layout).sets
        self.sets = [[fn.at(room, index(p), "i8") for p in one] for one in places]

    def _put(self, slot: int, address: Value) -> None:
        self.fn.store(address, self.fn.at(self._table, index(slot), "ptr"))

    def give(self, number: int, address: Value) -> None:
        """Where the body's input of this number lies."""
        self._put(number, address)

    def receive(self, number: int, address: Value) -> None:
        """Where the body's output of this number goes."""
        self._put(self._body.layout.slots[self._body.graph.outputs[number]], address)

    def bytes(self, number: int) -> int:
        """The size of the body's output of this number."""
        return self._body.graph.outputs[number].type.bytes

    def step(self) -> None:
        """Calls the body."""
        fn, barrier = self.fn, self._given["barrier"]
        fn.emit(f"call void @{self._callee}({self._table}, {fn.thread}, {fn.threads}, {barrier})")

    def buffer(self, t: Value, number: int) -> Value:
        """Where step `t` puts down what is carried, unless that is a result: the buffers change
        places."""
        if not self.sets:
            return Value("null", "ptr")
        even, odd = self.sets[0][number], self.sets[-1][number]
        is_odd = self.fn.compare("ne", self.fn.binary("and", t, index(1)), index(0))
        return self.fn.select(is_odd, odd, even)

    def repeat_results(self) -> None:
        """Copies results that are asked for more than once."""
        again = [n for n in self._parts if self._given[n] != self.results[n["index"]]]
        if again:
            if self._body.rows:  # each thread has written its rows, and nobody has waited
                barrier = self._given["barrier"]
                self.fn.emit(f"call void @wait({barrier}, {self.fn.threads})")
            with self.fn.when(self.first):
                for n in again:
                    copy(self.fn, self._given[n], self.results[n["index"]], n.type.bytes)


def is_noted(loop: Node) -> bool:
    """Whether a loop itself has something to note: a fixed point that was not reached."""
    return loop.op == "fixed_point" and bool(loop["strict"])


def copy(fn: Function, there: Value, here: Value, size: int) -> None:
    """`size` bytes from `here` to another place."""
    fn.declared.add("declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)")
    fn.emit(f"call void @llvm.memcpy.p0.p0.i64({there}, {here}, i64 {size}, i1 false)")


def emit_loop(loop: Loop) -> None:
    """All steps, and the results at their places."""
    if loop.node.op == "fixed_point":
        _fixed_point(loop)
    else:
        _scan(loop)
    loop.repeat_results()


def _scan(loop: Loop) -> None:
    fn, node, length = loop.fn, loop.node, loop.node["length"]
    carries, shared_from = node["carries"], node["carries"] + node["sequences"]
    if not length:
        with fn.when(loop.first):
            for k in range(carries):
                copy(fn, loop.results[k], loop.operands[k], loop.bytes(k))
        return
    for number in range(shared_from, len(loop.operands)):
        loop.give(number, loop.operands[number])
    now = [fn.slot("ptr") for _ in range(carries)]
    for slot, start in zip(now, loop.operands, strict=False):
        fn.put(slot, start)
    with fn.loop(index(0), index(length)) as t:
        last = fn.compare("eq", t, index(length - 1))
        for k, slot in enumerate(now):
            loop.give(k, fn.get(slot, "ptr"))
            after = fn.select(last, loop.results[k], loop.buffer(t, k))
            loop.receive(k, after)
            fn.put(slot, after)
        row = fn.sub(index(length - 1), t) if node["reverse"] else t
        for number in range(carries, shared_from):
            size = node.operands[number].type.bytes // length
            loop.give(number, fn.at(loop.operands[number], fn.mul(row, index(size)), "i8"))
        for number in range(carries, len(loop.results)):
            step = fn.mul(row, index(loop.bytes(number)))
            loop.receive(number, fn.at(loop.results[number], step, "i8"))
        loop.step()


def _fixed_point(loop: Loop) -> None:
    """Until no state changes by more than the tolerance, relative to the largest state or the first
    change, whichever is larger. Every thread computes the same from the two numbers of a step; they
    too lie in buffers that change places, for a thread may be a step behind in reading them."""
    fn, node, states = loop.fn, loop.node, loop.node["states"]
    tolerance = literal(node["tolerance"], "f64")
    for number in range(states, len(loop.operands)):
        loop.give(number, loop.operands[number])
    now = [fn.slot("ptr") for _ in range(states)]
    for slot, start in zip(now, loop.operands, strict=False):
        fn.put(slot, start)
    size, change, steps, going = fn.slot("f64"), fn.slot("f64"), fn.slot("i64"), fn.slot("bool")
    zero = literal(0.0, "f64")
    fn.put(going, Value("true", "bool"))
    fn.put(size, zero)
    with fn.loop(index(0), index(node["max_iterations"]), going=going) as t:
        for k, slot in enumerate(now):
            loop.give(k, fn.get(slot, "ptr"))
            fn.put(slot, loop.buffer(t, k))
        told = [loop.buffer(t, k) for k in range(states + 2)]
        for k, address in enumerate(told):
            loop.receive(k, address)
        loop.step()
        moved, largest = (fn.load(address, "f64") for address in told[states:])
        is_first = fn.compare("eq", t, index(0))
        fn.put(size, fn.select(is_first, moved, fn.get(size, "f64")))
        before = fn.get(size, "f64")
        scale = fn.select(fn.compare("lt", before, largest), largest, before)
        some = fn.compare("ne", scale, zero)
        fn.put(change, fn.select(some, fn.binary("fdiv", moved, scale), zero))
        fn.put(steps, fn.add(t, index(1)))
        finite = fn.compare("lt", moved, literal(float("inf"), "f64"))
        fn.put(going, fn.binary("and", finite, _not(fn, _reached(fn, change, tolerance))))
    with fn.when(loop.first):
        for k, slot in enumerate(now):
            copy(fn, loop.results[k], fn.get(slot, "ptr"), loop.bytes(k))
        fn.store(fn.get(steps, "i64"), loop.results[states])
        fn.store(fn.get(change, "f64"), loop.results[states + 1])
        if is_noted(node) and loop.words is not None:
            unsaid = fn.compare("eq", fn.load(loop.words, "i64"), index(0))
            astray = _not(fn, _reached(fn, change, tolerance))
            with fn.when(fn.binary("and", unsaid, astray)):
                fn.store(fn.get(steps, "i64"), loop.words)
                fn.store(fn.get(change, "f64"), fn.at(loop.words, index(1), "i64"))


def _reached(fn: Function, change: Value, tolerance: Value) -> Value:
    return fn.compare("le", fn.get(change, "f64"), tolerance)


def _not(fn: Function, x: Value) -> Value:
    return fn.binary("xor", x, Value("true", "bool"))
