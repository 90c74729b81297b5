"""Scheduled regions -> the text of one LLVM module: a function for each kernel, and the program
that calls them."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from chainrule.graph import Node
from chainrule.graph.types import short_name
from chainrule.native import (
    bits,
    contract,
    loops,
    maps,
    moves,
    reductions,
    sorting,
    target,
    threads,
    windows,
)
from chainrule.native.ir import SIZES, Function, index
from chainrule.native.likeness import likeness
from chainrule.native.regions import Region, computed_by, is_flag, memory_behind, reads
from chainrule.native.routine import Routine
from chainrule.native.schedule import Scheduled
from chainrule.native.writer import Writer

# Calls of kernels that LLVM may write out in place. More of them make one function so long that
# compiling it takes most of the time, and a call costs nothing beside what such a program computes.
_INLINED = 40

# What a kernel is given: a value, for a loop by its own node the memory that it works in, or
# "scratch", "notes", "barrier".
Argument = Node | str

_EMITTERS = {
    "map": maps.emit_map,
    "sum": reductions.emit_reduction,
    "max": reductions.emit_reduction,
    "argmax": reductions.emit_argmax,
    "pad": moves.emit_pad,
    "concatenate": moves.emit_concatenate,
    "scatter": moves.emit_scatter,
    "fold": windows.emit_fold,
    "random_bits": bits.emit_random_bits,
}


@dataclass(frozen=True)
class Call:
    """One kernel of the program. Kernels that read alike are one function."""

    name: str
    arguments: list[Argument]
    scheduled: Scheduled


class Module:
    """The module of a program, and of its loops' bodies, which read alike: each is a function of a
    table of addresses, as its kernels are functions of addresses. With `timed`, the cycles of the
    program's calls are added up in the arena."""

    def __init__(
        self, routine: Routine, drivers: Sequence[str], team: int, *, timed: bool = False
    ) -> None:
        self._declared: set[str] = set()
        self._functions: dict[str, str] = {}  # text without a name -> name
        self._bodies: dict[Routine, str] = {}  # their functions' names
        self._kernels: dict[Hashable, str] = {}  # by what they are like
        self._team = team
        self._timed = timed
        self._grains: dict[Routine, int] = {}
        self._fresh = itertools.count()
        self.calls = self._calls(routine)
        texts = [text.replace("@KERNEL", f"@{n}") for text, n in self._functions.items()]
        texts.append(threads.BARRIER)
        if len(self.calls) > _INLINED:
            texts = [text.replace(") #0 {", ") #3 {") for text in texts]
        main = self._text(routine, self.calls, is_program=True)
        parts = [target.header(), *texts, main, *drivers]
        declared = sorted(d for d in self._declared if not any(d in text for text in drivers))
        self.text = "\n\n".join([*parts, *declared, target.footer()])

    def _calls(self, routine: Routine) -> list[Call]:
        return [self._call(entry, routine) for entry in routine.scheduled]

    def _call(self, entry: Scheduled, routine: Routine) -> Call:
        if entry.region.lead in routine.bodies:
            fn, arguments = self._loop(entry, routine)
            return Call(self._named(fn.text(), "loop"), arguments, entry)
        arguments, attributes, noted = self._arguments(entry, routine)
        alike = likeness(entry.region, routine.memory, {n: routine.words.first[n] for n in noted})
        key = alike, entry.shared, self._grain(routine)
        if key not in self._kernels:
            text = self._kernel(entry, routine, arguments, attributes, noted).text()
            self._kernels[key] = self._named(text, "kernel")
        return Call(self._kernels[key], arguments, entry)

    def _grain(self, routine: Routine) -> int:
        """How many rows of a step no two threads share; 0 where rows meet."""
        if routine not in self._grains:
            self._grains[routine] = grain_of(routine, self._team)
        return self._grains[routine]

    def _named(self, text: str, kind: str) -> str:
        """The name of the function with this text."""
        return self._functions.setdefault(text, f"{kind}{len(self._functions)}")

    def _arguments(
        self, entry: Scheduled, routine: Routine
    ) -> tuple[list[Argument], list[str], list[Node]]:
        """What a kernel is given, what LLVM may know of each, and the values that take notes."""
        region, memory, words = entry.region, routine.memory, routine.words.first
        used: dict[Node, bool] = {}
        for node in region.members:
            for source, _ in reads(node, memory):
                used[source] = used.get(source, False)
        for node in region.stored:
            used[node] = True
        inside = set(region.members) - set(region.stored)
        used = {n: w for n, w in used.items() if n not in inside}
        arguments: list[Argument] = list(used)
        attributes = ["noalias" if w else "noalias readonly" for w in used.values()]
        noted = [n for n in words if n in computed_by(region, memory)]
        for name, needed in (("scratch", region.kind == "argsort"), ("notes", bool(noted))):
            if needed:
                arguments.append(name)
                attributes.append("noalias")
        return arguments, attributes, noted

    def _kernel(
        self,
        entry: Scheduled,
        routine: Routine,
        arguments: Sequence[Argument],
        attributes: Sequence[str],
        noted: Sequence[Node],
    ) -> Function:
        fn = Function("KERNEL", attributes, self._declared)
        named = zip(arguments, fn.parameters, strict=False)
        pointers = {a: p for a, p in named if isinstance(a, Node)}
        w = Writer(fn, routine.memory, pointers)
        w.parallel = entry.shared
        w.grain = self._grain(routine)
        for node in noted:
            place = index(routine.words.first[node])
            w.words[node] = fn.at(fn.parameters[-1], place, "i64")
        self._emit(w, entry, arguments)
        return fn

    def _loop(self, entry: Scheduled, routine: Routine) -> tuple[Function, list[Argument]]:
        """The function of a loop, which calls that of its body."""
        loop, parts = entry.region.lead, entry.region.stored
        assert loop is not None
        body = routine.bodies[loop]
        if body not in self._bodies:
            text = self._text(body, self._calls(body), is_program=False)
            self._bodies[body] = self._named(text, "body")
        constants = [n for n in body.layout.slots if n.op == "constant"]
        used = dict.fromkeys([*map(memory_behind, loop.operands), *parts, *constants, loop])
        arguments: list[Argument] = [*used, "barrier"]
        is_noted = loop in routine.words.first
        if is_noted:
            arguments.append("notes")
        fn = Function("KERNEL", [""] * len(arguments), self._declared)
        given = dict(zip(arguments, fn.parameters, strict=True))
        words = None
        if is_noted:
            words = fn.at(given["notes"], index(routine.words.first[loop]), "i64")
        callee = self._bodies[body]
        loops.emit_loop(loops.Loop(fn, loop, parts, body, given, callee, words))
        return fn, arguments

    def _emit(self, w: Writer, entry: Scheduled, arguments: Sequence[Argument]) -> None:
        region, lanes = entry.region, lanes_of(entry.region)
        if region.kind == "contract":
            p = contract_plan(entry, w.memory, self._team, w.grain)
            contract.emit_contract(w, region, p)
        elif region.kind == "argsort":
            sorting.emit_argsort(w, region, w.fn.parameters[arguments.index("scratch")])
        else:
            _EMITTERS[region.kind](w, region, lanes)

    # --- routines ---------------------------------------------------------------------------

    def _text(self, routine: Routine, calls: Sequence[Call], *, is_program: bool) -> str:
        """A routine as a function. Every thread runs it, and waits for the others between phases.
        In a long one each phase is a function: what takes more than linear time in the length of a
        function would take most of the time that LLVM takes."""
        name, outside = ("@program", "") if is_program else ("@KERNEL", "internal ")
        entry = "(ptr %table, i64 %thread, i64 %threads, ptr %barrier)"
        attributes = "" if is_program else " #0"
        layout, arena = routine.layout, f"ptr %s{len(routine.layout.slots)}"
        clock = f"{arena}, i64 {layout.clock}" if is_program and self._timed else ""
        phases: dict[int, list[tuple[int, Call]]] = {}
        for number, call in enumerate(calls):
            phases.setdefault(call.scheduled.phase, []).append((number, call))
        flags = [n for c in calls for n in c.scheduled.region.stored if is_flag(n)]
        is_long = len(calls) > _INLINED
        wanted: set[Argument] | None = set(flags) if is_long else None
        lines, pointers = _addresses(routine, wanted, is_program=is_program)
        lines += _flags_down(calls, flags, pointers)
        functions = []
        for phase, now in sorted(phases.items()):
            if not is_long:
                lines += self._phase(phase, now, len(calls), pointers, clock, routine)
                continue
            used = {a for _, c in now for a in c.arguments}
            inside, places = _addresses(routine, used, is_program=is_program)
            inside += self._phase(phase, now, len(calls), places, clock, routine)
            header = f"define internal void {name}.{phase}{entry} #3 {{\nentry:"
            functions.append("\n".join([header, *inside, "  ret void", "}"]))
            given = "ptr %table, i64 %thread, i64 %threads, ptr %barrier"
            lines.append(f"  call void {name}.{phase}({given})")
        header = f"define {outside}void {name}{entry}{attributes} {{\nentry:"
        return "\n\n".join([*functions, "\n".join([header, *lines, "  ret void", "}"])])

    def _phase(
        self,
        phase: int,
        now: Sequence[tuple[int, Call]],
        count: int,
        pointers: dict[Argument, str],
        clock: str,
        routine: Routine,
    ) -> list[str]:
        """The calls of a phase, each with its number among all `count`."""
        lines: list[str] = []
        for number, call in now:
            if call.scheduled.shared:
                lines += self._take_time(
                    clock, number, _line(call, pointers, "%thread", "%threads")
                )
        alone = [(i, c) for i, c in now if not c.scheduled.shared]
        if alone:
            lines += [f"  br i1 %first, label %alone{phase}, label %after{phase}"]
            lines += [f"alone{phase}:"]
            for number, call in alone:
                lines += self._take_time(clock, number, _line(call, pointers, "0", "1"))
            lines += [f"  br label %after{phase}", f"after{phase}:"]
        if routine.rows:
            return lines
        wait = "  call void @wait(ptr %barrier, i64 %threads)"
        return [*lines, *self._take_time(clock, count, wait)]

    def _take_time(self, clock: str, number: int, line: str) -> list[str]:
        """The line, and its cycles on the first thread, added to a word behind the `clock`; an
        empty one takes no time."""
        if not clock:
            return [line]
        self._declared.add("declare i64 @llvm.readcyclecounter()")
        name = f"time{next(self._fresh)}"
        return [
            f"  %{name}.from = call i64 @llvm.readcyclecounter()",
            line,
            f"  %{name}.to = call i64 @llvm.readcyclecounter()",
            f"  %{name}.spent = sub i64 %{name}.to, %{name}.from",
            f"  %{name}.counted = select i1 %first, i64 %{name}.spent, i64 0",
            f"  %{name}.clock = getelementptr i8, {clock}",
            f"  %{name}.at = getelementptr i64, ptr %{name}.clock, i64 {number}",
            f"  %{name}.old = atomicrmw add ptr %{name}.at, i64 %{name}.counted monotonic",
        ]


