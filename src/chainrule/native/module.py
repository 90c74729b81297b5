"""Scheduled regions -> the text of one LLVM module: a function for each kernel, and the program
that calls them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from chainrule.graph import Node
from chainrule.graph.types import short_name
from chainrule.native import (
    bits,
    contract,
    maps,
    moves,
    reductions,
    sorting,
    target,
    threads,
    windows,
)
from chainrule.native.ir import SIZES, Function, index
from chainrule.native.memory import Layout
from chainrule.native.regions import Region, computed_by, is_flag, reads
from chainrule.native.schedule import Scheduled
from chainrule.native.writer import Writer

# What a kernel is given: a value, or "scratch", or "notes".
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
    """The module of a program. `unsure` are reads and writes by indices, with the number of the
    word for one out of range. With `timed`, each call's cycles are added up in the arena."""

    def __init__(
        self,
        scheduled: Sequence[Scheduled],
        memory: set[Node],
        unsure: dict[Node, int],
        layout: Layout,
        drivers: Sequence[str],
        team: int,
        timed: bool,
    ) -> None:
        self._memory = memory
        self._layout = layout
        self._unsure = unsure
        self._declared: set[str] = set()
        self._functions: dict[str, str] = {}  # text without a name -> name
        self._team = team
        self._timed = timed
        self._fresh = itertools.count()
        self.calls = [self._call(entry) for entry in scheduled]
        texts = [text.replace("@KERNEL", f"@{n}") for text, n in self._functions.items()]
        main = self._main()
        parts = [target.header(), *texts, main, threads.BARRIER, *drivers]
        self.text = "\n\n".join([*parts, *sorted(self._declared), target.footer()])

    def _call(self, entry: Scheduled) -> Call:
        fn, arguments = self._kernel(entry)
        name = self._functions.setdefault(fn.text(), f"kernel{len(self._functions)}")
        return Call(name, arguments, entry)

    def _kernel(self, entry: Scheduled) -> tuple[Function, list[Argument]]:
        region = entry.region
        used: dict[Node, bool] = {}
        for node in region.members:
            for source, _ in reads(node, self._memory):
                used[source] = used.get(source, False)
        for node in region.stored:
            used[node] = True
        inside = set(region.members) - set(region.stored)
        used = {n: w for n, w in used.items() if n not in inside}
        arguments: list[Argument] = list(used)
        attributes = ["noalias" if w else "noalias readonly" for w in used.values()]
        noted = [n for n in self._unsure if n in computed_by(region, self._memory)]
        for name, needed in (("scratch", region.kind == "argsort"), ("notes", bool(noted))):
            if needed:
                arguments.append(name)
                attributes.append("noalias")
        fn = Function("KERNEL", attributes, self._declared)
        w = Writer(fn, self._memory, dict(zip(used, fn.parameters, strict=False)))
        w.parallel = entry.shared
        for node in noted:
            w.words[node] = fn.at(fn.parameters[-1], index(self._unsure[node]), "i64")
        self._emit(w, entry, arguments)
        return fn, arguments

    def _emit(self, w: Writer, entry: Scheduled, arguments: Sequence[Argument]) -> None:
        region, lanes = entry.region, lanes_of(entry.region)
        if region.kind == "contract":
            contract.emit_contract(w, region, contract_plan(entry, self._memory, self._team))
        elif region.kind == "argsort":
            sorting.emit_argsort(w, region, w.fn.parameters[arguments.index("scratch")])
        else:
            _EMITTERS[region.kind](w, region, lanes)

    # --- the program ------------------------------------------------------------------------

    def _main(self) -> str:
        """Every thread runs it, and waits for the others between phases."""
        slots, layout = self._layout.slots, self._layout
        lines = [
            "define void @program(ptr %table, i64 %thread, i64 %threads, ptr %barrier) {",
            "entry:",
        ]
        pointers: dict[Argument, str] = {}
        addresses: list[tuple[Argument, int]] = [*slots.items(), ("arena", len(slots))]
        for what, slot in addresses:
            place = f"%s{slot}"
            lines.append(f"  {place}.at = getelementptr ptr, ptr %table, i64 {slot}")
            lines.append(f"  {place} = load ptr, ptr {place}.at")
            pointers[what] = place
        parts: list[tuple[Argument, int]] = [*layout.arena.items()]
        parts += [("scratch", layout.scratch), ("notes", layout.notes)]
        for number, (part, offset) in enumerate(parts):
            lines.append(f"  %a{number} = getelementptr i8, ptr {pointers['arena']}, i64 {offset}")
            pointers[part] = f"%a{number}"
        lines.append("  %first = icmp eq i64 %thread, 0")
        lines += self._flags_down(pointers)
        for phase in sorted({call.scheduled.phase for call in self.calls}):
            lines += self._phase(phase, pointers)
        return "\n".join([*lines, "  ret void", "}"])

    def _flags_down(self, pointers: dict[Argument, str]) -> list[str]:
        flags = [n for c in self.calls for n in c.scheduled.region.stored if is_flag(n)]
        if not flags:
            return []
        lines = ["  br i1 %first, label %flags, label %begin", "flags:"]
        lines += [f"  store atomic i8 0, ptr {pointers[n]} monotonic, align 1" for n in flags]
        return [*lines, "  br label %begin", "begin:"]

    def _phase(self, phase: int, pointers: dict[Argument, str]) -> list[str]:
        lines: list[str] = []
        now = [(i, c) for i, c in enumerate(self.calls) if c.scheduled.phase == phase]
        for number, call in now:
            if call.scheduled.shared:
                lines += self._take_time(number, _line(call, pointers, "%thread", "%threads"))
        alone = [(i, c) for i, c in now if not c.scheduled.shared]
        if alone:
            lines += [f"  br i1 %first, label %alone{phase}, label %after{phase}"]
            lines += [f"alone{phase}:"]
            for number, call in alone:
                lines += self._take_time(number, _line(call, pointers, "0", "1"))
            lines += [f"  br label %after{phase}", f"after{phase}:"]
        wait = "  call void @wait(ptr %barrier, i64 %threads)"
        return [*lines, *self._take_time(len(self.calls), wait)]

    def _take_time(self, number: int, line: str) -> list[str]:
        """The line, and its cycles on the first thread, added to a word of the arena."""
        if not self._timed:
            return [line]
        self._declared.add("declare i64 @llvm.readcyclecounter()")
        name = f"time{next(self._fresh)}"
        return [
            f"  %{name}.from = call i64 @llvm.readcyclecounter()",
            line,
            f"  %{name}.to = call i64 @llvm.readcyclecounter()",
            f"  %{name}.spent = sub i64 %{name}.to, %{name}.from",
            f"  %{name}.counted = select i1 %first, i64 %{name}.spent, i64 0",
            f"  %{name}.at = getelementptr i8, ptr %s{len(self._layout.slots)}, "
            f"i64 {self._layout.clock + 8 * number}",
            f"  %{name}.old = atomicrmw add ptr %{name}.at, i64 %{name}.counted monotonic",
        ]


def lanes_of(region: Region) -> int:
    """How many elements of a region's vectors."""
    node = region.lead or region.members[0]
    size = SIZES[short_name(node.type.dtype)]
    return target.vector_bytes() // max(size, 4)


def contract_plan(entry: Scheduled, memory: set[Node], team: int) -> contract.Plan:
    """The loops of a contraction's region, in a program that `team` threads run."""
    assert entry.region.lead is not None
    registers, team = target.vector_registers(), team if entry.shared else 1
    region, lanes = entry.region, lanes_of(entry.region)
    changed = sum(n.op == "input" for n in contract.behind(region, memory))
    return contract.plan(entry.region.lead, memory, lanes, registers, team, changed)


def _line(call: Call, pointers: dict[Argument, str], thread: str, threads: str) -> str:
    listed = [f"ptr {pointers[a]}" for a in call.arguments]
    numbers = [f"i64 {thread}", f"i64 {threads}"]
    return f"  call void @{call.name}({', '.join([*listed, *numbers])})"
