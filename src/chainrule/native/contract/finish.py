"""What comes behind the sums: the elementwise work of the region, and the stores."""

from __future__ import annotations

from chainrule.native.contract.plans import Plan
from chainrule.native.contract.tile import Columns, Index
from chainrule.native.ir import Value, index
from chainrule.native.maps import put_members
from chainrule.native.places import Coordinate, Place, offset_of, plus, row_major, scaled
from chainrule.native.regions import Region
from chainrule.native.writer import Writer


def finish_rows(
    w: Writer,
    region: Region,
    p: Plan,
    kind: str,
    at: Index,
    sums: Value,
    rows: Value,
    columns: Columns,
) -> None:
    """Finishes `rows` rows of sums that lie in a buffer, `columns.vectors` vectors each, the first
    of them at `at`."""
    fn, lanes = w.fn, columns.lanes
    full = columns.width // lanes if lanes else 1
    with fn.loop(index(0), rows) as r:
        here = {**at, p.row: plus(fn, at[p.row], r)} if p.row else at
        line = scaled(fn, r, columns.vectors * max(lanes, 1))

        def one(v: Value, mask: Value | None, here: Index = here, line: Value = line) -> None:
            step = scaled(fn, v, max(lanes, 1))
            x = fn.load(fn.at(sums, plus(fn, line, step), kind), kind, lanes)
            there = {**here, p.column: plus(fn, at[p.column], step)} if p.column else here
            finish(w, region, p, there, x, mask)

        if full == 1:
            one(index(0), None)
        elif full:
            with fn.loop(index(0), index(full)) as v:
                one(v, None)
        if full < columns.vectors:
            one(index(full), columns.mask(full))


def finish(w: Writer, region: Region, p: Plan, at: Index, x: Value, mask: Value | None) -> None:
    """One vector of sums, whose first column is at `at`."""
    fn, node = w.fn, region.lead
    assert node is not None
    coordinates = {c: Coordinate(i) for c, i in at.items()}
    if p.column:
        coordinates[p.column] = Coordinate(at[p.column], 1)
    place: Place = tuple(coordinates.get(c, Coordinate(index(0))) for c in p.result)
    w.enter(place, x.lanes, mask)
    w.known[node] = x
    put_members(w, region, place, offset_of(fn, place, row_major(node.shape)))
