"""Regions -> LLVM module -> machine code, and the memory it runs in.

Receives: a rewritten graph. Returns: a `NativeProgram` that maps input arrays to output arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chainrule.errors import ChainruleError, ShapeError
from chainrule.graph import WITH_BODY, ArrayType, Graph, Node
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
from chainrule.native.indices import tell, unsure
from chainrule.native.ir import SIZES, Function, index
from chainrule.native.regions import Region, buffers, computed_by, fuse, reads
from chainrule.native.schedule import Scheduled, schedule, worth_threads
from chainrule.native.threads import ENTRY
from chainrule.native.writer import Writer

ALIGN = 64

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
class Layout:
    """Where each value lies: argument slots for inputs, outputs and constants, and offsets into
    one arena for the rest."""

    slots: dict[Node, int]
    arena: dict[Node, int]
    arena_size: int
    scratch: int  # the offset of room for sorting
    notes: int  # the offset of the words for indices out of range


def plan_memory(graph: Graph, scheduled: Sequence[Scheduled], kept: set[Node]) -> Layout:
    """Offsets by lifetime: a value's room is free again after the last phase that reads it."""
    slots = {n: i for i, n in enumerate(graph.inputs)}
    for node in [*dict.fromkeys(graph.outputs), *sorted(kept, key=lambda n: n.serial)]:
        if node not in slots and (node in graph.outputs or node.op == "constant"):
            slots[node] = len(slots)
    last: dict[Node, int] = {}
    for entry in scheduled:
        for node in entry.region.stored:
            last[node] = max(last.get(node, 0), entry.phase)
        for node in entry.region.members:
            for source, _ in reads(node, kept):
                last[source] = max(last.get(source, 0), entry.phase)
    arena: dict[Node, int] = {}
    free: list[tuple[int, int, int]] = []  # (busy until, offset, size)
    size = 0
    for entry in scheduled:
        for node in entry.region.stored:
            if node in slots:
                continue
            need = -(-node.type.size * node.type.dtype.itemsize // ALIGN) * ALIGN + ALIGN
            spot = next((b for b in free if b[0] < entry.phase and b[2] >= need), None)
            if spot is None:
                spot = (-1, size, need)
                size += need
            else:
                free.remove(spot)
                if spot[2] > need:
                    free.append((spot[0], spot[1] + need, spot[2] - need))
            arena[node] = spot[1]
            free.append((last[node], spot[1], need))
    leads = [entry.region.lead for entry in scheduled if entry.region.kind == "argsort"]
    sorted_axes = [lead.shape[lead["axis"]] for lead in leads if lead is not None]
    notes = size + 8 * max(sorted_axes, default=0)
    return Layout(slots, arena, notes + 8 * len(unsure(graph)) + ALIGN, size, notes)


def _readable(array: np.ndarray, node: Node) -> np.ndarray:
    """The array as kernels read it: in row order, aligned, in native byte order."""
    if ArrayType.of(array) != node.type:
        raise ShapeError(f"a program made for {node.type} was given {ArrayType.of(array)}")
    if array.flags.c_contiguous and array.flags.aligned and array.dtype.isnative:
        return array
    return np.array(array, node.type.dtype, order="C")


class NativeProgram:
    """A graph as machine code.

    `drivers` are further functions of the module, as text: they may call `@program(ptr table)`,
    and what they declare is theirs to say.
    """

    def __init__(self, graph: Graph, drivers: Sequence[str] = ()) -> None:
        loop = next((n for n in graph.nodes() if n.op in WITH_BODY), None)
        if loop is not None:
            raise ChainruleError(
                f"{loop.op} does not compile to native code yet",
                where=str(loop.origin) or None,
                do='use backend="reference" for this function',
            )
        self.graph = graph
        self.memory = buffers(graph)
        self._unsure = unsure(graph)
        self.regions = fuse(graph)
        self.scheduled = schedule(self.regions, self.memory)
        self.wants_threads = worth_threads(self.scheduled)
        self.layout = plan_memory(graph, self.scheduled, self.memory)
        self.text = self._module(drivers)
        self.code = target.Code(target.compile_module(self.text))
        self._entry = self.code.function("program", *ENTRY)
        self._constants = {
            slot: _readable(n["value"], n)
            for n, slot in self.layout.slots.items()
            if n.op == "constant"
        }
        self._arenas: list[np.ndarray] = []  # those of calls that are over

    def arena(self) -> np.ndarray:
        """Memory for what is computed on the way, for one call at a time."""
        raw = np.zeros(self.layout.arena_size + ALIGN, np.uint8)
        return raw[-raw.ctypes.data % ALIGN :]

    def check(self, arena: np.ndarray) -> None:
        """Raises IndexRangeError if an index was out of range since the last check."""
        if self._unsure:
            start, stop = self.layout.notes, self.layout.notes + 8 * len(self._unsure)
            tell(arena[start:stop].view(np.int64), list(self._unsure))

    def table(self, arena: np.ndarray) -> np.ndarray:
        """A table of addresses: those of constants and of the arena are filled in; inputs and
        outputs are the caller's to fill, by `layout.slots`."""
        pointers = np.zeros(len(self.layout.slots) + 1, np.uint64)
        for slot, array in self._constants.items():
            pointers[slot] = array.ctypes.data
        pointers[-1] = arena.ctypes.data
        return pointers

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The outputs for these inputs; may be called by several threads at once."""
        try:
            arena = self._arenas.pop()
        except IndexError:
            arena = self.arena()
        try:
            outputs = self._call(inputs, self.table(arena))
            self.check(arena)
            return outputs
        finally:
            self._arenas.append(arena)

    def _call(self, inputs: Sequence[np.ndarray], pointers: np.ndarray) -> list[np.ndarray]:
        slots = self.layout.slots
        held = [_readable(a, n) for a, n in zip(inputs, self.graph.inputs, strict=True)]
        for slot, array in enumerate(held):
            pointers[slot] = array.ctypes.data
        made: dict[Node, np.ndarray] = {}
        for node in self.graph.outputs:
            if node.op == "input":
                made[node] = held[slots[node]]
            elif node.op == "constant":
                made[node] = self._constants[slots[node]]
            elif node not in made:
                made[node] = np.empty(node.shape, node.type.dtype)
                pointers[slots[node]] = made[node].ctypes.data
        threads.run(self._entry, pointers.ctypes.data, self.wants_threads)
        return [made[n] for n in self.graph.outputs]

    # --- emission ---------------------------------------------------------------------------

    def _module(self, drivers: Sequence[str]) -> str:
        declared: set[str] = set()
        functions, calls = [], []
        for number, entry in enumerate(self.scheduled):
            fn, arguments = self._kernel(f"kernel{number}", entry, declared)
            functions.append(fn.text())
            calls.append((fn.name, arguments, entry))
        main = self._main(calls)
        parts = [target.header(), *functions, main, threads.BARRIER, *drivers]
        parts += [*sorted(declared), target.footer()]
        return "\n\n".join(parts)

    def _kernel(
        self, name: str, entry: Scheduled, declared: set[str]
    ) -> tuple[Function, list[Argument]]:
        region = entry.region
        used: dict[Node, bool] = {}
        for node in region.members:
            for source, _ in reads(node, self.memory):
                used[source] = used.get(source, False)
        for node in region.stored:
            used[node] = True
        inside = set(region.members) - set(region.stored)
        used = {n: w for n, w in used.items() if n not in inside}
        arguments: list[Argument] = list(used)
        attributes = ["noalias" if w else "noalias readonly" for w in used.values()]
        noted = [n for n in self._unsure if n in computed_by(region, self.memory)]
        for name_, needed in (("scratch", region.kind == "argsort"), ("notes", bool(noted))):
            if needed:
                arguments.append(name_)
                attributes.append("noalias")
        fn = Function(name, attributes, declared)
        w = Writer(fn, self.memory, dict(zip(used, fn.parameters, strict=False)))
        w.parallel = entry.shared
        for node in noted:
            w.words[node] = fn.at(fn.parameters[-1], index(self._unsure[node]), "i64")
        lanes = self._lanes(region)
        if region.kind == "contract":
            contract.emit_contract(w, region, lanes, target.vector_registers())
        elif region.kind == "argsort":
            sorting.emit_argsort(w, region, fn.parameters[arguments.index("scratch")])
        else:
            _EMITTERS[region.kind](w, region, lanes)
        return fn, arguments

    def _lanes(self, region: Region) -> int:
        node = region.lead or region.members[0]
        size = SIZES[short_name(node.type.dtype)]
        return target.vector_bytes() // max(size, 4)

    def _main(self, calls: Sequence[tuple[str, list[Argument], Scheduled]]) -> str:
        """The program: every thread runs it, and waits for the others between phases."""
        slots, layout = self.layout.slots, self.layout
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
        for phase in sorted({entry.phase for _, _, entry in calls}):
            now = [call for call in calls if call[2].phase == phase]
            for name, arguments, _ in (call for call in now if call[2].shared):
                lines.append(_call(name, arguments, pointers, "%thread", "%threads"))
            alone = [call for call in now if not call[2].shared]
            if alone:
                lines += [f"  br i1 %first, label %alone{phase}, label %after{phase}"]
                lines += [f"alone{phase}:"]
                lines += [_call(name, args, pointers, "0", "1") for name, args, _ in alone]
                lines += [f"  br label %after{phase}", f"after{phase}:"]
            lines.append("  call void @wait(ptr %barrier, i64 %threads)")
        return "\n".join([*lines, "  ret void", "}"])


def _call(
    name: str,
    arguments: Sequence[Argument],
    pointers: dict[Argument, str],
    thread: str,
    threads: str,
) -> str:
    listed = [f"ptr {pointers[a]}" for a in arguments]
    return f"  call void @{name}({', '.join([*listed, f'i64 {thread}', f'i64 {threads}'])})"
