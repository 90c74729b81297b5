"""Writing LLVM assembly that reads like loops in Python.

A `Function` collects instructions as text; values know their kind and their lanes, so that one
piece of emitting code makes scalar and vector code alike. Loop-carried values live in stack slots,
which LLVM turns into registers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from chainrule.native.values import KINDS, SIZES, Value, index, literal

__all__ = ["KINDS", "SIZES", "Function", "Value", "index", "literal"]


class Function:
    """One function being written: pointers, then whole numbers, come in; nothing goes out.

    `declared` collects what it calls: intrinsics and libm. `companions` are functions of its own,
    whose names begin with its name.
    """

    def __init__(
        self,
        name: str,
        pointers: Sequence[str],
        declared: set[str],
        numbers: Sequence[str] = ("thread", "threads"),
    ) -> None:
        self.name = name
        self.declared = declared
        self.parameters = [Value(f"%p{i}", "ptr") for i in range(len(pointers))]
        self.numbers = {n: Value(f"%{n}", "i64") for n in numbers}
        self.companions: list[Function] = []
        self._attributes = pointers
        self._slots: list[str] = []
        self._lines: list[str] = []
        self._count = 0
        self.block = "entry"

    @property
    def thread(self) -> Value:
        """The number of the thread that runs it."""
        return self.numbers["thread"]

    @property
    def threads(self) -> Value:
        """How many threads run it."""
        return self.numbers["threads"]

    # --- text -------------------------------------------------------------------------------

    def text(self) -> str:
        pointers = zip(self._attributes, self.parameters, strict=True)
        header = ", ".join([f"ptr {a} {p.text}" for a, p in pointers])
        header += "".join(f", {n}" for n in self.numbers.values())
        body = [*self._slots, *self._lines, "  ret void"]
        lines = [f"define internal void @{self.name}({header}) #0 {{", "entry:", *body, "}"]
        return "\n\n".join([*(c.cold_text() for c in self.companions), "\n".join(lines)])

    def cold_text(self) -> str:
        """The text of a function that is hardly ever called, and kept out of its callers' way."""
        return self.text().replace(") #0 {", ") #2 {", 1)

    def call(self, other: Function, pointers: Sequence[Value], numbers: Sequence[Value]) -> None:
        listed = ", ".join(map(str, [*pointers, *numbers]))
        self.emit(f"call void @{other.name}({listed})")

    def fresh(self, hint: str = "v") -> str:
        self._count += 1
        return f"{hint}{self._count}"

    def emit(self, line: str) -> None:
        self._lines.append(f"  {line}")

    def let(self, instruction: str, kind: str, lanes: int) -> Value:
        value = Value(f"%{self.fresh()}", kind, lanes)
        self.emit(f"{value.text} = {instruction}")
        return value

    def label(self, name: str) -> None:
        self._lines.append(f"{name}:")
        self.block = name

    # --- arithmetic -------------------------------------------------------------------------

    def binary(self, op: str, x: Value, y: Value) -> Value:
        return self.let(f"{op} {x}, {y.text}", x.kind, x.lanes)

    def add(self, x: Value, y: Value) -> Value:
        return self.binary("fadd" if x.is_float else "add", x, y)

    def sub(self, x: Value, y: Value) -> Value:
        return self.binary("fsub" if x.is_float else "sub", x, y)

    def mul(self, x: Value, y: Value) -> Value:
        return self.binary("fmul" if x.is_float else "mul", x, y)

    def fma(self, x: Value, y: Value, z: Value) -> Value:
        return self.intrinsic("fma", x, y, z)

    def negative(self, x: Value) -> Value:
        if x.is_float:
            return self.let(f"fneg {x}", x.kind, x.lanes)
        return self.sub(self.same(x, 0), x)

    def compare(self, predicate: str, x: Value, y: Value) -> Value:
        """`predicate` is eq, ne, lt or le."""
        if x.is_float:
            name = {"eq": "oeq", "ne": "une", "lt": "olt", "le": "ole"}[predicate]
            return self.let(f"fcmp {name} {x}, {y.text}", "bool", x.lanes)
        sign = "" if predicate in ("eq", "ne") else "s" if x.is_signed else "u"
        return self.let(f"icmp {sign}{predicate} {x}, {y.text}", "bool", x.lanes)

    def smaller(self, x: Value, y: Value) -> Value:
        """The smaller of two indices, computed now where both are known."""
        if x.text.isdigit() and y.text.isdigit():
            return x if int(x.text) <= int(y.text) else y
        return self.select(self.compare("lt", x, y), x, y)

    def shuffle(self, x: Value, y: Value, picks: Sequence[int]) -> Value:
        """Lanes of two vectors side by side, by number."""
        listed = ", ".join(f"i32 {i}" for i in picks)
        mask = f"<{len(picks)} x i32> <{listed}>"
        return self.let(f"shufflevector {x}, {y}, {mask}", x.kind, len(picks))

    def select(self, condition: Value, x: Value, y: Value) -> Value:
        return self.let(f"select {condition}, {x}, {y}", x.kind, x.lanes)

    def same(self, like: Value, value: float) -> Value:
        """A constant in the kind and lanes of another value."""
        return self.splat(literal(value, like.kind), like.lanes)

    def splat(self, x: Value, lanes: int) -> Value:
        """A scalar in every lane."""
        if not lanes or x.lanes:
            return x
        if x.text[0] != "%":
            return Value(f"<{', '.join([str(x)] * lanes)}>", x.kind, lanes)
        vector = Value("poison", x.kind, lanes)
        one = self.let(f"insertelement {vector}, {x}, i32 0", x.kind, lanes)
        mask = f"<{lanes} x i32> zeroinitializer"
        return self.let(f"shufflevector {one}, {vector}, {mask}", x.kind, lanes)

    def intrinsic(self, name: str, *arguments: Value) -> Value:
        first = arguments[0]
        suffix = f"v{first.lanes}{first.kind}" if first.lanes else first.kind
        suffix = suffix.replace("u", "i")
        full = f"@llvm.{name}.{suffix}"
        self.declared.add(f"declare {first.type} {full}({', '.join(a.type for a in arguments)})")
        listed = ", ".join(map(str, arguments))
        return self.let(f"call {first.type} {full}({listed})", first.kind, first.lanes)

    def library(self, name: str, *arguments: Value) -> Value:
        """A libm function, lane by lane."""
        first = arguments[0]
        element = KINDS[first.kind]
        full = f"@{name}" + ("f" if first.kind == "f32" else "")
        self.declared.add(f"declare {element} {full}({', '.join([element] * len(arguments))}) #1")
        if not first.lanes:
            listed = ", ".join(map(str, arguments))
            return self.let(f"call {element} {full}({listed})", first.kind, 0)
        result = Value("poison", first.kind, first.lanes)
        for lane in range(first.lanes):
            parts = [self.extract(a, lane) for a in arguments]
            one = self.library(name, *parts)
            result = self.insert(result, one, lane)
        return result

    def any(self, x: Value) -> Value:
        """Whether a boolean holds in any lane."""
        if not x.lanes:
            return x
        bits = self.let(f"bitcast {x} to i{x.lanes}", "i64", 0)
        return self.let(f"icmp ne i{x.lanes} {bits.text}, 0", "bool", 0)

    def extract(self, vector: Value, lane: int) -> Value:
        return self.let(f"extractelement {vector}, i32 {lane}", vector.kind, 0)

    def insert(self, vector: Value, element: Value, lane: int) -> Value:
        return self.let(f"insertelement {vector}, {element}, i32 {lane}", vector.kind, vector.lanes)

    def cast(self, x: Value, kind: str) -> Value:
        """The value in another kind; see `elementwise.truncated` for floats to integers."""
        if x.kind == kind:
            return x
        if kind == "bool":
            return self.compare("ne", x, self.same(x, 0))
        target = Value("", kind, x.lanes)
        if x.is_float and target.is_float:
            op = "fpext" if kind == "f64" else "fptrunc"
        elif target.is_float:
            op = "sitofp" if x.is_signed else "uitofp"
        else:
            assert not x.is_float
            before, after = _bits(x.kind), _bits(kind)
            if before == after:
                return Value(x.text, kind, x.lanes)
            op = "trunc" if after < before else "sext" if x.is_signed else "zext"
        return self.let(f"{op} {x} to {target.type}", kind, x.lanes)

    def bitcast(self, x: Value, kind: str) -> Value:
        target = Value("", kind, x.lanes)
        return self.let(f"bitcast {x} to {target.type}", kind, x.lanes)

    # --- memory -----------------------------------------------------------------------------

    def at(self, pointer: Value, offset: Value, kind: str) -> Value:
        """The address of an element; `offset` counts elements."""
        element = "i8" if kind == "bool" else KINDS[kind]
        lanes = offset.lanes
        return self.let(f"getelementptr {element}, {pointer}, {offset}", "ptr", lanes)

    def load(self, address: Value, kind: str, lanes: int = 0) -> Value:
        stored = "u8" if kind == "bool" else kind
        shape = Value("", stored, lanes)
        x = self.let(f"load {shape.type}, {address}, align {SIZES[kind]}", stored, lanes)
        return self.compare("ne", x, self.same(x, 0)) if kind == "bool" else x

    def store(self, x: Value, address: Value) -> None:
        x = self._in_memory(x)
        self.emit(f"store {x}, {address}, align {SIZES[x.kind]}")

    def prefetch(self, address: Value, *, write: bool, nearest: bool = True) -> None:
        """Asks for a cache line that will be read or written soon, into the nearest cache or the
        second; any address will do."""
        self.declared.add("declare void @llvm.prefetch.p0(ptr, i32, i32, i32)")
        how = f"i32 {int(write)}, i32 {3 if nearest else 2}, i32 1"
        self.emit(f"call void @llvm.prefetch.p0({address}, {how})")

    def masked_load(self, address: Value, kind: str, mask: Value) -> Value:
        stored = "u8" if kind == "bool" else kind
        shape = Value("", stored, mask.lanes)
        zero = Value("zeroinitializer", stored, mask.lanes)
        x = self._masked("load", shape, f"{_aligned(address, stored)}, {mask}, {zero}", address)
        return self.compare("ne", x, self.same(x, 0)) if kind == "bool" else x

    def gather(self, addresses: Value, kind: str, mask: Value) -> Value:
        stored = "u8" if kind == "bool" else kind
        shape = Value("", stored, mask.lanes)
        zero = Value("zeroinitializer", stored, mask.lanes)
        x = self._masked(
            "gather", shape, f"{_aligned(addresses, stored)}, {mask}, {zero}", addresses
        )
        return self.compare("ne", x, self.same(x, 0)) if kind == "bool" else x

    def _masked(self, name: str, shape: Value, arguments: str, address: Value) -> Value:
        suffix = f"v{shape.lanes}{shape.kind.replace('u', 'i')}"
        where = "p0" if name == "load" else f"v{shape.lanes}p0"
        full = f"@llvm.masked.{name}.{suffix}.{where}"
        mask = f"<{shape.lanes} x i1>"
        self.declared.add(f"declare {shape.type} {full}({address.type}, {mask}, {shape.type})")
        return self.let(f"call {shape.type} {full}({arguments})", shape.kind, shape.lanes)

    def masked_store(self, x: Value, address: Value, mask: Value) -> None:
        x = self._in_memory(x)
        suffix = f"v{x.lanes}{x.kind.replace('u', 'i')}"
        full = f"@llvm.masked.store.{suffix}.p0"
        self.declared.add(f"declare void {full}({x.type}, ptr, {mask.type})")
        self.emit(f"call void {full}({x}, {_aligned(address, x.kind)}, {mask})")

    def _in_memory(self, x: Value) -> Value:
        """Booleans are stored as bytes 0 and 1."""
        if x.kind != "bool":
            return x
        return self.let(f"zext {x} to {Value('', 'u8', x.lanes).type}", "u8", x.lanes)

    def slot(self, kind: str, lanes: int = 0) -> Value:
        """A stack slot; LLVM keeps it in a register."""
        name = f"%{self.fresh('slot')}"
        self._slots.append(f"  {name} = alloca {Value('', kind, lanes).type}")
        return Value(name, "ptr")

    def buffer(self, kind: str, count: int) -> Value:
        """Memory of this thread's stack for `count` elements, aligned for vectors."""
        name = f"%{self.fresh('buffer')}"
        self._slots.append(f"  {name} = alloca [{count} x {KINDS[kind]}], align 64")
        return Value(name, "ptr")

    def get(self, slot: Value, kind: str, lanes: int = 0) -> Value:
        return self.let(f"load {Value('', kind, lanes).type}, {slot}", kind, lanes)

    def put(self, slot: Value, x: Value) -> None:
        self.emit(f"store {x}, {slot}")

    # --- control ----------------------------------------------------------------------------

    def share(self, count: int, grain: int = 1) -> tuple[Value, Value]:
        """This thread's part of range(count), in order, in blocks of `grain`: the parts differ by
        at most one block."""
        blocks = -(-count // grain)
        start, stop = (
            self.binary("udiv", self.mul(thread, index(blocks)), self.threads)
            for thread in (self.thread, self.add(self.thread, index(1)))
        )
        if grain == 1:
            return start, stop
        start, stop = (self.mul(block, index(grain)) for block in (start, stop))
        return start, stop if count % grain == 0 else self.smaller(stop, index(count))

    def is_last_thread(self) -> Value:
        """Whether this is the thread that takes what does not divide evenly."""
        return self.compare("eq", self.add(self.thread, index(1)), self.threads)

    @contextmanager
    def loop(
        self, start: Value, stop: Value, step: int = 1, going: Value | None = None
    ) -> Iterator[Value]:
        """`for i in range(start, stop, step)`; the body is what is emitted inside. It ends early
        when the slot `going` (bool) does not hold."""
        name = self.fresh("loop")
        before, i = self.block, Value(f"%{name}.i", "i64")
        self.emit(f"br label %{name}.head")
        self.label(f"{name}.head")
        self.emit(
            f"{i.text} = phi i64 [ {start.text}, %{before} ], [ %{name}.next, %{name}.latch ]"
        )
        self.emit(f"%{name}.more = icmp slt {i}, {stop.text}")
        more = Value(f"%{name}.more", "bool")
        if going is not None:
            more = self.binary("and", more, self.get(going, "bool"))
        self.emit(f"br {more}, label %{name}.body, label %{name}.done")
        self.label(f"{name}.body")
        yield i
        self.emit(f"br label %{name}.latch")
        self.label(f"{name}.latch")
        self.emit(f"%{name}.next = add nsw {i}, {step}")
        self.emit(f"br label %{name}.head")
        self.label(f"{name}.done")

    @contextmanager
    def when(self, condition: Value) -> Iterator[None]:
        name = self.fresh("if")
        self.emit(f"br {condition}, label %{name}.then, label %{name}.done")
        self.label(f"{name}.then")
        yield
        self.emit(f"br label %{name}.done")
        self.label(f"{name}.done")


def _aligned(address: Value, kind: str) -> str:
    return f"{address.type} align {SIZES[kind]} {address.text}"


def _bits(kind: str) -> int:
    return 1 if kind == "bool" else SIZES[kind] * 8
