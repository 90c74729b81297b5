"""Where each value lies: slots of the caller's arrays, and offsets into one arena for the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chainrule.graph import Graph, Node
from chainrule.native.regions import is_flag, reads
from chainrule.native.schedule import Scheduled

ALIGN = 64
_EVER = 1 << 62


@dataclass(frozen=True)
class Layout:
    """Argument slots for inputs, outputs and constants, and offsets into the arena, in which each
    loop has room to work in."""

    slots: dict[Node, int]
    arena: dict[Node, int]
    arena_size: int
    scratch: int  # the offset of room for sorting
    notes: int  # the offset of the words for what is told after a call
    clock: int  # the offset of the words for the time of each call, where it is taken


def plan_memory(
    graph: Graph,
    scheduled: Sequence[Scheduled],
    kept: set[Node],
    noted: int,
    clocks: int,
    rooms: Mapping[Node, int],
    constants: Sequence[Node],
) -> Layout:
    """Offsets by lifetime: a value's room is free again after the last phase that reads it.
    `noted` and `clocks` are how many words for notes and for times there are, `rooms` how many
    bytes each loop works in, and `constants` those of their bodies."""
    slots = {n: i for i, n in enumerate(graph.inputs)}
    for node in [*dict.fromkeys(graph.outputs), *sorted(kept, key=lambda n: n.serial)]:
        if node not in slots and (node in graph.outputs or node.op == "constant"):
            slots[node] = len(slots)
    for node in constants:
        slots.setdefault(node, len(slots))
    last: dict[Node, int] = {}
    for entry in scheduled:
        for node in entry.region.stored:
            last[node] = max(last.get(node, 0), _EVER if is_flag(node) else entry.phase)
        for node in entry.region.members:
            for source, _ in reads(node, kept):
                last[source] = max(last.get(source, 0), entry.phase)
    room = _Room()
    wanted = [(n, n.type.bytes, e.phase, last[n]) for e in scheduled for n in e.region.stored]
    phases = {entry.region.lead: entry.phase for entry in scheduled}
    wanted += [(loop, size, phases[loop], phases[loop]) for loop, size in rooms.items()]
    # Flags are taken down before anything runs: their room was nobody's before.
    wanted.sort(key=lambda want: (not is_flag(want[0]), want[2]))
    arena = {n: room.take(size, *when) for n, size, *when in wanted if n not in slots}
    leads = [entry.region.lead for entry in scheduled if entry.region.kind == "argsort"]
    sorted_axes = [lead.shape[lead["axis"]] for lead in leads if lead is not None]
    scratch = room.size
    notes = scratch + 8 * max(sorted_axes, default=0)
    clock = notes + 8 * noted
    return Layout(slots, arena, clock + 8 * clocks + ALIGN, scratch, notes, clock)


class _Room:
    """Memory that is handed out and comes back."""

    def __init__(self) -> None:
        self.size = 0
        self._free: list[tuple[int, int, int]] = []  # (busy until, offset, size)

    def take(self, size: int, phase: int, last: int) -> int:
        """An offset that nobody else has between two phases."""
        need = -(-size // ALIGN) * ALIGN + ALIGN
        spot = next((b for b in self._free if b[0] < phase and b[2] >= need), None)
        if spot is None:
            spot = (-1, self.size, need)
            self.size += need
        else:
            self._free.remove(spot)
            if spot[2] > need:
                self._free.append((spot[0], spot[1] + need, spot[2] - need))
        self._free.append((last, spot[1], need))
        return spot[1]