def _addresses(
    routine: Routine, wanted: set[Argument] | None, *, is_program: bool
) -> tuple[list[str], dict[Argument, str]]:
    """The lines that find what is wanted (None: all) in a routine's table and arena, and what each
    is called. The table of a body also says where notes are taken: in the arena of the program."""
    slots, layout = routine.layout.slots, routine.layout
    lines: list[str] = []
    pointers: dict[Argument, str] = {"barrier": "%barrier"}
    more: dict[str, int] = {"arena": len(slots)}
    if not is_program and (wanted is None or "notes" in wanted):
        more["notes"] = len(slots) + 1
    table: list[tuple[Argument, int]] = [*_chosen(slots, wanted), *more.items()]
    for what, slot in table:
        place = f"%s{slot}"
        lines.append(f"  {place}.at = getelementptr ptr, ptr %table, i64 {slot}")
        lines.append(f"  {place} = load ptr, ptr {place}.at")
        pointers[what] = place
    parts: list[tuple[Argument, int]] = [*_chosen(layout.arena, wanted)]
    parts.append(("scratch", layout.scratch))
    if is_program:
        parts.append(("notes", layout.notes))
    for number, (part, offset) in enumerate(parts):
        if wanted is None or part in wanted:
            lines.append(f"  %a{number} = getelementptr i8, ptr {pointers['arena']}, i64 {offset}")
            pointers[part] = f"%a{number}"
    return [*lines, "  %first = icmp eq i64 %thread, 0"], pointers


