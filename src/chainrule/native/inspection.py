"""A graph's way through the native compiler, as text.

Receives: a rewritten graph. Returns: the texts of regions, loops, LLVM assembly and machine code,
and what each kernel costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import indent

from chainrule.graph import OPS, Graph, Node, multiply_adds
from chainrule.native import target
from chainrule.native.program import NativeProgram
from chainrule.native.regions import VIEWS, Region, computed_by, reads
from chainrule.native.routine import Routine
from chainrule.native.schedule import Scheduled

# What costs nothing: it is there already, or is only handed on.
_NO_WORK = frozenset({"constant", "iota", "part"})
STAGES = ("regions", "loops", "llvm", "assembly")


@dataclass(frozen=True)
class Kernel:
    """What one kernel of a program does and costs. `flops` counts a multiply-add as two, and every
    other function of a number as one."""

    name: str
    flops: int
    bytes_read: int
    bytes_written: int
    phase: int  # kernels of one phase need not wait for each other
    shared: bool  # whether threads share it; else the first thread runs it
    ops: tuple[str, ...]  # what it computes, the op that leads it first
    layers: tuple[str, ...]  # the paths of the layers that it is part of
    lines: tuple[str, ...]  # the lines that it comes from, such as "net.py:12"


def native_stages(graph: Graph) -> tuple[dict[str, str], list[Kernel]]:
    """The texts of `STAGES`, and the kernels in the order in which they run."""
    program = NativeProgram(graph)
    names = program.routine.names
    kernels = kernels_of(program)
    texts = (
        _regions_text(program.routine, names),
        _loops_text(program, kernels, names),
        program.text,
        target.assembly(program.text),
    )
    return dict(zip(STAGES, texts, strict=True)), kernels


def kernels_of(program: NativeProgram) -> list[Kernel]:
    """The kernels of a program in the order in which they run."""
    return [_kernel(n, entry, program) for n, entry in enumerate(program.scheduled)]


# --- what a kernel costs --------------------------------------------------------------------


def _kernel(number: int, entry: Scheduled, program: NativeProgram) -> Kernel:
    region, routine = entry.region, program.routine
    lead = lead_of(region)
    work = [n for n in {lead, *computed_by(region, routine.memory)} if n is lead or _is_work(n)]
    work.sort(key=lambda n: (n is not lead, n.serial))
    origins = [n.origin for n in work]
    return Kernel(
        f"kernel {number}",
        *_cost_of(region, routine),
        entry.phase,
        entry.shared,
        tuple(dict.fromkeys(n.op for n in work)),
        tuple(dict.fromkeys(o.scope for o in origins if o.scope)),
        tuple(dict.fromkeys(f"{o.file}:{o.line}" for o in origins if o.file)),
    )


def _cost_of(region: Region, routine: Routine) -> tuple[int, int, int]:
    """The flops, and the bytes read and written. Those of a scan are its body's for every step;
    how many steps a fixed point needs is not known before, so those of one are counted."""
    if region.lead is not None and region.lead in routine.bodies:
        body, steps = routine.bodies[region.lead], 1
        if region.kind == "scan":
            steps = region.lead["length"]
        costs = [_cost_of(entry.region, body) for entry in body.scheduled]
        flops, read, written = (steps * sum(column) for column in zip(*costs, strict=True))
        return flops, read, written
    computed = computed_by(region, routine.memory)
    work = [n for n in computed if _is_work(n)]
    return (
        sum(_flops(node) for node in computed),
        sum(_bytes_read(node, work) for node in _sources(region, routine)),
        sum(_bytes(node) for node in region.stored),
    )


def lead_of(region: Region) -> Node:
    """The value that a kernel is there for."""
    return region.lead or region.stored[0]


def _is_work(node: Node) -> bool:
    """Whether a value costs anything: views are addressing, and constants are there."""
    return node.op not in VIEWS and node.op not in _NO_WORK


def _flops(node: Node) -> int:
    if not node.type.is_float or node.op in ("cast", "stop", "where"):
        return 0
    if node.op == "contract":
        return 2 * multiply_adds(node)
    if node.op in ("sum", "max"):
        return node.operands[0].type.size
    return node.type.size if OPS[node.op].elementwise else 0


def _sources(region: Region, routine: Routine) -> list[Node]:
    """The values that a kernel reads from memory, each once."""
    found: dict[Node, None] = {}
    for node in region.members:
        for source, _ in reads(node, routine.memory):
            if source not in region.members:
                found[source] = None
    return list(found)


def _bytes_read(source: Node, work: Sequence[Node]) -> int:
    """How much of a value a kernel reads: all of it, or the rows that it chooses."""
    chosen = sum(_bytes(n) for n in work if n.op == "take" and _behind(n.operands[0]) is source)
    return min(chosen, _bytes(source)) if chosen else _bytes(source)


def _behind(node: Node) -> Node:
    """What a view shows."""
    while node.op in VIEWS:
        (node,) = node.operands
    return node


def _bytes(node: Node) -> int:
    return node.type.size * node.type.dtype.itemsize


# --- the texts ------------------------------------------------------------------------------


def _regions_text(routine: Routine, names: dict[Node, str]) -> str:
    """Which values are computed together, which are stored, and which are never stored."""
    order = {node: place for place, node in enumerate(names)}

    def listed(nodes: Sequence[Node]) -> str:
        return ", ".join(names[n] for n in sorted(nodes, key=order.__getitem__)) or "nothing"

    parts = []
    for number, entry in enumerate(routine.scheduled):
        region = entry.region
        inside = computed_by(region, routine.memory)
        work = [n for n in inside if _is_work(n)]
        ops = ", ".join(f"{names[n]} {n.op}" for n in sorted(work, key=order.__getitem__))
        parts.append(
            f"kernel {number}: {region.kind} over {list(region.domain)}\n"
            f"  reads     {listed(_sources(region, routine))}\n"
            f"  computes  {ops}\n"
            f"  stores    {listed(region.stored)}"
        )
        if region.lead is not None and region.lead in routine.bodies:
            body = routine.bodies[region.lead]
            parts.append(indent(f"each step:\n{_regions_text(body, body.names)}", "  "))
    return "\n".join(parts) or "no kernels: every output is an input or a constant"


def _loops_text(program: NativeProgram, kernels: Sequence[Kernel], names: dict[Node, str]) -> str:
    """The kernels as they run: who runs them, when, what they cost, and their loops."""
    lines = []
    for kernel, entry in zip(kernels, program.scheduled, strict=True):
        lines.append(f"{kernel.name}: {entry.title}; {_cost(kernel)}")
        lines.append(indent(str(program.nest(entry, names)), "  ") + "\n")
    arena = program.layout.arena_size
    flops = sum(kernel.flops for kernel in kernels)
    lines.append(f"together {flops:,} flops; {arena:,} bytes of memory for what lies between")
    return "\n".join(lines)


def _cost(kernel: Kernel) -> str:
    moved = kernel.bytes_read + kernel.bytes_written
    ratio = f", {kernel.flops / moved:.2f} flops a byte" if moved else ""
    traffic = f"{kernel.bytes_read:,} bytes read, {kernel.bytes_written:,} written"
    return f"{kernel.flops:,} flops, {traffic}{ratio}"
