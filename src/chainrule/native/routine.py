"""A graph planned: its kernels, their order, and their memory.

A whole program is a routine, and so is the body of each of its loops, which runs once for each
step. Receives: a graph. Returns: a `Routine`. Next: `module` writes it as LLVM assembly.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from chainrule.graph import WITH_BODY, Graph, Node, build, made_by
from chainrule.graph.text import value_names
from chainrule.native.indices import Words, words_of
from chainrule.native.memory import Layout, plan_memory
from chainrule.native.padding import share_padded
from chainrule.native.regions import fuse
from chainrule.native.rowwise import rows_apart
from chainrule.native.schedule import Scheduled, schedule, shared_work, useful_threads
from chainrule.native.splitting import split_sums
from chainrule.native.stored import buffers, rows_read_in_place
from chainrule.native.workspace import workspace

_F64 = np.dtype(np.float64)


@dataclass(frozen=True, eq=False)
class Routine:
    """What a graph becomes. `memory` are the values that lie in memory, `words` where it is noted
    what cannot be told in the middle of a call, `bodies` the routines of its loops."""

    graph: Graph
    memory: set[Node]
    words: Words
    scheduled: list[Scheduled]
    layout: Layout
    bodies: dict[Node, Routine]
    rows: int = 0  # of a step, where they never meet and threads share them out once for all

    @property
    def names(self) -> dict[Node, str]:
        """What each value is called; also the results of loops that nobody reads."""
        found = value_names(self.graph)
        for entry in self.scheduled:
            for node in entry.region.stored:
                if node not in found:
                    found[node] = f"{found[node.operands[0]]}.{node['index']}"
        return found

    @property
    def shared_work(self) -> float:
        """About how long all that threads share takes on one core, in nanoseconds."""
        inside = {loop: body.shared_work for loop, body in self.bodies.items()}
        return shared_work(self.scheduled, inside)

    @property
    def useful_threads(self) -> int:
        """How many threads make it faster."""
        return useful_threads(self.shared_work)


def plan_routine(graph: Graph, trusted: Collection[Node] = (), *, timed: bool = False) -> Routine:
    """A graph's routine; `trusted` are inputs that hold only indices in range. With `timed` there
    is a word for the time of each kernel, and one for that of waiting."""
    return _planned(graph, trusted, timed, {})


def _planned(
    graph: Graph,
    trusted: Collection[Node],
    timed: bool,
    known: dict[object, Routine],
    loop: Node | None = None,
) -> Routine:
    """The routine of a program, or of the body of a `loop`. Equal bodies are planned once: they are
    `known`."""
    graph = share_padded(split_sums(graph))
    bodies: dict[Node, Routine] = {}
    for node in graph.nodes():
        if node.op in WITH_BODY:
            key = node.op, node["body"], node.attributes.get("carries")
            if key not in known:
                known[key] = _planned(body_of(node), (), False, known, node)
            bodies[node] = known[key]
    memory = buffers(graph, rows_read_in_place(graph, trusted))
    words = words_of(graph, trusted, {loop: body.words for loop, body in bodies.items()})
    together = {loop for loop, body in bodies.items() if any(e.shared for e in body.scheduled)}
    regions, rows = fuse(graph, memory), 0
    if loop is not None and loop.op == "scan":
        rows = rows_apart(graph, loop["carries"], loop["sequences"], memory, regions)
    scheduled = schedule(regions, memory, together, rows)
    rooms = {n: workspace(n, b.graph, b.layout).size for n, b in bodies.items()}
    constants = [n for b in bodies.values() for n in b.layout.slots if n.op == "constant"]
    clocks = len(scheduled) + 1 if timed else 0
    layout = plan_memory(graph, scheduled, memory, len(words.nodes), clocks, rooms, constants)
    return Routine(graph, memory, words, scheduled, layout, bodies, rows)


def body_of(loop: Node) -> Graph:
    """The graph of one step, every result in memory of its own."""
    body: Graph = loop["body"]
    with made_by(loop.origin, "native"):
        return distinct(_with_changes(body) if loop.op == "fixed_point" else body)


def distinct(graph: Graph) -> Graph:
    """The graph with every output computed into memory of its own: a value that does not change,
    or that is an output twice, is copied."""
    taken: set[Node] = set()
    outputs = []
    for node in graph.outputs:
        if node.op in ("input", "constant") or node in taken:
            node = build.make("stop", node)
        taken.add(node)
        outputs.append(node)
    return graph.with_outputs(outputs, graph.output_names)


def _with_changes(body: Graph) -> Graph:
    """The step to the next states, and of them all, the largest change and the largest number."""
    states = body.outputs
    before = body.inputs[: len(states)]
    moved = _largest([build.subtract(y, x) for x, y in zip(before, states, strict=True)])
    outputs = (*states, moved, _largest(states))
    return body.with_outputs(outputs, (*body.output_names, "change", "size"))


def _largest(arrays: Sequence[Node]) -> Node:
    """The largest magnitude of all elements (f64); NaN where there is one."""
    result = build.constant(0.0)
    for x in arrays:
        if x.type.size:
            most = build.max(build.make("absolute", x), range(x.ndim))
            result = build.make("maximum", result, build.cast(most, _F64))
    return result
