"""Packing: one panel of the right operand, copied into the order in which tiles read it."""

from __future__ import annotations

from chainrule.native.contract.plans import Plan
from chainrule.native.contract.tile import (
    Columns,
    Index,
    Panel,
    offset,
    packed_step,
    summed_loops,
)
from chainrule.native.ir import Function, Value, index, literal
from chainrule.native.places import Coordinate, plus, scaled
from chainrule.native.writer import Writer

_AHEAD = 16  # how many steps before its turn a line of memory is asked for


def pack(
    w: Writer,
    p: Plan,
    kind: str,
    at: Index,
    columns: Columns,
    panel: Panel,
    bounds: tuple[Value, Value] | None,
) -> None:
    """Fills a panel with the right operand's columns at `at`, for the first summed letter within
    `bounds`. Lanes past the last column become 0."""
    innermost = p.summed[-1]
    across = p.right.strides[p.column]
    lies_along = p.right.strides[innermost] == 1 and innermost != p.right.chosen
    if across != 1 and lies_along and columns.lanes > 1:
        _turn_blocks(w, p, kind, at, columns, panel, bounds)
        return
    summed_loops(w.fn, p, at, bounds, lambda here: _copy(w, p, kind, here, columns, panel))


def _copy(w: Writer, p: Plan, kind: str, at: Index, columns: Columns, panel: Panel) -> None:
    """One step of the sums: its vectors, loaded or gathered."""
    fn, across = w.fn, p.right.strides[p.column]
    start, place = offset(w, p.right, at), packed_step(fn, p, at, panel)
    ahead = _AHEAD * p.right.strides[p.summed[-1]]
    for v in range(columns.vectors):
        w.enter((), columns.lanes, columns.mask(v))
        there = plus(fn, start, index(v * columns.lanes * across))
        soon = plus(fn, there, index(ahead))
        fn.prefetch(fn.at(w.pointers[p.right.memory], soon, kind), write=False)
        soon = plus(fn, place, index((4 * panel.vectors + v) * columns.lanes))
        fn.prefetch(fn.at(panel.address, soon, kind), write=True)
        x = w.read(p.right.memory, Coordinate(there, across))
        fn.store(x, fn.at(panel.address, plus(fn, place, index(v * columns.lanes)), kind))


def _turn_blocks(
    w: Writer,
    p: Plan,
    kind: str,
    at: Index,
    columns: Columns,
    panel: Panel,
    bounds: tuple[Value, Value] | None,
) -> None:
    """Square blocks are loaded along the summed letter and turned in registers; what is left of
    its length is gathered."""
    fn, lanes, innermost = w.fn, columns.lanes, p.summed[-1]
    is_only = len(p.summed) == 1

    def along(here: Index) -> None:
        whole = (index(0), index(p.sizes[innermost]))
        start, stop = bounds if is_only and bounds else whole
        length = fn.sub(stop, start) if bounds else stop
        blocks = fn.binary("udiv", length, index(lanes))
        with fn.loop(index(0), blocks) as block:
            first = plus(fn, start, scaled(fn, block, lanes))
            there = {**here, innermost: first}
            full = columns.width // lanes
            with fn.loop(index(0), index(full)) as v:
                _turn(w, p, kind, there, panel, v, lanes, lanes)
            if full < columns.vectors:
                left = columns.width - full * lanes
                _turn(w, p, kind, there, panel, index(full), left, lanes)
        rest = plus(fn, start, fn.mul(blocks, index(lanes)))
        with fn.loop(rest, stop) as k:
            _copy(w, p, kind, {**here, innermost: k}, columns, panel)

    summed_loops(fn, p, at, None if is_only else bounds, along, p.summed[:-1])


def _turn(
    w: Writer,
    p: Plan,
    kind: str,
    at: Index,
    panel: Panel,
    v: Value,
    count: int,
    lanes: int,
) -> None:
    """One square block: `count` columns of `lanes` steps become `lanes` steps of vector `v`."""
    fn, across = w.fn, p.right.strides[p.column]
    memory = w.pointers[p.right.memory]
    place = plus(fn, packed_step(fn, p, at, panel), scaled(fn, v, lanes))
    base = plus(fn, offset(w, p.right, at), scaled(fn, v, lanes * across))
    targets = []
    for step in range(lanes):
        there = plus(fn, place, index(step * panel.vectors * lanes))
        targets.append(fn.at(panel.address, there, kind))
        fn.prefetch(targets[-1], write=True)
    lines = []
    for i in range(count):
        there = plus(fn, base, index(i * across))
        lines.append(fn.load(fn.at(memory, there, kind), kind, lanes))
    zero = fn.splat(literal(0, kind), lanes)
    turned = transposed(fn, [*lines, *[zero] * (lanes - count)])
    for x, target in zip(turned, targets, strict=True):
        fn.store(x, target)


def transposed(fn: Function, lines: list[Value]) -> list[Value]:
    """A square block of vectors, turned: interleaving the first half with the second, as often as
    the length halves, brings number j of line i to place i of line j."""
    lanes = len(lines)
    low = [n // 2 + (n % 2) * lanes for n in range(lanes)]
    high = [n + lanes // 2 for n in low]
    for _ in range(lanes.bit_length() - 1):
        pairs = zip(lines[: lanes // 2], lines[lanes // 2 :], strict=True)
        lines = [fn.shuffle(x, y, pick) for x, y in pairs for pick in (low, high)]
    return lines