def _chosen(places: dict[Node, int], wanted: set[Argument] | None) -> list[tuple[Argument, int]]:
    """The places of what is wanted, or of all, in order."""
    if wanted is None:
        return list(places.items())
    nodes = [n for n in wanted if isinstance(n, Node) and n in places]
    return [(n, places[n]) for n in sorted(nodes, key=lambda n: (places[n], n.serial))]


def _flags_down(
    calls: Sequence[Call], flags: Sequence[Node], pointers: dict[Argument, str]
) -> list[str]:
    if not flags:
        return []
    lines = ["  br i1 %first, label %flags, label %begin", "flags:"]
    lines += [f"  store atomic i8 0, ptr {pointers[n]} monotonic, align 1" for n in flags]
    lines += ["  br label %begin", "begin:"]
    if all(call.scheduled.phase for call in calls):  # no barrier of a first phase comes between
        lines.append("  call void @wait(ptr %barrier, i64 %threads)")
    return lines


def lanes_of(region: Region) -> int:
    """How many elements of a region's vectors."""
    node = region.lead or region.members[0]
    size = SIZES[short_name(node.type.dtype)]
    return target.vector_bytes() // max(size, 4)


def grain_of(routine: Routine, team: int) -> int:
    """The rows of a step, where rows never meet, that one thread takes together in all kernels: as
    many as suit the products."""
    regions = [entry.region for entry in routine.scheduled if entry.region.kind == "contract"]
    if not routine.rows:
        return 0
    if not regions:
        return -(-routine.rows // team)
    products = [(r.lead, lanes_of(r)) for r in regions if r.lead is not None]
    registers = target.vector_registers()
    return contract.best_grain(products, routine.memory, registers, team, routine.rows)


def contract_plan(entry: Scheduled, memory: set[Node], team: int, grain: int = 0) -> contract.Plan:
    """The loops of a contraction's region, in a program that `team` threads run. With a `grain`
    tiles have as many rows, and rows are what threads share out."""
    assert entry.region.lead is not None
    registers, team = target.vector_registers(), team if entry.shared else 1
    region, lanes = entry.region, lanes_of(entry.region)
    changed = sum(n.op == "input" for n in contract.behind(region, memory))
    return contract.plan(entry.region.lead, memory, lanes, registers, team, changed, grain)


def _line(call: Call, pointers: dict[Argument, str], thread: str, threads: str) -> str:
    listed = [f"ptr {pointers[a]}" for a in call.arguments]
    numbers = [f"i64 {thread}", f"i64 {threads}"]
    return f"  call void @{call.name}({', '.join([*listed, *numbers])})"
