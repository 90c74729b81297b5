"""A contraction's kernel: loops over panels and tiles, shared out among threads."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property

from chainrule.graph import OPS, Node
from chainrule.graph.types import short_name
from chainrule.native.contract.finish import finish, finish_rows
from chainrule.native.contract.packing import pack
from chainrule.native.contract.plans import Plan
from chainrule.native.contract.strong import StrongZeros, is_strong, not_finite
from chainrule.native.contract.tile import Columns, Index, Panel, accumulate
from chainrule.native.elementwise import is_nan
from chainrule.native.ir import Value, index, literal
from chainrule.native.places import Coordinate, offset_of, plus, row_major, scaled
from chainrule.native.regions import Region, is_flag, reads
from chainrule.native.writer import Writer

_NEAR = 128 * 1024  # bytes; what is smaller is in cache from the last step
_FEW = 3  # elementwise values behind the sums that are cheaper to write out than to loop over


def emit_contract(w: Writer, region: Region, p: Plan) -> None:
    """The whole contraction."""
    _Contraction(w, region, p).emit()


def behind(region: Region, memory: set[Node]) -> dict[Node, bool]:
    """What the elementwise work behind a contraction's sums reads and writes at the place of each,
    and whether it is written."""
    found = {n: True for n in region.stored if not is_flag(n)}
    for member in region.members:
        for source, same_place in reads(member, memory):
            if same_place and source.shape == region.domain and source not in region.members:
                found.setdefault(source, False)
    return found


@dataclass
class _Contraction:
    w: Writer
    region: Region
    p: Plan

    @cached_property
    def kind(self) -> str:
        assert self.region.lead is not None
        return short_name(self.region.lead.type.dtype)

    @cached_property
    def lanes(self) -> int:
        return self.p.tiles.lanes if self.p.column else 0

    @cached_property
    def panel_memory(self) -> Value:
        tiles = self.p.tiles
        return self.w.fn.buffer(self.kind, self.p.panel_steps() * tiles.width)

    @cached_property
    def sums(self) -> Value:
        """Room for sums that are not finished."""
        tiles = self.p.tiles
        rows = tiles.rows * (self.p.block if self.p.depth else 1)
        return self.w.fn.buffer(self.kind, rows * tiles.width)

    @cached_property
    def strong(self) -> StrongZeros:
        return StrongZeros(self.w, self.p, self.kind)

    # --- loops ------------------------------------------------------------------------------

    def emit(self) -> None:
        if self.p.hoisted:
            self._panels({})
        else:
            self._outer({}, self._panels)

    def _outer(self, at: Index, body: Callable[[Index], None]) -> None:
        """The letters that tiles do not cover."""
        p, fn = self.p, self.w.fn
        if p.shared != "outer":
            self._outer_loops(list(p.outer), at, body)
            return
        start, stop = fn.share(math.prod(p.sizes[c] for c in p.outer))
        with fn.loop(start, stop) as number:
            here = dict(at)
            for letter in reversed(p.outer):
                size = index(p.sizes[letter])
                here[letter] = fn.binary("urem", number, size)
                number = fn.binary("udiv", number, size)
            body(here)

    def _outer_loops(
        self, letters: Sequence[str], at: Index, body: Callable[[Index], None]
    ) -> None:
        if not letters:
            body(at)
            return
        with self.w.fn.loop(index(0), index(self.p.sizes[letters[0]])) as i:
            self._outer_loops(letters[1:], {**at, letters[0]: i}, body)

    def _panels(self, at: Index) -> None:
        """Panels outside, rows of tiles inside: a panel stays in cache."""
        p, tiles, fn = self.p, self.p.tiles, self.w.fn
        if not p.column:
            self._rows(at, Columns(1, 1, 0))
            return
        full, rest = divmod(p.sizes[p.column], tiles.width)
        start, stop = self._share("columns", full + bool(rest))
        if full:
            with fn.loop(start, fn.smaller(stop, index(full))) as block:
                here = {**at, p.column: scaled(fn, block, tiles.width)}
                self._rows(here, Columns(tiles.vectors, tiles.width, self.lanes))
        if rest:
            with self._if_last(stop, full):
                here = {**at, p.column: index(full * tiles.width)}
                self._rows(here, Columns(-(-rest // self.lanes), rest, self.lanes))

    def _rows(self, at: Index, columns: Columns) -> None:
        p = self.p
        count = p.sizes[p.row] if p.row else 1
        start, stop = self._share("rows", -(-count // p.tiles.rows))
        if p.depth:
            self._blocks(at, columns, start, stop)
            return
        panel = None
        if p.packed:
            panel = Panel(self.panel_memory, index(0), columns.vectors)
            pack(self.w, p, self.kind, at, columns, panel, None)

        def tile(here: Index, rows: int) -> None:
            self._tile(here, rows, columns, panel)

        if p.hoisted:
            self._outer(at, lambda here: self._tiles(here, start, stop, tile))
        else:
            self._tiles(at, start, stop, tile)

    def _tiles(
        self, at: Index, start: Value, stop: Value, tile: Callable[[Index, int], None]
    ) -> None:
        """Tiles number `start` to `stop`, the last of which may have fewer rows."""
        p, fn = self.p, self.w.fn
        if not p.row:
            tile(at, 1)
            return
        full, rest = divmod(p.sizes[p.row], p.tiles.rows)
        if full:
            with fn.loop(start, fn.smaller(stop, index(full))) as block:
                tile({**at, p.row: scaled(fn, block, p.tiles.rows)}, p.tiles.rows)
        if rest:
            with self._if_last(stop, full):
                tile({**at, p.row: index(full * p.tiles.rows)}, rest)

    def _share(self, loop: str, count: int) -> tuple[Value, Value]:
        """The bounds of a loop for this thread: its part, where this is the loop that is shared."""
        if self.p.shared == loop:
            return self.w.fn.share(count)
        return index(0), index(count)

    def _if_last(self, stop: Value, full: int) -> AbstractContextManager[None]:
        """Whether the part behind `full` whole ones is before `stop`."""
        if stop.text == str(full + 1):
            return nullcontext()
        return self.w.fn.when(self.w.fn.compare("lt", index(full), stop))

    # --- tiles ------------------------------------------------------------------------------

    def _tile(self, at: Index, rows: int, columns: Columns, panel: Panel | None) -> None:
        """One tile from first to last step. Where much comes behind the sums they are put down
        first, and one loop finishes them."""
        fn, kind, lanes = self.w.fn, self.kind, columns.lanes
        zero = fn.splat(literal(0, kind), lanes)
        self._ask_ahead(at, rows, columns)
        found = accumulate(self.w, self.p, kind, at, rows, columns, panel, None, lambda r, v: zero)
        if self._finishes_quickly():
            for r, line in enumerate(found):
                for v, x in enumerate(line):
                    finish(self.w, self.region, self.p, self._at(at, r, v), x, columns.mask(v))
            return
        self._put(found, self.sums)
        self._finish_put(found, at, self.sums, rows, columns)

    def _ask_ahead(self, at: Index, rows: int, columns: Columns) -> None:
        """Asks for the memory that comes behind the sums, to be there when they are: a store waits
        for its line as long as a load does."""
        fn, lanes = self.w.fn, max(columns.lanes, 1)
        for node, write in self._behind.items():
            kind = short_name(node.type.dtype)
            for r in range(rows):
                first = self._at(at, r, 0)
                place = tuple(Coordinate(first.get(c, index(0))) for c in self.p.result)
                start = offset_of(fn, place, row_major(node.shape)).scalar
                for v in range(columns.vectors):
                    there = plus(fn, start, index(v * lanes))
                    fn.prefetch(fn.at(self.w.pointers[node], there, kind), write=write)

    @cached_property
    def _behind(self) -> dict[Node, bool]:
        """What `behind` finds that is in memory here; nothing where all of it stays in the nearest
        cache anyway. In a loop each step reads other rows of what is far away."""
        found = behind(self.region, self.w.memory)
        found = {n: write for n, write in found.items() if n in self.w.pointers}
        total = sum(n.type.size * n.type.dtype.itemsize for n in found)
        is_far = total > _NEAR or self.w.grain > 0
        return found if is_far and not self.p.scattered else {}

    def _at(self, at: Index, r: int, v: int) -> Index:
        fn, p = self.w.fn, self.p
        here = dict(at)
        if p.row:
            here[p.row] = plus(fn, at[p.row], index(r))
        if p.column:
            here[p.column] = plus(fn, at[p.column], index(v * self.lanes))
        return here

    def _finishes_quickly(self) -> bool:
        members = self.region.members
        few = sum(bool(OPS[n.op].elementwise) for n in members) <= _FEW
        return few and not is_strong(self.p)

    def _put(self, found: Sequence[Sequence[Value]], sums: Value) -> None:
        fn, lanes = self.w.fn, max(self.lanes, 1)
        for r, line in enumerate(found):
            for v, x in enumerate(line):
                fn.store(x, fn.at(sums, index((r * len(line) + v) * lanes), self.kind))

    def _blocks(self, at: Index, columns: Columns, start: Value, stop: Value) -> None:
        """Sums in parts: for some rows of tiles, part after part of the first summed letter, all
        tiles; with the last part each is finished."""
        p, fn, kind = self.p, self.w.fn, self.kind
        size = p.sizes[p.summed[0]]
        line = columns.vectors * max(self.lanes, 1)
        with fn.loop(start, stop, p.block) as top:
            bottom = fn.smaller(plus(fn, top, index(p.block)), stop)
            before = scaled(fn, top, p.tiles.rows)
            count = p.sizes[p.row]
            rows = fn.sub(fn.smaller(scaled(fn, bottom, p.tiles.rows), index(count)), before)
            self._clear(fn.mul(rows, index(columns.vectors)))
            with fn.loop(index(0), index(size), p.depth) as k:
                bounds = k, fn.smaller(plus(fn, k, index(p.depth)), index(size))
                is_last = fn.compare("eq", bounds[1], index(size))
                panel = None
                if p.packed:
                    panel = Panel(self.panel_memory, k, columns.vectors)
                    pack(self.w, p, kind, at, columns, panel, bounds)

                def tile(here: Index, rows: int) -> None:
                    place = scaled(fn, fn.sub(here[p.row], before), line)
                    sums = fn.at(self.sums, place, kind)

                    def so_far(r: int, v: int) -> Value:
                        step = index(r * line + v * max(self.lanes, 1))
                        return fn.load(fn.at(sums, step, kind), kind, self.lanes)

                    if self._behind:
                        with fn.when(is_last):
                            self._ask_ahead(here, rows, columns)
                    found = accumulate(self.w, p, kind, here, rows, columns, panel, bounds, so_far)
                    self._put(found, sums)
                    with fn.when(is_last):
                        self._finish_put(found, here, sums, rows, columns)

                self._tiles(at, top, bottom, tile)

    def _finish_put(
        self,
        found: Sequence[Sequence[Value]],
        at: Index,
        sums: Value,
        rows: int,
        columns: Columns,
    ) -> None:
        """Finishes the sums of a tile that were put down."""
        fn = self.w.fn
        if is_strong(self.p):
            odd: Value | None = None
            for x in (x for line in found for x in line):
                odd = not_finite(fn, x, odd)
            assert odd is not None
            line = columns.vectors * max(columns.lanes, 1)
            with fn.when(fn.any(is_nan(fn, odd))):
                self.strong.mend(at, sums, index(rows), columns.width, line)
        finish_rows(self.w, self.region, self.p, self.kind, at, sums, index(rows), columns)

    def _clear(self, vectors: Value) -> None:
        fn = self.w.fn
        zero = fn.splat(literal(0, self.kind), self.lanes)
        with fn.loop(index(0), vectors) as v:
            place = scaled(fn, v, max(self.lanes, 1))
            fn.store(zero, fn.at(self.sums, place, self.kind))
